"""Sets of a schema: boxes and points on a picture, and the records as a table.

Every axis of a box or point field spans its declared range, from the left edge to the right one and from the
upper edge to the lower one: coordinates are shares of the picture, whatever unit they have.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias
from xml.etree.ElementTree import Element

import numpy as np

from fourm_codecs.values import show
from fourm_runtime.pictures.colours import class_colours, hex_colour
from fourm_runtime.pictures.page import Block, Cell, Figure, Png, Stack, Svg, Table, Text
from fourm_runtime.pictures.raster import png_of
from fourm_runtime.pictures.svg import drawing, element, label
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set
from fourm_schema.set_fields import (
    AngleField,
    AnyField,
    BoxField,
    CategoryField,
    MaskField,
    NumberField,
    PointField,
)

MOST_ROWS = 50
"""Records that the table shows; the others are counted."""

MOST_NAMED = 8
"""Items whose names stand in the scene; of more, only the numbers, which lead to the table."""

MOST_NUMBERS = 12
"""Numbers of a vector that the table shows."""

SIDE_PX = 240
"""Longer side of the scene where there is no picture to draw on."""

Item: TypeAlias = Mapping[str, object]


def draw_set(entry: Set, value: object, name: str, backdrop: Png | None) -> Block:
    """A set as a scene, where it has boxes or points, and as a table.

    Raises:
        CodecError: if the value is no list of records.
    """
    items = _items(entry, value, name)
    if not items:
        return Text("empty set", "muted")
    table = _definition(entry, items[0]) if entry.max_items == 1 else _table(entry, items)
    if not any(isinstance(field, BoxField | PointField) for field in entry.fields.values()):
        return table
    return Stack([Figure(_scene(entry, items, name, backdrop)), table])


def _items(entry: Set, value: object, name: str) -> list[Item]:
    if isinstance(value, Mapping) and entry.max_items == 1:
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise CodecError(
            name or "set", "a value is a list of records {field: value}", got=type(value).__name__
        )
    return list(value)


def _table(entry: Set, items: Sequence[Item]) -> Table:
    rows: list[list[Cell]] = [
        [str(number), *(_cell(field, item.get(name)) for name, field in entry.fields.items())]
        for number, item in enumerate(items[:MOST_ROWS], 1)
    ]
    more = len(items) - MOST_ROWS
    return Table(
        ("", *(_heading(name, field) for name, field in entry.fields.items())),
        rows,
        caption=f"the first {MOST_ROWS} of {len(items)} records" if more > 0 else "",
        row_headings=True,
    )


def _definition(entry: Set, item: Item) -> Table:
    rows = [[_heading(name, field), _cell(field, item.get(name))] for name, field in entry.fields.items()]
    return Table((), rows, row_headings=True)


def _heading(name: str, field: AnyField) -> str:
    unit = field.unit if isinstance(field, NumberField | AngleField) else None
    return f"{name} ({unit})" if unit else name


def _cell(field: AnyField, value: object) -> Cell:
    if value is None:
        return None
    if isinstance(field, MaskField):
        return _mask(value)
    if isinstance(value, list | tuple | np.ndarray):
        more = ", ..." if len(value) > MOST_NUMBERS else ""
        return ", ".join(_short(number) for number in value[:MOST_NUMBERS]) + more
    if isinstance(field, NumberField | AngleField) and isinstance(value, int | float):
        return float(value)
    return _short(value)


def _short(value: object) -> str:
    is_float = isinstance(value, float | np.floating) and np.isfinite(value)
    return show(float(f"{value:.4g}")) if is_float else str(value)


def _mask(value: object) -> Cell:
    try:
        shape = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return str(value)
    if shape.ndim != 2 or not shape.size:
        return f"{shape.size} numbers"
    return png_of(np.where(shape > 0, 255, 0).astype(np.uint8), "shape of the item", least_side=48)


def _scene(entry: Set, items: Sequence[Item], name: str, backdrop: Png | None) -> Svg:
    shape = (backdrop.width, backdrop.height) if backdrop else (1, 1)
    width, height = (SIDE_PX * side / max(shape) for side in shape)
    parts = [element("rect", width=width, height=height, fill="none", stroke="currentColor", opacity=0.4)]
    if backdrop is not None:
        how = {"style": "image-rendering: pixelated"} if backdrop.pixelated else {}
        parts = [element("image", href=backdrop.url, width=width, height=height, **how)]
    for number, item in enumerate(items):
        colour, said = _look(entry, number, item)
        words = f"{number + 1}{said}" if len(items) <= MOST_NAMED else str(number + 1)
        for left, top, right, bottom in _places(entry, item):
            corners = (left * width, top * height, right * width, bottom * height)
            parts += _marked(corners, colour, words)
    count = f"{len(items)} {'record' if len(items) == 1 else 'records'}"
    return Svg(drawing(width, height, *parts), f"{name or 'set'}: where {count} lie", round(width))


def _marked(corners: tuple[float, float, float, float], colour: str, said: str) -> Iterator[Element]:
    """A box, or a dot where it has no extent, with its number beside the upper left corner."""
    left, top, right, bottom = corners
    if left == right and top == bottom:
        yield element("circle", cx=left, cy=top, r=4, fill=colour, stroke="white")
    else:
        for stroke, line in (("black", 3.5), (colour, 2)):
            yield element(
                "rect", x=left, y=top, width=right - left, height=bottom - top, fill="none", stroke=stroke,
                stroke_width=line,
            )  # fmt: skip
    # The outline keeps the words readable on any picture.
    yield label(
        left + 4, top + 13, said, 12, fill="white", stroke="black", stroke_width=3, paint_order="stroke"
    )


def _look(entry: Set, number: int, item: Item) -> tuple[str, str]:
    """Colour and name of an item: those of its first category, else a colour of its own."""
    for name, field in entry.fields.items():
        if isinstance(field, CategoryField):
            value = item.get(name)
            if value is None or str(value) not in field.names:
                continue
            return hex_colour(class_colours(field.names.index(str(value)))), f" {value}"
    return hex_colour(class_colours(number)), ""


def _places(entry: Set, item: Item) -> Iterator[tuple[float, float, float, float]]:
    """Left, top, right and bottom of an item's boxes and points, as shares of the picture."""
    for name, field in entry.fields.items():
        if not isinstance(field, BoxField | PointField):
            continue
        numbers = _numbers(item.get(name), 4 if isinstance(field, BoxField) else 2)
        if numbers is None:
            continue
        low, high = field.range
        x0, y0, x1, y1 = field.corners(numbers) if isinstance(field, BoxField) else (*numbers, *numbers)
        width = high - low
        yield (x0 - low) / width, (y0 - low) / width, (x1 - low) / width, (y1 - low) / width


def _numbers(value: object, count: int) -> list[float] | None:
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != count:
        return None
    numbers = [float(number) for number in value]
    return numbers if np.isfinite(numbers).all() else None
