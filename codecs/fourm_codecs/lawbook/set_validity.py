"""Whether records are a value of a declared set, judged by the schema alone: no codec, no grammar."""

import itertools
import math
from collections.abc import Sequence

from fourm_codecs.base import FieldValue, Record
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.modality import Set
from fourm_schema.set_fields import (
    AngleField,
    AnyField,
    BoxField,
    CategoryField,
    NumberField,
    PointField,
    TextField,
    VectorField,
)


def record_faults(entry: Set, records: Sequence[Record], words: WordVocabulary | None) -> list[str]:
    """What is wrong with decoded records; empty for a value of the set, in the order that its schema says.

    Args:
        entry: the declared set.
        records: what was decoded.
        words: the vocabulary of its texts, if it has some.
    """
    faults = [] if len(records) <= entry.max_items else [f"{len(records)} items"]
    for number, record in enumerate(records):
        if list(record) != list(entry.fields):
            faults.append(f"item {number} has fields {list(record)}")
            continue
        for name, field in entry.fields.items():
            value = record[name]
            fits = field.optional if value is None else _fits(field, value, words)
            if not fits:
                faults.append(f"item {number}, {name} ({field.type}): {value!r}")
    return faults or _disorder(entry, records)


def _fits(field: AnyField, value: FieldValue, words: WordVocabulary | None) -> bool:
    match field:
        case NumberField():
            ends = field.range or field.edges
            assert ends is not None
            return isinstance(value, float) and ends[0] <= value <= ends[-1]
        case AngleField():
            return isinstance(value, float) and 0 <= value < (360 if field.unit == "degree" else math.tau)
        case CategoryField():
            known = range(field.classes) if isinstance(field.classes, int) else field.names
            return isinstance(value, int | str) and value in known
        case PointField() | VectorField():
            low, high = field.range
            return (
                isinstance(value, list)
                and len(value) == field.token_count
                and all(low <= number <= high for number in value)
            )
        case BoxField():
            if not isinstance(value, list) or len(value) != 4:
                return False
            x0, y0, x1, y1 = corners(field, value)
            low, high = field.range
            slack = 1e-9 * max(abs(low), abs(high))
            return low - slack <= x0 <= x1 + slack <= high + 2 * slack and (
                low - slack <= y0 <= y1 + slack <= high + 2 * slack
            )
        case TextField():
            return (
                isinstance(value, str)
                and words is not None
                and words.normalise(value) == value
                and len(words.pieces_of([value])[0]) < field.max_tokens
            )
    return False


def corners(field: BoxField, box: Sequence[float]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a box in its field's convention."""
    x, y, w, h = box
    match field.convention:
        case "xyxy":
            return x, y, w, h
        case "xywh":
            return x, y, x + w, y + h
        case "cxcywh":
            return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _disorder(entry: Set, records: Sequence[Record]) -> list[str]:
    """Sorted sets only: neighbours that should change places."""
    types = {"distance_to_origin": ("box", "point"), "area": ("box",)}.get(entry.order)
    if types is None:
        return []
    name = next(name for name, field in entry.fields.items() if field.type in types)
    keys = [_key(entry.order, entry.fields[name], record[name]) for record in records]
    return [
        f"item {number} comes before item {number + 1}, by {entry.order}"
        for number, (one, other) in enumerate(itertools.pairwise(keys))
        if one > other + 1e-9 * abs(one) + 1e-12
    ]


def _key(order: str, field: AnyField, value: FieldValue) -> float:
    """Smaller first, absent last."""
    if not isinstance(value, list):
        return math.inf
    x0, y0, *far = corners(field, value) if isinstance(field, BoxField) else value
    return math.hypot(x0, y0) if order == "distance_to_origin" else -(far[0] - x0) * (far[1] - y0)
