"""Rows into a dataset: checked, written as fragments that nobody sees yet, and committed as one version."""

from collections.abc import Iterable
from pathlib import Path

from fourm_runtime.data import store
from fourm_runtime.data.layout import SAMPLE, raw_bytes, table_schema
from fourm_runtime.data.rows import Checker, Row
from fourm_schema.errors import DataError
from fourm_schema.schema import Schema

ROWS_PER_FRAGMENT = 16_384
BYTES_PER_FRAGMENT = 512 * 2**20
"""A file holds as many rows as both bounds allow; its tokens are committed together."""


def write_rows(
    path: Path,
    schema: Schema,
    rows: Iterable[Row],
    rows_per_fragment: int | None,
    append_to: store.LanceDataset | None,
) -> store.LanceDataset:
    """Write rows, appended to a version, or (None) as all that a new version holds.

    Raises:
        DataError: if rows do not fit the schema, or nothing can be written; then nothing is stored.
    """
    first = 0 if append_to is None else _next_sample(append_to)
    size = rows_per_fragment or fragment_rows(schema)
    checker = Checker(schema, first)
    table = table_schema(schema)
    try:
        fragments = store.stage(path, checker.batches(rows), table, size, append_to is not None)
    except OSError as error:
        raise DataError(str(path), "cannot be written; nothing was stored", got=str(error)) from error
    try:
        checker.raise_faults(str(path))
    except BaseException:
        store.discard(path, fragments)
        raise
    if append_to is not None and not checker.rows:
        return append_to
    return store.commit_rows(path, fragments, table, None if append_to is None else append_to.version)


def fragment_rows(schema: Schema) -> int:
    """How many rows a file holds, where nothing else is asked for."""
    row_bytes = sum(map(raw_bytes, schema.modalities.values()))
    return max(1, min(ROWS_PER_FRAGMENT, BYTES_PER_FRAGMENT // max(row_bytes, 1)))


def _next_sample(dataset: store.LanceDataset) -> int:
    """The number after the highest that was given: numbers grow with the rows, so the last row has it."""
    count = int(dataset.count_rows())
    return int(dataset.take([count - 1], columns=[SAMPLE])[SAMPLE][0].as_py()) + 1 if count else 0
