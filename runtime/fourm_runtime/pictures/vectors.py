"""Vectors of a schema: a bar for each number, or the profile of many."""

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.values import read_stack, show
from fourm_runtime.pictures.curves import bar_chart, range_bar
from fourm_runtime.pictures.page import Block, Cell, Figure, Table
from fourm_schema.modality import Vector

MOST_BARS = 24
"""Numbers that have a bar with a name; more are drawn as one profile."""


def draw_vector(entry: Vector, value: object, name: str) -> Block:
    """A vector as bars with names and ranges.

    Raises:
        CodecError: if the value has not as many numbers as the entry says.
    """
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


def _ends(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """A range for numbers that have none: theirs, with 0 in it."""
    return min(0.0, float(numbers.min())), max(0.0, float(numbers.max()))
