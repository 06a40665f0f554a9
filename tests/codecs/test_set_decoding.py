"""Decoding sets together: the same records as row by row, whatever the rows hold."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.set_decoding import decode_columns
from fourm_codecs.sets import COLUMNS_FROM, SetCodec
from fourm_schema.strategies import values as values_of
from tests.codecs.drawn_sets import sets
from tests.codecs.signs import codec_of


def columns(codec: SetCodec, tokens: TokenBatch) -> list[bool]:
    """Which rows are read together."""
    found = decode_columns(tokens, codec.automaton, codec._forms, codec._order)
    return [False] * len(tokens) if found is None else [records is not None for records in found]


def damaged(row: list[int], vocab_size: int, rng: np.random.Generator) -> list[int]:
    """A row with one slip of a writer, or none."""
    at = int(rng.integers(len(row) + 1))
    match rng.integers(6):
        case 0:
            return [*row[:at], int(rng.integers(vocab_size)), *row[at:]]
        case 1:
            return row[:at] + row[at + 1 :]
        case 2:
            return row[:at]
        case 3:
            return row[at:] + row
        case 4:
            return [int(identity) for identity in rng.permutation(row)]
    return row


@given(st.data())
def test_many_rows_have_the_records_that_each_has_alone(data: st.DataObject) -> None:
    """To the last bit, and in the same order; whole rows are read together, others as they are alone."""
    entry = data.draw(sets())
    codec, rng = codec_of(entry), np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = data.draw(st.lists(values_of(entry), min_size=COLUMNS_FROM, max_size=COLUMNS_FROM + 2))
    whole = [row.tolist() for row in codec.encode(values).rows()]
    rows = [*whole, *(damaged(row, codec.vocab_size, rng) for row in whole)]
    tokens = TokenBatch.of(rows, codec.vocab_size)

    alone = [codec.decode(TokenBatch.of([row], codec.vocab_size))[0] for row in rows]
    together = codec.decode(tokens)

    assert repr(together) == repr(alone)
    read_together = columns(codec, tokens)
    assert all(read_together[: len(whole)]) != any(field.type == "text" for field in entry.fields.values())
    for row, read in zip(rows, read_together, strict=True):
        (reading,) = codec.decode_with_report(TokenBatch.of([row], codec.vocab_size))
        assert not (read and reading.damage)


@given(st.data())
def test_any_ids_have_the_same_records_together_and_alone(data: st.DataObject) -> None:
    """Rows without an end too, and those without ids: none is read on into the next."""
    codec = codec_of(data.draw(sets()))
    ids = st.integers(0, codec.vocab_size - 1)
    rows = data.draw(st.lists(st.lists(ids, max_size=12), min_size=COLUMNS_FROM, max_size=12))
    alone = [codec.decode(TokenBatch.of([row], codec.vocab_size))[0] for row in rows]

    assert repr(codec.decode(TokenBatch.of(rows, codec.vocab_size))) == repr(alone)
