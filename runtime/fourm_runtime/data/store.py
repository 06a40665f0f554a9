"""The few Lance operations this package stands on; but for `compaction`, no other module knows Lance's names.

A dataset is a directory of immutable files and a chain of manifests. Every change writes its files first and
then commits one manifest, so that a killed process leaves the last committed version readable and, at worst,
files that nothing refers to.
"""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

# Lance announces each replaced column as experimental, once per fragment; its errors are raised anyway.
os.environ.setdefault("LANCE_LOG", "error")

import attrs
import lance
import pyarrow as pa
from lance import LanceDataset as LanceDataset
from lance.file import LanceFileWriter
from lance.fragment import DataFile, write_fragments
from lance.fragment import FragmentMetadata as FragmentMetadata
from lance.fragment import LanceFragment as LanceFragment

from fourm_runtime.data.location import Location
from fourm_runtime.data.storage_faults import (
    LANCE_FAULTS,
    RewrittenError,
    StorageError,
    committing,
    first_line,
    is_conflict,
    reading,
    unwritable,
)
from fourm_schema.errors import DataError

STORAGE_VERSION: Final = "2.2"
_FILE_VERSION = (2, 2)

ATTEMPTS: Final = 8
"""How often a commit is tried that others come before; it waits twice as long each time: 2.5 s in all."""
_FIRST_WAIT_S = 0.02

Place: TypeAlias = Path | Location
"""Where a dataset lies; a path is a location without options."""


@attrs.frozen
class StagedColumn:
    """A file with one fragment's values of a column, which no version refers to yet.

    Attributes:
        fragment: the fragment's number.
        file: name of the file in the dataset's `data` folder.
        size: its bytes.
        rows: its values.
    """

    fragment: int
    file: str
    size: int
    rows: int


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


def stage(
    place: Place, batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows_per_fragment: int, appends: bool
) -> list[FragmentMetadata]:
    """Write fragments that no version refers to yet."""
    where = Location.of(place)
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    return write_fragments(
        reader,
        where.uri,
        schema=schema,
        mode="append" if appends else "overwrite" if exists(where) else "create",
        max_rows_per_file=rows_per_fragment,
        data_storage_version=STORAGE_VERSION,
        enable_stable_row_ids=True,
        storage_options=dict(where.options),
    )


def fragment_text(fragment: FragmentMetadata) -> str:
    """A staged fragment as text, to be committed by another process."""
    return json.dumps(fragment.to_json())


def fragment_of(text: str) -> FragmentMetadata:
    """Read back what `fragment_text` wrote."""
    return FragmentMetadata.from_json(text)


def files_of(fragments: Iterable[FragmentMetadata]) -> list[str]:
    """The files of staged fragments."""
    return [file.path for fragment in fragments for file in fragment.files]


def remove_unfinished(folder: Path) -> bool:
    """Remove what a killed import left where nothing was ever committed; call it as the sole writer.

    Returns:
        whether the folder is empty now, or was. What this program did not write is never removed.
    """
    if exists(folder):
        return False
    ours = {"data": (".lance",), "_transactions": (".txn",), "_versions": ("",), "_indices": ()}
    left = [file for file in folder.rglob("*") if not file.is_dir()]
    for file in left:
        inside = file.relative_to(folder).parts
        if len(inside) != 2 or not file.name.endswith(ours.get(inside[0], ())):
            return False
    for file in left:
        file.unlink(missing_ok=True)
    for inner in sorted((file for file in folder.rglob("*")), reverse=True):
        if inner.relative_to(folder).parts[0] not in ours:
            return False
        inner.rmdir()
    return True


def commit_rows(
    place: Place, fragments: list[FragmentMetadata], schema: pa.Schema, appends: bool
) -> LanceDataset:
    """Make staged fragments visible: appended to the latest version, or as all that a new version holds.

    Raises:
        StorageError: if nothing can be written, or other writers come before it again and again. The staged
            files stay.
    """
    where = Location.of(place)
    options = dict(where.options)
    more = lance.LanceOperation.Append(fragments)

    def change(dataset: LanceDataset) -> None:
        LanceDataset.commit(where.uri, more, read_version=dataset.version, storage_options=options)

    if appends:
        return commit(where, str(where), change)
    whole = lance.LanceOperation.Overwrite(schema, fragments)
    with committing(str(where)):
        return LanceDataset.commit(where.uri, whole, enable_stable_row_ids=True, storage_options=options)


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


def stage_column(place: Place, fragment: int, values: pa.RecordBatch) -> StagedColumn:
    """Write one fragment's values of a column into a file that no version refers to yet.

    Args:
        place: the dataset.
        fragment: the fragment's number.
        values: one column, a value per row of the fragment.

    Raises:
        StorageError: if it cannot be written; then no file is left.
    """
    where = Location.of(place)
    column = values.schema.names[0]
    name = f"{column}-{fragment}-{uuid.uuid4().hex}.lance"
    file = f"{where.uri.rstrip('/')}/data/{name}"
    try:
        with LanceFileWriter(
            file, schema=values.schema, version=STORAGE_VERSION, storage_options=dict(where.options)
        ) as writer:
            writer.write_batch(values)
    except LANCE_FAULTS as error:
        if where.folder is not None:
            Path(file).unlink(missing_ok=True)
        raise unwritable(f"{where} column {column}", error) from error
    return StagedColumn(fragment, name, int(writer.size_bytes or 0), len(values))


def commit_column(place: Place, column: str, field: int, staged: StagedColumn) -> bool:
    """Let a fragment have its staged values of a column.

    Args:
        place: the dataset.
        column: the column's name.
        field: its innermost field, as `leaf_field` gave it when the values were made.
        staged: what `stage_column` wrote.

    Returns:
        whether the fragment has these values: not if another process gave it some meanwhile.

    Raises:
        RewrittenError: if the fragment was merged with others meanwhile.
        DataError: if the column was begun anew meanwhile, or nothing can be written. In each of these cases
            the staged file is removed.
    """
    where = Location.of(place)
    source = f"{where} column {column}"
    data = DataFile(staged.file, [field], [0], *_FILE_VERSION, staged.size)
    group = lance.LanceOperation.DataReplacementGroup(staged.fragment, data)
    mend = "run it again when that has ended; what is committed stays"
    given = False

    def change(dataset: LanceDataset) -> None:
        nonlocal given
        there = {other.fragment_id: other for other in dataset.get_fragments()}
        if leaf_field(dataset, column) != field:
            raise DataError(source, "was begun anew meanwhile, by another program", mend=mend)
        if staged.fragment not in there:
            raise RewrittenError(source, "was rewritten meanwhile, by a compaction", mend=mend)
        if not lacks(there[staged.fragment], field):
            return
        assert there[staged.fragment].physical_rows == staged.rows, "a value for every row"
        operation = lance.LanceOperation.DataReplacement([group])
        LanceDataset.commit(
            where.uri, operation, read_version=dataset.version, storage_options=dict(where.options)
        )
        given = True

    try:
        commit(where, source, change)
    finally:
        if not given:
            remove_unless_used(where, [staged.file])
    return given


def remove_unless_used(place: Place, files: Iterable[str]) -> None:
    """Remove staged files from the `data` folder, if it is sure that the latest version does without them."""
    where, names = Location.of(place), set(files)
    if where.folder is None:
        return
    try:
        fragments = _open(where).get_fragments() if exists(where) else []
    except (StorageError, *LANCE_FAULTS):
        return
    if not any(file.path in names for fragment in fragments for file in fragment.data_files()):
        for name in names:
            (where.folder / "data" / name).unlink(missing_ok=True)


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
