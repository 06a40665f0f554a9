"""Rows of a dataset -> `Batch`: blocks of rows are read whole, kept for a while, and gathered in memory.

Reading a block of 512 rows costs little more than reading one row, so random rows are never read one by
one, unless a row alone is as large as a page of many (dense pictures).

Shapes: N rows of a batch, B rows of a block, L tokens of a grid, C numbers per dense token.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from fourm_codecs.dense import DenseView
from fourm_runtime.batch import Batch, Bools, Column, Dense, DenseSequences, Grid, Int64
from fourm_runtime.data.blocks import (
    Block,
    as_ids,
    gather_chunks,
    gather_fixed,
    gather_ragged,
    gather_texts,
    read_block,
)
from fourm_runtime.data.columns import Numbers, Ragged, is_ragged, read_fixed, read_ragged
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.encoding import StreamStatus, status_of
from fourm_runtime.data.layout import SAMPLE, raw_bytes
from fourm_runtime.data.location import Location
from fourm_runtime.data.order import keyed, sample_hash
from fourm_runtime.masking.draws import name_word
from fourm_schema.errors import DataError
from fourm_schema.modality import Modality, Set
from fourm_schema.plan import Plan, Stream

BLOCK_ROWS = 512
CACHED_BLOCKS = 40
"""Two pools of 16 blocks (a step may straddle them), and a few more for steps that are read ahead."""

_WIDE_BYTES = 16_384
_THREADS = 2


class Reader:
    """Reads batches of a plan's streams from one version of a dataset. Many threads may use one reader.

    Sent to another process it opens the dataset there anew, in the same version: handles do not travel.

    Args:
        dataset: the version to read.
        plan: the model's streams; those that the dataset does not have are absent from its batches.
        streams: names of the streams to read; None reads all of the plan. Other columns are not touched.
        cache_blocks: blocks of 512 rows that are kept; at least the 16 of a pool of the order.

    Raises:
        DataError: if a stream means something else in the dataset than in the plan, is not encoded, or is
            stale; or if the dataset has none of the streams.
    """

    def __init__(
        self,
        dataset: Dataset,
        plan: Plan,
        streams: Sequence[str] | None = None,
        cache_blocks: int = CACHED_BLOCKS,
    ) -> None:
        assert cache_blocks > 0, "the block that is being read is kept"
        wanted = plan.streams if streams is None else tuple(plan.stream(name) for name in streams)
        self._streams = tuple(stream for stream in wanted if stream.name in dataset.plan.names)
        if not self._streams:
            raise DataError(
                str(dataset.path),
                "has none of the streams",
                got=", ".join(stream.name for stream in wanted),
                mend=f"it has: {', '.join(dataset.plan.names)}",
            )
        for stream in self._streams:
            _check_stream(dataset, stream)
        self._told = dataset.location, dataset.version, plan, streams, cache_blocks
        self._dataset = dataset.arrow
        self._rows = dataset.rows
        self._views = {
            stream.name: DenseView.from_entry(stream.modality, dataset.schema.modalities[stream.modality])
            for stream in self._streams
            if stream.is_dense
        }
        self._orders = {
            stream.name: int(name_word(stream.name))
            for stream in self._streams
            if _has_random_order(dataset.schema.modalities[stream.modality])
        }
        wide = {
            stream.column
            for stream in self._streams
            if stream.is_dense and raw_bytes(dataset.schema.modalities[stream.modality]) >= _WIDE_BYTES
        }
        self._wide = sorted(wide)
        self._narrow = sorted({stream.column for stream in self._streams} - wide)
        self._sets = frozenset(stream.column for stream in self._streams if stream.kind == "set")
        self._cache_blocks = cache_blocks
        self._cache: OrderedDict[int, Block] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="reader")

    def __reduce__(self) -> tuple[object, ...]:
        return _reopened, self._told

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that a batch holds."""
        return self._streams

    def batch(self, rows: ArrayLike, epoch: ArrayLike = 0, seed: int = 0) -> Batch:
        """Read samples.

        Args:
            rows: (N,) row numbers, in any order, repeated or not.
            epoch: the epoch in which they are seen, or (N,) one for each: a step may straddle two.
            seed: with the epoch and the sample's own number it decides which alternative text is shown, and
                in which order the items of a set with `order: random` stand.

        Returns:
            one column per stream that the dataset has, samples in the order of `rows`.
        """
        wanted = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self._rows):
            got = f"{int(wanted.min())} to {int(wanted.max())}"
            raise DataError(self._dataset.uri, f"has rows 0 to {self._rows - 1}", got=got)
        numbers, places = np.divmod(wanted, BLOCK_ROWS)
        distinct, which = np.unique(numbers, return_inverse=True)
        if not distinct.size:
            # A rank without samples still needs columns of the right shape and type.
            distinct = np.zeros(1, np.int64)
        blocks = self._blocks(distinct.tolist())
        members = [np.flatnonzero(which == index) for index in range(len(blocks))]
        parts = [(members[i], places[members[i]], blocks[i]) for i in range(len(blocks))]

        samples = np.zeros(len(wanted), np.int64)
        for member, place, block in parts:
            samples[member] = block.samples[place]
        draws = sample_hash(seed, epoch, samples)
        tables, ragged = self._take_wide(wanted)
        tables |= gather_fixed(parts, len(wanted))
        texts = gather_texts(parts, draws, len(wanted))
        columns: dict[str, Column] = {}
        for stream in self._streams:
            if stream.kind == "set":
                # A word of its own per set: equal orders would tell which items belong together.
                word = self._orders.get(stream.name)
                turns = None if word is None else keyed(draws, word)
                columns[stream.name] = gather_chunks(parts, stream.column, turns, len(wanted))
            elif stream.layout == "sequence" and stream.is_dense:
                found = ragged.get(stream.column) or gather_ragged(parts, stream.column, len(wanted))
                columns[stream.name] = self._vectors(stream, found)
            elif stream.layout == "sequence":
                columns[stream.name] = texts[stream.column]
            else:
                table, present = tables[stream.column]
                columns[stream.name] = (
                    self._dense(stream, table, present) if stream.is_dense else Grid(as_ids(table), present)
                )
        return Batch(samples, columns)

    def close(self) -> None:
        """Let the threads and the cache go."""
        self._threads.shutdown()
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _dense(self, stream: Stream, table: Numbers, present: Bools) -> Dense:
        # What `DenseView.encode` does, in float32 and without its checks: stored values have passed them.
        # Patches are cut while the numbers are still small, since moving bytes is what takes the time.
        view = self._views[stream.name]
        tokens = view.patches(table.reshape(-1, *view.shape))
        values = _scaled(view, tokens)
        values[~present] = 0.0
        return Dense(values, present)

    def _vectors(self, stream: Stream, rows: Ragged) -> DenseSequences:
        return DenseSequences(_scaled(self._views[stream.name], rows.vectors), rows.bounds, rows.present)

    def _blocks(self, numbers: list[int]) -> list[Block]:
        with self._lock:
            found = {number: self._cache[number] for number in numbers if number in self._cache}
        # Two threads may read one block at once; the result is the same, and neither waits for the other.
        missing = [number for number in numbers if number not in found]
        found |= zip(missing, self._threads.map(self._read_block, missing), strict=True)
        with self._lock:
            for number in numbers:
                self._cache[number] = found[number]
                self._cache.move_to_end(number)
            while len(self._cache) > max(self._cache_blocks, 1):
                self._cache.popitem(last=False)
        return [found[number] for number in numbers]

    def _read_block(self, number: int) -> Block:
        first = number * BLOCK_ROWS
        table = self._take(np.arange(first, min(first + BLOCK_ROWS, self._rows)), [SAMPLE, *self._narrow])
        return read_block(table[SAMPLE].to_numpy(), table.select(self._narrow), self._sets)

    def _take_wide(self, rows: Int64) -> tuple[dict[str, tuple[Numbers, Bools]], dict[str, Ragged]]:
        """Columns whose single rows are large enough to be read alone: of fixed size, and of sequences."""
        if not self._wide:
            return {}, {}
        table = self._take(rows, self._wide)
        loose = [name for name in self._wide if is_ragged(table.schema.field(name).type)]
        fixed = {name: read_fixed(table[name]) for name in self._wide if name not in loose}
        return fixed, {name: read_ragged(table[name]) for name in loose}

    def _take(self, rows: Int64, columns: list[str]) -> pa.Table:
        try:
            return self._dataset.take(pa.array(rows), columns=columns)
        except OSError as error:
            raise DataError(
                f"{self._dataset.uri} version {self._dataset.version}",
                "cannot be read any more",
                got=str(error).splitlines()[0][:200],
                mend="was it cleaned up? pin the version a run reads",
            ) from error


