"""Rows of samples: gathered, checked as a whole, and laid out as Arrow record batches.

A row is a mapping {modality: value}; None or a missing key means that the sample lacks the modality, and
the key `id` names the sample. A modality with `derive` whose key is missing is computed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from fourm_runtime.data.columns import Ragged, cumulated, is_ragged, write_fixed, write_ragged
from fourm_runtime.data.layout import ID, raw_bytes, raw_type, table_schema
from fourm_runtime.data.raw_values import Stored, checker_of
from fourm_runtime.derive.registry import computations
from fourm_schema.errors import DataError, Fault, nearest
from fourm_schema.modality import Modality
from fourm_schema.schema import Schema

Row: TypeAlias = Mapping[str, object]

MOST_FAULTS = 20
_CHUNK_BYTES = 16 * 2**20
_CHUNK_ROWS = 1024


class LocatedRow(dict[str, object]):
    """A row that knows the file and line it came from, for messages."""

    def __init__(self, values: Mapping[str, object], place: str) -> None:
        super().__init__(values)
        self.place = place


class RowsError(DataError):
    """Rows that cannot be stored: up to 20 faults, in the order of the rows; nothing was stored.

    Args:
        where: the dataset.
        faults: at least one.
        more: whether reading ended at the twentieth fault.
    """

    def __init__(self, where: str, faults: Sequence[Fault], more: bool = False) -> None:
        assert faults, "a RowsError needs a fault"
        self._arguments = (where, tuple(faults), more)
        count = "1 value" if len(faults) == 1 else f"{len(faults)} values"
        head = f"{where}: {'at least ' if more else ''}{count} cannot be stored; nothing was stored"
        Exception.__init__(self, "\n".join([head, *(f"  {fault}" for fault in faults)]))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._arguments


class Checker:
    """Turns rows into record batches and gathers the faults of those that do not fit the schema.

    Args:
        schema: what a row may hold.
        first_sample: number of the first row; later rows count on.

    Raises:
        DataError: if a modality cannot be derived as the schema says.
    """

    def __init__(self, schema: Schema, first_sample: int = 0) -> None:
        self._schema = schema
        self._table = table_schema(schema)
        self._checks = {name: checker_of(modality) for name, modality in schema.modalities.items()}
        self._computations = computations(schema)
        self._next = first_sample
        self._index = 0
        self.faults: list[Fault] = []
        self.error: BaseException | None = None

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return self._index

    def batches(self, rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
        """Give the rows as record batches of a bounded size.

        Nothing is raised here, since the storage reads this from a thread of its own: after the end, look
        at `faults` and `error`. No batch follows the first fault, but reading goes on to find the others.
        """
        size = rows_per_chunk(self._schema.modalities.values())
        chunk: list[dict[str, Stored | None]] = []
        try:
            for row in rows:
                index, self._index = self._index, self._index + 1
                stored, faults = self.check(row, str(self._next + index), f"row {index}")
                chunk.append(stored)
                self.faults += faults
                if len(self.faults) >= MOST_FAULTS:
                    return
                if len(chunk) == size:
                    if not self.faults:
                        yield self.batch(chunk, self._next + self._index - len(chunk))
                    chunk = []
        except DataError as error:
            self.faults.extend(error.faults)
            return
        except Exception as error:
            self.error = error
            return
        if chunk and not self.faults:
            yield self.batch(chunk, self._next + self._index - len(chunk))

    def raise_faults(self, where: str) -> None:
        """Raise what was found, if anything was.

        Raises:
            RowsError: the rows that do not fit the schema.
            Exception: what the iterable of rows raised.
        """
        if self.faults:
            raise RowsError(where, self.faults[:MOST_FAULTS], more=len(self.faults) >= MOST_FAULTS)
        if self.error is not None:
            raise self.error

    def check(self, row: object, name: str, place: str) -> tuple[dict[str, Stored | None], list[Fault]]:
        """Check one row.

        Args:
            row: a mapping {modality: value or None, "id": optional name}.
            name: its id, if it has none.
            place: what to call it; a row that knows where it is from is called that.

        Returns:
            what is stored of it, and why it cannot be: nothing of it may be stored if there is a fault.
        """
        stored: dict[str, Stored | None] = {ID: name}
        if not isinstance(row, Mapping):
            fault = Fault(place, "a row is a mapping {modality: value}", got=type(row).__name__)
            return stored, [fault]
        faults: list[Fault] = []
        place = row.place if isinstance(row, LocatedRow) else place
        if row.get(ID) is not None:
            stored[ID] = str(row[ID])
            place = f"{place} (id {stored[ID]!r})"
        known = self._schema.modalities
        for key in row:
            if key != ID and key not in known:
                mend = nearest(str(key), list(known))
                faults.append(Fault(f"{place}, {key}", "is no modality of this schema", mend=mend))
        for modality in known:
            value = row.get(modality)
            if value is None:
                stored[modality] = None
                continue
            try:
                stored[modality] = self._checks[modality](value, f"{place}, {modality}")
            except DataError as error:
                faults.extend(error.faults)
        self._derive(row, stored, place, faults)
        if all(row.get(modality) is None for modality in known) and set(row) <= {ID, *known}:
            mend = f"give at least one of: {', '.join(known)}"
            faults.append(Fault(place, "gives no modality at all", mend=mend))
        return stored, faults

    def batch(
        self, chunk: Sequence[Mapping[str, Stored | None]], first: int, more: Sequence[pa.Field] = ()
    ) -> pa.RecordBatch:
        """Lay out checked rows.

        Args:
            chunk: what `check` gave of each.
            first: number of the first sample.
            more: columns besides those of the schema; the rows have their values under their names.
        """
        columns = [
            pa.array([row[ID] for row in chunk], pa.string()),
            pa.array(np.arange(first, first + len(chunk), dtype=np.int64)),
        ]
        for name, modality in self._schema.modalities.items():
            columns.append(column_of([row[name] for row in chunk], raw_type(modality)))
        table = self._table
        for field in more:
            columns.append(pa.array([row[field.name] for row in chunk], field.type))
            table = table.append(field)
        return pa.record_batch(columns, schema=table)

    def _derive(
        self,
        row: Mapping[str, object],
        stored: dict[str, Stored | None],
        place: str,
        faults: list[Fault],
    ) -> None:
        """Compute what the row does not speak of."""
        for name, compute in self._computations.items():
            declared = self._schema.modalities[name].derive
            assert declared is not None, "only derived modalities have a computation"
            given = stored.get(declared.from_)
            if name in row or given is None:
                continue
            value = compute(json.loads(given) if isinstance(given, str) else given)
            if value is None:
                continue
            try:
                stored[name] = self._checks[name](value, f"{place}, {name}, derived by {declared.by}")
            except DataError as error:
                faults.extend(error.faults)


def column_of(values: Sequence[Stored | None], kind: pa.DataType) -> pa.Array:
    """Lay checked values of one modality end to end; None becomes null."""
    if is_ragged(kind):
        numbers = kind.value_type
        there = [np.asarray(value) for value in values if value is not None]
        none = np.zeros((0, numbers.list_size), numbers.value_type.to_pandas_dtype())
        lengths = np.array([0 if value is None else len(value) for value in values], np.int64)
        given = np.array([value is not None for value in values], bool)
        return write_ragged(Ragged(cumulated(lengths), np.concatenate([none, *there]), given))
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    table = np.zeros((len(values), kind.list_size), kind.value_type.to_pandas_dtype())
    present = np.zeros(len(values), bool)
    for number, value in enumerate(values):
        if value is not None:
            present[number] = True
            table[number] = np.asarray(value).reshape(-1)
    return write_fixed(table, present)


def rows_per_chunk(modalities: Iterable[Modality]) -> int:
    """How many rows are laid out at a time, so that memory stays bounded."""
    row_bytes = sum(map(raw_bytes, modalities))
    return max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // max(row_bytes, 1)))
