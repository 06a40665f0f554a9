"""Giving derived modalities that were added later their values, fragment by fragment."""

from collections.abc import Sequence

import pyarrow as pa

from fourm_runtime.data import store
from fourm_runtime.data.encoding import Progress, raw_values
from fourm_runtime.data.filling import Filled, fill_fragments, unfilled
from fourm_runtime.data.layout import ID, raw_type, read_schema
from fourm_runtime.data.location import Location
from fourm_runtime.data.raw_values import Stored, checker_of
from fourm_runtime.data.rows import RowsError, column_of, rows_per_chunk
from fourm_runtime.derive.registry import Compute, computations
from fourm_schema.errors import DataError, Fault, nearest
from fourm_schema.schema import Schema


def derive_columns(
    path: Location, modalities: Sequence[str] | None = None, progress: Progress | None = None
) -> tuple[Filled, ...]:
    """Compute derived modalities that were added later; see `Dataset.derive`."""
    dataset = store.open_version(path)
    schema = read_schema(dataset.schema, str(path))
    derived = [name for name, entry in schema.modalities.items() if entry.derive is not None]
    for name in modalities or ():
        if name not in derived:
            what = "is not derived" if name in schema.modalities else "is no modality of this dataset"
            raise DataError(name, what, mend=nearest(name, derived))
    asked = derived if modalities is None else modalities
    open_ones = [name for name in unfilled(dataset, schema) if name in asked]
    if not open_ones:
        raise DataError(
            str(path),
            f"has values of {', '.join(asked)}" if asked else "has no modality with derive",
            mend="no value is ever replaced: declare another modality (fourm data add-modality)",
        )
    # Absent values would be derived from what is to be filled later, and never be computed again.
    later = set(unfilled(dataset, schema)) - set(open_ones)
    for name in open_ones:
        derived_from = schema.modalities[name].derive
        assert derived_from is not None, "those without are refused above"
        if derived_from.from_ in later:
            raise DataError(
                f"{path} column {derived_from.from_}",
                f"has not been filled, and {name} is derived from it",
                mend=f"fill it first: fourm data fill {path} FILE --modality {derived_from.from_}",
            )
    return tuple(
        _derive(path, schema, name, compute, progress)
        for name, compute in computations(schema, open_ones).items()
    )


def _derive(
    path: Location, schema: Schema, modality: str, compute: Compute, progress: Progress | None
) -> Filled:
    entry = schema.modalities[modality]
    assert entry.derive is not None, "only derived modalities have a computation"
    origin, source = entry.derive.from_, schema.modalities[entry.derive.from_]
    check, kind = checker_of(entry), raw_type(entry)
    given = absent = 0

    def columns(rows: pa.RecordBatch) -> pa.Array:
        nonlocal given, absent
        ids, faults = rows.column(ID).to_pylist(), list[Fault]()
        values = list[Stored | None]()
        for name, value in zip(ids, raw_values(source, rows.column(origin)), strict=True):
            found = None if value is None else compute(value)
            try:
                values.append(None if found is None else check(found, f"sample {name!r}, {modality}"))
            except DataError as error:
                faults.extend(error.faults)
        if faults:
            raise RowsError(f"{path}, samples {ids[0]!r} to {ids[-1]!r}", faults)
        column = column_of(values, kind)
        absent += column.null_count
        given += len(column) - column.null_count
        return column

    rows = rows_per_chunk((source, entry))
    before = fill_fragments(path, modality, columns, progress, read=(origin,), batch_rows=rows)
    return Filled(modality, given, absent, before)
