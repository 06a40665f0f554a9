"""Sequences that no encoder writes: what can be read is kept, the rest is reported, and nothing is lost."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.lawbook.set_validity import record_faults
from fourm_codecs.lawbook.subject import DrawnSet
from fourm_codecs.set_reading import Damage, Reading
from fourm_codecs.sets import SetCodec
from fourm_schema.modality import Set
from tests.codecs.drawn_sets import WORDS, sets
from tests.codecs.signs import FAR, NEAR, SIGNS, codec_of, fields

ROWS = 100
"""Of each drawn schema; a hundred schemas make ten thousand rows."""


def read(codec: SetCodec, rows: list[list[int]]) -> list[Reading]:
    return codec.decode_with_report(TokenBatch.of(rows, codec.vocab_size))


def whole_set(codec: DrawnSet, rng: np.random.Generator) -> list[int]:
    """Ids of a set that the grammar admits, each step drawn evenly."""
    grammar, ids = codec.automaton, list[int]()
    state = grammar.start
    while not grammar.is_final(state):
        choices = np.flatnonzero(grammar.allowed(state, 1000))
        ids.append(int(choices[rng.integers(len(choices))]))
        state = grammar.step(state, ids[-1]) or grammar.start
    return ids


def harmed(codec: DrawnSet, rng: np.random.Generator) -> list[int]:
    """A whole set with up to three slips of a writer."""
    ids = whole_set(codec, rng)
    for _ in range(int(rng.integers(1, 4))):
        place, other = (int(k) for k in rng.integers(0, max(len(ids), 1), 2))
        match int(rng.integers(5)):
            case 0:
                del ids[place : place + 1]
            case 1:
                ids.insert(place, int(rng.integers(codec.vocab_size)))
            case 2:
                ids[place : place + 1] = [int(rng.integers(codec.vocab_size))]
            case 3:
                ids = ids[:place]
            case 4 if ids:
                ids[place], ids[other] = ids[other], ids[place]
    return ids


def strewn(codec: DrawnSet, rng: np.random.Generator) -> list[int]:
    """Noise among runs that follow the grammar."""
    grammar, row = codec.automaton, list[int]()
    state = grammar.start
    for word in rng.integers(2**32, size=30).tolist():
        choices = np.flatnonzero(grammar.allowed(state, 12))
        if word % 8 == 0 or not len(choices):
            row.append(word % codec.vocab_size)
            state = grammar.start
        else:
            row.append(int(choices[word % len(choices)]))
            state = grammar.step(state, row[-1]) or grammar.start
            # An end token among them is rare enough for most of the row to be read.
            if grammar.is_final(state):
                state = grammar.start
                row[-1:] = [row[-1]] if word % 3 == 0 else []
    return row


def uniform(codec: DrawnSet, rng: np.random.Generator) -> list[int]:
    return [int(k) for k in rng.integers(0, codec.vocab_size, rng.integers(0, 40))]


KINDS: tuple[Callable[[DrawnSet, np.random.Generator], list[int]], ...] = (
    uniform, strewn, harmed, harmed, whole_set,
)  # fmt: skip


@settings(max_examples=100)
@given(sets(), st.integers(0, 2**32 - 1))
def test_ten_thousand_rows_of_any_ids_are_read_and_accounted_for(entry: Set, seed: int) -> None:
    """A fifth each of noise, of noise among items and of whole sets, two fifths with slips: reading never
    fails, what it gives is a value of the schema, and each id is in a record, is the end, or is damage."""
    codec, rng = codec_of(entry), np.random.default_rng(seed)
    rows = [KINDS[number % len(KINDS)](codec, rng) for number in range(ROWS)]
    readings = read(codec, rows)
    values = [reading.records for reading in readings]
    again = codec.encode(values)

    for row, reading in zip(rows, readings, strict=True):
        assert record_faults(entry, reading.records, WORDS) == []
        assert_covered(codec, row, reading)
        parses = codec.automaton.chunk_lengths(row) is not None
        cut = [found for found in reading.damage if "is cut to" in found.what]
        assert parses == (len(reading.damage) == len(cut))
    if entry.order != "random":
        assert codec.decode(again) == values
    for length, reading in zip(again.lengths.tolist(), codec.decode_with_report(again), strict=True):
        assert reading.damage == ()
        assert [*itertools.chain(*(range(*span) for span in reading.spans))] == list(range(length - 1))


def assert_covered(codec: SetCodec, row: list[int], reading: Reading) -> None:
    """Require each id to be accounted for once, and each record to be what its own ids say."""
    end = codec.automaton.special.end
    places = [place for span in reading.spans for place in range(*span)]
    lost = [
        place
        for found in reading.damage
        if "is cut to" not in found.what
        for place in range(found.start, found.stop)
    ]
    ends = [row.index(end)] if end in row else []

    assert sorted([*places, *lost, *ends]) == list(range(len(row)))
    assert all(0 <= found.start <= found.stop <= len(row) for found in reading.damage)
    alone = codec.decode(
        TokenBatch.of([[*row[span.start : span.stop], end] for span in reading.spans], codec.vocab_size)
    )
    assert alone == [[record] for record in reading.records]


@pytest.mark.parametrize(
    ("harm", "kept", "damage"),
    [
        (lambda ids: ids, [0, 1], []),
        (lambda ids: ids[:-1], [0, 1], [(17, 17, "the end token is missing")]),
        (lambda ids: [*ids, 0, 5], [0, 1], [(18, 20, "after the end token")]),
        (lambda ids: [0, *ids], [0, 1], [(0, 1, "id 0 at place 0 cannot be written in field 'box'")]),
        (
            lambda ids: ids[:3] + ids[4:],
            [1],
            [(0, 9, "id {label} at place 3 cannot be written in field 'box'")],
        ),
        (
            lambda ids: ids[:14],
            [0],
            [(10, 14, "the row ends within field 'label'"), (14, 14, "the end token is missing")],
        ),
        (
            lambda ids: ids[:10] * 5 + ids[-1:],
            [0, 0, 0],
            [(30, 50, "after 3 items, the most there can be")],
        ),
    ],
)
def test_what_parses_is_kept_and_what_does_not_is_reported(
    harm: Callable[[list[int]], list[int]], kept: list[int], damage: list[tuple[int, int, str]]
) -> None:
    """A model's slip in one item costs that item, not the picture."""
    codec = codec_of(SIGNS)
    tokens = codec.encode([[NEAR, FAR]])
    whole, ids = codec.decode(tokens)[0], [int(identity) for identity in tokens.ids]
    (reading,) = read(codec, [harm(ids)])

    assert reading.records == [whole[k] for k in kept]
    assert reading.damage == tuple(
        Damage(start, stop, what.format(label=ids[4])) for start, stop, what in damage
    )


