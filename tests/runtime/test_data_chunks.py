"""Sets in a batch: chunks as they are stored, and orders that a sample's own hash decides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_runtime.batch import Sequences
from fourm_runtime.data.chunks import join, nested_chunks, take_chunks
from fourm_runtime.data.columns import Nested, read_nested, write_nested

ITEMS = st.lists(st.integers(0, 255), min_size=1, max_size=4)
ROWS = st.lists(st.none() | st.lists(ITEMS, min_size=1, max_size=5), min_size=1, max_size=8)
"""Rows of chunks; the last of each stands for the end token. None is absent."""


def nested(rows: list[list[list[int]] | None]) -> Nested:
    """The rows as a dataset gives them back."""
    chunks = [chunk for row in rows if row is not None for chunk in row]
    tokens = TokenBatch(
        np.array([token for chunk in chunks for token in chunk], np.uint8),
        np.array([sum(map(len, row)) for row in rows if row is not None], np.int64),
        np.array([len(chunk) for chunk in chunks], np.int64),
    )
    return read_nested(write_nested(nested_chunks(tokens, np.array([row is not None for row in rows]))))


def shown(column: Sequences) -> list[list[list[int]] | None]:
    """The chunks of each sample."""
    assert column.chunk_lengths is not None
    borders = np.cumsum(column.chunk_lengths)
    chunks = [part.tolist() for part in np.split(column.ids, borders)[:-1]]
    first = np.searchsorted(borders, column.offsets[:-1], side="right")
    last = np.searchsorted(borders, column.offsets[1:], side="right")
    return [
        chunks[start:stop] if there else None
        for start, stop, there in zip(first, last, column.present, strict=True)
    ]


@given(ROWS)
def test_chunks_survive_storage(rows: list[list[list[int]] | None]) -> None:
    """list<list<uint>> holds the borders, and null rows stay apart from sets without items."""
    everything = take_chunks(nested(rows), np.arange(len(rows)))

    assert shown(join([(np.arange(len(rows)), everything)], len(rows))) == rows


@given(ROWS, st.data())
def test_rows_of_several_blocks_come_together_in_the_order_they_were_asked_for(
    rows: list[list[list[int]] | None], data: st.DataObject
) -> None:
    """A batch straddles blocks, and may ask for a row twice."""
    stored = nested(rows)
    asked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)), np.int64)
    even = np.flatnonzero(asked % 2 == 0)
    odd = np.flatnonzero(asked % 2 == 1)
    parts = [(part, take_chunks(stored, asked[part])) for part in (even, odd)]

    assert shown(join(parts, len(asked))) == [rows[row] for row in asked]


@given(ROWS, st.integers(0, 2**64 - 1))
def test_a_random_order_moves_items_whole_and_leaves_the_end_at_the_end(
    rows: list[list[list[int]] | None], word: int
) -> None:
    """Items change places, nothing else: the same set under the grammar."""
    places = np.arange(len(rows))
    draws = np.full(len(rows), word, np.uint64)
    mixed = shown(join([(places, take_chunks(nested(rows), places, draws))], len(rows)))

    for before, after in zip(rows, mixed, strict=True):
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            assert after[-1] == before[-1]
            assert sorted(after[:-1]) == sorted(before[:-1])


def test_the_word_alone_decides_the_order() -> None:
    """The same sample in the same epoch has the same order in any batch; other words give every order."""
    row: list[list[int]] | None = [[1], [2, 2], [3, 3, 3], [0]]
    draws = np.arange(600, dtype=np.uint64)
    many = shown(join([(np.arange(600), take_chunks(nested([row]), np.zeros(600, np.int64), draws))], 600))
    alone = shown(
        join([(np.zeros(1, np.int64), take_chunks(nested([row]), np.zeros(1, np.int64), draws[7:8]))], 1)
    )

    assert alone[0] == many[7]
    orders = [tuple(chunk[0] for chunk in one) for one in many if one is not None]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert min(counts) > 60


def test_the_orders_of_a_few_words_are_pinned() -> None:
    """Published: a run that is resumed years later shows its items in the same order."""
    row: list[list[int]] | None = [[1], [2, 2], [3], [4], [0]]
    draws = np.array([0, 1, 2, 2**63], np.uint64)
    mixed = shown(join([(np.arange(4), take_chunks(nested([row]), np.zeros(4, np.int64), draws))], 4))

    assert [[chunk[0] for chunk in one] for one in mixed if one is not None] == [
        [2, 3, 1, 4, 0],
        [2, 3, 1, 4, 0],
        [1, 4, 3, 2, 0],
        [4, 3, 1, 2, 0],
    ]