def _reopened(
    place: Location, version: int, plan: Plan, streams: Sequence[str] | None, cache_blocks: int
) -> Reader:
    return Reader(Dataset.open(place, version), plan, streams, cache_blocks)


def _check_stream(dataset: Dataset, stream: Stream) -> None:
    """Refuse a stream whose stored values are not what the plan takes them for."""
    where = f"{dataset.path} column {stream.column}"
    stored = dataset.plan.stream(stream.name)
    for key in ("kind", "layout", "length", "grid", "dense_dim", "vocab_size", "codec"):
        ours, theirs = getattr(stream, key), getattr(stored, key)
        if ours != theirs:
            raise DataError(
                where,
                f"{stream.name} has {key} {ours!r} in the model's schema",
                got=f"{theirs!r} in the dataset's",
                mend="train with the dataset's schema, or import the samples under the model's",
            )
    if stream.is_dense:
        return
    status: StreamStatus = status_of(dataset.arrow, dataset.schema, stored)
    mend = f"encode first: fourm data encode {dataset.path}"
    if status.state == "missing":
        raise DataError(where, f"{stream.name} has no tokens", mend=mend)
    if status.state == "partial":
        raise DataError(
            where, f"{stream.name} has tokens for {status.encoded_rows} of {dataset.rows} rows", mend=mend
        )
    if status.state == "stale":
        raise DataError(where, f"{stream.name} has stale tokens: {status.why}", mend=f"{mend} --replace")


def _has_random_order(modality: Modality) -> bool:
    return isinstance(modality, Set) and modality.order == "random"


def _scaled(view: DenseView, tokens: Numbers) -> NDArray[np.float32]:
    """Bring stored numbers to the scale of the network, (..., C)."""
    repeats = view.token_dim // len(view.centre)
    values = np.subtract(tokens, np.tile(np.asarray(view.centre, np.float32), repeats), dtype=np.float32)
    values /= np.tile(np.asarray(view.scale, np.float32), repeats)
    return values
