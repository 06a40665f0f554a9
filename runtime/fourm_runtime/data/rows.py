"""Raw values of a sample: checked against the schema, then laid out as Arrow columns.

A row is a mapping {modality: value}; None or a missing key means that the sample lacks the modality, and
the key `id` names the sample. Arrays, PIL pictures and nested lists are equally good images and vectors.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fourm_runtime.data.columns import write_fixed
from fourm_runtime.data.layout import (
    ID,
    has_whole_levels,
    raw_bytes,
    raw_dtype,
    raw_shape,
    raw_type,
    table_schema,
)
from fourm_schema.errors import DataError, Fault, nearest
from fourm_schema.modality import (
    Categorical,
    Continuous,
    Direction,
    Features,
    Image,
    Modality,
    Set,
    Text,
    Vector,
)
from fourm_schema.schema import Schema

Row: TypeAlias = Mapping[str, object]
Stored: TypeAlias = NDArray[np.generic] | list[str] | str
Floats: TypeAlias = NDArray[np.float64]

MOST_FAULTS = 20
_CHUNK_BYTES = 16 * 2**20
_CHUNK_ROWS = 1024
_DIRECTION_SLACK = 1e-3


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
    """

    def __init__(self, schema: Schema, first_sample: int = 0) -> None:
        self._schema = schema
        self._table = table_schema(schema)
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
        size = _rows_per_chunk(self._schema)
        chunk: list[dict[str, Stored | None]] = []
        try:
            for row in rows:
                chunk.append(self._check(row))
                if len(self.faults) >= MOST_FAULTS:
                    return
                if len(chunk) == size:
                    if not self.faults:
                        yield self._batch(chunk)
                    chunk = []
        except DataError as error:
            self.faults.extend(error.faults)
            return
        except Exception as error:
            self.error = error
            return
        if chunk and not self.faults:
            yield self._batch(chunk)

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

    def _check(self, row: Row) -> dict[str, Stored | None]:
        index, self._index = self._index, self._index + 1
        place = row.place if isinstance(row, LocatedRow) else f"row {index}"
        stored: dict[str, Stored | None] = {ID: str(self._next + index)}
        if not isinstance(row, Mapping):
            fault = Fault(place, "a row is a mapping {modality: value}", got=type(row).__name__)
            self.faults.append(fault)
            return stored
        if row.get(ID) is not None:
            stored[ID] = str(row[ID])
            place = f"{place} (id {stored[ID]!r})"
        known = self._schema.modalities
        for name in row:
            if name != ID and name not in known:
                self.faults.append(
                    Fault(
                        f"{place}, {name}",
                        "is no modality of this schema",
                        mend=nearest(str(name), list(known)),
                    )
                )
        for name, modality in known.items():
            value = row.get(name)
            if value is None:
                stored[name] = None
                continue
            try:
                stored[name] = check_value(modality, value, f"{place}, {name}")
            except DataError as error:
                self.faults.extend(error.faults)
        if all(row.get(name) is None for name in known) and set(row) <= {ID, *known}:
            self.faults.append(
                Fault(place, "gives no modality at all", mend=f"give at least one of: {', '.join(known)}")
            )
        return stored

    def _batch(self, chunk: list[dict[str, Stored | None]]) -> pa.RecordBatch:
        first = self._next + self._index - len(chunk)
        columns = [
            pa.array([row[ID] for row in chunk], pa.string()),
            pa.array(np.arange(first, first + len(chunk), dtype=np.int64)),
        ]
        for name, modality in self._schema.modalities.items():
            columns.append(column_of([row[name] for row in chunk], raw_type(modality)))
        return pa.record_batch(columns, schema=self._table)


def column_of(values: Sequence[Stored | None], kind: pa.DataType) -> pa.Array:
    """Lay checked values of one modality end to end; None becomes null."""
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    table = np.zeros((len(values), kind.list_size), kind.value_type.to_pandas_dtype())
    present = np.zeros(len(values), bool)
    for number, value in enumerate(values):
        if value is not None:
            present[number] = True
            table[number] = np.asarray(value).reshape(-1)
    return write_fixed(table, present)


