"""Rows laid aside: checked as a whole, kept on disk, and looked up by the id of their sample.

What is kept is read as memory that the system may take back: rows of any number and size pass through.
"""

import mmap
from collections.abc import Iterable, Mapping, Sequence
from typing import IO

import pyarrow as pa

from fourm_runtime.data.layout import ID, raw_type
from fourm_runtime.data.raw_values import Stored, checker_of
from fourm_runtime.data.rows import MOST_FAULTS, LocatedRow, Row, RowsError, column_of, rows_per_chunk
from fourm_schema.errors import DataError, Fault, nearest
from fourm_schema.schema import Schema


class LaidAside:
    """Values of some modalities, by sample.

    Args:
        file: an empty file, open for reading and writing.
        schema: what a row may hold.
        modalities: whose values are kept; those of others are neither kept nor checked.

    Attributes:
        names: every modality of the schema that some row of a sample has as a key.
        strangers: ids of rows that were left out, as no sample has them.
    """

    def __init__(self, file: IO[bytes], schema: Schema, modalities: Sequence[str]) -> None:
        self._file = file
        self._schema = schema
        self._checks = {name: checker_of(schema.modalities[name]) for name in modalities}
        self._table = pa.schema([(name, raw_type(schema.modalities[name])) for name in modalities])
        self._chunk_rows = rows_per_chunk(schema.modalities[name] for name in modalities)
        self._place: dict[str, int] = {}
        self._batches: list[pa.RecordBatch] = []
        self._faults: list[Fault] = []
        self._unknown: set[str] = set()
        self.names: set[str] = set()
        self.strangers: list[str] = []

    @property
    def count(self) -> int:
        """Rows that were kept."""
        return len(self._place)

    def read(
        self,
        rows: Iterable[Row],
        samples: set[str],
        where: str,
        skip_unknown: bool = False,
        any_key: bool = False,
    ) -> None:
        """Check rows and lay them aside.

        Args:
            rows: mappings {"id": a sample's, modality: value or None}, in any order; read once.
            samples: the ids that may occur, each at most once.
            where: the dataset, for messages.
            skip_unknown: leave out rows with other ids, and list them; without it they are refused.
            any_key: rows may have keys that are no modality; without it these are refused.

        Raises:
            RowsError: if rows do not fit, up to 20 faults.
        """
        chunk: list[dict[str, Stored | None]] = []
        with pa.ipc.new_file(pa.PythonFile(self._file, "w"), self._table) as writer:
            try:
                for index, row in enumerate(rows):
                    kept = self._check(row, index, samples, skip_unknown, any_key)
                    if len(self._faults) >= MOST_FAULTS:
                        break
                    if kept is not None:
                        chunk.append(kept)
                    if len(chunk) == self._chunk_rows:
                        if not self._faults:
                            writer.write_batch(self._batch(chunk))
                        chunk = []
            except DataError as error:
                self._faults.extend(error.faults)
            if chunk and not self._faults:
                writer.write_batch(self._batch(chunk))
        if self._faults:
            more = len(self._faults) >= MOST_FAULTS
            raise RowsError(where, self._faults[:MOST_FAULTS], more=more)
        self._file.flush()
        memory = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(memory)))
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]

    def column(self, modality: str, ids: Iterable[str]) -> pa.Array:
        """The values of some samples as they are stored, null where no row gives one."""
        kind = self._table.field(modality).type
        nothing, parts = pa.nulls(1, kind), []
        for name in ids:
            place = self._place.get(name)
            if place is None:
                parts.append(nothing)
            else:
                batch, row = divmod(place, self._chunk_rows)
                parts.append(self._batches[batch].column(modality).slice(row, 1))
        return pa.concat_arrays(parts) if parts else pa.array([], kind)

    def _check(
        self, row: Row, index: int, samples: set[str], skip_unknown: bool, any_key: bool
    ) -> dict[str, Stored | None] | None:
        """The row's values as they are stored; None if it is left out or faulty in its id."""
        place = row.place if isinstance(row, LocatedRow) else f"row {index}"
        if not isinstance(row, Mapping):
            what = "a row is a mapping {modality: value}"
            self._faults.append(Fault(place, what, got=type(row).__name__))
            return None
        if not any_key:
            self._check_names(row, place)
        if row.get(ID) is None:
            mend = 'give "id", by which it finds its sample; samples imported without one are "0", "1", ...'
            self._faults.append(Fault(place, "has no id", mend=mend))
            return None
        name = str(row[ID])
        place = f"{place} (id {name!r})"
        if name not in samples:
            self.strangers.append(name)
            if not skip_unknown:
                mend = "correct the id, or leave out such rows with --skip-unknown"
                self._faults.append(Fault(place, "is no sample of this dataset", mend=mend))
            return None
        if name in self._place:
            self._faults.append(Fault(place, "has the id of an earlier row", mend="give each sample one row"))
            return None
        self._place[name] = len(self._place)
        self.names.update(self._schema.modalities.keys() & row.keys())
        values: dict[str, Stored | None] = {}
        for modality, check in self._checks.items():
            value = row.get(modality)
            try:
                values[modality] = None if value is None else check(value, f"{place}, {modality}")
            except DataError as error:
                self._faults.extend(error.faults)
        return values

    def _check_names(self, row: Row, place: str) -> None:
        known = self._schema.modalities
        for name in row:
            if name != ID and name not in known and name not in self._unknown:
                # Once per key: it is likely to stand in every row.
                self._unknown.add(name)
                mend = f"{nearest(str(name), list(known))}; another is added by: fourm data add-modality"
                self._faults.append(Fault(f"{place}, {name}", "is no modality of this dataset", mend=mend))

    def _batch(self, chunk: Sequence[Mapping[str, Stored | None]]) -> pa.RecordBatch:
        columns = [column_of([row[field.name] for row in chunk], field.type) for field in self._table]
        return pa.record_batch(columns, schema=self._table)
