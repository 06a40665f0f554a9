"""The outermost values of a modality: all at one end of its ranges, empty, full, as long as may be."""

import math

import numpy as np

from fourm_schema.bin_borders import field_borders
from fourm_schema.modality import Categorical, Continuous, Direction, Image, Modality, Set, Text, Vector
from fourm_schema.released_forms import is_whole
from fourm_schema.resolve import PQ_TOKENS
from fourm_schema.set_fields import (
    AngleField,
    AnyField,
    BoxField,
    CategoryField,
    MaskField,
    NumberField,
    PointField,
    TextField,
)
from fourm_schema.strategies_4m import most_records
from fourm_schema.strategies_arrays import LARGEST, LARGEST_FEATURE


def extremes(entry: Modality) -> list[object]:
    """Values at the ends of what an entry allows."""
    if entry.codec == "ids":
        return _id_extremes(entry)
    if isinstance(entry, Image):
        return _image_extremes(entry)
    if isinstance(entry, Vector):
        low, high = np.asarray(entry.range_of_each or [(-LARGEST, LARGEST)] * entry.dim, np.float64).T
        if entry.max_length is None:
            return [np.broadcast_to(low, entry.shape).copy(), np.broadcast_to(high, entry.shape).copy()]
        return [np.tile(low, (entry.max_length, 1)), np.tile(high, (1, 1))]
    if isinstance(entry, Text):
        most = entry.max_tokens - 1
        return ["", " ".join("a" * most), "a" * most, "." * most]
    return _set_extremes(entry)


def _id_extremes(entry: Modality) -> list[object]:
    if isinstance(entry, Text):
        return [[], [0] * (entry.max_tokens - 1)]
    assert isinstance(entry, Image | Vector), "a set has no ids of its own choice"
    shape = entry.grid if isinstance(entry, Image) else (entry.tokens or PQ_TOKENS,)
    return [np.zeros(shape, np.int64), np.full(shape, (entry.vocab_size or 1) - 1)]


def _image_extremes(entry: Image) -> list[object]:
    shape = entry.size if entry.channels == 1 else (*entry.size, entry.channels)
    if isinstance(entry.cell, Direction):
        axes = np.eye(3)
        return [np.broadcast_to(sign * axis, shape).copy() for axis in axes for sign in (1.0, -1.0)]
    low: float
    high: float
    if isinstance(entry.cell, Categorical):
        low, high = 0, entry.cell.class_count - 1
    elif isinstance(entry.cell, Continuous):
        low, high = entry.cell.range
    else:
        low, high = -LARGEST_FEATURE, LARGEST_FEATURE
    every_other = (np.indices(shape).sum(axis=0) % 2).astype(bool)
    return [np.full(shape, low), np.full(shape, high), np.where(every_other, high, low)]


def _set_extremes(entry: Set) -> list[object]:
    lowest, highest, bare = (
        {name: _end(field, high) for name, field in entry.fields.items()} for high in (False, True, False)
    )
    bare = {name: value for name, value in bare.items() if not entry.fields[name].optional}
    most = most_records(entry) if entry.dialect else entry.max_items
    found: list[object] = [[], *([record] * most for record in (lowest, highest))]
    return [*found, [bare] * most] if bare or not entry.dialect else found


def _end(field: AnyField, high: bool) -> object:
    """The value at one end of a field."""
    if isinstance(field, AngleField):
        turn = 360.0 if field.unit == "degree" else math.tau
        return math.nextafter(turn, 0) if high else 0.0
    if isinstance(field, CategoryField):
        last = len(field.names) - 1 if high else 0
        return last if isinstance(field.classes, int) else field.names[last]
    if isinstance(field, TextField):
        return " ".join("a" * (field.max_tokens - 1)) if high else ""
    if isinstance(field, MaskField):
        return np.full((field.size, field.size), int(high), np.uint8)
    edges = field_borders(field)
    end = edges[-1] if high else edges[0]
    if is_whole(field):
        # Its bins reach half a number further than its values.
        end = math.floor(end) if high else math.ceil(end)
    if isinstance(field, NumberField):
        return end
    if isinstance(field, BoxField):
        size = edges[-1] - edges[0]
        whole = {
            "xyxy": [edges[0], edges[0], edges[-1], edges[-1]],
            "xywh": [edges[0], edges[0], size, size],
            "cxcywh": [edges[0] + size / 2, edges[0] + size / 2, size, size],
        }[field.convention]
        point = {"xyxy": [end] * 4, "xywh": [end, end, 0.0, 0.0], "cxcywh": [end, end, 0.0, 0.0]}
        return whole if high else point[field.convention]
    return [end] * (2 if isinstance(field, PointField) else field.dim)