def check_value(modality: Modality, value: object, where: str) -> Stored:
    """Check one raw value and bring it into the form in which it is stored.

    Args:
        modality: the schema entry.
        value: what the user gave; not None.
        where: the place, for messages.

    Returns:
        an array of the stored type, the alternatives of a text, or the JSON of a set.

    Raises:
        DataError: if the schema does not admit the value.
    """
    if isinstance(modality, Text):
        return _check_text(modality, value, where)
    if isinstance(modality, Set):
        return _check_set(modality, value, where)
    array = _read_array(modality, value, where)
    if isinstance(modality, Image) and _holds_levels(modality, array):
        return array.astype(raw_dtype(modality))
    numbers = _finite(array, where)
    if isinstance(modality, Vector):
        _check_vector(modality, numbers, where)
    elif isinstance(modality.cell, Categorical):
        _check_classes(modality.cell, numbers, where)
    elif isinstance(modality.cell, Continuous):
        _check_continuous(modality, modality.cell, numbers, where)
    elif isinstance(modality.cell, Direction):
        _refuse(
            np.abs(numbers) > 1 + _DIRECTION_SLACK,
            numbers,
            where,
            "the numbers of a unit vector lie in [-1, 1]",
            "normalise each cell to length 1",
        )
    else:
        assert isinstance(modality.cell, Features), "the cell types are these four"
        limit = float(np.finfo(np.float16).max)
        _refuse(
            np.abs(numbers) > limit, numbers, where, f"features are stored as float16, within {limit:g}", ""
        )
    return numbers.astype(raw_dtype(modality))


def _read_array(modality: Image | Vector, value: object, where: str) -> NDArray[np.generic]:
    """Read an array in the raw shape; a channel axis of one may be there or not."""
    shape = raw_shape(modality)
    wanted = "x".join(map(str, shape))
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(where, f"a value is {wanted} numbers", got="lists of unequal lengths") from None
    if array.dtype.kind not in "biuf":
        got = f"{type(value).__name__} of {array.dtype}" if array.ndim else type(value).__name__
        raise DataError(where, f"a value is {wanted} numbers", got=got)
    if array.shape == (*shape, 1):
        array = array[..., 0]
    if array.shape != shape:
        channels_first = len(shape) == 3 and array.shape == (shape[2], *shape[:2])
        raise DataError(
            where,
            f"a value has shape {wanted}",
            got="x".join(map(str, array.shape)) or "a single number",
            mend="put the channels last" if channels_first else "resize it, or change the schema",
        )
    return array


def _holds_levels(modality: Image, array: NDArray[np.generic]) -> bool:
    """Whether an integer array can be stored as it is: most pictures, spared the way through float64."""
    cell = modality.cell
    if array.dtype.kind not in "iu":
        return False
    if isinstance(cell, Categorical):
        low, high = 0.0, cell.class_count - 1.0
    elif isinstance(cell, Continuous) and has_whole_levels(cell):
        low, high = cell.range
        if high - low != (cell.levels or 0) - 1:
            return False
    else:
        return False
    return bool(low <= array.min() and array.max() <= high)


def _finite(array: NDArray[np.generic], where: str) -> Floats:
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        place = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise DataError(
            f"{where} at {place}",
            "NaN and infinity stand for no value",
            got=str(numbers[tuple(place)]),
            mend="give None for an absent value, or fill it in",
        )
    return numbers


def _check_vector(modality: Vector, numbers: Floats, where: str) -> None:
    ranges = modality.range_of_each
    if ranges is None:
        return
    low, high = np.array(ranges, np.float64).T
    _bound(numbers, low, high, modality.out_of_range == "clip", where, modality.names)


