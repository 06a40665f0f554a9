"""Rows into a dataset: checked, written as fragments that nobody sees yet, and committed as one version."""

from collections.abc import Callable, Iterable

from fourm_runtime.data import staged_files, store
from fourm_runtime.data.layout import SAMPLE, raw_bytes, table_schema
from fourm_runtime.data.rows import Checker, Row
from fourm_runtime.data.storage_faults import unwritable
from fourm_schema.schema import Schema

ROWS_PER_FRAGMENT = 16_384
BYTES_PER_FRAGMENT = 512 * 2**20
"""A file holds as many rows as both bounds allow; its tokens are committed together."""
_SCAN_ROWS = 65_536


def write_rows(
    path: store.Place,
    schema: Schema,
    rows: Iterable[Row],
    rows_per_fragment: int | None,
    append_to: store.LanceDataset | None,
    before_commit: Callable[[], object] | None = None,
) -> store.LanceDataset:
    """Write rows, appended to a version, or (None) as all that a new version holds.

    Args:
        path: the dataset.
        schema: what a row may hold.
        rows: read once.
        rows_per_fragment: rows per file; None follows from the schema.
        append_to: the latest version, whose samples stay.
        before_commit: called when all is written and nothing is visible yet.

    Raises:
        DataError: if rows do not fit the schema, or nothing can be written; then nothing is stored.
    """
    first = 0 if append_to is None else next_sample(append_to)
    size = rows_per_fragment or fragment_rows(schema)
    checker = Checker(schema, first)
    table = table_schema(schema)
    try:
        fragments = staged_files.stage(path, checker.batches(rows), table, size, append_to is not None)
    except (OSError, ValueError) as error:
        checker.raise_faults(str(path))
        raise unwritable(str(path), error) from error
    try:
        checker.raise_faults(str(path))
    except BaseException:
        staged_files.remove_unless_used(path, staged_files.files_of(fragments))
        raise
    if append_to is not None and not checker.rows:
        return append_to
    try:
        if before_commit is not None:
            before_commit()
        return staged_files.commit_rows(path, fragments, table, append_to is not None)
    except BaseException:
        staged_files.remove_unless_used(path, staged_files.files_of(fragments))
        raise


def fragment_rows(schema: Schema) -> int:
    """How many rows a file holds, where nothing else is asked for."""
    row_bytes = sum(map(raw_bytes, schema.modalities.values()))
    return max(1, min(ROWS_PER_FRAGMENT, BYTES_PER_FRAGMENT // max(row_bytes, 1)))


def next_sample(dataset: store.LanceDataset) -> int:
    """The number after the highest that was given; once fragments are merged, any row may have that."""
    highest = -1
    for batch in store.batches(dataset, dataset.uri, [SAMPLE], _SCAN_ROWS):
        highest = max(highest, int(batch.column(0).to_numpy().max(initial=-1)))
    return highest + 1
