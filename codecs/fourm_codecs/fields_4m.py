"""The fields of 4M's records: values of a user <-> the numbers that the words of 4M's texts say."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from fourm_codecs.quantities_4m import (
    Quantity,
    Shares,
    Sizes,
    Steps,
    Thresholds,
    Whole,
    apart,
    code_of,
    promise,
)
from fourm_codecs.set_faults import raise_faults
from fourm_codecs.set_values import CORNERS, CategoryForm, Form, number_of, numbers_of
from fourm_codecs.values import show
from fourm_schema.errors import CodecError, Fault
from fourm_schema.modality import Set
from fourm_schema.released_forms import FORMS, OPEN_FIELDS, FormName
from fourm_schema.set_fields import BoxField, CategoryField

CodesOf = dict[str, list[int]]
"""A record: field -> the numbers of its words; a class is its number, and what is absent is left out."""

HALF = 512
"""Codes that one axis of coordinates says; a code beyond is written on the next axis."""

_COUNT = Whole(0, 999)
_RANGES: Mapping[str, Quantity] = {
    "original_width": Sizes(),
    "original_height": Sizes(),
    "colorfulness": Shares(0, 150),
    "brightness": Shares(0, 255),
    "contrast": Shares(0, 127),
    "saturation": Shares(0, 255),
    "entropy": Shares(0, 10),
    "walkability": Shares(0, 1),
    "objectness": Shares(0, 1),
    "geometric_complexity": Shares(0, 0.75),
    "occlusion_score": Shares(0, 0.25),
    "watermark_score": Thresholds((0, 0.5, 1)),
    "aesthetic_score": Thresholds((0, 4.5, 5.5, 10)),
}
METADATA: Mapping[str, Quantity] = {name: _RANGES.get(name, _COUNT) for name in FORMS["metadata"]}
"""Type of a piece of metadata -> what it measures, in the order of their numbers in the text."""

_CODE = Whole(0, 2 * HALF - 1)
_VECTORS: Mapping[str, tuple[Quantity, int]] = {
    "color": (Whole(0, 255), 3),
    "point": (Whole(0, 223), 2),
    "codes": (_CODE, 16),
    "pose": (_CODE, 8),
    "global": (Steps(-1, 1, 499.5, 499.5), 9),
    "camera": (Steps(-1, 19, 49.95, 49.95), 3),
    "shape": (Steps(-3, 3, 166.5, 499.5, is_open="shape" in OPEN_FIELDS), 10),
}


@attrs.frozen
class Amount:
    """One number."""

    quantity: Quantity
    clip: bool

    def read(self, value: object, where: str) -> list[int]:
        return [code_of(self.quantity, number_of(value, where), where, self.clip)]

    def write(self, places: Sequence[int]) -> float:
        return self.quantity.number(places[0])

    def promise(self) -> str:
        return promise(self.quantity)

    def apart(self, value: object, back: object) -> str:
        return apart(self.quantity, number_of(value, ""), number_of(back, ""))


@attrs.frozen
class Amounts:
    """Several numbers of one quantity.

    Attributes:
        quantity: of each.
        count: how many.
        clip: numbers outside are moved inside.
        names: of each, for errors; numbered if there are none.
    """

    quantity: Quantity
    count: int
    clip: bool
    names: tuple[str, ...] = ()

    @property
    def _places(self) -> tuple[str, ...]:
        return self.names or tuple(f"at [{place}]" for place in range(self.count))

    def read(self, value: object, where: str) -> list[int]:
        codes, faults = list[int](), list[Fault]()
        for name, number in zip(self._places, numbers_of(value, self.count, where), strict=True):
            try:
                codes.append(code_of(self.quantity, number, f"{where} {name}", self.clip))
            except CodecError as error:
                faults += error.faults
        raise_faults(where, faults)
        return codes

    def write(self, places: Sequence[int]) -> list[float]:
        return [self.quantity.number(place) for place in places]

    def promise(self) -> str:
        return promise(self.quantity)

    def apart(self, value: object, back: object) -> str:
        pairs = zip(numbers_of(value, self.count, ""), numbers_of(back, self.count, ""), strict=True)
        found = [
            f"{name}: {fault}"
            for name, (given, got) in zip(self._places, pairs, strict=True)
            if (fault := apart(self.quantity, given, got))
        ]
        return "; ".join(found)


@attrs.frozen
class Corners(Amounts):
    """A box as x0, y0, x1, y1."""

    def read(self, value: object, where: str) -> list[int]:
        x0, y0, x1, y1 = numbers_of(value, 4, where)
        pairs = (("x", x0, x1), ("y", y0, y1))
        raise_faults(
            where,
            [
                Fault(where, f"{axis}0 is at most {axis}1", f"{show(low)} and {show(high)}")
                for axis, low, high in pairs
                if low > high
            ],
        )
        return Amounts.read(self, value, where)


def field_forms(entry: Set, form: FormName) -> dict[str, Form]:
    """How the fields of a declared set become codes."""
    clip = entry.out_of_range == "clip"
    return {name: _FIELD[form](name, entry, clip) for name in entry.fields}


def _of_detections(name: str, entry: Set, clip: bool) -> Form:
    field = entry.fields[name]
    if isinstance(field, CategoryField):
        return CategoryForm(field.names, isinstance(field.classes, int))
    assert isinstance(field, BoxField), "the rules of the schema ask for a box"
    last = field.bins - 1
    return Corners(Steps(0, 1, last, 0, range(field.bins)), 4, clip, CORNERS)


def _of_others(name: str, entry: Set, clip: bool) -> Form:
    if name == "box":
        return Corners(Steps(0, 1, 999, 0), 4, clip, CORNERS)
    if name == "polygon":
        return Corners(Whole(0, 999, is_open=name in OPEN_FIELDS), 4, clip, CORNERS)
    return Amounts(*_VECTORS[name], clip)


def _of_metadata(name: str, entry: Set, clip: bool) -> Form:
    return Amount(METADATA[name], clip)


_FIELD: Mapping[FormName, Callable[[str, Set, bool], Form]] = {
    "detections": _of_detections,
    "metadata": _of_metadata,
    "palette": _of_others,
    "poses": _of_others,
    "instances": _of_others,
}
