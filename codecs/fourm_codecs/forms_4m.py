"""The five forms of records that 4M writes as texts: records -> words in chunks, words -> records.

    detections  v0=<x0> v1=<y0> v2=<x1> v3=<y1> <class>                            one chunk per box
    metadata    v1=<type> v0=<value>                                               one chunk per entry
    palette     v1=<colours> (v0=<red> v0=<green> v0=<blue>)...                    one chunk
    poses       human v0= v1= v2= v3=, then in any order: pose (v0=|v1=) x 8,      one chunk per person
                global v0= x 9, camera v0= x 3, shape v0= x 10; or `none`
    instances   point v0=<y> v1=<x>, then `none`, or one or more:                  one chunk per point
                polygon v0=<x0> v1=<y0> v2=<x1> v3=<y1> (v0=|v1=) x 16

A code t of a mask or a pose is `v0=t` below 512, else `v1=t-512`. Several instances at one point are records
that repeat the point.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from fourm_codecs.fields_4m import HALF, METADATA, CodesOf, field_forms
from fourm_codecs.set_values import Form
from fourm_codecs.symbols_4m import Cursor, Unreadable
from fourm_codecs.words_4m import coordinate
from fourm_schema.modality import Set
from fourm_schema.released_forms import COORDINATES, FormName, form_of_fields

GROUPS: Mapping[str, int] = {"pose": 8, "global": 9, "camera": 3, "shape": 10}
"""Keyword of a person, and the field it opens -> how many numbers follow."""

MOST_COLOURS = 7

_METADATA = list(METADATA)


class Reader(Protocol):
    """Reads the records of one row, from its first word on."""

    def item(self, cursor: Cursor) -> CodesOf | None:
        """The record at the cursor, which moves behind it; None for a word that is no part of one alone.

        Raises:
            Unreadable: if none begins there.
        """
        ...

    def finish(self, count: int) -> str:
        """What is wrong with the row as a whole that has so many records; empty if nothing is."""
        ...


class RecordForm(Protocol):
    """How records of one form are written."""

    @property
    def name(self) -> FormName: ...

    @property
    def keywords(self) -> tuple[str, ...]: ...

    def chunks(self, records: Sequence[CodesOf]) -> list[list[str]]:
        """The words of a value's records, in chunks. A record is field -> codes; a class is its name's."""
        ...

    def reader(self) -> Reader: ...


class Detections:
    """Boxes and their classes."""

    name: FormName = "detections"
    keywords: tuple[str, ...] = ()

    def __init__(self, classes: Sequence[str], bins: int) -> None:
        self.bins = bins
        self._classes, self._number = classes, {name: place for place, name in enumerate(classes)}

    def chunks(self, records: Sequence[CodesOf]) -> list[list[str]]:
        return [[*_box(record["box"]), self._classes[record["label"][0]]] for record in records]

    def reader(self) -> "Detections":
        return self

    def item(self, cursor: Cursor) -> CodesOf:
        box = _read_box(cursor, "box", range(self.bins))
        return {"box": box, "label": [self._number[cursor.name("label")]]}

    def finish(self, count: int) -> str:
        return ""


class Metadata:
    """One record of numbers, each with its type."""

    name: FormName = "metadata"
    keywords: tuple[str, ...] = ()

    def __init__(self, fields: Collection[str]) -> None:
        self.types = tuple(number for number, name in enumerate(METADATA) if name in fields)

    def chunks(self, records: Sequence[CodesOf]) -> list[list[str]]:
        return [
            [coordinate(1, _METADATA.index(name)), coordinate(0, codes[0])]
            for record in records
            for name, codes in record.items()
        ]

    def reader(self) -> Reader:
        return _MetadataReader(self.types)


class _MetadataReader:
    def __init__(self, types: Collection[int]) -> None:
        self._types, self._seen = types, set[str]()

    def item(self, cursor: Cursor) -> CodesOf:
        number = cursor.coordinate(1, range(len(_METADATA)), "type")
        name = _METADATA[number]
        if number not in self._types:
            raise Unreadable(f"field {name!r} is not declared")
        code = cursor.coordinate(0, METADATA[name].codes, name)
        if name in self._seen:
            raise Unreadable(f"field {name!r} stands here a second time")
        self._seen.add(name)
        return {name: [code]}

    def finish(self, count: int) -> str:
        return ""


class Palette:
    """How many colours, and the colours."""

    name: FormName = "palette"
    keywords: tuple[str, ...] = ()

    def chunks(self, records: Sequence[CodesOf]) -> list[list[str]]:
        if not records:
            return []
        colours = [coordinate(0, code) for record in records for code in record["color"]]
        return [[coordinate(1, len(records)), *colours]]

    def reader(self) -> Reader:
        return _PaletteReader()


class _PaletteReader:
    def __init__(self) -> None:
        self._said: int | None = None
        self._begun = False

    def item(self, cursor: Cursor) -> CodesOf | None:
        if cursor.at_coordinate(1):
            if self._said is not None:
                raise Unreadable("the number of colors stands here a second time")
            if self._begun:
                raise Unreadable("the number of colors stands behind a color")
            self._said = cursor.coordinate(1, range(1, MOST_COLOURS + 1), "number of colors")
            return None
        color = [cursor.coordinate(0, range(256), "color") for _ in range(3)]
        self._begun = True
        return {"color": color}

    def finish(self, count: int) -> str:
        if self._said == count or (self._said is None and count == 0):
            return ""
        return f"it says {'nothing' if self._said is None else self._said} of {count} colors"


class Poses:
    """Persons: where they stand, and how."""

    name: FormName = "poses"
    keywords: tuple[str, ...] = ("human", "none", *GROUPS)

    def chunks(self, records: Sequence[CodesOf]) -> list[list[str]]:
        return [self._person(record) for record in records] or [["none"]]

    def _person(self, record: CodesOf) -> list[str]:
        words = ["human", *_box(record["box"])]
        for group in GROUPS:
            codes = record[group]
            words += [group, *(_codes(codes) if group == "pose" else [coordinate(0, code) for code in codes])]
        return words

    def reader(self) -> Reader:
        return _PosesReader()


class _PosesReader:
    def __init__(self) -> None:
        self._nobody = False

    def item(self, cursor: Cursor) -> CodesOf | None:
        if cursor.word(("human", "none")) == "none":
            if self._nobody:
                raise Unreadable("'none' stands here a second time")
            self._nobody = True
            return None
        record: CodesOf = {"box": _read_box(cursor, "box", range(COORDINATES))}
        while len(record) <= len(GROUPS):
            group = cursor.word([group for group in GROUPS if group not in record])
            count, every = GROUPS[group], range(COORDINATES)
            record[group] = [
                cursor.code(group, HALF)
                if group == "pose"
                else cursor.coordinate(0, every, group, is_open=group == "shape")
                for _ in range(count)
            ]
        return record

    def finish(self, count: int) -> str:
        return f"it says 'none' beside {count} persons" if self._nobody and count else ""


class Instances:
    """Points of a picture, and the masks that each of them lies in."""

    name: FormName = "instances"
    keywords: tuple[str, ...] = ("point", "polygon", "none")

    def chunks(self, records: Sequence[CodesOf]) -> list[list[str]]:
        found: list[list[str]] = []
        here: list[int] | None = None
        for record in records:
            point = record["point"]
            if point != here or "polygon" not in record:
                found.append(["point", coordinate(0, point[1]), coordinate(1, point[0])])
            here = point
            if "polygon" in record:
                found[-1] += ["polygon", *_box(record["polygon"]), *_codes(record["codes"])]
            else:
                found[-1].append("none")
                here = None
        return found

    def reader(self) -> Reader:
        return _InstancesReader()


class _InstancesReader:
    def __init__(self) -> None:
        self._point: list[int] | None = None

    def item(self, cursor: Cursor) -> CodesOf:
        if cursor.at_word("point"):
            cursor.word(("point",))
            self._point = None
            y = cursor.coordinate(0, range(224), "point")
            self._point = [cursor.coordinate(1, range(224), "point"), y]
            if cursor.word(("polygon", "none")) == "none":
                point, self._point = self._point, None
                return {"point": point}
        else:
            cursor.word(("polygon",))
            if self._point is None:
                raise Unreadable("a polygon stands behind no point")
        box = _read_box(cursor, "polygon", range(COORDINATES), is_open=True)
        codes = [cursor.code("codes", HALF) for _ in range(16)]
        return {"point": self._point, "polygon": box, "codes": codes}

    def finish(self, count: int) -> str:
        return ""


def record_form(entry: Set) -> tuple[RecordForm, dict[str, Form]]:
    """The form of a declared set, and how its fields become codes; the rules hold."""
    name = form_of_fields(entry.fields)
    assert name is not None, "the rules of the schema ask for a form"
    fields = field_forms(entry, name)
    return _FORMS[name](entry), fields


def _detections(entry: Set) -> RecordForm:
    box, label = entry.fields["box"], entry.fields["label"]
    assert box.type == "box" and label.type == "category", "the rules of the schema ask for these"
    return Detections(label.names, box.bins)


_FORMS: dict[FormName, Callable[[Set], RecordForm]] = {
    "detections": _detections,
    "metadata": lambda entry: Metadata(entry.fields),
    "palette": lambda entry: Palette(),
    "poses": lambda entry: Poses(),
    "instances": lambda entry: Instances(),
}


def _box(codes: Sequence[int]) -> list[str]:
    return [coordinate(axis, code) for axis, code in enumerate(codes)]


def _codes(codes: Sequence[int]) -> list[str]:
    return [coordinate(code // HALF, code % HALF) for code in codes]


def _read_box(cursor: Cursor, field: str, codes: range, *, is_open: bool = False) -> list[int]:
    x0, y0, x1, y1 = (cursor.coordinate(axis, codes, field, is_open=is_open) for axis in range(4))
    if x0 > x1 or y0 > y1:
        raise Unreadable(f"the box of field {field!r} ends before it begins")
    return [x0, y0, x1, y1]
