"""Giving modalities that were added later their raw values, fragment by fragment, each in one commit.

A fill that was killed goes on at the first fragment that has no values yet.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence

import attrs
import pyarrow as pa

from fourm_runtime.data import staged_files, store
from fourm_runtime.data.encoding import Progress
from fourm_runtime.data.laid_aside import LaidAside
from fourm_runtime.data.layout import ID, raw_type, read_schema
from fourm_runtime.data.location import Location
from fourm_runtime.data.raw_values import Stored, checker_of
from fourm_runtime.data.rows import Row, RowsError, column_of
from fourm_runtime.data.storage_faults import unwritable
from fourm_schema.errors import DataError, Fault, nearest
from fourm_schema.modality import Modality
from fourm_schema.schema import Schema

_SCAN_ROWS = 512

Columns = Callable[[pa.RecordBatch], pa.Array]
"""Rows of a dataset -> their values as the modality is stored, null where there is none."""


@attrs.frozen
class Filled:
    """What a fill gave one modality.

    Attributes:
        modality: its name.
        given: samples that got a value.
        absent: samples that no row has a value for, and that lack the modality from now on.
        before: samples that had been dealt with before, and were left as they are.
    """

    modality: str
    given: int
    absent: int
    before: int


@attrs.frozen
class FillReport:
    """What a fill did.

    Attributes:
        filled: what each modality got.
        kept: modalities that rows give values of, but that had been filled before.
        strangers: ids of rows that were left out, as no sample has them.
    """

    filled: tuple[Filled, ...]
    kept: tuple[str, ...]
    strangers: tuple[str, ...]


def unfilled(dataset: store.LanceDataset, schema: Schema) -> tuple[str, ...]:
    """Modalities for which some fragment of a dataset was never given values, not even absent ones."""
    fragments = dataset.get_fragments()
    leaves = {name: store.leaf_field(dataset, name) for name in schema.modalities}
    return tuple(
        name for name, leaf in leaves.items() if any(store.lacks(fragment, leaf) for fragment in fragments)
    )


def fill_rows(
    path: Location,
    rows: Iterable[Row],
    modalities: Sequence[str] | None = None,
    skip_unknown: bool = False,
    progress: Progress | None = None,
) -> FillReport:
    """Give modalities their values from rows that name the samples; see `Dataset.fill_rows`."""
    dataset = store.open_version(path)
    schema = read_schema(dataset.schema, str(path))
    for name in modalities or ():
        if name not in schema.modalities:
            mend = nearest(name, list(schema.modalities))
            raise DataError(name, "is no modality of this dataset", mend=mend)
    asked = tuple(schema.modalities if modalities is None else dict.fromkeys(modalities))
    open_ones = [name for name in unfilled(dataset, schema) if name in asked]
    if modalities is not None and not open_ones:
        raise _filled_before(path, asked)
    # A file without a name ends with its process, however that ends.
    with tempfile.TemporaryFile(dir=path.folder) as file:
        aside, ids = LaidAside(file, schema, open_ones), _ids(dataset)
        try:
            aside.read(rows, ids, str(path), skip_unknown, any_key=modalities is not None)
        except OSError as error:
            raise unwritable(str(path), error) from error
        if aside.strangers and not aside.count:
            got = f"{len(aside.strangers):,} rows, the first with id {aside.strangers[0]!r}"
            raise DataError(str(path), "no row has the id of a sample", got=got)
        given = [name for name in open_ones if name in aside.names]
        kept = tuple(name for name in asked if name in aside.names and name not in open_ones)
        absent = [name for name in open_ones if name not in aside.names]
        if kept and not given:
            raise _filled_before(path, kept)
        if absent and (modalities is not None or not given):
            got = f"nothing of {', '.join(absent)}"
            raise DataError(str(path), "no row gives what is to be filled", got=got)
        filled = tuple(_fill(path, name, aside, progress) for name in given)
    return FillReport(filled, kept, tuple(aside.strangers))


def fill_values(
    path: Location, modality: str, entry: Modality, values: Callable[[Sequence[str]], Sequence[object]]
) -> None:
    """Give one modality its raw values from a function of the samples' ids; see `Dataset.fill`."""
    check, kind = checker_of(entry), raw_type(entry)

    def columns(rows: pa.RecordBatch) -> pa.Array:
        ids = rows.column(ID).to_pylist()
        checked, faults = list[Stored | None](), list[Fault]()
        for name, value in zip(ids, values(ids), strict=True):
            try:
                checked.append(None if value is None else check(value, f"sample {name!r}, {modality}"))
            except DataError as error:
                faults.extend(error.faults)
        if faults:
            raise RowsError(f"{path}, samples {ids[0]!r} to {ids[-1]!r}", faults)
        return column_of(checked, kind)

    fill_fragments(path, modality, columns)


def fill_fragments(
    path: Location,
    modality: str,
    columns: Columns,
    progress: Progress | None = None,
    read: Sequence[str] = (),
    batch_rows: int = _SCAN_ROWS,
) -> int:
    """Write one modality's values into every fragment that has none.

    Args:
        path: the dataset.
        modality: its name; the dataset has its column.
        columns: called with some rows at a time.
        progress: called with (modality, samples done, samples in all).
        read: columns of the rows besides their ids.
        batch_rows: how many rows at a time.

    Returns:
        how many samples stand in fragments that had values, and were passed over.

    Raises:
        DataError: if rows of a fragment are deleted, or it cannot be written, or another process fills it;
            those before it stay filled.
    """
    dataset = store.open_version(path)
    field, leaf = dataset.schema.field(modality), store.leaf_field(dataset, modality)
    fragments = dataset.get_fragments()
    lacking = [fragment for fragment in fragments if store.lacks(fragment, leaf)]
    done, total = 0, sum(fragment.physical_rows for fragment in lacking)
    for fragment in lacking:
        store.require_no_deletions(fragment)
        parts = []
        for batch in store.batches(fragment, path, [ID, *read], batch_rows):
            parts.append(columns(batch))
            done += len(batch)
            if progress is not None:
                progress(modality, done, total)
        whole = pa.record_batch([pa.concat_arrays(parts)], schema=pa.schema([field]))
        staged = staged_files.stage_column(path, fragment.fragment_id, whole)
        if not staged_files.commit_column(path, modality, leaf, staged):
            raise _filled_before(path, (modality,))
    return sum(fragment.count_rows() for fragment in fragments) - total


def _fill(path: Location, modality: str, aside: LaidAside, progress: Progress | None) -> Filled:
    given = absent = 0

    def columns(rows: pa.RecordBatch) -> pa.Array:
        nonlocal given, absent
        column = aside.column(modality, rows.column(ID).to_pylist())
        absent += column.null_count
        given += len(column) - column.null_count
        return column

    before = fill_fragments(path, modality, columns, progress)
    return Filled(modality, given, absent, before)


def _ids(dataset: store.LanceDataset) -> set[str]:
    batches = store.batches(dataset, dataset.uri, [ID], _SCAN_ROWS)
    return {name for batch in batches for name in batch.column(ID).to_pylist()}


def _filled_before(path: Location, names: Sequence[str]) -> DataError:
    return DataError(
        str(path),
        f"has been filled with {', '.join(names)} before, and no value is ever replaced",
        mend="add other values under another name (fourm data add-modality), or import the samples anew",
    )
