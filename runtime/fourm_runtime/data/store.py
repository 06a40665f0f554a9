"""The few Lance operations this package stands on; no other module knows Lance's names.

A dataset is a directory of immutable files and a chain of manifests. Every change writes its files first and
then commits one manifest, so that a killed process leaves the last committed version readable and, at worst,
files that nothing refers to.
"""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# Lance announces each replaced column as experimental, once per fragment; its errors are raised anyway.
os.environ.setdefault("LANCE_LOG", "error")

import lance
import pyarrow as pa
from lance import LanceDataset as LanceDataset
from lance.file import LanceFileWriter
from lance.fragment import DataFile, write_fragments
from lance.fragment import FragmentMetadata as FragmentMetadata
from lance.fragment import LanceFragment as LanceFragment

from fourm_schema.errors import DataError

STORAGE_VERSION = "2.2"
_FILE_VERSION = (2, 2)
_ATTEMPTS = 5


def exists(path: Path) -> bool:
    """Whether a dataset was ever committed at the path."""
    return (path / "_versions").is_dir()


def open_version(path: Path, version: int | str | None = None) -> LanceDataset:
    """Open a dataset at its latest version, a version number or a tag.

    Raises:
        DataError: if there is no dataset or no such version.
    """
    if not exists(path):
        raise DataError(str(path), "is no dataset", mend="create it with: fourm data import")
    try:
        return lance.dataset(str(path), version=version)
    except (ValueError, OSError) as error:
        if version is None:
            raise DataError(str(path), "cannot be opened", got=_first_line(error)) from error
        known = sorted(lance.dataset(str(path)).tags.list())
        mend = f"pinned versions: {', '.join(known)}" if known else "no version is pinned"
        raise DataError(str(path), "has no such version", got=repr(version), mend=mend) from error


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Wait until no other process of this machine appends; the system lifts the lock of a killed one.

    Lance would accept two concurrent appends, and both would have numbered their samples alike.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def stage(
    path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows_per_fragment: int, appends: bool
) -> list[FragmentMetadata]:
    """Write fragments that no version refers to yet."""
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    return write_fragments(
        reader,
        str(path),
        schema=schema,
        mode="append" if appends else "overwrite" if exists(path) else "create",
        max_rows_per_file=rows_per_fragment,
        data_storage_version=STORAGE_VERSION,
        enable_stable_row_ids=True,
    )


def fragment_text(fragment: FragmentMetadata) -> str:
    """A staged fragment as text, to be committed by another process."""
    return json.dumps(fragment.to_json())


def fragment_of(text: str) -> FragmentMetadata:
    """Read back what `fragment_text` wrote."""
    return FragmentMetadata.from_json(text)


def discard(path: Path, fragments: Iterable[FragmentMetadata]) -> None:
    """Remove staged fragments; a directory in which nothing was ever committed goes with them."""
    for fragment in fragments:
        for file in fragment.files:
            (path / "data" / file.path).unlink(missing_ok=True)
    if path.is_dir() and not exists(path) and not any(file.is_file() for file in path.rglob("*")):
        shutil.rmtree(path)


def commit_rows(
    path: Path, fragments: list[FragmentMetadata], schema: pa.Schema, append_to: int | None
) -> LanceDataset:
    """Make staged fragments visible: appended to a version, or (None) as all that a new version holds."""
    if append_to is None:
        whole = lance.LanceOperation.Overwrite(schema, fragments)
        return lance.LanceDataset.commit(str(path), whole, enable_stable_row_ids=True)
    more = lance.LanceOperation.Append(fragments)
    return lance.LanceDataset.commit(str(path), more, read_version=append_to)


def add_columns(path: Path, fields: pa.Schema) -> LanceDataset:
    """Add columns that are null everywhere; only the manifest is written. Those that are there stay."""

    def change(dataset: LanceDataset) -> None:
        missing = [field for field in fields if field.name not in dataset.schema.names]
        if missing:
            dataset.add_columns(pa.schema(missing))

    return _commit(path, f"{path} columns {', '.join(fields.names)}", change)


def drop_column(path: Path, column: str) -> LanceDataset:
    """Take a column out of the latest version; older versions keep it."""

    def change(dataset: LanceDataset) -> None:
        if column in dataset.schema.names:
            dataset.drop_columns([column])

    return _commit(path, f"{path} column {column}", change)


def set_metadata(
    path: Path, table: Mapping[str, str], fields: Mapping[str, Mapping[str, str]]
) -> LanceDataset:
    """Merge keys into the metadata of columns, then into the dataset's schema metadata."""
    if fields:
        columns: dict[str, dict[str, str | None]] = {name: dict(keys) for name, keys in fields.items()}
        _commit(path, f"{path} column metadata", lambda dataset: dataset.update_field_metadata(columns))
    return _commit(path, f"{path} metadata", lambda dataset: dataset.update_schema_metadata(dict(table)))


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


def fill_column(path: Path, fragment: int, field: int, values: pa.RecordBatch) -> LanceDataset:
    """Give one fragment its values of a column, in one commit.

    Args:
        path: the dataset's directory.
        fragment: its number.
        field: the column's innermost field, as `leaf_field` gave it.
        values: one column, a value per row of the fragment.

    Returns:
        the dataset at the version that has the values.

    Raises:
        DataError: if the fragment or the column was replaced meanwhile (by a compaction, by an encoding of
            the column anew), or nothing can be written.
    """
    column = values.schema.names[0]
    where = f"{path} column {column}"
    name = f"{column}-{fragment}-{uuid.uuid4().hex}.lance"
    file = path / "data" / name
    try:
        with LanceFileWriter(str(file), schema=values.schema, version=STORAGE_VERSION) as writer:
            writer.write_batch(values)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise DataError(where, "cannot be written", got=_first_line(error)) from error
    data = DataFile(name, [field], [0], *_FILE_VERSION, file.stat().st_size)
    group = lance.LanceOperation.DataReplacementGroup(fragment, data)

    def change(dataset: LanceDataset) -> None:
        there = {other.fragment_id for other in dataset.get_fragments()}
        if fragment not in there or leaf_field(dataset, column) != field:
            raise DataError(
                where,
                "was rewritten meanwhile",
                mend="encode again when that has ended; what is encoded stays",
            )
        operation = lance.LanceOperation.DataReplacement([group])
        lance.LanceDataset.commit(str(path), operation, read_version=dataset.version)

    try:
        return _commit(path, where, change)
    except DataError:
        file.unlink(missing_ok=True)
        raise


def _commit(path: Path, where: str, change: Callable[[LanceDataset], object]) -> LanceDataset:
    """Change the latest version; a commit that another writer came before is repeated on its version."""
    conflict: OSError | None = None
    for _ in range(_ATTEMPTS):
        try:
            change(lance.dataset(str(path)))
            return lance.dataset(str(path))
        except OSError as error:
            conflict = error
    assert conflict is not None, "every attempt returns or fails"
    raise DataError(
        where,
        "cannot be committed",
        got=_first_line(conflict),
        mend="other programs write to this dataset: try again when they have ended; what is committed stays",
    ) from conflict


def _is_fixed_size(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
