"""Reads the columns of a batch the way masking needs them: how much is there, and which ids stand where."""

from collections.abc import Iterable, Sequence

import numpy as np

from fourm_runtime.batch import (
    Batch,
    Bools,
    Dense,
    DenseSequences,
    Float32,
    Grid,
    Int32,
    Int64,
    Selection,
    Sequences,
)
from fourm_schema.errors import DataError
from fourm_schema.plan import Stream


def extent(batch: Batch, stream: Stream) -> tuple[Bools, Int64]:
    """Tell which samples have a stream, and how many tokens of it.

    Returns:
        (N,) present, (N,) tokens (0 where absent).

    Raises:
        DataError: if the column is of another kind or size than the stream says.
    """
    column = batch.columns.get(stream.name)
    if column is None:
        return np.zeros(batch.size, np.bool_), np.zeros(batch.size, np.int64)
    match column:
        case Sequences() | DenseSequences():
            kind = "sequences" if isinstance(column, Sequences) else "dense sequences"
            sizes = np.diff(column.offsets).astype(np.int64)
            longest = int(sizes.max(initial=0))
            if longest > stream.length:
                rule = f"has at most {stream.length} tokens per sample"
                raise DataError(stream.name, rule, str(longest), _encode(stream))
        case Grid():
            kind, sizes = "grid", np.full(len(column.present), column.ids.shape[1])
        case Dense():
            kind, sizes = "dense", np.full(len(column.present), column.values.shape[1])
    if stream.layout == "sequence":
        wanted = "dense sequences" if stream.is_dense else "sequences"
    else:
        wanted = "dense" if stream.is_dense else "grid"
    if kind != wanted:
        raise DataError(stream.name, f"must be a column of kind {wanted!r}", repr(kind), _encode(stream))
    if len(sizes) != batch.size:
        raise DataError(stream.name, f"must have {batch.size} samples, as the batch has", str(len(sizes)))
    if stream.layout == "grid" and len(sizes) and sizes[0] != stream.length:
        raise DataError(
            stream.name, f"has {stream.length} tokens per sample", str(int(sizes[0])), _encode(stream)
        )
    return column.present, np.where(column.present, sizes, 0)


def select_cells(batch: Batch, name: str, samples: Int32, cells: Int32) -> Selection:
    """Select cells of a grid or dense stream, with the ids that stand there."""
    column = batch.columns[name]
    ids = column.ids[samples, cells].astype(np.int32) if isinstance(column, Grid) else cells
    return Selection(samples, cells, ids)


def gather(
    batch: Batch, names: Sequence[str], member: Int64, sample: Int64
) -> tuple[Int32, Int64, Int64 | None]:
    """Lay sequences end to end.

    Args:
        batch: the samples.
        names: sequence streams.
        member: (R,) which of `names` a row comes from, never decreasing.
        sample: (R,) which sample.

    Returns:
        (sum of lengths,) ids, (R + 1,) offsets, and (C,) lengths of chunks, None where each is one id. A
        vector of a sequence has its place as its id.
    """
    parts: list[Int32] = [np.empty(0, np.int32)]
    lengths: list[Int64] = [np.empty(0, np.int64)]
    chunks: list[Int64] = []
    whole = True
    for index in np.unique(member):
        column = batch.columns[names[int(index)]]
        assert isinstance(column, Sequences | DenseSequences), "extent() has checked the kind"
        chosen = sample[member == index]
        starts, sizes = column.offsets[chosen], np.diff(column.offsets)[chosen]
        ends = np.cumsum(sizes)
        within = np.arange(int(ends[-1])) - np.repeat(ends - sizes, sizes)
        lengths.append(sizes)
        if isinstance(column, DenseSequences):
            parts.append(within.astype(np.int32))
            chunks.append(np.ones(int(ends[-1]), np.int64))
            continue
        parts.append(column.ids[np.repeat(starts, sizes) + within].astype(np.int32))
        chunks.append(_chunks(column, starts, starts + sizes, int(ends[-1])))
        whole &= column.chunk_lengths is None
    offsets = np.concatenate(([0], np.cumsum(np.concatenate(lengths))))
    return np.concatenate(parts), offsets, None if whole else np.concatenate(chunks)


def _chunks(column: Sequences, starts: Int64, ends: Int64, total: int) -> Int64:
    """Lengths of the chunks of some samples, sample after sample: those of ids starts[i] .. ends[i] - 1."""
    if column.chunk_lengths is None:
        return np.ones(total, np.int64)
    borders = np.concatenate(([0], np.cumsum(column.chunk_lengths)))
    firsts, lasts = np.searchsorted(borders, starts), np.searchsorted(borders, ends)
    counts = lasts - firsts
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    lengths: Int64 = column.chunk_lengths[np.repeat(firsts, counts) + within]
    return lengths


def dense_values(batch: Batch, shown: Iterable[str]) -> dict[str, Float32 | DenseSequences]:
    """Take the numbers of the dense streams among those that are shown."""
    found: dict[str, Float32 | DenseSequences] = {}
    for name in shown:
        column = batch.columns[name]
        if isinstance(column, Dense):
            found[name] = column.values
        elif isinstance(column, DenseSequences):
            found[name] = column
    return found


def _encode(stream: Stream) -> str:
    return f"encode the column {stream.column!r} again with this schema"
