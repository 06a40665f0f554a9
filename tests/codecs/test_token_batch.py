"""The batch of ids that codecs give and take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_schema.errors import CodecError


@given(rows=st.lists(st.lists(st.integers(0, 299), max_size=5), max_size=5))
def test_rows_come_back_as_they_were_laid(rows: list[list[int]]) -> None:
    batch = TokenBatch.of(rows, 300)

    assert [row.tolist() for row in batch.rows()] == rows
    assert batch.ids.dtype == np.uint16
    assert batch.offsets.tolist() == [0, *np.cumsum([len(row) for row in rows]).tolist()]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0], [1, 17]], r"^tokens, row 1, place 1: an id of this vocabulary is in \[0, 17\); got 17$"),
        ([[-1]], r"got -1$"),
        ([[0.5]], r"^tokens, row 0: ids are a flat row of integers; got float64 of shape \(1,\)$"),
        ([[[1, 2]]], r"got int64 of shape \(1, 2\)$"),
    ],
)
def test_what_is_no_id_is_refused(rows: list[list[int]], message: str) -> None:
    """A cast to uint8 would turn 300 into 44 without a word."""
    with pytest.raises(CodecError, match=message):
        TokenBatch.of(rows, 17)


def test_lengths_must_add_up() -> None:
    with pytest.raises(CodecError, match="the lengths do not add up to the ids"):
        TokenBatch(np.zeros(3, np.uint8), np.array([2, 2]))
    with pytest.raises(CodecError, match="the lengths do not add up to the ids"):
        TokenBatch(np.zeros(3, np.uint8), np.array([4, -1]))


def test_batches_are_the_same_only_row_by_row_and_type_by_type() -> None:
    batch = TokenBatch.of([[1, 2], [3]], 256)

    assert batch.same(TokenBatch.of([[1, 2], [3]], 256))
    assert not batch.same(TokenBatch.of([[1], [2, 3]], 256))
    assert not batch.same(TokenBatch.of([[1, 2], [3]], 257))


def test_chunks_are_split_at_the_borders_of_their_values() -> None:
    """A value of no ids has no chunks; the others keep theirs."""
    tokens = TokenBatch.of([[1, 2, 3], [], [4], [5, 6]], 10, chunks=[[2, 1], [], [1], [1, 1]])

    assert tokens.chunks() == [[2, 1], [], [1], [1, 1]]
    assert TokenBatch.of([], 10, chunks=[]).chunks() == []
    assert TokenBatch.of([[1]], 10).chunks() is None


@pytest.mark.parametrize("chunks", [[[2], [2]], [[1, 2], [1]], [[1, 1]], [[1, 0, 1], [2]]])
def test_chunks_that_cross_a_value_are_refused(chunks: list[list[int]]) -> None:
    """A span that starts in one value and ends in the next would be masked as one."""
    with pytest.raises(CodecError, match="the chunks do not add up to the values; got lengths"):
        TokenBatch.of([[1, 2], [3]], 10, chunks=chunks)