def _check_continuous(modality: Image, cell: Continuous, numbers: Floats, where: str) -> None:
    low, high = (np.float64(end) for end in cell.range)
    clips = modality.out_of_range == "clip"
    _bound(numbers, low, high, clips, where)
    if cell.levels is None or not has_whole_levels(cell):
        return
    step = (high - low) / (cell.levels - 1)
    on_level = low + np.round((numbers - low) / step) * step
    if not clips:
        what = f"values lie on {cell.levels} levels of [{_show(low)}, {_show(high)}]"
        mend = "round it, or set `out_of_range: clip` to snap it"
        _refuse(np.abs(numbers - on_level) > 1e-6, numbers, where, what, mend)
    numbers[...] = on_level


def _check_classes(cell: Categorical, numbers: Floats, where: str) -> None:
    known = (numbers >= 0) & (numbers < cell.class_count) & (numbers == np.round(numbers))
    what = f"classes are whole numbers in [0, {cell.class_count - 1}]"
    _refuse(~known, numbers, where, what, "declare the class in the schema, or map it to one that is")


def _bound(
    numbers: Floats,
    low: NDArray[np.float64] | np.float64,
    high: NDArray[np.float64] | np.float64,
    clips: bool,
    where: str,
    names: Sequence[str] | None = None,
) -> None:
    """Clip the numbers to [low, high] in place, or refuse those outside.

    The ends are those of float32 too: 0.1 read from a float32 file lies a little above 0.1.
    """
    slack = np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))
    outside = (numbers < low - slack) | (numbers > high + slack)
    if not clips and outside.any():
        place = tuple(int(axis) for axis in np.argwhere(outside)[0])
        lows, highs = (np.broadcast_to(end, numbers.shape)[place] for end in (low, high))
        name = f"{where}.{names[place[0]]}" if names else f"{where} at {list(place)}"
        raise DataError(
            name,
            f"values lie in [{_show(lows)}, {_show(highs)}]",
            got=_show(numbers[place]),
            mend="rescale it, or set `out_of_range: clip` to bound it",
        )
    np.clip(numbers, low, high, out=numbers)


def _refuse(wrong: NDArray[np.bool_], numbers: Floats, where: str, what: str, mend: str) -> None:
    if wrong.any():
        place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
        raise DataError(f"{where} at {list(place)}", what, got=_show(numbers[place]), mend=mend)


def _check_text(modality: Text, value: object, where: str) -> list[str]:
    views = [value] if isinstance(value, str) else value
    if not isinstance(views, list | tuple) or not all(isinstance(view, str) for view in views):
        raise DataError(where, "a text is a string, or a list of alternative strings", got=_kind(value))
    if not 1 <= len(views) <= modality.views:
        raise DataError(
            where,
            f"a text has 1 to {modality.views} alternatives"
            if modality.views > 1
            else "a text is one string",
            got=f"{len(views)} strings",
            mend=""
            if modality.views > 1 and not views
            else f"set `views: {max(len(views), 1)}` in the schema",
        )
    return list(views)


def _check_set(modality: Set, value: object, where: str) -> str:
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise DataError(where, "a set is a list of records {field: value}", got=_kind(value))
    if len(value) > modality.max_items:
        raise DataError(where, f"a set has at most {modality.max_items} records", got=str(len(value)))
    for number, item in enumerate(value):
        for name in item:
            if name not in modality.fields:
                mend = nearest(str(name), list(modality.fields))
                raise DataError(f"{where}[{number}].{name}", "is no field of this set", mend=mend)
        for name, field in modality.fields.items():
            if item.get(name) is None and not field.optional:
                mend = "give it, or declare `optional: true`"
                raise DataError(f"{where}[{number}].{name}", "is missing", mend=mend)
    try:
        return json.dumps([dict(item) for item in value], allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(where, "a record holds numbers, texts and lists of them", got=str(error)) from None


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__}")


def _kind(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"a list of {', '.join(sorted({type(item).__name__ for item in value})) or 'nothing'}"
    return type(value).__name__


def _show(number: float | np.floating) -> str:
    return f"{float(number):.9g}"


def _rows_per_chunk(schema: Schema) -> int:
    row_bytes = sum(map(raw_bytes, schema.modalities.values()))
    return max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // max(row_bytes, 1)))
