"""Vectors of a schema: a bar for each number, or the profile of many."""

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.values import read_stack, show
from fourm_runtime.pictures.colours import series_colour
from fourm_runtime.pictures.curves import bar_chart
from fourm_runtime.pictures.page import Block, Cell, Figure, Svg, Table
from fourm_runtime.pictures.raster import shares
from fourm_runtime.pictures.svg import drawing, element, label
from fourm_schema.modality import Vector

MOST_BARS = 24
"""Numbers that have a bar with a name; more are drawn as one profile."""

_WIDTH = 96.0


def draw_vector(entry: Vector, value: object, name: str) -> Block:
    """A vector as bars with names and ranges.

    Raises:
        CodecError: if the value has not as many numbers as the entry says.
    """
    numbers: NDArray[np.float64] = np.nan_to_num(read_stack([value], name or "vector", (entry.dim,))[0])
    if entry.dim > MOST_BARS:
        low, high = (show(float(f"{end:.4g}")) for end in (numbers.min(), numbers.max()))
        chart = bar_chart(numbers.tolist(), f"{name or 'vector'}: {entry.dim} numbers", x_label="number")
        return Figure(chart, f"{entry.dim:,} numbers from {low} to {high}")
    names = entry.names or tuple(map(str, range(entry.dim)))
    units = entry.units or ("",) * entry.dim
    ranges = entry.range_of_each
    ends = ranges or (_ends(numbers),) * entry.dim
    rows: list[list[Cell]] = [
        [f"{names[k]} ({units[k]})" if units[k] else names[k], _bar(number, *ends[k], bool(ranges)), number]
        for k, number in enumerate(numbers.tolist())
    ]
    return Table((), rows, row_headings=True)


def _ends(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """A range for numbers that have none: theirs, with 0 in it."""
    return min(0.0, float(numbers.min())), max(0.0, float(numbers.max()))


def _bar(number: float, low: float, high: float, has_range: bool) -> Svg:
    """A bar from zero, or from the end nearer to it, and the range below; the next cell has the number."""
    x, origin = (_WIDTH * shares(np.array([number, min(max(0.0, low), high)]), low, high)).tolist()
    left, right = min(x, origin), max(x, origin)
    parts = [
        element("rect", x=0, y=5, width=_WIDTH, height=6, rx=3, opacity=0.15),
        element("rect", x=left, y=5, width=max(right - left, 0.5), height=6, fill=series_colour(0)),
        element("rect", x=min(max(x - 1, 0), _WIDTH - 2), y=2, width=2, height=12, fill=series_colour(0)),
    ]
    if has_range:
        parts += [
            label(0, 24, show(low), 10, opacity=0.7),
            label(_WIDTH, 24, show(high), 10, "end", opacity=0.7),
        ]
    said = f"range {show(low)} to {show(high)}" if has_range else ""
    return Svg(drawing(_WIDTH, 26 if has_range else 16, *parts), said, int(_WIDTH))
