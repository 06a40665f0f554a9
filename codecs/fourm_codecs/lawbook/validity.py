"""Whether a value is one that an entry declares, judged by the schema alone."""

import numpy as np

from fourm_codecs.base import Array, Value
from fourm_codecs.lawbook.set_validity import record_faults
from fourm_codecs.values import Float64
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.modality import Categorical, Continuous, Direction, Image, Modality, Set, Text, Vector
from fourm_schema.resolve import PQ_TOKENS

ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""A decoded number is a float32, which need not hold the ends of its range."""


def value_faults(entry: Modality, value: Value, words: WordVocabulary | None = None) -> list[str]:
    """Say what is wrong with a decoded value; empty where it is one of its modality.

    Args:
        entry: what the schema says.
        value: as it was decoded.
        words: the vocabulary of its texts, where it has one.
    """
    if entry.codec == "ids":
        return _id_faults(entry, value)
    if isinstance(entry, Text):
        return [] if isinstance(value, str) else [f"it is no text but {type(value).__name__}"]
    if isinstance(entry, Set):
        if not isinstance(value, list):
            return [f"it is no list of records but {type(value).__name__}"]
        return [] if entry.dialect else record_faults(entry, value, words)
    if not isinstance(value, np.ndarray):
        return [f"it is no array but {type(value).__name__}"]
    shape: tuple[int, ...] = entry.shape if isinstance(entry, Vector) else entry.size
    if isinstance(entry, Image) and entry.channels > 1:
        shape = (*entry.size, entry.channels)
    if value.shape != shape:
        return [f"its shape is {value.shape}, declared is {shape}"]
    numbers = value.astype(np.float64)
    if not np.isfinite(numbers).all():
        return ["it holds NaN or infinity"]
    return (
        _image_faults(entry, value, numbers) if isinstance(entry, Image) else _vector_faults(entry, numbers)
    )


def _image_faults(entry: Image, value: Array, numbers: Float64) -> list[str]:
    cell = entry.cell
    if isinstance(cell, Categorical):
        if value.dtype.kind not in "iu":
            return [f"its classes are {value.dtype}"]
        return _outside(numbers, 0.0, cell.class_count - 1.0)
    if isinstance(cell, Direction):
        length = np.sqrt(np.square(numbers).sum(axis=-1))
        return [] if np.allclose(length, 1, atol=1e-5) else [f"a vector of it has length {length.min():.6g}"]
    if not isinstance(cell, Continuous):
        return []
    faults = _outside(numbers, *cell.range)
    if cell.levels is not None and not faults:
        low, high = cell.range
        places = (numbers - low) / (high - low) * (cell.levels - 1)
        off = np.abs(places - places.round()).max()
        faults = [f"a cell of it lies {off:.3g} of a step off its level"] if off > 1e-3 else []
    return faults


def _vector_faults(entry: Vector, numbers: Float64) -> list[str]:
    if entry.range_of_each is None:
        return []
    return [
        f"number {place}: {fault}"
        for place, (low, high) in enumerate(entry.range_of_each)
        for fault in _outside(numbers[place : place + 1], low, high)
    ]


def _outside(numbers: Float64, low: float, high: float) -> list[str]:
    slack = ROUNDING * max(abs(low), abs(high))
    if numbers.min() >= low - slack and numbers.max() <= high + slack:
        return []
    return [
        f"its numbers reach from {numbers.min():g} to {numbers.max():g}, declared are {low:g} to {high:g}"
    ]


def _id_faults(entry: Modality, value: Value) -> list[str]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        return ["it is no array of ids"]
    if isinstance(entry, Image | Vector):
        shape = entry.grid if isinstance(entry, Image) else (entry.tokens or PQ_TOKENS,)
        return [] if value.shape == shape else [f"its shape is {value.shape}, declared is {shape}"]
    return [] if value.ndim == 1 else [f"its shape is {value.shape}"]
