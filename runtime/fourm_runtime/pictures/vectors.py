"""Vectors of a schema: a bar for each number, or the profile of many."""

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.values import read_stack, show
from fourm_runtime.pictures.curves import bar_chart, range_bar
from fourm_runtime.pictures.page import Block, Cell, Figure, Table, Text
from fourm_schema.errors import CodecError
from fourm_schema.modality import Vector

MOST_BARS = 24
"""Numbers that have a bar with a name; more are drawn as one profile."""


def draw_vector(entry: Vector, value: object, name: str) -> Block:
    """A vector as bars with names and ranges; of a sequence of vectors the largest number of each.

    Raises:
        CodecError: if the value has not as many numbers as the entry says.
    """
    if entry.max_length is not None:
        return _draw_sequence(entry, value, name)
    stack = read_stack([value], name or "vector", entry.shape)
    numbers: NDArray[np.float64] = np.nan_to_num(stack).reshape(-1)
    if len(numbers) > MOST_BARS:
        low, high = (show(float(f"{end:.4g}")) for end in (numbers.min(), numbers.max()))
        chart = bar_chart(numbers.tolist(), f"{name or 'vector'}: {len(numbers)} numbers", x_label="number")
        return Figure(chart, f"{len(numbers):,} numbers from {low} to {high}")
    names, ranges = entry.labels, entry.range_of_each
    units = (entry.units or ("",) * entry.dim) * entry.steps
    ends = (ranges or (_ends(numbers),) * entry.dim) * entry.steps
    rows: list[list[Cell]] = [
        [
            f"{names[k]} ({units[k]})" if units[k] else names[k],
            range_bar(number, *ends[k], named=bool(ranges)),
            number,
        ]
        for k, number in enumerate(numbers.tolist())
    ]
    return Table((), rows, row_headings=True)


def _draw_sequence(entry: Vector, value: object, name: str) -> Block:
    where = name or "vectors"
    if not isinstance(value, list | tuple | np.ndarray):
        raise CodecError(
            where, f"a value is a sequence of vectors of {entry.dim} numbers", got=type(value).__name__
        )
    vectors: NDArray[np.float64] = np.nan_to_num(read_stack(value, where, (entry.dim,)))
    said = f"{len(vectors)} vectors of {entry.dim:,} numbers"
    if not len(vectors):
        return Text(said, "muted")
    largest = np.abs(vectors).max(axis=1).tolist()
    chart = bar_chart(largest, f"{where}: {said}", x_label="vector")
    return Figure(chart, f"{said}; bars: the largest number of each, without its sign")


def _ends(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """A range for numbers that have none: theirs, with 0 in it."""
    return min(0.0, float(numbers.min())), max(0.0, float(numbers.max()))
