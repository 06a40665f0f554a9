"""Arrays to draw: images, vectors, sequences of vectors.

Small arrays are drawn number by number. Large ones are one number everywhere but in a few places, or a few
numbers strewn over all of it: cheap to draw, and a counter-example shrinks to a place that one can look up.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fourm_schema.modality import Categorical, Continuous, Direction, Image, Vector

LARGEST = 1e6
"""Largest number drawn where the schema names no range."""

LARGEST_FEATURE = 60_000.0
"""Features are stored in 2 bytes, which hold no number above 65,504."""

SMALL = 8
"""Numbers of an array up to which each is drawn for itself."""

PLACES = 5
"""Places at which a large array is drawn to differ."""

Array = NDArray[Any]
Shape = tuple[int, ...]


def images(entry: Image) -> st.SearchStrategy[object]:
    """Images of a declared modality."""
    shape = entry.size if entry.channels == 1 else (*entry.size, entry.channels)
    cell = entry.cell
    if isinstance(cell, Categorical):
        classes = _array(np.int64, shape, st.integers(0, cell.class_count - 1))
        return _as_any_of(classes, [np.int64, np.uint16])
    if isinstance(cell, Continuous) and cell.levels is not None:
        table = np.linspace(*cell.range, cell.levels)
        whole = [np.int64] if (table == table.round()).all() else []
        places = _array(np.int64, shape, st.integers(0, cell.levels - 1))
        return _as_any_of(places.map(lambda drawn: table[drawn]), [np.float64, np.float32, *whole])
    if isinstance(cell, Continuous):
        return _as_any_of(_array(np.float64, shape, within(*cell.range)), [np.float64, np.float32])
    if isinstance(cell, Direction):
        return _array(np.float64, shape, within(-1.0, 1.0)).map(_of_length_one)
    return _array(np.float64, shape, within(-LARGEST_FEATURE, LARGEST_FEATURE))


def vectors(entry: Vector) -> st.SearchStrategy[object]:
    """Vectors of a declared modality; (n, dim) arrays where a value is a sequence of n vectors."""
    if entry.max_length is not None:
        few = st.integers(1, min(entry.max_length, 3))
        lengths = st.one_of(few, st.just(entry.max_length))
        return lengths.flatmap(lambda length: _rows(entry, (length, entry.dim)))
    return _as_any_of(_rows(entry, entry.shape), [np.float64, np.float32])


def id_grids(shape: Shape, vocab_size: int) -> st.SearchStrategy[object]:
    """Token ids that are values of their own."""
    return _array(np.int64, shape, st.integers(0, vocab_size - 1))


def within(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of a range, its ends more often than others."""
    return st.one_of(st.sampled_from([low, high]), st.floats(low, high))


def _rows(entry: Vector, shape: Shape) -> st.SearchStrategy[Array]:
    ranges = entry.range_of_each or ((-LARGEST, LARGEST),) * entry.dim
    if math.prod(shape) <= SMALL and len(shape) == 1:
        return st.tuples(*(within(low, high) for low, high in ranges)).map(np.array)
    low, high = np.asarray(ranges, np.float64).T
    return _array(np.float64, shape, within(0.0, 1.0)).map(
        lambda shares: np.clip(low + shares * (high - low), low, high)
    )


def _array(dtype: type, shape: Shape, elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Array]:
    if math.prod(shape) <= SMALL:
        return arrays(dtype, shape, elements=elements)
    places = st.lists(st.tuples(st.integers(0, math.prod(shape) - 1), elements), max_size=PLACES)
    strewn = st.lists(elements, max_size=PLACES)
    return st.builds(
        _filled, st.just(dtype), st.just(shape), elements, places, strewn, st.integers(0, 2**32 - 1)
    )


def _filled(
    dtype: type,
    shape: Shape,
    fill: float,
    places: Sequence[tuple[int, float]],
    strewn: Sequence[float],
    seed: int,
) -> Array:
    """One number everywhere, others strewn over it if there are any, and a few at places of their own."""
    array: Array = np.full(shape, fill, dtype)
    if strewn:
        rng = np.random.default_rng(seed)
        array = np.array([fill, *strewn], dtype)[rng.integers(0, len(strewn) + 1, shape, np.uint8)]
    for place, number in places:
        array.flat[place] = number
    return array


def _as_any_of(drawn: st.SearchStrategy[Array], dtypes: Sequence[type]) -> st.SearchStrategy[object]:
    cast: Callable[[Array, type], Array] = np.ndarray.astype
    return st.builds(cast, drawn, st.sampled_from(dtypes))


def _of_length_one(image_HW3: Array) -> Array:
    length_HW1 = np.sqrt(np.square(image_HW3).sum(axis=-1, keepdims=True))
    up = np.array([0.0, 0.0, 1.0])
    directions: Array = np.where(length_HW1 > 1e-3, image_HW3 / np.maximum(length_HW1, 1e-3), up)
    return directions
