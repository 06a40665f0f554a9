"""Blocks of consecutive rows as they lie in memory, and rows of many blocks gathered into a batch.

Columns of one shape and type lie side by side, so that gathering takes as many NumPy calls for twenty columns
as for two.

Shapes: B rows of a block, N rows of a batch, P of them from one block, K columns side by side, V views.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import attrs
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fourm_runtime.batch import Bools, Int64, Ints, Sequences
from fourm_runtime.data.chunks import join, take_chunks
from fourm_runtime.data.columns import (
    Nested,
    Numbers,
    Ragged,
    cumulated,
    is_ragged,
    ranks,
    read_fixed,
    read_nested,
    read_ragged,
)


@attrs.frozen(eq=False)
class Fixed:
    """Columns of equally long rows.

    Attributes:
        names: of the columns.
        table: (B, K, numbers).
        present: (B, K) False where the row is null.
    """

    names: tuple[str, ...]
    table: Numbers
    present: Bools


@attrs.frozen(eq=False)
class Texts:
    """Columns of rows that hold a few views each, and views that hold ids.

    Attributes:
        names: of the columns.
        views: (B, K) the first view of each row.
        counts: (B, K) its views; 0 where the row is null.
        starts, lengths: (V + 1,) where a view's ids begin, and how many there are; the last is empty.
        ids: the ids of all views.
        present: (B, K) False where the row is null.
        alone: no row has more than one view.
    """

    names: tuple[str, ...]
    views: Int64
    counts: Int64
    starts: Int64
    lengths: Int64
    ids: Numbers
    present: Bools
    alone: bool


@attrs.frozen(eq=False)
class Block:
    """Consecutive rows.

    Attributes:
        samples: (B,) numbers of the samples.
        fixed, texts: columns of one type side by side.
        chunks: columns of sets.
        ragged: columns of sequences of vectors.
    """

    samples: Int64
    fixed: tuple[Fixed, ...]
    texts: tuple[Texts, ...]
    chunks: Mapping[str, Nested]
    ragged: Mapping[str, Ragged]


Parts = Sequence[tuple[Int64, Int64, Block]]
"""Per block: (P,) places in the batch, (P,) the rows of the block that go there, the block."""


def read_block(samples: Int64, table: pa.Table, sets: frozenset[str]) -> Block:
    """Lay columns out in memory.

    Args:
        samples: (B,) numbers of the samples.
        table: the columns.
        sets: names of the columns whose views are the chunks of a set.
    """
    fixed: dict[tuple[str, int], dict[str, tuple[Numbers, Bools]]] = {}
    texts: dict[str, dict[str, Nested]] = {}
    chunks: dict[str, Nested] = {}
    ragged: dict[str, Ragged] = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_fixed_size_list(column.type):
            numbers, present = read_fixed(column)
            fixed.setdefault((numbers.dtype.str, numbers.shape[1]), {})[name] = numbers, present
        elif is_ragged(column.type):
            ragged[name] = read_ragged(column)
        elif name in sets:
            chunks[name] = read_nested(column)
        else:
            nested = read_nested(column)
            texts.setdefault(nested.ids.dtype.str, {})[name] = nested
    return Block(
        samples,
        tuple(_side_by_side(columns) for columns in fixed.values()),
        tuple(_texts(columns) for columns in texts.values()),
        chunks,
        ragged,
    )


def _side_by_side(columns: Mapping[str, tuple[Numbers, Bools]]) -> Fixed:
    tables, present = zip(*columns.values(), strict=True)
    return Fixed(tuple(columns), np.stack(tables, axis=1), np.stack(present, axis=1))


def _texts(columns: Mapping[str, Nested]) -> Texts:
    views, starts, lengths = [], [], []
    view, first = 0, 0
    for column in columns.values():
        views.append(column.views + view)
        starts.append(column.bounds[:-1] + first)
        lengths.append(np.diff(column.bounds))
        view += len(column.bounds) - 1
        first += len(column.ids)
    counts = np.stack([np.diff(rows) for rows in views], axis=1)
    empty = np.zeros(1, np.int64)
    return Texts(
        names=tuple(columns),
        views=np.stack([rows[:-1] for rows in views], axis=1),
        counts=counts,
        starts=np.concatenate([*starts, empty]),
        lengths=np.concatenate([*lengths, empty]),
        ids=np.concatenate([column.ids for column in columns.values()]),
        present=np.stack([column.present for column in columns.values()], axis=1),
        alone=bool(counts.max(initial=0) <= 1),
    )


def gather_fixed(parts: Parts, rows: int) -> dict[str, tuple[Numbers, Bools]]:
    """Rows of all columns of equally long rows: name -> (N, numbers), (N,) present."""
    found: dict[str, tuple[Numbers, Bools]] = {}
    for number, first in enumerate(parts[0][2].fixed):
        table = np.empty((rows, *first.table.shape[1:]), first.table.dtype)
        present = np.empty((rows, len(first.names)), np.bool_)
        for member, place, block in parts:
            table[member] = block.fixed[number].table[place]
            present[member] = block.fixed[number].present[place]
        for index, name in enumerate(first.names):
            found[name] = table[:, index], np.ascontiguousarray(present[:, index])
    return found


def gather_texts(parts: Parts, draws: NDArray[np.uint64], rows: int) -> dict[str, Sequences]:
    """One view of each row of all columns of texts.

    Args:
        parts: the rows.
        draws: (N,) any words; a row with k views shows view draws[n] mod k.
        rows: N.
    """
    found: dict[str, Sequences] = {}
    for number, first in enumerate(parts[0][2].texts):
        width = len(first.names)
        lengths = np.zeros((width, rows), np.int64)
        present = np.zeros((width, rows), np.bool_)
        chosen = []
        for member, place, block in parts:
            texts = block.texts[number]
            view = texts.views[place]
            counts = texts.counts[place]
            if not texts.alone:
                turn = draws[member, None] % np.maximum(counts, 1).astype(np.uint64)
                view += turn.astype(np.int64)
            # A null row shows the empty view: its own would be the next row's.
            view[counts == 0] = -1
            lengths[:, member] = texts.lengths[view].T
            present[:, member] = texts.present[place].T
            chosen.append(texts.starts[view])
        offsets = cumulated(lengths.ravel())
        flat = np.empty(int(offsets[-1]), first.ids.dtype)
        for (member, _, block), starts in zip(parts, chosen, strict=True):
            sizes = lengths[:, member].ravel()
            where = offsets[np.arange(width)[:, None] * rows + member].ravel()
            _copy(block.texts[number].ids, starts.T.ravel(), flat, where, sizes)
        for index, name in enumerate(first.names):
            bounds = offsets[index * rows : (index + 1) * rows + 1]
            ids = as_ids(flat[bounds[0] : bounds[-1]])
            found[name] = Sequences(ids, bounds - bounds[0], present[index])
    return found


def gather_chunks(parts: Parts, name: str, draws: NDArray[np.uint64] | None, rows: int) -> Sequences:
    """Rows of one set, its items shuffled by `draws`, if given."""
    taken = []
    for member, place, block in parts:
        shuffled = None if draws is None else draws[member]
        taken.append((member, take_chunks(block.chunks[name], place, shuffled)))
    return join(taken, rows)


def gather_ragged(parts: Parts, name: str, rows: int) -> Ragged:
    """Rows of one column of sequences of vectors."""
    lengths, present = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    for member, place, block in parts:
        column = block.ragged[name]
        lengths[member] = (column.bounds[1:] - column.bounds[:-1])[place]
        present[member] = column.present[place]
    bounds = cumulated(lengths)
    first = parts[0][2].ragged[name].vectors
    vectors = np.zeros((int(bounds[-1]), first.shape[1]), first.dtype)
    for member, place, block in parts:
        column = block.ragged[name]
        _copy(column.vectors, column.bounds[place], vectors, bounds[member], lengths[member])
    return Ragged(bounds, vectors, present)


def _copy(source: Numbers, starts: Int64, target: Numbers, places: Int64, sizes: Int64) -> None:
    """Copy runs: source[starts[i] : starts[i] + sizes[i]] to target[places[i] :]."""
    rank = ranks(sizes)
    target[np.repeat(places, sizes) + rank] = source[np.repeat(starts, sizes) + rank]


def as_ids(numbers: Numbers) -> Ints:
    """Numbers of a token column."""
    assert np.issubdtype(numbers.dtype, np.unsignedinteger), "token columns hold unsigned ids"
    return cast("Ints", numbers)
