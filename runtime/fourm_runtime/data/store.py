"""The few Lance operations this package stands on: versions of a dataset, and changes of them.

A dataset is a directory of immutable files and a chain of manifests. Every change writes its files first and
then commits one manifest, so that a killed process leaves the last committed version readable and, at worst,
files that nothing refers to. Files are written, and committed, by `staged_files`. But for that module, this
one and `compaction`, none knows Lance's names.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

# Lance announces each replaced column as experimental, once per fragment; its errors are raised anyway.
os.environ.setdefault("LANCE_LOG", "error")

import lance
import pyarrow as pa
from lance import LanceDataset as LanceDataset
from lance import LanceOperation as LanceOperation
from lance.file import LanceFileSession as LanceFileSession
from lance.file import LanceFileWriter as LanceFileWriter
from lance.fragment import DataFile as DataFile
from lance.fragment import FragmentMetadata as FragmentMetadata
from lance.fragment import LanceFragment as LanceFragment
from lance.fragment import write_fragments as write_fragments

from fourm_runtime.data.location import Location
from fourm_runtime.data.storage_faults import (
    LANCE_FAULTS,
    StorageError,
    committing,
    first_line,
    is_conflict,
    reading,
)
from fourm_schema.errors import DataError

ATTEMPTS: Final = 8
"""How often a commit is tried that others come before; it waits twice as long each time: 2.5 s in all."""
_FIRST_WAIT_S = 0.02

Place: TypeAlias = Path | Location
"""Where a dataset lies; a path is a location without options."""


def exists(place: Place) -> bool:
    """Whether a dataset was ever committed at the place; a process that was killed before leaves none."""
    where = Location.of(place)
    if where.folder is not None:
        return any((where.folder / "_versions").glob("*.manifest"))
    try:
        lance.dataset(where.uri, storage_options=dict(where.options))
    except LANCE_FAULTS as error:
        if str(error).startswith("Dataset at path"):
            return False
        raise StorageError(str(where), "cannot be reached", got=first_line(error)) from error
    return True


def open_version(place: Place, version: int | str | None = None) -> LanceDataset:
    """Open a dataset at its latest version, a version number or a tag.

    Raises:
        DataError: if there is no dataset or no such version.
    """
    where = Location.of(place)
    if not exists(where):
        raise DataError(str(where), "is no dataset", mend="create it with: fourm data import")
    try:
        return _open(where, version)
    except LANCE_FAULTS as error:
        if version is None:
            mend = "is it of a newer version of this program or of Lance? an older version may still open"
            raise StorageError(str(where), "cannot be opened", got=first_line(error), mend=mend) from error
        known = sorted(_open(where).tags.list())
        mend = f"pinned versions: {', '.join(known)}" if known else "no version is pinned"
        raise DataError(str(where), "has no such version", got=repr(version), mend=mend) from error


@contextmanager
def sole_writer(place: Place) -> Iterator[None]:
    """Wait until no other process of this machine appends; the system lifts the lock of a killed one.

    Lance would accept two concurrent appends, and both would have numbered their samples alike. Object stores
    have no such lock: there, one program at a time may append.
    """
    folder = Location.of(place).folder
    if folder is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def batches(
    source: LanceDataset | LanceFragment, where: object, columns: Sequence[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Columns of a dataset or fragment in the order of its rows.

    Raises:
        StorageError: if a file of them is missing or damaged.
    """
    with reading(where):
        if isinstance(source, LanceFragment):
            scan = source.to_batches(columns=list(columns), batch_size=rows)
        else:
            scan = source.to_batches(columns=list(columns), batch_size=rows, scan_in_order=True)
        found = iter(scan)
    while True:
        with reading(where):
            batch = next(found, None)
        if batch is None:
            return
        yield batch


def add_columns(place: Place, fields: pa.Schema) -> LanceDataset:
    """Add columns that are null everywhere; only the manifest is written. Those that are there stay."""

    def change(dataset: LanceDataset) -> None:
        missing = [field for field in fields if field.name not in dataset.schema.names]
        if missing:
            dataset.add_columns(pa.schema(missing))

    return commit(place, f"{place} columns {', '.join(fields.names)}", change)


def drop_column(place: Place, column: str) -> LanceDataset:
    """Take a column out of the latest version; older versions keep it."""

    def change(dataset: LanceDataset) -> None:
        if column in dataset.schema.names:
            dataset.drop_columns([column])

    return commit(place, f"{place} column {column}", change)


def set_metadata(
    place: Place, table: Mapping[str, str | None], fields: Mapping[str, Mapping[str, str]]
) -> LanceDataset:
    """Merge keys into the metadata of columns, then into the dataset's schema metadata; None removes one."""
    if fields:
        columns: dict[str, dict[str, str | None]] = {name: dict(keys) for name, keys in fields.items()}
        commit(place, f"{place} column metadata", lambda dataset: dataset.update_field_metadata(columns))
    return commit(place, f"{place} metadata", lambda dataset: dataset.update_schema_metadata(dict(table)))


def lacks(fragment: LanceFragment, field: int) -> bool:
    """Whether no file of the fragment holds the field, so that it reads as null everywhere."""
    return all(field not in file.fields for file in fragment.data_files())


def require_no_deletions(fragment: LanceFragment) -> None:
    """Refuse to write a column beside rows of which some are deleted.

    Raises:
        DataError: if the values would come to stand beside other rows than theirs.
    """
    if fragment.count_rows() != fragment.physical_rows:
        raise DataError(
            f"fragment {fragment.fragment_id}", "has deleted rows, which columns would be shifted by",
            mend="compact the dataset first",
        )  # fmt: skip


def leaf_field(dataset: LanceDataset, column: str) -> int:
    """Id of the column's innermost field: the one its files are filed under; -1 if there is none."""
    field = next((field for field in dataset.lance_schema.fields() if field.name() == column), None)
    if field is None:
        return -1
    while field.children() and not _is_fixed_size(dataset.schema.field(column).type):
        field = field.children()[0]
    return int(field.id())


def commit(place: Place, what: str, change: Callable[[LanceDataset], object]) -> LanceDataset:
    """Change the latest version; a commit that another writer came before is repeated on its version.

    Args:
        place: the dataset.
        what: what is changed, for messages.
        change: makes one commit on the dataset that it is given.

    Returns:
        the dataset with the change.

    Raises:
        StorageError: if nothing can be written, or other writers come before it `ATTEMPTS` times.
    """
    where, wait = Location.of(place), _FIRST_WAIT_S
    for attempt in range(ATTEMPTS):
        try:
            with committing(what):
                change(_open(where))
                return _open(where)
        except StorageError as error:
            if attempt == ATTEMPTS - 1 or not is_conflict(error.__cause__):
                raise
        time.sleep(wait)
        wait *= 2
    raise AssertionError("the last attempt returns or raises")


def _open(where: Location, version: int | str | None = None) -> LanceDataset:
    return lance.dataset(where.uri, version=version, storage_options=dict(where.options))


def _is_fixed_size(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))
