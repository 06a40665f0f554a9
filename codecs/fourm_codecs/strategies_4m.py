"""Records in 4M's words, to draw: what `values` gives for sets that are written so.

This module needs Hypothesis (`pip install fourm-schema[test]`).
"""

import math

from hypothesis import strategies as st

from fourm_codecs.fields_4m import Amount, Amounts, Corners, field_forms
from fourm_codecs.quantities_4m import Quantity, Whole
from fourm_codecs.set_values import CategoryForm, Form
from fourm_schema.modality import Set
from fourm_schema.released_forms import FormName, form_of_fields

_WIDEST: dict[FormName, int] = {"detections": 12, "metadata": 1, "palette": 4, "poses": 130, "instances": 60}
"""Tokens that one record can take, its names and the numbers that are written in pieces among them."""


def released_records(entry: Set) -> st.SearchStrategy[object]:
    """Values of a set in 4M's words, short enough for it."""
    form = form_of_fields(entry.fields)
    assert form is not None and entry.dialect is not None, "the rules of the schema ask for a form"
    clip = entry.out_of_range == "clip"
    fields = {name: _field(drawn, clip) for name, drawn in field_forms(entry, form).items()}
    most = min(entry.max_items + (2 if clip else 0), (entry.dialect.max_tokens - 1) // _WIDEST[form])
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


def _at_few_points(records: list[dict[str, object]]) -> st.SearchStrategy[list[dict[str, object]]]:
    if not records:
        return st.just(records)
    points = st.sampled_from([record["point"] for record in records])
    drawn = st.lists(points, min_size=len(records), max_size=len(records))
    return drawn.map(lambda chosen: [{**r, "point": p} for r, p in zip(records, chosen, strict=True)])


def _field(form: Form, clip: bool) -> st.SearchStrategy[object]:
    if isinstance(form, CategoryForm):
        return st.sampled_from(form.names).map(lambda name: int(name) if form.counted else name)
    if isinstance(form, Corners):
        side = st.tuples(_number(form.quantity, clip), _number(form.quantity, clip)).map(sorted)
        return st.tuples(side, side).map(lambda drawn: [drawn[0][0], drawn[1][0], drawn[0][1], drawn[1][1]])
    if isinstance(form, Amount):
        return _number(form.quantity, clip)
    assert isinstance(form, Amounts), "4M has no other fields"
    return st.lists(_number(form.quantity, clip), min_size=form.count, max_size=form.count)


def _number(quantity: Quantity, clip: bool) -> st.SearchStrategy[float]:
    """Numbers of a quantity: what its words decode to, its ends, anywhere; outside where it may be."""
    low, high = quantity.low, quantity.high
    is_open = getattr(quantity, "is_open", False)
    reach = (high - low) / 2 if clip or is_open else 0.0
    told = st.sampled_from(quantity.codes).map(quantity.number)
    if isinstance(quantity, Whole):
        return st.one_of(told, st.integers(math.ceil(low - reach), math.floor(high + reach)).map(float))
    return st.one_of(told, st.sampled_from([low, high]), st.floats(low - reach, high + reach))
