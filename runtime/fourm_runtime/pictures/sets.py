"""Sets of a schema: boxes, masks and points on a picture, colours as swatches, and the records as a table."""

from collections.abc import Mapping, Sequence

import numpy as np

from fourm_codecs.values import show
from fourm_runtime.pictures.page import Block, Cell, Figure, Png, Stack, Table, Text
from fourm_runtime.pictures.raster import png_of
from fourm_runtime.pictures.scene import Item, has_scene, scene
from fourm_runtime.pictures.swatches import colours_of, draw_swatches
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set
from fourm_schema.set_fields import AngleField, AnyField, MaskField, NumberField, PointField

MOST_ROWS = 50
"""Records that the table shows; the others are counted."""

MOST_NUMBERS = 12
"""Numbers of a vector that the table shows."""

MOST_POINTS = 4
"""Points of a record that have a column each; of more it is counted how many there are."""


def draw_set(entry: Set, value: object, name: str, backdrop: Png | None) -> Block:
    """A set as a scene, where it has boxes or points, and as a table.

    Raises:
        CodecError: if the value is no list of records.
    """
    items = _items(entry, value, name)
    if not items:
        return Text("empty set", "muted")
    table = _definition(entry, items[0]) if entry.max_items == 1 else _table(entry, items)
    if has_scene(entry):
        return Stack([Figure(scene(entry, items, name, backdrop)), table])
    if colours := colours_of(entry, items):
        return Stack([Figure(draw_swatches(colours, name)), table])
    return table


def _items(entry: Set, value: object, name: str) -> list[Item]:
    if isinstance(value, Mapping) and entry.max_items == 1:
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise CodecError(
            name or "set", "a value is a list of records {field: value}", got=type(value).__name__
        )
    return list(value)


def _table(entry: Set, items: Sequence[Item]) -> Table:
    points = [name for name, field in entry.fields.items() if isinstance(field, PointField)]
    points = points if len(points) > MOST_POINTS else []
    fields = {name: field for name, field in entry.fields.items() if name not in points}
    rows: list[list[Cell]] = [
        [
            str(number),
            *(_cell(field, item.get(name)) for name, field in fields.items()),
            *([f"{sum(item.get(name) is not None for name in points)} of {len(points)}"] if points else []),
        ]
        for number, item in enumerate(items[:MOST_ROWS], 1)
    ]
    more = len(items) - MOST_ROWS
    return Table(
        ("", *(_heading(name, field) for name, field in fields.items()), *(["points"] if points else [])),
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
        return ", ".join(_short(number, 3) for number in value[:MOST_NUMBERS]) + more
    if isinstance(field, NumberField | AngleField) and isinstance(value, int | float):
        return float(value)
    return _short(value)


def _short(value: object, digits: int = 4) -> str:
    is_float = isinstance(value, float | np.floating) and np.isfinite(value)
    return show(float(f"{value:.{digits}g}")) if is_float else str(value)


def _mask(value: object) -> Cell:
    try:
        shape = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return str(value)
    if shape.ndim != 2 or not shape.size:
        return f"{shape.size} numbers"
    return png_of(np.where(shape > 0, 255, 0).astype(np.uint8), "shape of the item", least_side=48)
