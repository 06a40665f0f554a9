"""Class maps of COCO, whose cells are numbers of categories -> class numbers of the schema, by name.

    semantic/000000000139.png      a channel of numbers: 1 is person, 184 tree-merged
    categories.json                [{"id": 1, "name": "person"}, ...]

The numbers of COCO have gaps and go up to 200; the classes of a schema are counted from 0.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.data.importing.sources.decoding import read_value
from fourm_runtime.data.importing.sources.json_arrays import JsonArrays
from fourm_runtime.data.importing.sources.picture_files import PICTURES
from fourm_schema.errors import DataError
from fourm_schema.modality import Categorical, Image, Modality

VOID = (0, 255)
"""Cells without a category: 0 in panoptic and stuff maps, 255 in others; unless a category has the number."""

_LARGEST = 65_535
_SHOWN = 6
_UNLISTED, _LACKED, _VOID = -1, -2, -3


@attrs.frozen
class Listed:
    """The categories that are known of.

    Attributes:
        names: by number.
        files: that list them.
    """

    names: Mapping[int, str]
    files: tuple[Path, ...]


@attrs.frozen(eq=False)
class ClassMaps:
    """How the cells of a modality's pictures become classes.

    Attributes:
        entry: the declared image.
        table: class number of each cell value; negative where there is none, last that of all higher values.
        note: what a user should know of it.
    """

    entry: Image
    table: NDArray[np.int32]
    note: str

    def read(self, file: Path, where: str) -> object:
        """Read the map of one picture; arrays and JSON hold class numbers already, and stay as they are.

        Raises:
            DataError: if it is no picture of one channel, or cells of it have no class.
        """
        value = read_value(file, self.entry, where)
        if file.suffix.lower() not in PICTURES:
            return value
        cells = np.asarray(value)
        if cells.ndim != 2 or cells.dtype.kind not in "bui":
            raise DataError(
                where,
                f"{file.name} holds no class map of one channel",
                got=f"shape {'x'.join(map(str, cells.shape))} of {cells.dtype}",
                mend="write the number of each cell's category; colours that number segments are not read",
            )
        classes = self.table[np.clip(cells.astype(np.int64), _UNLISTED, _LARGEST + 1)]
        if (classes < 0).any():
            raise self._fault(cells, classes, file.name, where)
        cell = self.entry.cell
        assert isinstance(cell, Categorical), "no other has a table"
        return classes.astype(np.min_scalar_type(cell.class_count - 1))

    def _fault(
        self, cells: NDArray[np.generic], classes: NDArray[np.int32], name: str, where: str
    ) -> DataError:
        """Every kind of cell without a class, in one error."""
        ignore = "give the entry an ignore class"
        kinds = {
            _UNLISTED: ("numbers that no category has", "name the file of the categories categories.json"),
            _LACKED: ("categories that the schema lacks", f"declare them, or {ignore}"),
            _VOID: ("cells without a category", ignore),
        }
        found = {code: _counts(cells[classes == code]) for code in kinds if (classes == code).any()}
        return DataError(
            where,
            f"{name} holds " + " and ".join(kinds[code][0] for code in found),
            got="; ".join(found.values()),
            mend="; ".join(kinds[code][1] for code in found),
        )


def is_named(entry: Modality) -> bool:
    """Whether an entry is a map of classes that have names, not of ids that a tokenizer made."""
    return (
        isinstance(entry, Image)
        and entry.codec != "ids"
        and isinstance(entry.cell, Categorical)
        and not isinstance(entry.cell.classes, int)
    )


def listed_categories(path: Path, given: Sequence[tuple[Path, Mapping[int, str]]]) -> Listed:
    """All categories that are known of: of the files of annotations, and of lists beside them.

    Beside `instances_val2017.json` these are `panoptic_val2017.json`, or else another `panoptic_*.json`; the
    same of `stuff_*.json`; and `categories.json`, which may lie one folder up.

    Args:
        path: the file that was named.
        given: files that are read anyway -> the names of their categories.

    Raises:
        DataError: if a list is damaged, or two give a number different names.
    """
    names, first, files = dict[int, str](), dict[int, Path](), list[Path]()
    beside = [file for kind in ("panoptic", "stuff") if (file := _beside(path, kind)) not in (None, path)]
    # No cell can hold a larger number, and annotations may well have such categories.
    small = [(file, {n: name for n, name in of.items() if 0 <= n <= _LARGEST}) for file, of in given]
    lists = [*small, *((file, _categories_of(file)) for file in beside if file is not None)]
    own = (path.parent / "categories.json", path.parent.parent / "categories.json")
    lists += [(file, _names(_read_list(file), file)) for file in own if file.is_file()][:1]
    for file, found in lists:
        for number, name in found.items():
            if names.setdefault(number, name) != name:
                raise DataError(
                    str(file),
                    "gives a category another name than a file beside it",
                    got=f"{number} is {name!r} here, and {names[number]!r} in {first[number]}",
                    mend="keep the list that belongs to the class maps",
                )
            first.setdefault(number, file)
        if found:
            files.append(file)
    return Listed(names, tuple(dict.fromkeys(files)))


def class_maps(name: str, entry: Image, listed: Listed) -> ClassMaps | str:
    """How the maps of a modality are read.

    Args:
        name: of the modality.
        entry: one that is named.
        listed: the categories.

    Returns:
        how, or, where no class is a category, the note that values are taken as they are.
    """
    cell = entry.cell
    assert isinstance(cell, Categorical), "others have no classes"
    places = {label: place for place, label in enumerate(cell.class_names)}
    known = {number: places[label] for number, label in listed.names.items() if label in places}
    if not known:
        why = "none of its classes is a category" if listed.names else "no list of categories was found"
        return f"{name}: values of maps were taken as class numbers as they are ({why})"
    ignore = places[cell.ignore] if isinstance(cell.ignore, str) else cell.ignore
    table = np.full(_LARGEST + 2, _UNLISTED, np.int32)
    table[list(VOID)] = _VOID if ignore is None else ignore
    for number in listed.names:
        table[number] = known.get(number, _LACKED if ignore is None else ignore)
    files = ", ".join(file.name for file in listed.files)
    note = f"{name}: values of maps are COCO's category ids, matched to classes by name ({files})"
    lacked = [label for label in listed.names.values() if label not in places]
    if lacked:
        become = "refused" if ignore is None else f"read as {cell.class_names[ignore]!r}"
        note += f"; {len(lacked)} categories that the schema lacks are {become}: {_some(lacked)}"
    alone = [label for place, label in enumerate(places) if place not in known.values() and place != ignore]
    if alone:
        note += f"; {len(alone)} classes are no category: {_some(alone)}"
    return ClassMaps(entry, table, note)


def _beside(path: Path, kind: str) -> Path | None:
    """A file of a kind for the same pictures, or else for others: all of a kind have the same categories."""
    same = path.with_name(f"{kind}_{path.stem.rpartition('_')[2]}.json")
    return same if same.is_file() else next(iter(sorted(path.parent.glob(f"{kind}_*.json"))), None)


def _categories_of(file: Path) -> dict[int, str]:
    """The names of the categories of a large file; what comes after them is not read."""
    held, items = JsonArrays(file), list[object]()
    for key, spot in held.items():
        if key == "categories":
            items.append(held.read(spot))
        elif items:
            break
    return _names(items, file)


def _read_list(file: Path) -> object:
    try:
        whole = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(str(file), "is no JSON", got=str(error)) from None
    return whole.get("categories") if isinstance(whole, dict) else whole


def _names(items: object, file: Path) -> dict[int, str]:
    rule = 'lists categories as [{"id": 1, "name": "person"}, ...]'
    if not isinstance(items, list):
        raise DataError(str(file), rule, got=str(items)[:80])
    names = dict[int, str]()
    for item in items:
        number, name = (item.get("id"), item.get("name")) if isinstance(item, dict) else (None, None)
        if not isinstance(number, int) or not 0 <= number <= _LARGEST or not isinstance(name, str):
            raise DataError(str(file), rule, got=str(item)[:80])
        if names.setdefault(number, name) != name:
            raise DataError(str(file), "gives a category two names", got=f"{number}: {names[number]}, {name}")
    return names


def _counts(values: NDArray[np.generic]) -> str:
    """Values with the cells that hold them."""
    found, counts = np.unique(values, return_counts=True)
    told = [f"{value} in {count:,} cells" for value, count in zip(found, counts, strict=True)]
    return _some(told)


def _some(words: Iterable[str]) -> str:
    told = list(words)
    return ", ".join(told[:_SHOWN]) + (", ..." if len(told) > _SHOWN else "")
