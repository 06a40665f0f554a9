"""Arrow columns and arrays say the same, through slices, nulls and empty lists."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.data.columns import (
    is_present,
    read_fixed,
    read_nested,
    write_fixed,
    write_nested,
)

VIEWS = st.lists(st.lists(st.integers(0, 65_535), max_size=4), max_size=3)
NESTED = st.lists(st.none() | VIEWS, max_size=12)
FIXED = st.lists(st.none() | st.lists(st.integers(0, 255), min_size=3, max_size=3), max_size=12)


@given(NESTED, st.data())
def test_nested_columns_survive_reading_and_writing(
    rows: list[list[list[int]] | None], data: st.DataObject
) -> None:
    """Lance hands out slices of longer arrays, whose offsets do not begin at 0."""
    kind = pa.list_(pa.list_(pa.uint16()))
    start = data.draw(st.integers(0, len(rows)))
    column = pa.array(rows, kind).slice(start)

    read = read_nested(column)
    assert write_nested(read).to_pylist() == rows[start:]
    assert write_nested(read).type == kind
    assert write_nested(read_nested(pa.chunked_array([column, column], kind))).to_pylist() == rows[start:] * 2


@given(FIXED, st.data())
def test_fixed_columns_survive_reading_and_writing(rows: list[list[int] | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(rows)))
    column = pa.array(rows, pa.list_(pa.uint8(), 3)).slice(start)
    table, present = read_fixed(column)

    assert present.tolist() == [row is not None for row in rows[start:]] == is_present(column).tolist()
    assert write_fixed(table, present).to_pylist() == rows[start:]


def test_what_a_null_row_covers_is_not_shown() -> None:
    """Arrow lets a null row span values; they are nobody's."""
    inner = pa.array([[1], [2, 3]], pa.list_(pa.uint16()))
    column = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), inner, mask=pa.array([True, False]))
    read = read_nested(column)

    assert read.ids.tolist() == [2, 3]
    assert read.present.tolist() == [False, True]
