"""Laws of encoding: what becomes of values, alone, together, and twice."""

import copy
import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fourm_codecs.base import Array, id_dtype
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import (
    Face,
    Subject,
    has_array,
    has_codec,
    has_declared_codec,
    is_sequence,
    keeps_ids,
)
from fourm_schema.errors import CodecError
from fourm_schema.lawbook.article import Article, Broken, Draw, article, require
from fourm_schema.strategies_extremes import extremes

MOST_TOLD = 3
"""Faults of one value that are told: one alone may not show what they have in common."""


@article(has_codec)
def law_is_kept(tested: Subject, draw: Draw) -> None:
    """Decoding keeps of a value what the law of its codec promises."""
    _require_law(tested, draw(tested.batches))


@article(has_declared_codec)
def law_is_kept_at_the_ends(tested: Subject, draw: Draw) -> None:
    """The law holds at the ends of all ranges, for empty and full sets, and for the longest texts."""
    assert tested.entry is not None
    _require_law(tested, [draw(st.sampled_from(extremes(tested.entry)))])


@article(keeps_ids)
def canonical_ids_survive(tested: Subject, draw: Draw) -> None:
    """Encoding what ids of the encoder decode to gives these ids again."""
    codec, value = tested.code(), draw(tested.values)
    tokens = codec.encode([value])
    (back,) = codec.decode(tokens)
    again = _encoded(tested, back, "what its ids decode to")
    told = f"the ids {_ids(tokens.ids)} decode to {show(back)}, whose ids are {_ids(again)}"
    require(np.array_equal(tokens.ids, again), lambda: f"{told}; the value: {show(value)}")


@article(has_codec)
def ids_are_in_range(tested: Subject, draw: Draw) -> None:
    """Every id is below the codec's vocabulary size, which is the plan's."""
    codec, value = tested.code(), draw(tested.values)
    ids = codec.encode([value]).ids
    largest = int(ids.max()) if len(ids) else 0
    require(largest < codec.vocab_size, lambda: f"id {largest} of {codec.vocab_size}: {show(value)}")
    words = getattr(tested.entry, "dialect", None) or (tested.entry and tested.entry.codec == "tokenizer")
    if tested.stream is not None and not words:
        size = tested.stream.vocab_size
        require(codec.vocab_size == size, f"the codec has {codec.vocab_size} ids, the plan {size}")


@article(has_codec)
def ids_have_the_smallest_type(tested: Subject, draw: Draw) -> None:
    """Ids are stored in the smallest unsigned type that holds the vocabulary."""
    codec = tested.code()
    dtype, smallest = codec.encode([draw(tested.values)]).ids.dtype, id_dtype(codec.vocab_size)
    require(dtype == smallest, f"ids are {dtype}, {smallest} is enough for {codec.vocab_size} of them")


@article(has_codec)
def rows_have_their_shape(tested: Subject, draw: Draw) -> None:
    """A value has as many ids as the codec's token shape, or at most as many as the plan says."""
    codec, value = tested.code(), draw(tested.values)
    (length,) = codec.encode([value]).lengths.tolist()
    if codec.token_shape is not None:
        wanted = math.prod(codec.token_shape)
        require(length == wanted, lambda: f"{length} ids in place of {wanted}: {show(value)}")
    if tested.stream is not None:
        most = tested.stream.length
        exact = codec.token_shape is None or length == most
        require(length <= most and exact, lambda: f"{length} ids, the plan says {most}: {show(value)}")


@article()
def encoding_twice_is_encoding_once(tested: Subject, draw: Draw) -> None:
    """The same value has the same tokens each time it is encoded."""
    value = draw(tested.values)
    for face in tested.faces:
        first, second = (face.rows([value])[0] for _ in range(2))
        _require_same(face, first, second, "the first time", "the second", value)


@article()
def batch_is_single(tested: Subject, draw: Draw) -> None:
    """A value has the same tokens alone as in a batch."""
    batch = draw(tested.batches)
    for face in tested.faces:
        together = face.rows(batch)
        require(len(together) == len(batch), f"{len(batch)} values became {len(together)} rows")
        for number, (value, row) in enumerate(zip(batch, together, strict=True)):
            place = f"as value {number} of {len(batch)}"
            _require_same(face, row, face.rows([value])[0], place, "alone", value)


@article()
def order_of_a_batch_is_nothing(tested: Subject, draw: Draw) -> None:
    """The order of a batch changes no value's tokens."""
    batch = draw(tested.batches)
    for face in tested.faces:
        forwards, backwards = face.rows(batch), [*face.rows(batch[::-1])][::-1]
        for number, value in enumerate(batch):
            place = f"as value {number} of {len(batch)}"
            _require_same(face, forwards[number], backwards[number], place, "in the batch reversed", value)


