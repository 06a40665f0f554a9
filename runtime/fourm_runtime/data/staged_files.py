"""Files of a dataset that no version refers to yet: written, committed, or removed again.

Rows come in fragments, columns in a file per fragment. Who writes them may be another process than the one
that commits them.
"""

import json
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs
import pyarrow as pa

from fourm_runtime.data.location import Location
from fourm_runtime.data.storage_faults import (
    LANCE_FAULTS,
    RewrittenError,
    StorageError,
    committing,
    reading,
    unwritable,
)

# Lance's names come through `store`, which says what Lance may log before it loads it.
from fourm_runtime.data.store import (
    DataFile,
    FragmentMetadata,
    LanceDataset,
    LanceFileSession,
    LanceFileWriter,
    LanceOperation,
    Place,
    commit,
    exists,
    lacks,
    leaf_field,
    open_version,
    write_fragments,
)
from fourm_schema.errors import DataError

STORAGE_VERSION: Final = "2.2"
_FILE_VERSION = (2, 2)


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
    more = LanceOperation.Append(fragments)

    def change(dataset: LanceDataset) -> None:
        LanceDataset.commit(where.uri, more, read_version=dataset.version, storage_options=options)

    if appends:
        return commit(where, str(where), change)
    whole = LanceOperation.Overwrite(schema, fragments)
    with committing(str(where)):
        return LanceDataset.commit(where.uri, whole, enable_stable_row_ids=True, storage_options=options)


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
    group = LanceOperation.DataReplacementGroup(staged.fragment, data)
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
        operation = LanceOperation.DataReplacement([group])
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
    try:
        fragments = open_version(where).get_fragments() if exists(where) else []
    except (StorageError, *LANCE_FAULTS):
        return
    if not any(file.path in names for fragment in fragments for file in fragment.data_files()):
        for name in names:
            _remove(where, f"data/{name}")


def are_whole(place: Place, fragments: Iterable[FragmentMetadata]) -> bool:
    """Whether the files of staged fragments are still there, on this machine with all their bytes.

    Raises:
        StorageError: if an object store cannot be reached.
    """
    where = Location.of(place)
    files = [file for fragment in fragments for file in fragment.files]
    if where.folder is None:
        with reading(where):
            session = LanceFileSession(where.uri, storage_options=dict(where.options))
            return all(session.contains(f"data/{file.path}") for file in files)
    sizes = [_size(where.folder / "data" / file.path) for file in files]
    return all(
        size >= 0 and (file.file_size_bytes or size) == size for size, file in zip(sizes, files, strict=True)
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _remove(where: Location, name: str) -> None:
    if where.folder is not None:
        (where.folder / name).unlink(missing_ok=True)
        return
    # A file that an object store keeps is no harm: cleaning up removes it later.
    with suppress(*LANCE_FAULTS):
        LanceFileSession(where.uri, storage_options=dict(where.options)).delete_file(name)
