"""Batches from several datasets at once: each sample has what its own dataset has, and lacks the rest.

Shapes: N samples of a batch, P of them from one dataset.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourm_runtime.batch import Batch, Column, Dense, DenseSequences, Grid, Int64, Sequences
from fourm_runtime.data.columns import cumulated, ranks

SAMPLES_APART = 2**48
"""Samples are numbered within their dataset; this far apart, no two of a mixture share their masks."""

C = TypeVar("C", Grid, Dense, Sequences, DenseSequences)
Part = tuple[Int64, C]


class BatchReader(Protocol):
    """What reads the samples of one dataset."""

    def batch(self, rows: ArrayLike, epoch: ArrayLike = 0, seed: int = 0) -> Batch:
        """Read samples, in the order of `rows`."""
        ...


class MixedReader:
    """Reads batches whose rows are counted over several datasets, as `MixedOrder` counts them.

    Args:
        readers: one per dataset.
        rows: rows of each dataset.
    """

    def __init__(self, readers: Sequence[BatchReader], rows: Sequence[int]) -> None:
        assert len(readers) == len(rows), "a reader for each dataset"
        self._readers = tuple(readers)
        self._firsts = cumulated(np.asarray(rows, np.int64))

    def batch(self, rows: ArrayLike, epoch: ArrayLike = 0, seed: int = 0) -> Batch:
        """Read samples.

        Args:
            rows: (N,) row numbers over all datasets, in any order, repeated or not.
            epoch: the epoch in which they are seen, or (N,) one for each.
            seed: the run's seed.

        Returns:
            a column per stream that one of the datasets has, samples in the order of `rows`.
        """
        wanted = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        assert not wanted.size or (wanted.min() >= 0 and wanted.max() < self._firsts[-1]), "rows exist"
        epochs = np.broadcast_to(np.asarray(epoch, np.int64), wanted.shape)
        numbers = np.searchsorted(self._firsts, wanted, side="right") - 1
        # A rank without samples still needs columns of the right shape and type.
        sources = np.unique(numbers).tolist() if len(wanted) else [0]
        parts = []
        for number in sources:
            here = np.flatnonzero(numbers == number)
            read = self._readers[number].batch(wanted[here] - self._firsts[number], epochs[here], seed)
            parts.append((here, Batch(read.sample_ids + number * SAMPLES_APART, read.columns)))
        return join_batches(parts, len(wanted))


def join_batches(parts: Sequence[tuple[Int64, Batch]], size: int) -> Batch:
    """Put samples of several batches where they belong in one.

    Args:
        parts: (P,) places in the batch, and the samples that go there.
        size: N; each place is given once.

    Returns:
        a column per stream that one of the parts has, absent in the samples of the others.
    """
    samples = np.zeros(size, np.int64)
    for places, batch in parts:
        samples[places] = batch.sample_ids
    names = dict.fromkeys(name for _, batch in parts for name in batch.columns)
    columns: dict[str, Column] = {}
    for name in names:
        found = [(places, batch.columns[name]) for places, batch in parts if name in batch.columns]
        columns[name] = _JOIN[type(found[0][1])](found, size)
    return Batch(samples, columns)


def _grids(parts: Sequence[Part[Grid]], size: int) -> Grid:
    return Grid(_table([(places, grid.ids) for places, grid in parts], size), _present(parts, size))


def _dense(parts: Sequence[Part[Dense]], size: int) -> Dense:
    return Dense(_table([(places, dense.values) for places, dense in parts], size), _present(parts, size))


def _sequences(parts: Sequence[Part[Sequences]], size: int) -> Sequences:
    offsets, spread = _places([(places, column.offsets) for places, column in parts], size)
    ids = _flat([(where, column.ids) for where, (_, column) in zip(spread, parts, strict=True)], offsets)
    return Sequences(ids, offsets, _present(parts, size), _chunk_lengths(parts, size))


def _chunk_lengths(parts: Sequence[Part[Sequences]], size: int) -> Int64 | None:
    """Chunks of all samples; one stream is chunked everywhere or nowhere."""
    bounds, chunks = [], []
    for places, column in parts:
        if column.chunk_lengths is None:
            return None
        borders = cumulated(column.chunk_lengths)
        bounds.append((places, np.searchsorted(borders, column.offsets).astype(np.int64)))
        chunks.append(column.chunk_lengths)
    offsets, spread = _places(bounds, size)
    return _flat(list(zip(spread, chunks, strict=True)), offsets)


def _dense_sequences(parts: Sequence[Part[DenseSequences]], size: int) -> DenseSequences:
    offsets, spread = _places([(places, column.offsets) for places, column in parts], size)
    found = [(where, column.values) for where, (_, column) in zip(spread, parts, strict=True)]
    return DenseSequences(_flat(found, offsets), offsets, _present(parts, size))


_JOIN = cast(
    "Mapping[type[Column], Callable[[Sequence[tuple[Int64, Column]], int], Column]]",
    {Grid: _grids, Dense: _dense, Sequences: _sequences, DenseSequences: _dense_sequences},
)

A = TypeVar("A", bound=np.generic)


def _table(parts: Sequence[tuple[Int64, NDArray[A]]], size: int) -> NDArray[A]:
    first = parts[0][1]
    table = np.zeros((size, *first.shape[1:]), first.dtype)
    for places, rows in parts:
        table[places] = rows
    return table


def _present(parts: Sequence[Part[C]], size: int) -> NDArray[np.bool_]:
    present = np.zeros(size, np.bool_)
    for places, column in parts:
        present[places] = column.present
    return present


def _places(parts: Sequence[tuple[Int64, Int64]], size: int) -> tuple[Int64, list[Int64]]:
    """Offsets of the joined rows, and of each part where its things go."""
    lengths = np.zeros(size, np.int64)
    for places, offsets in parts:
        lengths[places] = np.diff(offsets)
    joined = cumulated(lengths)
    spread = [np.repeat(joined[places], lengths[places]) + ranks(lengths[places]) for places, _ in parts]
    return joined, spread


def _flat(parts: Sequence[tuple[Int64, NDArray[A]]], offsets: Int64) -> NDArray[A]:
    first = parts[0][1]
    flat = np.zeros((int(offsets[-1]), *first.shape[1:]), first.dtype)
    for places, things in parts:
        flat[places] = things
    return flat
