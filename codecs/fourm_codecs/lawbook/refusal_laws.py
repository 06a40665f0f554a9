"""Laws of refusal: what is no value is refused by a CodecError that names the modality; or is clipped, if the
schema says so."""

from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from fourm_codecs.lawbook.refusals import Numeric, drawn_array, require_refusal, with_field, with_number
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import Subject, has_array, is_native_set, is_set, is_text
from fourm_schema.bin_borders import field_borders
from fourm_schema.lawbook.article import Article, Draw, article, require
from fourm_schema.modality import Categorical, Continuous, Image, Text, Vector
from fourm_schema.released_forms import OPEN_FIELDS
from fourm_schema.set_fields import (
    BoxField,
    CategoryField,
    NumberField,
    PointField,
    VectorField,
)

Ranged = NumberField | PointField | BoxField | VectorField


def has_range(tested: Subject) -> bool:
    """Whether its numbers have a range that they must lie in, or are clipped to."""
    entry = tested.entry
    if not has_array(tested):
        return False
    if isinstance(entry, Image):
        return isinstance(entry.cell, Continuous)
    return isinstance(entry, Vector) and entry.ranges is not None


def refuses_outside(tested: Subject) -> bool:
    return has_range(tested) and not tested.clips


def clips_outside(tested: Subject) -> bool:
    return has_range(tested) and tested.clips


def has_numbers(tested: Subject) -> bool:
    return has_array(tested) or has_numeric_field(tested)


def has_numeric_field(tested: Subject) -> bool:
    return is_set(tested) and any(isinstance(field, Numeric) for field in tested.sets[0].fields.values())


def refuses_infinity(tested: Subject) -> bool:
    # A range that clips moves infinity to its end.
    return has_numeric_field(tested) or (has_array(tested) and not clips_outside(tested))


def has_classes(tested: Subject) -> bool:
    if isinstance(tested.entry, Image):
        return isinstance(tested.entry.cell, Categorical) and has_array(tested)
    return is_set(tested) and any(isinstance(f, CategoryField) for f in tested.sets[0].fields.values())


def has_ranged_field(tested: Subject) -> bool:
    if not is_set(tested):
        return False
    fields = tested.sets[0].fields
    return any(isinstance(field, Ranged) and name not in OPEN_FIELDS for name, field in fields.items())


def has_strict_ranged_field(tested: Subject) -> bool:
    return has_ranged_field(tested) and not tested.clips


def has_clipped_field(tested: Subject) -> bool:
    return is_native_set(tested) and has_ranged_field(tested) and tested.clips


def refuses_long_texts(tested: Subject) -> bool:
    return is_text(tested) and not tested.clips


def cuts_long_texts(tested: Subject) -> bool:
    return is_text(tested) and tested.clips


def has_required_field(tested: Subject) -> bool:
    return is_set(tested) and any(not field.optional for field in tested.sets[0].fields.values())


def has_several_numbers(tested: Subject) -> bool:
    return has_array(tested) and tested.numbers > 1


def has_several_items(tested: Subject) -> bool:
    return has_required_field(tested) and tested.sets[0].max_items > 1


@article(has_numbers)
def nan_is_refused(tested: Subject, draw: Draw) -> None:
    """NaN is no value, wherever it stands."""
    _require_refusals(tested, with_number(tested, draw, float("nan")), "NaN")


@article(refuses_infinity)
def infinity_is_refused(tested: Subject, draw: Draw) -> None:
    """Infinity is no value, wherever it stands, except where numbers are clipped."""
    number = draw(st.sampled_from([float("inf"), float("-inf")]))
    _require_refusals(tested, with_number(tested, draw, number), str(number))


@article()
def other_types_are_refused(tested: Subject, draw: Draw) -> None:
    """What is of another type (a text for an image, a number for a text) is refused."""
    if tested.is_sequence_of_vectors:
        return
    others: list[object] = [..., b"bytes", {"no such": "field"}]
    if tested.entry is not None:
        # One number is a vector of one.
        others += [3.5] if tested.numbers > 1 or isinstance(tested.entry, Text) else []
        others += [] if tested.is_array or isinstance(tested.entry, Text) else [3.5, [7], "a text"]
    others += ["a text", [["a", "text"]], np.array(["a"]), np.array([1j])] if tested.is_array else []
    value = draw(st.sampled_from(others))
    _require_refusals(tested, value, f"a value of type {type(value).__name__}")


@article(has_array)
def other_shapes_are_refused(tested: Subject, draw: Draw) -> None:
    """An array of another shape is refused: a row too few, two values in one."""
    value = drawn_array(tested, draw)
    other = draw(st.sampled_from([value[:-1], np.concatenate([value, value])]))
    _require_refusals(tested, other, f"shape {other.shape} in place of {value.shape}")


