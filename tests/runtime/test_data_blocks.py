"""Rows of several blocks, gathered into a batch: every column has what each of its rows has."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.data.blocks import Block, Parts, gather_fixed, gather_ragged, gather_texts, read_block

Views = list[list[int]] | None

VIEWS = st.none() | st.lists(st.lists(st.integers(0, 255), max_size=4), max_size=3)
ONE = st.none() | st.lists(st.lists(st.integers(0, 255), max_size=4), min_size=1, max_size=1)
CELLS = st.none() | st.lists(st.integers(0, 255), min_size=3, max_size=3)
VECTORS = st.none() | st.lists(st.lists(st.floats(-9, 9, width=32), min_size=2, max_size=2), max_size=3)
TYPES = {
    "one": pa.list_(pa.list_(pa.uint16())),
    "two": pa.list_(pa.list_(pa.uint16())),
    "small": pa.list_(pa.list_(pa.uint8())),
    "left": pa.list_(pa.uint16(), 3),
    "right": pa.list_(pa.uint16(), 3),
    "bytes": pa.list_(pa.uint8(), 3),
    "vectors": pa.list_(pa.list_(pa.float32(), 2)),
}
Row = dict[str, Any]


def rows(texts: st.SearchStrategy[Views]) -> st.SearchStrategy[list[Row]]:
    values = {"one": texts, "two": texts, "small": texts, "left": CELLS, "right": CELLS, "bytes": CELLS}
    row = st.fixed_dictionaries({**values, "vectors": VECTORS})
    return st.lists(row, min_size=1, max_size=6)


BLOCKS = st.lists(st.one_of(rows(VIEWS), rows(ONE)), min_size=1, max_size=3)


def block_of(given_rows: list[Row]) -> Block:
    table = pa.table(
        {name: pa.array([row[name] for row in given_rows], kind) for name, kind in TYPES.items()}
    )
    return read_block(np.arange(len(given_rows)), table, frozenset())


@given(BLOCKS, st.data())
def test_a_batch_has_what_its_rows_have(blocks: list[list[Row]], data: st.DataObject) -> None:
    """Columns that lie side by side, blocks of one view and of many, null rows and empty views included."""
    places = [(number, place) for number, block in enumerate(blocks) for place in range(len(block))]
    wanted = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=12))
    draws = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(wanted), max_size=len(wanted)))
    numbers, inside = (np.array(side) for side in zip(*wanted, strict=True))
    parts: Parts = [
        (np.flatnonzero(numbers == number), inside[numbers == number], block_of(blocks[number]))
        for number in np.unique(numbers).tolist()
    ]
    chosen = [blocks[number][place] for number, place in wanted]

    texts = gather_texts(parts, np.array(draws, np.uint64), len(wanted))
    assert sorted(texts) == ["one", "small", "two"]
    for name, column in texts.items():
        values = [row[name] for row in chosen]
        views = [
            (value or [[]])[draw % max(len(value or []), 1)]
            for value, draw in zip(values, draws, strict=True)
        ]
        assert column.present.tolist() == [value is not None for value in values]
        assert [
            column.ids[first:last].tolist()
            for first, last in zip(column.offsets[:-1], column.offsets[1:], strict=True)
        ] == views
        assert column.ids.dtype == TYPES[name].value_type.value_type.to_pandas_dtype()

    for name, (table, present) in gather_fixed(parts, len(wanted)).items():
        values = [row[name] for row in chosen]
        assert present.tolist() == [value is not None for value in values]
        assert [row.tolist() for row in table[present]] == [value for value in values if value is not None]
        assert table.dtype == TYPES[name].value_type.to_pandas_dtype()

    ragged = gather_ragged(parts, "vectors", len(wanted))
    assert [
        ragged.vectors[first:last].tolist()
        for first, last in zip(ragged.bounds[:-1], ragged.bounds[1:], strict=True)
    ] == [row["vectors"] or [] for row in chosen]