def test_records_come_in_the_order_of_the_schema_and_say_where_they_were_read() -> None:
    """A model may write the far sign first; confidences are looked up by place."""
    codec = codec_of(SIGNS)
    ids = [int(identity) for identity in codec.encode([[NEAR, FAR]]).ids]
    turned = [*ids[10:17], *ids[:10], ids[-1]]
    ((near, far),) = codec.decode(TokenBatch.of([turned], codec.vocab_size))
    (reading,) = read(codec, [turned])

    assert (near["label"], far["label"]) == ("猫", "stop")
    assert reading.records == [near, far] and reading.spans == ((7, 17), (0, 7))
    assert reading.damage == ()
    places = codec.sort_places(turned)
    assert [turned[place] for place in places] == ids


def test_a_text_that_needs_more_tokens_than_it_was_read_from_is_cut_and_reported() -> None:
    """Pieces in an order no encoder writes can spell a text that takes more of them."""
    codec = codec_of(fields(says={"type": "text", "vocabulary": "words", "max_tokens": 3}))
    pieces = {piece: place for place, piece in enumerate(WORDS.pieces)}
    start = codec.vocab_size - (WORDS.size - WORDS.special.size)
    end_of_text, end = start - 1, codec.automaton.special.end
    odd = next(
        pair
        for pair in itertools.product((p for p in pieces if p.startswith("##")), repeat=2)
        if len(WORDS.pieces_of([WORDS.text_of([WORDS.special.size + pieces[p] for p in pair])])[0]) > 2
    )
    (reading,) = read(codec, [[*(start + pieces[piece] for piece in odd), end_of_text, end]])

    assert reading.damage == (Damage(0, 3, "field 'says' is cut to the length it may have"),)
    assert codec.encode([reading.records]).ids.tolist()[-1] == end