@article(has_several_numbers)
def a_single_value_is_no_batch(tested: Subject, draw: Draw) -> None:
    """One value given in place of a batch is refused."""
    value = drawn_array(tested, draw)
    for face in tested.faces:
        require_refusal(tested, face, value, "a single value in place of a batch")


@article(refuses_outside)
def numbers_outside_are_refused(tested: Subject, draw: Draw) -> None:
    """A number outside of its declared range is refused."""
    array, place, low, high = _place_and_range(tested, draw)
    array.flat[place] = _outside(draw, low, high)
    where = [int(k) for k in np.unravel_index(place, array.shape)]
    _require_refusals(tested, array, f"{array.flat[place]:.12g} at {where}, of [{low:g}, {high:g}],")


@article(clips_outside)
def numbers_outside_are_clipped(tested: Subject, draw: Draw) -> None:
    """With `out_of_range: clip`, a number outside has the tokens of the nearer end of its range."""
    array, place, low, high = _place_and_range(tested, draw)
    array.flat[place] = _outside(draw, low, high)
    clipped = array.copy()
    clipped.flat[place] = min(max(array.flat[place], low), high)
    told = f"{array.flat[place]:.12g} has not the tokens of {clipped.flat[place]:.12g}"
    for face in tested.faces:
        same = np.array_equal(face.rows([array])[0], face.rows([clipped])[0])
        require(same, lambda: f"{told}; the value: {show(array)}")


@article(has_classes)
def unknown_classes_are_refused(tested: Subject, draw: Draw) -> None:
    """A class that is not declared is refused, even where numbers are clipped."""
    if isinstance(tested.entry, Image) and isinstance(tested.entry.cell, Categorical):
        count = tested.entry.cell.class_count
        number = draw(st.sampled_from([count, -1, 0.5, count + 1000]))
        _require_refusals(tested, with_number(tested, draw, number), f"class {number} of {count}")
        return
    wrong = draw(st.sampled_from(["no such class", "", -1, 10**6, 0.5]))
    value = with_field(tested, draw, CategoryField, lambda field, old: wrong)
    _require_refusals(tested, value, f"class {wrong!r}")


@article(has_strict_ranged_field)
def fields_outside_are_refused(tested: Subject, draw: Draw) -> None:
    """A number of a record outside of its field's range is refused."""
    open_kinds = {name for name in tested.sets[0].fields if name in OPEN_FIELDS}
    value = with_field(tested, draw, Ranged, lambda field, old: _field_outside(draw, field))
    closed = [{name: held for name, held in record.items() if name not in open_kinds} for record in value]
    assume(closed == value)
    _require_refusals(tested, value, "a number outside of its field's range")


@article(has_clipped_field)
def fields_outside_are_clipped(tested: Subject, draw: Draw) -> None:
    """With `out_of_range: clip`, a number of a record outside has the tokens of the nearer end."""
    ends = list[object]()

    def beyond(field: Any, old: object) -> object:
        ends[:] = _beyond(draw, field)
        return ends[0]

    value = with_field(tested, draw, Ranged, beyond)
    far, near = ends
    # By identity: another field may hold the same number, and hold it rightly.
    clipped = [{name: near if held is far else held for name, held in record.items()} for record in value]
    codec = tested.code()
    same = codec.encode([value]).same(codec.encode([clipped]))
    require(same, lambda: f"{far} has not the tokens of {near}; the value: {show(value)}")


@article(is_set)
def too_many_items_are_told(tested: Subject, draw: Draw) -> None:
    """More records than `max_items` are refused; with `out_of_range: clip` no more are kept."""
    entry, codec = tested.sets
    value: Any = draw(tested.values)
    assume(value)
    more = draw(st.integers(1, 3))
    many = (list(value) * (entry.max_items + more))[: entry.max_items + more]
    what = f"{len(many)} records of at most {entry.max_items}"
    if not tested.clips:
        _require_refusals(tested, many, what)
        return
    (kept,) = codec.decode(codec.encode([many]))
    require(len(kept) <= entry.max_items, lambda: f"{what} came back as {len(kept)}: {show(many)}")


@article(is_set)
def unknown_fields_are_refused(tested: Subject, draw: Draw) -> None:
    """A field that is not declared is refused, and the message names those that are."""
    value: Any = draw(tested.values)
    assume(value)
    name = draw(st.sampled_from([*tested.sets[0].fields]))
    wrong = [{**value[0], f"{name}x": 1}, *value[1:]]
    for face in tested.faces:
        told = require_refusal(tested, face, [wrong], f"a field {name + 'x'!r}")
        require(name in told.replace(f"{name}x", ""), f"the message does not name {name!r}: {told}")


