"""Numbers out of Python's objects: lists of floats as arrays, of which each number was looked at.

Shapes: R lists, P numbers of each.
"""

import marshal
from collections.abc import Sequence
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NUMBERS = {int, float, np.float64, np.float32, np.int64, np.int32, np.uint8, np.uint16}
_LISTS = {list, tuple}

# How marshal writes objects in its version 2: a float is a tag and its eight bytes, a list or tuple is a tag,
# its length and its items.
_VERSION = 2
_FLOAT = np.dtype([("tag", "u1"), ("number", "<f8")])
_HEAD_BYTES = 5


def floats_of(numbers: list[object]) -> Floats | None:
    """Finite numbers; None if one is none. A truth value is none.

    >>> floats_of([1, 2.5]), floats_of([True])
    (array([1. , 2.5]), None)
    """
    found = _written(numbers, _FLOAT)
    if found is not None and (found["tag"] == ord("g")).all():
        floats: Floats | None = found["number"].astype(np.float64)
    else:
        floats = _one_by_one(numbers)
    return floats if floats is not None and np.isfinite(floats).all() else None


def float_lists(lists: list[object], count: int) -> Floats | None:
    """(R, P) finite numbers of lists, tuples or arrays of `count` numbers; None if one is none.

    >>> float_lists([[1, 2], (3, 4)], 2)
    array([[1., 2.],
           [3., 4.]])
    """
    row = np.dtype([("tag", "u1"), ("count", "<i4"), ("floats", _FLOAT, (count,))])
    found = _written(lists, row)
    if found is not None:
        floats = found["floats"]
        plain = (found["count"] == count).all() and (floats["tag"] == ord("g")).all()
        if plain and ((found["tag"] == ord("[")) | (found["tag"] == ord("("))).all():
            numbers: Floats = floats["number"].astype(np.float64)
            return numbers if np.isfinite(numbers).all() else None
    types = set(map(type, lists))
    if np.ndarray in types:
        lists = [numbers.tolist() if isinstance(numbers, np.ndarray) else numbers for numbers in lists]
        types = set(map(type, lists))
    if not types <= _LISTS:
        return None
    items = cast("list[list[object]]", lists)
    if set(map(len, items)) - {count}:
        return None
    each = floats_of(list(chain.from_iterable(items)))
    return None if each is None else each.reshape(-1, count)


def _written(objects: list[object], item: np.dtype[np.void]) -> NDArray[np.void] | None:
    """What marshal writes of each object; None where it has another length than if all were such items.

    One pass tells the type of every object and reads its number: if all tags stand where they must, the
    objects were floats and lists, no subclasses of them. Asking each for its type takes three times as long.
    """
    try:
        written = marshal.dumps(objects, _VERSION)
    except ValueError:
        return None
    if not objects or len(written) != _HEAD_BYTES + len(objects) * item.itemsize:
        return None
    return np.frombuffer(written, item, offset=_HEAD_BYTES)


def _one_by_one(numbers: Sequence[object]) -> Floats | None:
    if not set(map(type, numbers)) <= _NUMBERS:
        return None
    try:
        return np.fromiter(cast("Sequence[float]", numbers), np.float64, len(numbers))
    except OverflowError:
        return None
