"""Laws of absent, empty and plain values."""

import json

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from fourm_codecs.base import Json
from fourm_codecs.lawbook.refusals import require_refusal
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import (
    Subject,
    has_declared_codec,
    is_native_set,
    is_set,
    is_text,
)
from fourm_codecs.plain import from_json, to_json
from fourm_schema.lawbook.article import Article, Draw, article, require
from fourm_schema.lawbook.search import LARGE


def has_optional_field(tested: Subject) -> bool:
    return is_native_set(tested) and any(field.optional for field in tested.sets[0].fields.values())


def has_plain_values(tested: Subject) -> bool:
    return not tested.has_ids_for_values and not tested.is_sequence_of_vectors and tested.entry is not None


def has_texts(tested: Subject) -> bool:
    return is_native_set(tested) and any(field.type == "text" for field in tested.sets[0].fields.values())


@article()
def absent_values_are_refused(tested: Subject, draw: Draw) -> None:
    """None, which stands for an absent value, has no tokens, and the message says to leave it out."""
    batch = [draw(tested.values), None]
    for face in tested.faces:
        if tested.is_sequence_of_vectors:
            continue
        message = require_refusal(tested, face, batch, "None")
        require("leave it out" in message, f"the message does not say what to do: {message}")


@article(has_optional_field)
def absent_fields_stay_absent(tested: Subject, draw: Draw) -> None:
    """An optional field that is None, or left out, comes back as None, and nothing else does."""
    entry, codec = tested.sets
    value = draw(tested.values)
    assume(isinstance(value, list) and value)
    assert isinstance(value, list)
    name = draw(st.sampled_from([name for name, field in entry.fields.items() if field.optional]))
    without = [{key: held for key, held in record.items() if key != name} for record in value]
    as_none = [{**record, name: None} for record in without]
    left_out, none = codec.encode([without]), codec.encode([as_none])
    require(left_out.same(none), f"{name!r} left out is not {name!r} as None: {show(without)}")
    for record in codec.decode(none)[0]:
        told = f"{name!r} was None, and came back as {record[name]!r}: {show(without)}"
        require(record[name] is None, told)
    present = [{**record, name: record[name]} for record in value if record.get(name) is not None]
    for record in codec.decode(codec.encode([present]))[0]:
        require(record[name] is not None, lambda: f"{name!r} is lost: {show(present)}")


@article(is_set, once=True)
def empty_set_is_a_set(tested: Subject, draw: Draw) -> None:
    """A set of no records has an end token, and comes back as a set of no records."""
    _, codec = tested.sets
    tokens = codec.encode([[]])
    ids, end = tokens.ids.tolist(), codec.automaton.special.end
    require(ids[-1:] == [end], f"the ids of [] are {ids}, its end is {end}")
    require(ids == [end] or not is_native_set(tested), f"the ids of [] are {ids}, and should be its end")
    require(codec.decode(tokens) == [[]], f"[] came back as {codec.decode(tokens)[0]}")


@article(is_text, once=True)
def empty_text_is_a_text(tested: Subject, draw: Draw) -> None:
    """A text of no words is its end token alone, and comes back as a text of no words."""
    codec = tested.code()
    tokens = codec.encode([""])
    require(len(tokens.ids) == 1, f"the ids of '' are {tokens.ids.tolist()}")
    require(codec.decode(tokens)[0] == "", f"'' came back as {codec.decode(tokens)[0]!r}")


@article(has_texts)
def empty_texts_are_no_absent_ones(tested: Subject, draw: Draw) -> None:
    """A text field that is empty comes back empty, not absent."""
    entry, codec = tested.sets
    value = draw(tested.values)
    assume(isinstance(value, list) and value)
    assert isinstance(value, list)
    name = draw(st.sampled_from([name for name, field in entry.fields.items() if field.type == "text"]))
    (back,) = codec.decode(codec.encode([[{**record, name: ""} for record in value]]))
    require(all(record[name] == "" for record in back), lambda: f"{name!r} was '': {show(back)}")


@article(has_plain_values)
def values_survive_json(tested: Subject, draw: Draw) -> None:
    """A value, written as JSON for a request and read again, has the same tokens."""
    assert tested.entry is not None
    value = draw(tested.values)
    content = to_json(value)  # type: ignore[arg-type]  # what `values` draws is a Value
    back = from_json(tested.name, tested.entry, _read_again(tested, content))
    for face in tested.faces:
        one, other = face.rows([value])[0], face.rows([back])[0]
        require(np.array_equal(one, other), lambda: f"{show(value)} is read from JSON as {show(back)}")


@article(has_declared_codec)
def decoded_values_survive_json(tested: Subject, draw: Draw) -> None:
    """A decoded value, written as JSON for an answer and read again, is equal."""
    assert tested.entry is not None
    if tested.has_ids_for_values:
        return
    (value,) = tested.code().decode(tested.drawn_ids(draw))
    back = from_json(tested.name, tested.entry, _read_again(tested, to_json(value)))
    same = np.array_equal(np.asarray(value, object), np.asarray(back, object))
    require(same, lambda: f"{show(value)} is read from JSON as {show(back)}")


def _read_again(tested: Subject, content: Json) -> Json:
    """What is read of the text of some content; of a large array the lists alone, whose text is slow."""
    if tested.numbers >= LARGE:
        return content
    read: Json = json.loads(json.dumps(content))
    return read


VALUE_LAWS: tuple[Article[Subject], ...] = (
    absent_values_are_refused,
    absent_fields_stay_absent,
    empty_set_is_a_set,
    empty_text_is_a_text,
    empty_texts_are_no_absent_ones,
    values_survive_json,
    decoded_values_survive_json,
)