@article(has_required_field)
def missing_fields_are_refused(tested: Subject, draw: Draw) -> None:
    """A record without a field that is not optional is refused, and the message names the field."""
    value: Any = draw(tested.values)
    assume(value)
    required = [name for name, field in tested.sets[0].fields.items() if not field.optional]
    name = draw(st.sampled_from(required))
    wrong = [{key: held for key, held in value[0].items() if key != name}, *value[1:]]
    for face in tested.faces:
        told = require_refusal(tested, face, [wrong], f"a record without {name!r}")
        require(repr(name) in told, f"the message does not name {name!r}: {told}")


@article(has_several_items)
def all_faults_are_told(tested: Subject, draw: Draw) -> None:
    """Faults of several records are told together, each with the number of its record."""
    value: Any = draw(tested.values.filter(lambda value: isinstance(value, list) and len(value) > 1))
    required = [name for name, field in tested.sets[0].fields.items() if not field.optional]
    name = draw(st.sampled_from(required))
    wrong = [{key: held for key, held in record.items() if key != name} for record in value[:2]]
    for face in tested.faces:
        told = require_refusal(tested, face, [wrong], f"two records without {name!r}")
        require("item 0" in told and "item 1" in told, f"one of two faults is not told: {told}")


@article(refuses_long_texts)
def long_texts_are_refused(tested: Subject, draw: Draw) -> None:
    """A text of more than `max_tokens` tokens is refused."""
    text = _long_text(tested, draw)
    _require_refusals(tested, text, f"a text of {len(text.split())} words")


@article(cuts_long_texts)
def long_texts_are_cut(tested: Subject, draw: Draw) -> None:
    """With `out_of_range: clip`, a text of more than `max_tokens` tokens is cut to as many."""
    assert isinstance(tested.entry, Text)
    codec, text = tested.code(), _long_text(tested, draw)
    tokens = codec.encode([text])
    most = tested.entry.max_tokens
    require(len(tokens.ids) <= most, f"{len(text.split())} words have {len(tokens.ids)} tokens, not {most}")
    back = codec.decode(tokens)[0]
    require(isinstance(back, str) and text.startswith(back), f"it is no beginning of the text: {back!r}")


REFUSAL_LAWS: tuple[Article[Subject], ...] = (
    nan_is_refused,
    infinity_is_refused,
    other_types_are_refused,
    other_shapes_are_refused,
    a_single_value_is_no_batch,
    numbers_outside_are_refused,
    numbers_outside_are_clipped,
    unknown_classes_are_refused,
    fields_outside_are_refused,
    fields_outside_are_clipped,
    too_many_items_are_told,
    unknown_fields_are_refused,
    missing_fields_are_refused,
    all_faults_are_told,
    long_texts_are_refused,
    long_texts_are_cut,
)


def _require_refusals(tested: Subject, value: object, what: str) -> None:
    for face in tested.faces:
        require_refusal(tested, face, [value], what)


def _place_and_range(tested: Subject, draw: Draw) -> tuple[Any, int, float, float]:
    array = drawn_array(tested, draw)
    place = draw(st.integers(0, array.size - 1))
    entry = tested.entry
    if isinstance(entry, Vector):
        assert entry.range_of_each is not None
        return array, place, *entry.range_of_each[place % entry.dim]
    assert isinstance(entry, Image) and isinstance(entry.cell, Continuous)
    return array, place, *entry.cell.range


def _outside(draw: Draw, low: float, high: float) -> float:
    share = draw(st.floats(0.01, 3.0))
    return high + share * (high - low) if draw(st.booleans()) else low - share * (high - low)


def _field_outside(draw: Draw, field: Any) -> object:
    low, high = field_borders(field)[0], field_borders(field)[-1]
    if isinstance(field, BoxField):
        span = high - low
        return {
            "xyxy": [low, low, high + span, high],
            "xywh": [low, low, 2 * span, span],
            "cxcywh": [low + span, low + span / 2, 2 * span, span],
        }[field.convention]
    number = _outside(draw, low, high)
    if isinstance(field, NumberField):
        return number
    return [number, *[low] * (_count(field) - 1)]


def _beyond(draw: Draw, field: NumberField | PointField | VectorField | BoxField) -> list[object]:
    """What lies outside of a field's range, and what it is clipped to."""
    low, high = field_borders(field)[0], field_borders(field)[-1]
    number = _outside(draw, low, high)
    near = low if number < low else high
    if isinstance(field, NumberField):
        return [number, near]
    if isinstance(field, BoxField):
        return [field.of_corners([min(end, low)] * 2 + [max(end, high)] * 2) for end in (number, near)]
    return [[end] * _count(field) for end in (number, near)]


def _count(field: PointField | VectorField) -> int:
    return 2 if isinstance(field, PointField) else field.dim


def _long_text(tested: Subject, draw: Draw) -> str:
    assert isinstance(tested.entry, Text)
    most = tested.entry.max_tokens
    return " ".join("a" * draw(st.integers(most, 2 * most)))
