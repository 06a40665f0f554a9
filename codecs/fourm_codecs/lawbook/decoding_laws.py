"""Laws of decoding: a model may write any ids, and what they say is a value of the modality."""

import math

import numpy as np
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch, Value
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import Subject, has_codec, has_declared_codec, keeps_ids
from fourm_codecs.lawbook.validity import value_faults
from fourm_schema.errors import CodecError
from fourm_schema.lawbook.article import Article, Broken, Draw, article, require
from fourm_schema.modality import Set


def is_grid(tested: Subject) -> bool:
    return tested.codec is not None and tested.codec.token_shape is not None


def keeps_ids_and_order(tested: Subject) -> bool:
    return keeps_ids(tested) and not (isinstance(tested.entry, Set) and tested.entry.order == "random")


@article(has_codec)
def any_ids_have_a_value(tested: Subject, draw: Draw) -> None:
    """Any ids of the vocabulary, in rows of the right length, have a value."""
    tokens = tested.drawn_ids(draw)
    try:
        values = tested.code().decode(tokens)
    except CodecError as fault:
        raise Broken(f"the ids {_few(tokens)} are refused: {fault}") from None
    require(len(values) == 1, f"one row of ids has {len(values)} values")


@article(has_declared_codec)
def decoded_values_fit_the_schema(tested: Subject, draw: Draw) -> None:
    """What any ids decode to has the shape, the type and the range that the entry declares."""
    assert tested.entry is not None
    tokens = tested.drawn_ids(draw)
    (value,) = tested.code().decode(tokens)
    words = getattr(tested.codec, "vocabulary", None)
    faults = value_faults(tested.entry, value, words)
    require(not faults, lambda: f"the ids {_few(tokens)} decode to {show(value)}: {faults[0]}")


@article(has_codec)
def decoded_values_can_be_encoded(tested: Subject, draw: Draw) -> None:
    """What any ids decode to is a value of the modality: it can be encoded again."""
    codec, tokens = tested.code(), tested.drawn_ids(draw)
    (value,) = codec.decode(tokens)
    try:
        codec.encode([value])
    except CodecError as fault:
        raise Broken(f"the ids {_few(tokens)} decode to {show(value)}, which is refused: {fault}") from None


@article(keeps_ids_and_order)
def decoded_values_stay(tested: Subject, draw: Draw) -> None:
    """A decoded value, encoded and decoded once more, is the same value."""
    codec, tokens = tested.code(), tested.drawn_ids(draw)
    (value,) = codec.decode(tokens)
    (again,) = codec.decode(codec.encode([value]))
    require(_equal(value, again), lambda: f"{show(value)} comes back as {show(again)}")


@article(has_codec)
def decoding_twice_is_decoding_once(tested: Subject, draw: Draw) -> None:
    """The same ids have the same value each time they are decoded."""
    codec, tokens = tested.code(), tested.drawn_ids(draw)
    (one,), (other,) = codec.decode(tokens), codec.decode(tokens)
    require(_equal(one, other), lambda: f"the ids {_few(tokens)} read {show(one)}, then {show(other)}")


@article(has_codec)
def decoding_a_batch_is_decoding_each(tested: Subject, draw: Draw) -> None:
    """Ids have the same value alone as in a batch."""
    codec = tested.code()
    rows = [tested.drawn_ids(draw).ids for _ in range(2)]
    together = codec.decode(TokenBatch.of(rows, codec.vocab_size))
    require(len(together) == len(rows), f"{len(rows)} rows of ids have {len(together)} values")
    for number, (row, value) in enumerate(zip(rows, together, strict=True)):
        (alone,) = codec.decode(TokenBatch.of([row], codec.vocab_size))
        told = f"row {number} of {len(rows)} reads {show(value)}, alone {show(alone)}"
        require(_equal(value, alone), told)


@article(has_codec)
def ids_are_left_alone(tested: Subject, draw: Draw) -> None:
    """Decoding does not change the ids it is given."""
    tokens = tested.drawn_ids(draw)
    before = tokens.ids.copy()
    tested.code().decode(tokens)
    require(np.array_equal(tokens.ids, before), lambda: f"{before.tolist()} became {tokens.ids.tolist()}")


@article(is_grid)
def rows_of_another_length_are_refused(tested: Subject, draw: Draw) -> None:
    """Too few or too many ids of a grid are refused, with the modality's name."""
    codec = tested.code()
    right = math.prod(codec.token_shape or ())
    length = draw(st.integers(0, right + 3).filter(lambda count: count != right))
    _require_refusal(tested, TokenBatch.of([[0] * length], codec.vocab_size), f"{length} ids for {right}")


@article(is_grid)
def ids_outside_the_vocabulary_are_refused(tested: Subject, draw: Draw) -> None:
    """An id of a grid that the vocabulary does not have is refused, with the modality's name."""
    codec = tested.code()
    length = math.prod(codec.token_shape or ())
    place, beyond = draw(st.integers(0, length - 1)), draw(st.integers(0, 9))
    row = [0] * length
    row[place] = codec.vocab_size + beyond
    tokens = TokenBatch.of([row], codec.vocab_size + 10)
    _require_refusal(tested, tokens, f"id {row[place]} of {codec.vocab_size}, at place {place},")


DECODING_LAWS: tuple[Article[Subject], ...] = (
    any_ids_have_a_value,
    decoded_values_fit_the_schema,
    decoded_values_can_be_encoded,
    decoded_values_stay,
    decoding_twice_is_decoding_once,
    decoding_a_batch_is_decoding_each,
    ids_are_left_alone,
    rows_of_another_length_are_refused,
    ids_outside_the_vocabulary_are_refused,
)


def _require_refusal(tested: Subject, tokens: TokenBatch, what: str) -> None:
    told = ""
    try:
        tested.code().decode(tokens)
    except CodecError as fault:
        told = str(fault)
    require(told, f"{what} are decoded" if "ids" in what else f"{what} is decoded")
    require(told.startswith(tested.name), f"{what}: the message does not name the modality: {told}")


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one == other)


def _few(tokens: TokenBatch) -> str:
    return f"{tokens.ids[:12].tolist()}{' and more' if len(tokens.ids) > 12 else ''}"
