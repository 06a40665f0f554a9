"""One raw value: checked against its schema entry, and brought into the form in which it is stored.

Arrays, PIL pictures and nested lists are equally good images and vectors. Every refusal is a `DataError`
that names the place, what was found and the mend.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.data.layout import has_whole_levels, most_vectors, raw_dtype, raw_shape
from fourm_runtime.data.raw_rows import check_id_rows, check_vectors
from fourm_runtime.data.records import RecordCheck
from fourm_schema.errors import DataError
from fourm_schema.modality import (
    Categorical,
    Continuous,
    Direction,
    Features,
    Image,
    Modality,
    Set,
    Text,
    Vector,
)

Stored: TypeAlias = NDArray[np.generic] | list[str] | list[list[int]] | str
"""An array of the column's type, the alternatives of a text (or of its ids), or the JSON of a set."""

Floats: TypeAlias = NDArray[np.float64]

_DIRECTION_SLACK = 1e-3


def check_value(modality: Modality, value: object, where: str) -> Stored:
    """Check one raw value and bring it into the form in which it is stored.

    Args:
        modality: the schema entry.
        value: what the user gave; not None.
        where: the place, for messages.

    Returns:
        an array of the stored type, the alternatives of a text (or of its ids), or the JSON of a set.

    Raises:
        DataError: if the schema does not admit the value.
    """
    if isinstance(modality, Text):
        given = modality.codec == "ids"
        return check_id_rows(modality, value, where) if given else _check_text(modality, value, where)
    if isinstance(modality, Set):
        return RecordCheck(modality)(value, where)
    longest = most_vectors(modality)
    if longest is None:
        return _check_array(modality, value, where)
    return check_vectors(value, longest, partial(_check_array, modality), where)


def _check_array(modality: Image | Vector, value: object, where: str) -> NDArray[np.generic]:
    if modality.codec == "ids":
        return _check_ids(modality, _read_array(modality, _as_grid(modality, value, where), where), where)
    array = _read_array(modality, value, where)
    if isinstance(modality, Image) and _holds_levels(modality, array):
        return array.astype(raw_dtype(modality))
    numbers = _finite(array, where)
    if isinstance(modality, Vector):
        _check_vector(modality, numbers, where)
    elif isinstance(modality.cell, Categorical):
        _check_classes(modality.cell, numbers, where)
    elif isinstance(modality.cell, Continuous):
        _check_continuous(modality, modality.cell, numbers, where)
    elif isinstance(modality.cell, Direction):
        _refuse(
            np.abs(numbers) > 1 + _DIRECTION_SLACK,
            numbers,
            where,
            "the numbers of a unit vector lie in [-1, 1]",
            "normalise each cell to length 1",
        )
    else:
        assert isinstance(modality.cell, Features), "the cell types are these four"
        limit = float(np.finfo(np.float16).max)
        _refuse(
            np.abs(numbers) > limit, numbers, where, f"features are stored as float16, within {limit:g}", ""
        )
    return numbers.astype(raw_dtype(modality))


def checker_of(modality: Modality) -> Callable[[object, str], Stored]:
    """`check_value` of one modality, for many values: (value, where) -> what is stored."""
    return RecordCheck(modality) if isinstance(modality, Set) else partial(check_value, modality)


def _read_array(modality: Image | Vector, value: object, where: str) -> NDArray[np.generic]:
    """Read an array in the raw shape; a channel axis of one may be there or not."""
    shape = raw_shape(modality)
    wanted = "x".join(map(str, shape))
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(where, f"a value is {wanted} numbers", got="lists of unequal lengths") from None
    if array.dtype.kind not in "biuf":
        got = f"{type(value).__name__} of {array.dtype}" if array.ndim else type(value).__name__
        raise DataError(where, f"a value is {wanted} numbers", got=got)
    if array.shape == (*shape, 1):
        array = array[..., 0]
    if array.shape != shape:
        channels_first = len(shape) == 3 and array.shape == (shape[2], *shape[:2])
        raise DataError(
            where,
            f"a value has shape {wanted}",
            got="x".join(map(str, array.shape)) or "a single number",
            mend="put the channels last" if channels_first else "resize it, or change the schema",
        )
    return array


def _as_grid(modality: Image | Vector, value: object, where: str) -> object:
    """A row of a grid's ids, as tokenizers write them, in the form of the grid."""
    shape = raw_shape(modality)
    count = math.prod(shape)
    size = np.shape(value) if isinstance(value, np.ndarray) else (len(value),) if _is_flat(value) else ()
    if len(shape) < 2 or (len(size) != 1 and size[:1] != (1,)) or math.prod(size) == 0:
        return value
    if size in ((count,), (1, count)):
        return np.asarray(value).reshape(shape)
    if len(size) == 1:
        raise DataError(
            where,
            f"a value is a grid of {' x '.join(map(str, shape))} token ids, or a row of {count}",
            got=str(size[0]),
        )
    return value


