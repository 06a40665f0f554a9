"""A dataset, block by block -> its profile. Memory holds one block, whatever the dataset holds."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from fourm_runtime.data.columns import is_present, is_ragged, one_array, read_fixed, read_ragged
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.layout import ID, raw_bytes, raw_shape
from fourm_runtime.profiling.arrays import ClassMapGatherer, ImageGatherer, VectorGatherer
from fourm_runtime.profiling.copies import CopyCounter, Hashes, hashes_of, mixed
from fourm_runtime.profiling.findings import find
from fourm_runtime.profiling.record import Lengths, ModalityProfile, Part, Profile
from fourm_runtime.profiling.records import SetGatherer, TextGatherer
from fourm_runtime.profiling.tokens import TokenGatherer
from fourm_runtime.training.recipe import Recipe
from fourm_schema.modality import Categorical, Image, Modality, Set, Text, Vector
from fourm_schema.plan import Stream

Progress = Callable[[str, int, int], None]

_BLOCK_ROWS = 512
_BLOCK_BYTES = 32 * 2**20

_Gatherer: TypeAlias = ClassMapGatherer | ImageGatherer | VectorGatherer | TextGatherer | SetGatherer


def profile(
    dataset: Dataset,
    sample: int | None = None,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Look at every value and token of a dataset, once.

    Args:
        dataset: the version to look at.
        sample: look at so many samples only, in runs that are evenly spread; None looks at all.
        recipe: whose budgets the tokens of a sample are held against.
        progress: called with ("samples", looked at, to look at).

    Returns:
        counts, statistics, copies, and what a person should act on.
    """
    states = {status.stream: status.state for status in dataset.status().streams}
    streams = [stream for stream in dataset.token_streams if stream.column in dataset.arrow.schema.names]
    columns = {name: _Column(entry) for name, entry in dataset.schema.modalities.items()}
    tokens = {stream.name: _tokens_of(dataset, stream, states[stream.name]) for stream in streams}
    dense = [stream for stream in dataset.plan.streams if stream.is_dense]
    rows, ids, lengths = CopyCounter(), CopyCounter(), Counter[int]()
    done, total = 0, dataset.rows if sample is None else min(sample, dataset.rows)
    for block in _blocks(dataset, [ID, *columns, *(stream.column for stream in streams)], total):
        hashes = {name: column.add(block.column(name)) for name, column in columns.items()}
        rows.add(mixed(hashes.values()))
        ids.add(hashes_of(_encoded(block.column(ID).to_pylist())))
        counts = np.zeros(len(block), np.int64)
        for stream in streams:
            counts += tokens[stream.name].add(block.column(stream.column))
        for stream in dense:
            counts += _dense_tokens(stream, block.column(stream.modality))
        lengths.update(counts.tolist())
        done += len(block)
        if progress is not None:
            progress("samples", done, total)
    found = Profile(
        path=str(dataset.path),
        version=dataset.version,
        rows=dataset.rows,
        profiled=done,
        findings=(),
        modalities={name: column.finished() for name, column in columns.items()},
        streams={name: gatherer.finished() for name, gatherer in tokens.items()},
        tokens_per_sample=Lengths(dict(sorted(lengths.items())), None),
        copies=rows.finished(),
        same_ids=ids.finished().copies,
    )
    return find(found, dataset.schema, dataset.plan, states, recipe)


class _Column:
    """What is gathered of one modality."""

    def __init__(self, entry: Modality) -> None:
        self._entry = entry
        self._gatherer = _gatherer(entry)
        self._copies = CopyCounter()
        self._present = 0

    def add(self, column: pa.Array) -> Hashes:
        """Take in a block of the column; give back the hash of each value."""
        present = is_present(column)
        self._present += int(present.sum())
        hashes = self._fixed(column) if pa.types.is_fixed_size_list(column.type) else self._other(column)
        self._copies.add(hashes[present])
        return hashes

    def _fixed(self, column: pa.Array) -> Hashes:
        table, present = read_fixed(column)
        values = table[present].reshape(-1, *raw_shape(self._entry))
        if isinstance(self._gatherer, ClassMapGatherer | ImageGatherer | VectorGatherer) and len(values):
            self._gatherer.add(values)
        return hashes_of(row.tobytes() if there else None for row, there in zip(table, present, strict=True))

    def _other(self, column: pa.Array) -> Hashes:
        if is_ragged(column.type):
            ragged = read_ragged(column)
            lengths = np.diff(ragged.bounds)
            if isinstance(self._gatherer, VectorGatherer):
                self._gatherer.add(ragged.vectors, lengths[ragged.present])
            parts = np.split(ragged.vectors, ragged.bounds[1:-1])
            return hashes_of(
                part.tobytes() if there else None for part, there in zip(parts, ragged.present, strict=True)
            )
        values = column.to_pylist()
        there = [value for value in values if value is not None]
        if isinstance(self._gatherer, TextGatherer | SetGatherer):
            self._gatherer.add(there)
        return hashes_of(_encoded(values))

    def finished(self) -> ModalityProfile:
        """What was gathered."""
        parts, odd = dict[str, Part](), dict[str, int]()
        if self._gatherer is not None and self._present:
            parts, odd = self._gatherer.finished()
        return ModalityProfile(self._entry.kind, self._present, parts, self._copies.finished(), odd)


def _gatherer(entry: Modality) -> _Gatherer | None:
    """What gathers the values of a modality; nothing where they are token ids already."""
    if entry.codec == "ids":
        return None
    match entry:
        case Image(cell=Categorical() as cell):
            return ClassMapGatherer(cell)
        case Image():
            return ImageGatherer(entry)
        case Vector():
            return VectorGatherer(entry)
        case Set():
            return SetGatherer(entry)
        case Text():
            return TextGatherer(entry)


def _blocks(dataset: Dataset, columns: Sequence[str], total: int) -> Iterator[pa.RecordBatch]:
    """Some columns of all rows in blocks of bounded size, or of as many rows, in runs evenly spread."""
    row_bytes = sum(map(raw_bytes, dataset.schema.modalities.values()))
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(row_bytes, 1)))
    if total == dataset.rows:
        yield from dataset.arrow.to_batches(columns=list(columns), batch_size=rows, scan_in_order=True)
        return
    runs = -(-total // rows)
    sizes = [total // runs + (run < total % runs) for run in range(runs)]
    for run, size in enumerate(sizes):
        start = (dataset.rows - size) * run // max(runs - 1, 1)
        taken = dataset.arrow.take(pa.array(range(start, start + size), pa.int64()), columns=list(columns))
        yield from taken.combine_chunks().to_batches()


def _tokens_of(dataset: Dataset, stream: Stream, state: str) -> TokenGatherer:
    special = dataset.plan.special(stream) if stream.layout == "sequence" and stream.codec != "ids" else None
    return TokenGatherer(stream, state, special)


def _dense_tokens(stream: Stream, column: pa.Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    present = is_present(column)
    if is_ragged(column.type):
        return np.where(present, np.diff(one_array(column).offsets.to_numpy()), 0).astype(np.int64)
    return np.where(present, stream.length, 0).astype(np.int64)


def _encoded(values: Sequence[object]) -> Iterator[bytes | None]:
    """Texts and lists as bytes that tell them apart."""
    for value in values:
        yield (
            None
            if value is None
            else (value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass")
        )
