"""Rows of chunks: the items of a set and its end token, as a column holds them and as a batch shows them.

Shapes: N rows of a column, C chunks of all rows together, P rows that are taken.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import TokenBatch
from fourm_runtime.batch import Int64, Ints, Sequences
from fourm_runtime.data.columns import Bools, Nested, cumulated, ranks
from fourm_runtime.data.order import keyed


def nested_chunks(tokens: TokenBatch, present: Bools) -> Nested:
    """Lay the chunks of encoded values out as rows.

    Args:
        tokens: the ids of the values that are there, with their chunk lengths.
        present: (N,) which rows have a value.
    """
    assert tokens.chunk_lengths is not None, "the codec of a set says where its items end"
    borders = cumulated(tokens.chunk_lengths)
    counts = np.zeros(len(present), np.int64)
    counts[present] = np.diff(np.searchsorted(borders, tokens.offsets))
    return Nested(cumulated(counts), borders, tokens.ids, present)


def take_chunks(rows: Nested, places: Int64, draws: NDArray[np.uint64] | None = None) -> Nested:
    """Take some rows, their items shuffled where draws are given; the last chunk of a row stays the last.

    Args:
        rows: the column; its views are chunks.
        places: (P,) rows of it.
        draws: (P,) a word per row, which alone decides the order of its items; None keeps the stored order.

    Returns:
        The rows taken, in the order of `places`.
    """
    counts = rows.views[places + 1] - rows.views[places]
    rank = ranks(counts)
    chunk = np.repeat(rows.views[places], counts) + rank
    if draws is not None:
        owner = np.repeat(np.arange(len(places)), counts)
        is_last = rank == np.repeat(counts, counts) - 1
        chunk = chunk[np.lexsort((keyed(np.repeat(draws, counts), rank), is_last, owner))]
    lengths = rows.bounds[chunk + 1] - rows.bounds[chunk]
    ids = rows.ids[np.repeat(rows.bounds[chunk], lengths) + ranks(lengths)]
    return Nested(cumulated(counts), cumulated(lengths), ids, rows.present[places])


def join(parts: Sequence[tuple[Int64, Nested]], rows: int) -> Sequences:
    """Put rows taken from several blocks where they belong in a batch.

    Args:
        parts: at least one; of each block (P,) places in the batch, and the rows that go there.
        rows: size of the batch; each of its places is given once.
    """
    counts, sizes = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    present = np.zeros(rows, np.bool_)
    for member, part in parts:
        counts[member], sizes[member] = np.diff(part.views), np.diff(part.bounds[part.views])
        present[member] = part.present
    chunk_starts, offsets = cumulated(counts), cumulated(sizes)
    chunk_lengths = np.zeros(int(chunk_starts[-1]), np.int64)
    ids = np.zeros(int(offsets[-1]), parts[0][1].ids.dtype)
    for member, part in parts:
        chunk_lengths[_spread(chunk_starts, member, counts)] = np.diff(part.bounds)
        ids[_spread(offsets, member, sizes)] = part.ids
    return Sequences(cast("Ints", ids), offsets, present, chunk_lengths)


def _spread(starts: Int64, member: Int64, counts: Int64) -> Int64:
    """Places of everything that rows `member` hold, where row r holds counts[r] things from starts[r] on."""
    spread: Int64 = np.repeat(starts[member], counts[member]) + ranks(counts[member])
    return spread