def _is_flat(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    return isinstance(value, list | tuple) and not any(isinstance(item, list | tuple) for item in value)


def _check_ids(modality: Image | Vector, array: NDArray[np.generic], where: str) -> NDArray[np.generic]:
    size = modality.vocab_size or 0
    numbers = array.astype(np.float64)
    known = (numbers >= 0) & (numbers < size) & (numbers == np.round(numbers))
    _refuse(~known, numbers, where, f"token ids are whole numbers in [0, {size - 1}]", "")
    return array.astype(raw_dtype(modality))


def _holds_levels(modality: Image, array: NDArray[np.generic]) -> bool:
    """Whether an integer array can be stored as it is: most pictures, spared the way through float64."""
    cell = modality.cell
    if array.dtype.kind not in "iu":
        return False
    if isinstance(cell, Categorical):
        low, high = 0.0, cell.class_count - 1.0
    elif isinstance(cell, Continuous) and has_whole_levels(cell):
        low, high = cell.range
        if high - low != (cell.levels or 0) - 1:
            return False
    else:
        return False
    return bool(low <= array.min() and array.max() <= high)


def _finite(array: NDArray[np.generic], where: str) -> Floats:
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        place = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise DataError(
            f"{where} at {place}",
            "NaN and infinity stand for no value",
            got=str(numbers[tuple(place)]),
            mend="give None for an absent value, or fill it in",
        )
    return numbers


def _check_vector(modality: Vector, numbers: Floats, where: str) -> None:
    ranges = modality.range_of_each
    if ranges is None:
        return
    low, high = np.array(ranges, np.float64).T
    _bound(numbers, low, high, modality.out_of_range == "clip", where, modality.names)


def _check_continuous(modality: Image, cell: Continuous, numbers: Floats, where: str) -> None:
    low, high = (np.float64(end) for end in cell.range)
    clips = modality.out_of_range == "clip"
    _bound(numbers, low, high, clips, where)
    if cell.levels is None or not has_whole_levels(cell):
        return
    step = (high - low) / (cell.levels - 1)
    on_level = low + np.round((numbers - low) / step) * step
    if not clips:
        what = f"values lie on {cell.levels} levels of [{_show(low)}, {_show(high)}]"
        mend = "round it, or set `out_of_range: clip` to snap it"
        _refuse(np.abs(numbers - on_level) > 1e-6, numbers, where, what, mend)
    numbers[...] = on_level


def _check_classes(cell: Categorical, numbers: Floats, where: str) -> None:
    known = (numbers >= 0) & (numbers < cell.class_count) & (numbers == np.round(numbers))
    what = f"classes are whole numbers in [0, {cell.class_count - 1}]"
    _refuse(~known, numbers, where, what, "declare the class in the schema, or map it to one that is")


def _bound(
    numbers: Floats,
    low: NDArray[np.float64] | np.float64,
    high: NDArray[np.float64] | np.float64,
    clips: bool,
    where: str,
    names: Sequence[str] | None = None,
) -> None:
    """Clip the numbers to [low, high] in place, or refuse those outside.

    The ends are those of float32 too: 0.1 read from a float32 file lies a little above 0.1.
    """
    slack = np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))
    outside = (numbers < low - slack) | (numbers > high + slack)
    if not clips and outside.any():
        place = tuple(int(axis) for axis in np.argwhere(outside)[0])
        lows, highs = (np.broadcast_to(end, numbers.shape)[place] for end in (low, high))
        name = f"{where} at {list(place)}"
        if names:
            name = f"{where}.{names[place[-1]]}" + (f" at {list(place[:-1])}" if place[:-1] else "")
        raise DataError(
            name,
            f"values lie in [{_show(lows)}, {_show(highs)}]",
            got=_show(numbers[place]),
            mend="rescale it, or set `out_of_range: clip` to bound it",
        )
    np.clip(numbers, low, high, out=numbers)


def _refuse(wrong: NDArray[np.bool_], numbers: Floats, where: str, what: str, mend: str) -> None:
    if wrong.any():
        place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
        raise DataError(f"{where} at {list(place)}", what, got=_show(numbers[place]), mend=mend)


def _check_text(modality: Text, value: object, where: str) -> list[str]:
    views = [value] if isinstance(value, str) else value
    if not isinstance(views, list | tuple) or not all(isinstance(view, str) for view in views):
        raise DataError(where, "a text is a string, or a list of alternative strings", got=_kind(value))
    if not 1 <= len(views) <= modality.views:
        raise DataError(
            where,
            f"a text has 1 to {modality.views} alternatives"
            if modality.views > 1
            else "a text is one string",
            got=f"{len(views)} strings",
            mend=""
            if modality.views > 1 and not views
            else f"set `views: {max(len(views), 1)}` in the schema",
        )
    return list(views)


def _kind(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"a list of {', '.join(sorted({type(item).__name__ for item in value})) or 'nothing'}"
    return type(value).__name__


def _show(number: float | np.floating) -> str:
    return f"{float(number):.9g}"
