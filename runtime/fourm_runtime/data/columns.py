"""Arrow columns <-> NumPy arrays, without a copy where Arrow allows it.

Shapes: N rows of a column, V views of all rows together.
"""

import attrs
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Int64 = NDArray[np.int64]
Numbers = NDArray[np.generic]


@attrs.frozen(eq=False)
class Nested:
    """Rows that hold a few views each, and views that hold ids.

    Attributes:
        views: (N + 1,) row n has the views views[n] .. views[n + 1] - 1.
        bounds: (V + 1,) view v has ids[bounds[v] : bounds[v + 1]].
        ids: the ids of all views.
        present: (N,) False where the row is null.
    """

    views: Int64
    bounds: Int64
    ids: Numbers
    present: Bools


@attrs.frozen(eq=False)
class Ragged:
    """Rows that hold a sequence of vectors each.

    Attributes:
        bounds: (N + 1,) row n has the vectors bounds[n] .. bounds[n + 1] - 1.
        vectors: (V, C) numbers of all rows.
        present: (N,) False where the row is null.
    """

    bounds: Int64
    vectors: Numbers
    present: Bools


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def is_present(column: pa.Array | pa.ChunkedArray) -> Bools:
    """(N,) True where the row is not null."""
    if column.null_count == 0:
        return np.ones(len(column), bool)
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=bool)


def read_fixed(column: pa.Array | pa.ChunkedArray) -> tuple[Numbers, Bools]:
    """Read a fixed-size list column: (N, size) numbers, in null rows arbitrary ones, and who is present."""
    array = one_array(column)
    size = array.type.list_size
    # flatten() would drop the null rows, and `values` knows nothing of a slice's offset.
    values = array.values.slice(array.offset * size, len(array) * size)
    if values.null_count:
        # Where every row of a page is null, so are its numbers, and nulls would turn ids to floats.
        values = values.fill_null(0)
    return values.to_numpy(zero_copy_only=False).reshape(len(array), size), is_present(array)


def write_fixed(table: Numbers, present: Bools) -> pa.Array:
    """A fixed-size list column of the rows of a table, null where not present."""
    flat = pa.array(np.ascontiguousarray(table).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, table.shape[1], mask=pa.array(~present))


def read_nested(column: pa.Array | pa.ChunkedArray) -> Nested:
    """Read a column of lists of lists of ids; a null row has no views."""
    array = one_array(column)
    present = is_present(array)
    starts = array.offsets.to_numpy().astype(np.int64)
    inner = array.values
    bounds = inner.offsets.to_numpy().astype(np.int64)
    # A null row may cover values all the same; it must not show them.
    counts = np.where(present, np.diff(starts), 0)
    kept = np.repeat(starts[:-1], counts) + ranks(counts)
    lengths = (bounds[1:] - bounds[:-1])[kept]
    places = np.repeat(bounds[:-1][kept], lengths) + ranks(lengths)
    ids = inner.values.to_numpy(zero_copy_only=False)[places]
    return Nested(cumulated(counts), cumulated(lengths), ids, present)


def write_nested(rows: Nested) -> pa.Array:
    """A column of lists of lists of ids, null where not present."""
    inner = pa.ListArray.from_arrays(pa.array(rows.bounds.astype(np.int32)), pa.array(rows.ids))
    return pa.ListArray.from_arrays(
        pa.array(rows.views.astype(np.int32)), inner, mask=pa.array(~rows.present)
    )


def read_ragged(column: pa.Array | pa.ChunkedArray) -> Ragged:
    """Read a column of lists of vectors; a null row has none."""
    array = one_array(column)
    present = is_present(array)
    starts = array.offsets.to_numpy().astype(np.int64)
    # A null row may cover values all the same; it must not show them.
    lengths = np.where(present, np.diff(starts), 0)
    vectors, _ = read_fixed(array.values)
    return Ragged(cumulated(lengths), vectors[np.repeat(starts[:-1], lengths) + ranks(lengths)], present)


def write_ragged(rows: Ragged) -> pa.Array:
    """A column of lists of vectors, null where not present."""
    flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.vectors.shape[1])
    bounds = pa.array(rows.bounds.astype(np.int32))
    return pa.ListArray.from_arrays(bounds, vectors, mask=pa.array(~rows.present))


def is_ragged(kind: pa.DataType) -> bool:
    """Whether a column holds sequences of vectors."""
    return bool(pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type))


def ranks(lengths: Int64) -> Int64:
    """0 .. l - 1 for each length l, end to end."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0, dtype=np.int64) - np.repeat(ends - lengths, lengths)


def cumulated(lengths: Int64) -> Int64:
    """(N + 1,) where each of N lengths starts, laid end to end, and where the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
