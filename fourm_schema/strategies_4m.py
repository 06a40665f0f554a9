"""Records in 4M's words to draw: values of sets with `dialect: {name: 4m, ...}`."""

import math

from hypothesis import strategies as st

from fourm_schema.modality import Set
from fourm_schema.released_forms import OPEN_FIELDS, FormName, form_of_fields, is_whole
from fourm_schema.set_fields import AnyField, BoxField, CategoryField, NumberField, PointField, VectorField

Numeric = NumberField | PointField | VectorField | BoxField
Numbers = st.SearchStrategy[float]

_WIDEST: dict[FormName, int] = {"detections": 12, "metadata": 1, "palette": 4, "poses": 130, "instances": 60}
"""Tokens that one record can take, its names and the numbers that are written in pieces among them."""


def released_records(entry: Set) -> st.SearchStrategy[object]:
    """Values of a set in 4M's words, short enough for it."""
    form = form_of_fields(entry.fields)
    assert form is not None and entry.dialect is not None, "the rules of the schema ask for a form"
    clip = entry.out_of_range == "clip"
    fields = {name: _field(name, field, clip) for name, field in entry.fields.items()}
    most = most_records(entry, 2 if clip else 0)
    if form == "metadata":
        record = st.fixed_dictionaries({}, optional=fields).filter(bool)
        pairs = (entry.dialect.max_tokens - 1) // 2
        return st.lists(record.map(lambda drawn: dict([*drawn.items()][:pairs])), max_size=min(most, 1))
    if form == "instances":
        point = {"point": fields["point"]}
        record = st.one_of(st.fixed_dictionaries(point), st.fixed_dictionaries(fields))
        # Few points, so that several instances lie at one.
        return st.lists(record, max_size=most).flatmap(_at_few_points)
    return st.lists(st.fixed_dictionaries(fields), max_size=most)


def most_records(entry: Set, beyond: int = 0) -> int:
    """Records that surely have room in a set, and are at most so many more than it may hold."""
    form = form_of_fields(entry.fields)
    assert form is not None and entry.dialect is not None, "the rules of the schema ask for a form"
    return min(entry.max_items + beyond, (entry.dialect.max_tokens - 1) // _WIDEST[form])


def _at_few_points(records: list[dict[str, object]]) -> st.SearchStrategy[list[dict[str, object]]]:
    if not records:
        return st.just(records)
    points = st.sampled_from([record["point"] for record in records])
    drawn = st.lists(points, min_size=len(records), max_size=len(records))
    return drawn.map(lambda chosen: [{**r, "point": p} for r, p in zip(records, chosen, strict=True)])


def _field(name: str, field: AnyField, clip: bool) -> st.SearchStrategy[object]:
    if isinstance(field, CategoryField):
        if isinstance(field.classes, int):
            return st.integers(0, field.classes - 1)
        return st.sampled_from(field.names)
    assert isinstance(field, Numeric), "4M has no other fields"
    number = _number(field, clip or name in OPEN_FIELDS)
    if isinstance(field, NumberField):
        return number
    if isinstance(field, BoxField):
        side = st.tuples(number, number).map(sorted)
        return st.tuples(side, side).map(lambda drawn: [drawn[0][0], drawn[1][0], drawn[0][1], drawn[1][1]])
    count = 2 if isinstance(field, PointField) else field.dim
    return st.lists(number, min_size=count, max_size=count)


def _number(
    field: NumberField | PointField | VectorField | BoxField, outside: bool
) -> st.SearchStrategy[float]:
    """Numbers of a field: those that words tell exactly or divide, its ends, anywhere; outside if allowed."""
    if isinstance(field, NumberField) and field.edges is not None:
        return _within(field.edges[0], field.edges[-1], st.sampled_from(field.edges), outside)
    assert field.range is not None, "a number has a range or edges"
    (low, high), bins = field.range, field.bins
    if is_whole(field):
        reach = (high - low) / 2 if outside else 0.0
        least, most = math.ceil(low - reach), math.floor(high + reach)
        inside = st.integers(math.ceil(low), math.floor(high))
        return st.one_of(inside, st.integers(least, most)).map(float)
    # A word is one of `bins` bins of the range, or of as many numbers evenly spaced from end to end.
    parts = st.sampled_from([bins, bins - 1])
    told = parts.flatmap(lambda count: st.integers(0, count).map(lambda k: low + (high - low) * (k / count)))
    return _within(low, high, told, outside)


def _within(
    low: float, high: float, told: st.SearchStrategy[float], outside: bool
) -> st.SearchStrategy[float]:
    reach = (high - low) / 2 if outside else 0.0
    inside = told.map(lambda number: min(max(number, low), high))
    return st.one_of(inside, st.sampled_from([low, high]), st.floats(low - reach, high + reach))
