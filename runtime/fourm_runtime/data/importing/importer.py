"""A source of samples -> a dataset, in one commit, whatever happens on the way.

Rows are read in a shuffled order, checked, and written in files that no version refers to; each complete file
is written down in a journal. At the end one commit makes all of them the dataset. A killed import goes on
after its last complete file: no row is lost or stored twice, as the order is a function of the position.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import pyarrow as pa

from fourm_runtime.data import staged_files, store
from fourm_runtime.data.importing.journal import (
    QUARANTINE,
    RECORD,
    Journal,
    Progressed,
    folder_of,
    is_hardly_begun,
    is_unfinished,
)
from fourm_runtime.data.importing.order import ImportOrder
from fourm_runtime.data.importing.quarantine import Quarantine, Reason, TooManyFaultsError, summary
from fourm_runtime.data.importing.sources.source import Source
from fourm_runtime.data.importing.views import CROP, Views
from fourm_runtime.data.layout import ID, table_schema
from fourm_runtime.data.location import Location
from fourm_runtime.data.raw_values import Stored
from fourm_runtime.data.rows import Checker, LocatedRow, rows_per_chunk
from fourm_runtime.data.staging import fragment_rows
from fourm_schema.errors import DataError, Fault
from fourm_schema.load import dump_schema
from fourm_schema.schema import Schema

_ORDERED = 4096
_TOLD = 32
"""Samples between two words of progress."""

Progress = Callable[[str, int, int], None]


@attrs.frozen
class ImportSettings:
    """How samples are imported.

    Attributes:
        seed: of the order of the rows; None keeps that of the source.
        strict: fail at the first sample that cannot be stored.
        max_bad: share of the samples that may be left out for faults.
        overwrite: make a new version without the samples that are there.
        restart: forget an import that was cut off.
        rows_per_fragment: rows per file; None takes what `Dataset.create` does.
        views: how the samples are brought to the size of the schema.
        state: folder for the journal, the list of what cannot be stored and the report of an import into an
            object store; None takes `NAME.lance.import` in the current folder. That of a folder keeps them
            in itself.
    """

    seed: int | None = 0
    strict: bool = False
    max_bad: float = 0.1
    overwrite: bool = False
    restart: bool = False
    rows_per_fragment: int | None = None
    views: Views = attrs.field(factory=Views)
    state: Path | None = None


@attrs.frozen
class ImportReport:
    """What an import did.

    Attributes:
        path: the dataset.
        format: of the source.
        version: that it made.
        samples: rows that are stored.
        quarantined: samples of the source that could not be stored.
        quarantine: the file that says why; None if there were none.
        reasons: the rules that they break.
        seed: of the order; None where it is that of the source.
        resumed: whether an import that was cut off went on.
        notes: what of the source or of the schema found no counterpart.
    """

    path: str
    format: str
    version: int
    samples: int
    quarantined: int
    quarantine: str | None
    reasons: tuple[Reason, ...]
    seed: int | None
    resumed: bool
    notes: tuple[str, ...]


def import_source(
    path: Path | str | Location,
    schema: Schema,
    source: Source,
    settings: ImportSettings | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Write a new dataset, or a new version of one, from a source.

    Args:
        path: the dataset's folder; or a location in an object store.
        schema: what a sample may hold; it is frozen into the dataset.
        source: the samples.
        settings: how.
        progress: called with ("samples", samples dealt with, samples in all).

    Raises:
        DataError: if there is a dataset already, the source is empty, or another import was cut off here.
        TooManyFaultsError: if too many samples cannot be stored. Then nothing is stored; after any other
            error the same import goes on where it was, and until then the dataset is as it was.
    """
    place = Location.of(path)
    how = settings or ImportSettings()
    if not len(source):
        raise DataError(source.place, "holds no sample")
    how.views.check(schema)
    columns = how.views.columns(table_schema(schema))
    if place.folder is not None and how.state is not None:
        mend = "leave --state out: a dataset in a folder keeps its journal in itself"
        raise DataError(str(place), "is not in an object store", mend=mend)
    folder = how.state or folder_of(place)
    # Where there is no lock on the dataset, that on the journal keeps imports of this machine apart.
    locked = place.folder or folder
    if how.restart and is_unfinished(folder):
        with store.sole_writer(locked):
            Journal(place, folder, None).abandon()
    _require_room(place, folder, how.overwrite)
    try:
        locked.mkdir(parents=True, exist_ok=True)
        with store.sole_writer(locked):
            # Another import may have ended while this one waited.
            _require_room(place, folder, how.overwrite)
            return _import(place, folder, schema, source, columns, how, progress)
    except OSError as error:
        raise _cannot_write(place, error) from error