@article(once=True)
def empty_batch_is_a_batch(tested: Subject, draw: Draw) -> None:
    """A batch of no values becomes no rows, and is decoded to no values."""
    for face in tested.faces:
        require(len(face.rows([])) == 0, f"no values became {face.what}")
    if tested.codec is not None:
        require(len(tested.codec.decode(tested.codec.encode([]))) == 0, "no ids became values")


@article()
def values_are_left_alone(tested: Subject, draw: Draw) -> None:
    """Encoding does not change the values it is given."""
    value: Any = draw(tested.values)
    before = copy.deepcopy(value)
    for face in tested.faces:
        face.rows([value])
        require(_same(value, before), lambda: f"{show(before)} became {show(value)}")


@article(has_array)
def lists_are_arrays(tested: Subject, draw: Draw) -> None:
    """Nested lists of numbers have the tokens of the array they are."""
    value = np.asarray(draw(tested.values))
    for face in tested.faces:
        written = face.rows([value.tolist()])[0]
        _require_same(face, face.rows([value])[0], written, "as an array", "as lists", value)


@article(is_sequence)
def rows_say_where_they_end(tested: Subject, draw: Draw) -> None:
    """Ids behind the end of a row change nothing of what it says."""
    codec, value = tested.code(), draw(tested.values)
    tokens = codec.encode([value])
    # Once more, as one who runs on repeats himself; and backwards, with the end first.
    longer = [np.concatenate([tokens.ids, behind]) for behind in (tokens.ids, tokens.ids[::-1])]
    (one,) = codec.decode(tokens)
    for other in codec.decode(type(tokens).of(longer, codec.vocab_size)):
        told = f"with ids behind its end it reads {show(other)}, without {show(one)}"
        require(np.array_equal(np.asarray(one), np.asarray(other)), f"{told}; the value: {show(value)}")


ENCODING_LAWS: tuple[Article[Subject], ...] = (
    law_is_kept,
    law_is_kept_at_the_ends,
    canonical_ids_survive,
    ids_are_in_range,
    ids_have_the_smallest_type,
    rows_have_their_shape,
    encoding_twice_is_encoding_once,
    batch_is_single,
    order_of_a_batch_is_nothing,
    empty_batch_is_a_batch,
    values_are_left_alone,
    lists_are_arrays,
    rows_say_where_they_end,
)

OF_BATCHES: tuple[Article[Subject], ...] = (law_is_kept, batch_is_single)
OF_VALUES: tuple[Article[Subject], ...] = (
    rows_have_their_shape,
    ids_have_the_smallest_type,
    ids_are_in_range,
    canonical_ids_survive,
    rows_say_where_they_end,
)
LAWS_OF_VALUES: tuple[Article[Subject], ...] = (*OF_BATCHES, *OF_VALUES)
"""What a codec owes of any value: its law, ids in range, of the smallest type and of `token_shape`, the same
ids alone and in a batch, canonical ids that survive, and an end where lengths differ."""


def _require_law(tested: Subject, batch: list[object]) -> None:
    codec = tested.code()
    decoded = codec.decode(codec.encode(batch))
    require(len(decoded) == len(batch), f"{len(batch)} values came back as {len(decoded)}")
    for value, back in zip(batch, decoded, strict=True):
        if faults := codec.law.check(value, back):
            raise Broken(f"{'; '.join(faults[:MOST_TOLD])}; the value: {show(value)}")


def _encoded(tested: Subject, value: object, what: str) -> Array:
    try:
        return tested.code().encode([value]).ids
    except CodecError as fault:
        raise Broken(f"{what} cannot be encoded: {fault}") from None


def _require_same(face: Face, one: Array, other: Array, how: str, otherwise: str, value: object) -> None:
    if one.dtype == other.dtype and np.array_equal(one, other):
        return
    where = ""
    if one.shape == other.shape and one.size:
        place = tuple(int(k) for k in np.argwhere(one != other)[0]) if (one != other).any() else ()
        where = (
            f": {one[place]} and {other[place]} at {list(place)}"
            if place
            else f": {one.dtype}, {other.dtype}"
        )
    raise Broken(f"its {face.what} {how} are not those {otherwise}{where}; the value: {show(value)}")


def _same(one: object, other: object) -> bool:
    """Whether two values are equal; records may hold arrays."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(np.asarray(one), np.asarray(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _ids(ids: Array) -> str:
    shown = ids[:12].tolist()
    return f"{shown}" if len(ids) <= 12 else f"{str(shown)[:-1]}, ...]"
