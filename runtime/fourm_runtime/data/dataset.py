"""A dataset: aligned samples of a schema's modalities, raw values and tokens side by side.

One row per sample, one column per modality, null where a sample lacks it. Every change is one commit or a
sequence of commits that can be taken up again; until a commit, readers see the version before it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self

import pyarrow as pa

from fourm_codecs.base import StoredCodec
from fourm_runtime.data import store
from fourm_runtime.data.appending import append_rows, create_dataset
from fourm_runtime.data.compaction import CleanedUp, Compacted, clean_up, compact
from fourm_runtime.data.deriving import derive_columns
from fourm_runtime.data.encoding import Progress, raw_values
from fourm_runtime.data.encoding_columns import encode_streams
from fourm_runtime.data.engines import Engine
from fourm_runtime.data.filling import Filled, FillReport, fill_rows, fill_values, unfilled
from fourm_runtime.data.layout import (
    entry_metadata,
    has_strings,
    raw_bytes,
    raw_field,
    raw_type,
    read_schema,
    schema_metadata,
)
from fourm_runtime.data.location import Location
from fourm_runtime.data.records import texts_of
from fourm_runtime.data.rows import Row
from fourm_runtime.data.status import DatasetStatus, describe
from fourm_schema.errors import DataError, nearest
from fourm_schema.modality import Modality
from fourm_schema.plan import Plan, Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

_SCAN_ROWS = 512
_SCAN_BYTES = 32 * 2**20


class Dataset:
    """A handle on one version of a dataset; its own changes move it to the version they made.

    Use `create` or `open`.
    """

    def __init__(self, place: Location, dataset: store.LanceDataset) -> None:
        self._place = place
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
        storage_options: Mapping[str, str] | None = None,
    ) -> Self:
        """Write a new dataset.

        Args:
            path: a folder, by custom `<name>.lance`; or `s3://bucket/name.lance` and the like.
            schema: what a sample may hold; it is frozen into the dataset.
            rows: mappings {modality: value or None, "id": optional name}; read once, in bounded memory.
            overwrite: make a new version without the samples that are there; old versions stay readable.
            rows_per_fragment: rows per file, the unit in which encoding is committed; None takes 16,384, or
                fewer where their raw values would be larger than 512 MiB.
            storage_options: what opens an object store (`aws_region`, `aws_endpoint`, ...), as Lance takes
                them.

        Raises:
            DataError: if there is a dataset already, or rows do not fit the schema (all at once, up to 20).
                Then nothing is stored.
        """
        place = Location.of(path, storage_options)
        return cls(place, create_dataset(place, schema, rows, overwrite, rows_per_fragment))

    @classmethod
    def open(
        cls,
        path: Path | str | Location,
        version: int | str | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> Self:
        """Open a dataset at its latest version, at a version number, or at a pinned tag.

        Args:
            path: a folder, the URI of an object store, or a location that has its storage options.
            version: which; None is the latest.
            storage_options: what opens an object store, as Lance takes them.

        Raises:
            DataError: if there is no dataset or no such version, or it was not written by this program.
        """
        place = Location.of(path, storage_options)
        return cls(place, store.open_version(place, version))

    def at(self, version: int | str | None = None) -> Self:
        """The same dataset at another version; None is the latest.

        Raises:
            DataError: if there is no such version.
        """
        return type(self)(self._place, store.open_version(self._place, version))

    @property
    def path(self) -> Path:
        """The folder; of an object store its URI, which `open` takes though a path folds its slashes."""
        return Path(str(self._place))

    @property
    def location(self) -> Location:
        """Where it lies, with what opens it: what another process opens it by."""
        return self._place

    @property
    def storage_options(self) -> Mapping[str, str]:
        """What opens the object store that it lies in."""
        return self._place.options

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

    def append(
        self, rows: Iterable[Row], rows_per_fragment: int | None = None, once: str | None = None
    ) -> int:
        """Add samples; their tokens are null until the next `encode`.

        Args:
            rows: as for `create`.
            rows_per_fragment: rows per file.
            once: a name of these rows. What was added under it before is not added again: a program that
                was killed, and cannot know whether its rows were stored, may run again.

        Returns:
            how many were added.

        Raises:
            DataError: if rows do not fit the schema (all at once, up to 20); then none is stored.
        """
        dataset, added = append_rows(self._place, rows, rows_per_fragment, once)
        self._move(dataset)
        return added

    def compact(self, rows_per_fragment: int | None = None) -> Compacted:
        """Merge small files of rows into larger ones, in a version of its own; others may read and write.

        Only neighbours are merged, and none that is encoded or filled with one that is not. Merged rows may
        come to stand behind younger ones; their sample numbers stay.

        Args:
            rows_per_fragment: rows of a merged file at most; None takes what `create` takes.
        """
        done = compact(self._place, rows_per_fragment)
        self._move(store.open_version(self._place))
        return done

    def clean_up(self, older_than: timedelta = timedelta(days=7)) -> CleanedUp:
        """Remove older versions, and files that they alone need; pinned versions and the latest stay.

        Whoever reads an old version without a pin cannot go on. Files that no version refers to are kept for
        7 days: a writer may be about to commit them.
        """
        return clean_up(self._place, older_than)

    def add_modality(self, schema: Schema) -> None:
        """Take over a schema with more modalities, or with changed entries; no stored value is rewritten.

        New modalities are null everywhere; give them values by `fill`. A changed entry that tokens depend on
        makes these stale: encode them anew.

        Raises:
            DataError: if a modality that the dataset has is missing, or its raw values would be laid out
                differently.
        """
        self._move(store.open_version(self._place))
        missing = [name for name in self._schema.modalities if name not in schema.modalities]
        if missing:
            mend = "keep them; `role` and masks say what a model uses"
            raise DataError(
                str(self._place), "has modalities that the schema lacks", got=", ".join(missing), mend=mend
            )
        stored_as = {column.name: column.type for column in self._dataset.schema}
        for name, modality in schema.modalities.items():
            stored = stored_as.get(name)
            if stored is not None and stored != raw_type(modality):
                raise DataError(
                    f"{self._place} column {name}", f"is stored as {stored}",
                    got=f"a schema entry that needs {raw_type(modality)}",
                    mend="import the raw values again, or add the modality under another name",
                )  # fmt: skip
        fresh = [raw_field(schema, name) for name in schema.modalities if name not in stored_as]
        if fresh:
            store.add_columns(self._place, pa.schema(fresh))
        entries = {name: entry_metadata(schema, name) for name in schema.modalities if name in stored_as}
        self._move(store.set_metadata(self._place, schema_metadata(schema), entries))

    def fill(self, modality: str, values: Callable[[Sequence[str]], Sequence[object]]) -> None:
        """Give a modality that was added later its raw values; fragments that have some are passed over.

        Args:
            modality: its name.
            values: called with the ids of a few hundred samples; returns a value, or None, for each.

        Raises:
            DataError: if a value does not fit the schema; fragments finished before stay filled.
        """
        self._move(store.open_version(self._place))
        fill_values(self._place, modality, self._entry(modality), values)
        self._move(store.open_version(self._place))

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
        report = fill_rows(self._place, rows, modalities, skip_unknown, progress)
        self._move(store.open_version(self._place))
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
        done = derive_columns(self._place, modalities, progress)
        self._move(store.open_version(self._place))
        return done

    def encode(
        self,
        codecs: Mapping[str, StoredCodec],
        streams: Sequence[str] | None = None,
        progress: Progress | None = None,
        replace: bool = False,
        engine: Engine | None = None,
    ) -> None:
        """Fill token columns, fragment by fragment; a killed run goes on where it was.

        Args:
            codecs: modality -> its codec.
            streams: token streams (or modalities) to encode; None encodes those of every given codec.
            progress: called with (stream, rows done, rows in all).
            replace: encode stale columns anew; without it they are refused.
            engine: who does the work on each fragment; None does it here.

        Raises:
            DataError: if a stream has no codec, a column is stale, or a value cannot be encoded.
        """
        self._move(store.open_version(self._place))
        for name in codecs:
            self._entry(name, ", but has a codec")
        encode_streams(self._place, codecs, streams, replace, progress, engine)
        self._move(store.open_version(self._place))

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
        return describe(self._place, self._dataset, self._schema, self._plan, codecs or {})

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
        for batch in store.batches(self._dataset, self._place, [modality], _SCAN_ROWS):
            for value in batch.column(0).to_pylist():
                yield from texts_of(entry, value)

    def values(self, modality: str) -> Iterator[list[object]]:
        """Every raw value of a modality in chunks, as they were given, in the order of the rows; none absent.

        Raises:
            DataError: if it is no modality of this dataset.
        """
        entry = self._entry(modality)
        rows = max(1, min(_SCAN_ROWS, _SCAN_BYTES // max(raw_bytes(entry), 1)))
        for batch in store.batches(self._dataset, self._place, [modality], rows):
            yield [value for value in raw_values(entry, batch.column(0)) if value is not None]

    def pin(self, tag: str) -> None:
        """Name this version, so that no clean-up removes it while a run reads it.

        Raises:
            DataError: if the name stands for another version already.
        """
        known = self._dataset.tags.list().get(tag)
        if known is not None and known["version"] != self.version:
            raise DataError(
                f"{self._place} tag {tag!r}",
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
        self._schema = read_schema(dataset.schema, str(self._place))
        self._plan = resolve(self._schema)
