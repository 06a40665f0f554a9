"""How near the records of predicted sets are to those of the true ones, field by field and item by item."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.score_codes import is_long_vector, is_mask, likeness
from fourm_schema.modality import Set
from fourm_schema.set_fields import (
    AngleField,
    AnyField,
    BoxField,
    NumberField,
    PointField,
    VectorField,
    is_learned,
)

Record = Mapping[str, object]
Counted = NumberField | AngleField | PointField | BoxField | VectorField
Float64 = NDArray[np.float64]

OVERLAP = 0.5
"""Intersection over union, or likeness, from which two boxes or masks are taken to be one."""


def listed(value: object) -> list[Record]:
    """The records of a set; a record may be given by itself."""
    records = [value] if isinstance(value, Mapping) else value
    assert isinstance(records, list | tuple), "a set is a list of records"
    return list(records)


def is_counted(field: AnyField) -> bool:
    """Whether the field is made of numbers in bins, which can be nearly right."""
    numbers = isinstance(field, NumberField | AngleField | PointField | BoxField | VectorField)
    return numbers and not is_learned(field)


def field_errors(entry: Set, predicted: Sequence[object], true: Sequence[object]) -> dict[str, float]:
    """Compare sets of at most one record.

    Args:
        entry: the set.
        predicted: N sets.
        true: N sets, with which they are compared.

    Returns:
        Field -> of numbers, the mean distance in bins; of classes and texts, the share that is wrong. Samples
        count in which the true record has the field. One that the prediction lacks is all wrong: as many
        bins off as there are. Of more true records, which `out_of_range: clip` admits, the first counts.
        Fields in learned codes are left out.
    """
    errors: dict[str, list[float]] = {n: [] for n, field in entry.fields.items() if not is_learned(field)}
    for found, record in first_records(predicted, true):
        for name, scores in errors.items():
            if (value := record.get(name)) is not None:
                scores.append(_field_error(entry.fields[name], found.get(name), value))
    return {name: float(np.mean(found)) for name, found in errors.items() if found}


def first_records(predicted: Sequence[object], true: Sequence[object]) -> list[tuple[Record, Record]]:
    """The first record of each true set that has one, behind that of its prediction, or {}."""
    return [
        (next(iter(listed(guess)), {}), record)
        for guess, truth in zip(predicted, true, strict=True)
        for record in listed(truth)[:1]
    ]


def matched(
    entry: Set, predicted: Sequence[object], true: Sequence[object]
) -> tuple[list[tuple[Record, Record]], int, int]:
    """Pair the items of predicted sets with those of the true ones, each at most once, nearest first.

    Two items pair if their classes and texts are equal and their boxes overlap by half; where there are no
    boxes, if none of their numbers is more than a bin off, and masks and long vectors are alike by half.

    Returns:
        The pairs (predicted, true), and how many items were predicted and are true.
    """
    pairs = [
        pair
        for guess, truth in zip(predicted, true, strict=True)
        for pair in _pairs(entry, listed(guess), listed(truth))
    ]
    return pairs, sum(len(listed(value)) for value in predicted), sum(len(listed(value)) for value in true)


def usual_field(name: str, field: AnyField, records: Sequence[Record]) -> object:
    """The commonest class or text of a field, the median of its numbers, the cells that most masks have; None
    if all lack it."""
    given = [record[name] for record in records if record.get(name) is not None]
    if not given:
        return None
    if is_mask(field):
        usual: object = (np.array(given, np.float64).mean(axis=0) > 0.5).astype(np.int64).tolist()
        return usual
    if is_counted(field) or is_long_vector(field):
        middle: object = np.median(np.array(given, np.float64), axis=0).tolist()
        return middle
    return Counter(given).most_common(1)[0][0]


def _pairs(entry: Set, predicted: list[Record], true: list[Record]) -> list[tuple[Record, Record]]:
    nearness = sorted(
        (-score, i, j)
        for i, one in enumerate(predicted)
        for j, other in enumerate(true)
        if (score := _likeness(entry, one, other)) is not None
    )
    found, used = list[tuple[Record, Record]](), (set[int](), set[int]())
    for _, i, j in nearness:
        if i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            found.append((predicted[i], true[j]))
    return found


def _likeness(entry: Set, one: Record, other: Record) -> float | None:
    """How alike two items are, from 0 to 1; None if they do not pair."""
    best = 1.0
    boxes = any(isinstance(field, BoxField) for field in entry.fields.values())
    for name, field in entry.fields.items():
        a, b = one.get(name), other.get(name)
        if (a is None) != (b is None):
            return None
        if a is None:
            continue
        if isinstance(field, BoxField):
            overlap = _overlap(_corners(field, a), _corners(field, b))
            if overlap < OVERLAP:
                return None
            best = min(best, overlap)
        elif is_learned(field):
            if boxes:
                continue
            alike = likeness(field, a, b)
            if alike < OVERLAP:
                return None
            best = min(best, alike)
        elif not is_counted(field):
            if a != b:
                return None
        elif not boxes:
            error = _field_error(field, a, b)
            if error > 1:
                return None
            best = min(best, 1 - error / 2)
    return best


def _field_error(field: AnyField, guess: object, truth: object) -> float:
    if not isinstance(field, NumberField | AngleField | PointField | BoxField | VectorField):
        return float(guess != truth)
    if guess is None:
        edges = field.edges if isinstance(field, NumberField) else None
        return float(len(edges) - 1 if edges else field.bins)
    off = np.abs(_places(field, guess) - _places(field, truth))
    if isinstance(field, AngleField):
        off = np.minimum(off, field.bins - off)
    return float(off.mean())


def _places(field: Counted, value: object) -> Float64:
    """Where numbers lie, counted in bins from the lowest; angles on a circle of `bins`."""
    numbers = np.atleast_1d(np.asarray(value, np.float64))
    match field:
        case AngleField():
            turn = 360.0 if field.unit == "degree" else 2 * np.pi
            return np.asarray(np.remainder(numbers / turn * field.bins, field.bins))
        case NumberField(edges=tuple() as edges):
            return np.interp(numbers, edges, np.arange(len(edges)))
        case BoxField():
            numbers = _corners(field, value)
    assert field.range is not None, "a number has a range or edges"
    low, high = field.range
    if isinstance(field, NumberField) and field.scale == "log":
        # As with edges, what `clip` admits beyond the ends lies at them: no logarithm holds 0.
        numbers = np.clip(numbers, low, high)
        return np.asarray(np.log(numbers / low) / np.log(high / low) * field.bins)
    return (numbers - low) / (high - low) * field.bins


def _corners(field: BoxField, value: object) -> Float64:
    """x0, y0, x1, y1."""
    return np.array(field.corners(np.asarray(value, np.float64).tolist()))


def _overlap(one: Float64, other: Float64) -> float:
    """Intersection over union of two boxes; equal boxes overlap wholly, even if they have no area."""
    if np.array_equal(one, other):
        return 1.0
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    inner = float(np.prod(np.maximum(sides, 0)))
    union = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - inner
    return inner / union if union > 0 else 0.0