def _import(
    place: Location,
    folder: Path,
    schema: Schema,
    source: Source,
    columns: pa.Schema,
    how: ImportSettings,
    progress: Progress | None,
) -> ImportReport:
    journal = Journal(place, folder, _about(place, schema, source, how))
    if journal.is_committed():
        return _finish(place, folder, journal, source, how, int(store.open_version(place).version))
    with journal.quarantine() as file:
        quarantine = Quarantine(
            str(place), file, journal.at.quarantined, len(source), how.max_bad, how.strict
        )
        try:
            _write(place, columns, journal, _Importer(schema, source, how, quarantine, progress), how)
        except TooManyFaultsError:
            journal.abandon()
            raise
    record = {
        "path": source.place,
        "format": source.kind,
        "seed": how.seed,
        "samples": len(source),
        "run": journal.run,
    }
    kept = columns.with_metadata({**columns.metadata, RECORD: json.dumps(record)})
    version = staged_files.commit_rows(place, journal.fragments, kept, appends=False).version
    return _finish(place, folder, journal, source, how, int(version))


class _Importer:
    """Rows of a source from some position on, as record batches.

    Attributes:
        error: what was raised while rows were read, if anything was.
        at: where the source stands after the rows of the last file.
    """

    def __init__(
        self,
        schema: Schema,
        source: Source,
        how: ImportSettings,
        quarantine: Quarantine,
        progress: Progress | None,
    ) -> None:
        self.schema, self._source, self._views = schema, source, how.views
        self._quarantine, self._progress = quarantine, progress
        self._checker = Checker(schema)
        self._order = ImportOrder(source.chunks, how.seed, source.chunk_bytes)
        self._chunk = rows_per_chunk(schema.modalities.values())
        self.error: BaseException | None = None
        self.at = Progressed()

    @property
    def rows(self) -> int:
        """Samples of the source."""
        return self._order.rows

    def batches(self, at: Progressed, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of one file: `size`, or a few more, as all views of a sample lie in one file.

        Nothing is raised here, since the storage reads this from a thread of its own: after the end, look
        at `error`, and only then at `at`.
        """
        try:
            yield from self._batches(at, size)
        except BaseException as error:
            self.error = error

    def _batches(self, at: Progressed, size: int) -> Iterator[pa.RecordBatch]:
        position, stored, left = at.position, at.stored, size
        chunk: list[dict[str, Stored | None]] = []
        for position, index in self._rows(at.position):
            chunk += self._sample(index)
            if self._progress is not None and (position % _TOLD == 0 or position == self.rows):
                self._progress("samples", position, self.rows)
            if self._quarantine.is_full:
                chunk = []
            if chunk and (len(chunk) >= min(self._chunk, left) or position == self.rows):
                yield self._checker.batch(chunk, stored, self._views.fields)
                stored, left, chunk = stored + len(chunk), left - len(chunk), []
                if left <= 0:
                    break
        self._quarantine.close()
        self.at = Progressed(position, stored, self._quarantine.samples, self._quarantine.flush())

    def _rows(self, start: int) -> Iterator[tuple[int, int]]:
        """Position after each row of the source, and the row."""
        for first in range(start, self.rows, _ORDERED):
            positions = np.arange(first, min(first + _ORDERED, self.rows), dtype=np.int64)
            yield from zip((positions + 1).tolist(), self._order.at(positions).tolist(), strict=True)

    def _read(self, index: int) -> LocatedRow:
        try:
            return self._source.row(index)
        except OSError as error:
            raise DataError(f"{self._source.place} row {index}", "cannot be read", got=str(error)) from None

    def _sample(self, index: int) -> list[dict[str, Stored | None]]:
        """What is stored of a row of the source: all of its views, or nothing."""
        where, faults = f"{self._source.place} row {index}", list[Fault]()
        found: list[dict[str, Stored | None]] = []
        try:
            row = self._read(index)
            name = str(index) if row.get(ID) is None else str(row[ID])
            views = self._views.of(row, self.schema, index, name, row.place)
        except DataError as error:
            self._quarantine.add(index, error.faults)
            return []
        for view, settings in views:
            stored, wrong = self._checker.check(view, name, where)
            faults += wrong
            if settings is not None:
                stored[CROP] = settings
            found.append(stored)
        if faults:
            self._quarantine.add(index, faults)
            return []
        return found


def _write(
    place: Location, columns: pa.Schema, journal: Journal, work: _Importer, how: ImportSettings
) -> None:
    """Write file after file until the source ends."""
    size = how.rows_per_fragment or fragment_rows(work.schema)
    while journal.at.position < work.rows:
        batches = work.batches(journal.at, size)
        first = next(batches, None)
        fragments = []
        if first is not None:
            fragments = staged_files.stage(place, itertools.chain([first], batches), columns, 2**40, False)
        try:
            if work.error is not None:
                raise work.error
            journal.add(work.at, fragments)
        except BaseException:
            staged_files.remove_unless_used(place, staged_files.files_of(fragments))
            raise


def _finish(
    place: Location, folder: Path, journal: Journal, source: Source, how: ImportSettings, version: int
) -> ImportReport:
    file = folder / QUARANTINE
    at = journal.at
    report = ImportReport(
        path=str(place),
        format=source.kind,
        version=version,
        samples=at.stored,
        quarantined=at.quarantined,
        quarantine=str(file) if at.quarantined else None,
        reasons=summary(file),
        seed=how.seed,
        resumed=journal.resumed,
        notes=tuple(source.notes),
    )
    journal.finish(attrs.asdict(report))
    return report


def _about(place: Location, schema: Schema, source: Source, how: ImportSettings) -> dict[str, object]:
    """What must be the same for an import to go on."""
    # Journals of several stores' datasets may be told to lie in one folder; a folder may be moved.
    where = {"to": place.uri} if place.folder is None else {}
    return {
        **where,
        "path": source.place,
        "files": source.digest(),
        "samples": len(source),
        "schema": hashlib.sha256(dump_schema(schema).encode()).hexdigest(),
        "seed": how.seed,
        "views": attrs.asdict(how.views),
        "strictness": [how.strict, how.max_bad],
        "rows_per_fragment": how.rows_per_fragment,
    }


def _require_room(place: Location, folder: Path, overwrite: bool) -> None:
    """Refuse a place in which something else is."""
    if is_unfinished(folder):
        return
    path = place.folder
    if store.exists(place):
        if not overwrite:
            mend = "append to it (fourm data append), or replace what it holds with --overwrite"
            raise DataError(str(place), "is a dataset already", mend=mend)
    elif path is not None and path.exists() and not (path.is_dir() and is_hardly_begun(path, folder)):
        raise DataError(str(path), "is taken by something that is no dataset", mend="name another folder")


def _cannot_write(place: Location, error: OSError) -> DataError:
    return DataError(
        str(place),
        "cannot be written; the dataset is as it was",
        got=str(error).splitlines()[0],
        mend="make room and run the same import again: it goes on where it was",
    )
