"""Rows of any source, one after another, for what needs no order and no journal: appending and filling."""

from collections.abc import Collection, Iterator
from pathlib import Path

from fourm_runtime.data.rows import LocatedRow
from fourm_runtime.data.sources.opening import open_source
from fourm_runtime.data.sources.source import Reading, Source
from fourm_schema.schema import Schema


def read_rows(
    path: Path | str, schema: Schema, needed: Collection[str] | None = None
) -> Iterator[LocatedRow]:
    """Read samples of any format that can be imported, one row at a time; see `open_rows`.

    Returns:
        rows that know the file and line they came from.
    """
    return open_rows(path, schema, needed).rows()


def open_rows(path: Path | str, schema: Schema, needed: Collection[str] | None = None) -> Source:
    """Open samples of any format that can be imported.

    Args:
        path: a file, a folder or a pattern.
        schema: what the samples may hold; values are checked against it where they are stored.
        needed: modalities that the caller wants; values of others are not opened, and whether there are
            arrays of other names is left to the caller. None takes all of the schema.

    Raises:
        DataError: if the path cannot be read; a row or a file that it names, when it is its turn.
    """
    wanted = frozenset(schema.modalities if needed is None else needed)
    return open_source(path, Reading(schema, wanted, any_name=needed is not None))
