"""A dataset: aligned samples of a schema's modalities, raw values and tokens side by side.

One row per sample, one column per modality, null where a sample lacks it. Every change is one commit or a
sequence of commits that can be taken up again; until a commit, readers see the version before it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import attrs
import pyarrow as pa

from fourm_codecs.base import StoredCodec
from fourm_runtime.data import store
from fourm_runtime.data.deriving import derive_columns
from fourm_runtime.data.encoding import (
    Progress,
    StreamStatus,
    encode_stream,
    raw_values,
    stale_error,
    status_of,
)
from fourm_runtime.data.filling import Filled, FillReport, fill_rows, fill_values, unfilled
from fourm_runtime.data.layout import (
    entry_metadata,
    has_strings,
    raw_bytes,
    raw_field,
    raw_type,
    read_schema,
    schema_metadata,
    table_schema,
)
from fourm_runtime.data.records import texts_of
from fourm_runtime.data.rows import Row
from fourm_runtime.data.staging import write_rows
from fourm_schema.errors import DataError, nearest
from fourm_schema.modality import Modality
from fourm_schema.plan import Plan, Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

_SCAN_ROWS = 512
_SCAN_BYTES = 32 * 2**20


@attrs.frozen
class DatasetStatus:
    """What a dataset holds.

    Attributes:
        path: where it lies.
        version: the version this describes.
        rows: its samples.
        present: modality -> samples that have it.
        streams: how far each token stream is encoded.
        pins: tag -> version.
    """

    path: str
    version: int
    rows: int
    present: Mapping[str, int]
    streams: tuple[StreamStatus, ...]
    pins: Mapping[str, int]


class Dataset:
    """A handle on one version of a dataset; its own changes move it to the version they made.

    Use `create` or `open`.
    """

    def __init__(self, path: Path, dataset: store.LanceDataset) -> None:
        self._path = path
        self._schema: Schema
        self._plan: Plan
        self._move(dataset)

    @classmethod
    def create(
        cls,
        path: Path | str,
        schema: Schema,
        rows: Iterable[Row] = (),
        overwrite: bool = False,
        rows_per_fragment: int | None = None,
    ) -> Self:
        """Write a new dataset.

        Args:
            path: a folder, by custom `<name>.lance`.
            schema: what a sample may hold; it is frozen into the dataset.
            rows: mappings {modality: value or None, "id": optional name}; read once, in bounded memory.
            overwrite: make a new version without the samples that are there; old versions stay readable.
            rows_per_fragment: rows per file, the unit in which encoding is committed; None takes 16,384, or
                fewer where their raw values would be larger than 512 MiB.

        Raises:
            DataError: if there is a dataset already, or rows do not fit the schema (all at once, up to 20).
                Then nothing is stored.
        """
        folder = Path(path)
        taken = store.exists(folder)
        if taken and not overwrite:
            raise DataError(
                str(folder), "is a dataset already", mend="append to it, or overwrite it (overwrite=True)"
            )
        if not taken and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(
                str(folder), "is taken by something that is no dataset", mend="name another folder"
            )
        table_schema(schema)
        folder.mkdir(parents=True, exist_ok=True)
        with store.sole_writer(folder):
            dataset = write_rows(folder, schema, rows, rows_per_fragment, None)
        return cls(folder, dataset)

    @classmethod
    def open(cls, path: Path | str, version: int | str | None = None) -> Self:
        """Open a dataset at its latest version, at a version number, or at a pinned tag.

        Raises:
            DataError: if there is no dataset or no such version, or it was not written by this program.
        """
        folder = Path(path)
        return cls(folder, store.open_version(folder, version))

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def schema(self) -> Schema:
        """The schema that the dataset was written with."""
        return self._schema

    @property
    def plan(self) -> Plan:
        """The streams of the dataset's schema."""
        return self._plan

    @property
    def rows(self) -> int:
        """Samples of this version."""
        return int(self._dataset.count_rows())

    @property
    def version(self) -> int:
        """Number of the version that this handle reads."""
        return int(self._dataset.version)

    @property
    def unfilled(self) -> tuple[str, ...]:
        """Modalities that were added later, and have not been filled in all samples."""
        return unfilled(self._dataset, self._schema)

    @property
    def arrow(self) -> store.LanceDataset:
        """The Lance dataset, for what this class does not offer."""
        return self._dataset

    def append(self, rows: Iterable[Row], rows_per_fragment: int | None = None) -> int:
        """Add samples; their tokens are null until the next `encode`.

        Returns:
            how many were added.

        Raises:
            DataError: if rows do not fit the schema (all at once, up to 20); then none is stored.
        """
        with store.sole_writer(self._path):
            latest = store.open_version(self._path)
            before = int(latest.count_rows())
            schema = read_schema(latest.schema, str(self._path))
            dataset = write_rows(self._path, schema, rows, rows_per_fragment, latest)
        self._move(dataset)
        return self.rows - before

    def add_modality(self, schema: Schema) -> None:
        """Take over a schema with more modalities, or with changed entries; no stored value is rewritten.

        New modalities are null everywhere; give them values by `fill`. A changed entry that tokens depend on
        makes these stale: encode them anew.

        Raises:
            DataError: if a modality that the dataset has is missing, or its raw values would be laid out
                differently.
        """
        self._move(store.open_version(self._path))
        missing = [name for name in self._schema.modalities if name not in schema.modalities]
        if missing:
            mend = "keep them; `role` and masks say what a model uses"
            raise DataError(
                str(self._path), "has modalities that the schema lacks", got=", ".join(missing), mend=mend
            )
        stored_as = {column.name: column.type for column in self._dataset.schema}
        for name, modality in schema.modalities.items():
            stored = stored_as.get(name)
            if stored is not None and stored != raw_type(modality):
                raise DataError(
                    f"{self._path} column {name}", f"is stored as {stored}",
                    got=f"a schema entry that needs {raw_type(modality)}",
                    mend="import the raw values again, or add the modality under another name",
                )  # fmt: skip
        fresh = [raw_field(schema, name) for name in schema.modalities if name not in stored_as]
        if fresh:
            store.add_columns(self._path, pa.schema(fresh))
        entries = {name: entry_metadata(schema, name) for name in schema.modalities if name in stored_as}
        self._move(store.set_metadata(self._path, schema_metadata(schema), entries))

    def fill(self, modality: str, values: Callable[[Sequence[str]], Sequence[object]]) -> None:
        """Give a modality that was added later its raw values; fragments that have some are passed over.

        Args:
            modality: its name.
            values: called with the ids of a few hundred samples; returns a value, or None, for each.

        Raises:
            DataError: if a value does not fit the schema; fragments finished before stay filled.
        """
        self._move(store.open_version(self._path))
        fill_values(self._path, modality, self._entry(modality), values)
        self._move(store.open_version(self._path))

    def fill_rows(
        self,
        rows: Iterable[Row],
        modalities: Sequence[str] | None = None,
        skip_unknown: bool = False,
        progress: Progress | None = None,
    ) -> FillReport:
        """Give modalities that were added later their raw values, from rows that name the samples.

        Args:
            rows: mappings {"id": a sample's, modality: value or None}, in any order; read once, in bounded
                memory. A sample without a value lacks the modality from then on.
            modalities: which to fill; other keys of the rows do not matter then. None takes all that rows
                give and that were not filled before.
            skip_unknown: leave out rows with ids that no sample has; without it they are refused.
            progress: called with (modality, samples done, samples in all).

        Raises:
            DataError: if all was filled before, or rows do not fit (all at once, up to 20). Then nothing is
                stored. A fill that was cut off goes on where it was.
        """
        report = fill_rows(self._path, rows, modalities, skip_unknown, progress)
        self._move(store.open_version(self._path))
        return report

    def derive(
        self, modalities: Sequence[str] | None = None, progress: Progress | None = None
    ) -> tuple[Filled, ...]:
        """Compute derived modalities that were added later from the columns that they name.

        What samples are stored with is computed then; this is for modalities that a schema derives anew.

        Args:
            modalities: which; None takes all that were never given values.
            progress: called with (modality, samples done, samples in all).

        Raises:
            DataError: if one is not derived, has values already, or cannot be computed. Fragments finished
                before stay filled; a killed call goes on where it was.
            MissingExtraError: if the libraries that a computation needs are not installed.
        """
        done = derive_columns(self._path, modalities, progress)
        self._move(store.open_version(self._path))
        return done

    def encode(
        self,
        codecs: Mapping[str, StoredCodec],
        streams: Sequence[str] | None = None,
        progress: Progress | None = None,
        replace: bool = False,
    ) -> None:
        """Fill token columns, fragment by fragment; a killed run goes on where it was.

        Args:
            codecs: modality -> its codec.
            streams: token streams (or modalities) to encode; None encodes those of every given codec.
            progress: called with (stream, rows done, rows in all).
            replace: encode stale columns anew; without it they are refused.

        Raises:
            DataError: if a stream has no codec, a column is stale, or a value cannot be encoded.
        """
        self._move(store.open_version(self._path))
        for name in codecs:
            self._entry(name, ", but has a codec")
        chosen = [stream for stream in self.token_streams if stream.modality in codecs]
        if streams is not None:
            chosen = [self._plan.stream(name) for name in streams]
        for stream in chosen:
            if stream.is_dense:
                raise DataError(stream.name, "is shown dense and has no ids to encode")
            if stream.modality not in codecs:
                mend = f"given: {', '.join(sorted(codecs)) or 'none'}"
                raise DataError(stream.name, "no codec is given for it", mend=mend)
        # A stale column must not show up after an hour of encoding another.
        if not replace:
            for stream in chosen:
                status = status_of(self._dataset, self._schema, stream, codecs[stream.modality])
                if status.state == "stale":
                    raise stale_error(self._path, stream, status)
        for stream in chosen:
            encode_stream(self._path, self._schema, stream, codecs[stream.modality], replace, progress)
            self._move(store.open_version(self._path))

    @property
    def token_streams(self) -> tuple[Stream, ...]:
        """The streams that have a token column."""
        return tuple(stream for stream in self._plan.streams if not stream.is_dense)

    def status(self, codecs: Mapping[str, StoredCodec] | None = None) -> DatasetStatus:
        """What this version holds, and which token columns are missing, partial, encoded or stale.

        Args:
            codecs: modality -> codec to compare the columns with; without one, only a changed schema entry
                counts as stale.
        """
        given = codecs or {}
        present = {
            name: int(self._dataset.count_rows(filter=f"`{name}` IS NOT NULL"))
            for name in self._schema.modalities
        }
        streams = tuple(
            status_of(self._dataset, self._schema, stream, given.get(stream.modality))
            for stream in self.token_streams
        )
        pins = {name: int(tag["version"]) for name, tag in self._dataset.tags.list().items()}
        return DatasetStatus(str(self._path), self.version, self.rows, present, streams, pins)

    def texts(self, modality: str) -> Iterator[str]:
        """Every string of a text modality, all alternatives of a sample included, in the order of the rows;
        or of the text fields of a set.

        Raises:
            DataError: if it is no modality of this dataset with texts.
        """
        entry = self._schema.modalities.get(modality)
        if entry is None or not has_strings(modality, entry):
            known = [name for name, other in self._schema.modalities.items() if has_strings(name, other)]
            raise DataError(modality, "is no text modality of this dataset", mend=nearest(modality, known))
        for batch in self._dataset.to_batches(columns=[modality], batch_size=_SCAN_ROWS, scan_in_order=True):
            for value in batch.column(0).to_pylist():
                yield from texts_of(entry, value)

    def values(self, modality: str) -> Iterator[list[object]]:
        """Every raw value of a modality in chunks, as they were given, in the order of the rows; none absent.

        Raises:
            DataError: if it is no modality of this dataset.
        """
        entry = self._entry(modality)
        rows = max(1, min(_SCAN_ROWS, _SCAN_BYTES // max(raw_bytes(entry), 1)))
        for batch in self._dataset.to_batches(columns=[modality], batch_size=rows, scan_in_order=True):
            yield [value for value in raw_values(entry, batch.column(0)) if value is not None]

    def pin(self, tag: str) -> None:
        """Name this version, so that no clean-up removes it while a run reads it.

        Raises:
            DataError: if the name stands for another version already.
        """
        known = self._dataset.tags.list().get(tag)
        if known is not None and known["version"] != self.version:
            raise DataError(
                f"{self._path} tag {tag!r}",
                f"stands for version {known['version']}",
                got=f"version {self.version}",
                mend="choose another name",
            )
        if known is None:
            self._dataset.tags.create(tag, self.version)

    def _entry(self, name: str, besides: str = "") -> Modality:
        entry = self._schema.modalities.get(name)
        if entry is None:
            mend = nearest(name, list(self._schema.modalities))
            raise DataError(name, f"is no modality of this dataset{besides}", mend=mend)
        return entry

    def _move(self, dataset: store.LanceDataset) -> None:
        self._dataset = dataset
        self._schema = read_schema(dataset.schema, str(self._path))
        self._plan = resolve(self._schema)
