"""Position tables: the published vectors of 4M where they agree, rows and columns apart where they do not."""

import pytest
import torch

from fourm_runtime.positions import fixed_table, sincos_1d, sincos_2d
from fourm_schema.allocation import allocate, position_key
from tests.runtime.drawn_plans import plan_of, stream


def test_square_grids_have_4ms_vectors() -> None:
    """A released checkpoint was trained with exactly these; rows 1 and 3 differ in one coordinate each."""
    table = sincos_2d(2, 2, 8)

    assert table[1].tolist() == pytest.approx([0, 0, 1, 1, 0.8415, 0.01, 0.5403, 1], abs=1e-4)
    assert table[2].tolist() == pytest.approx([0.8415, 0.01, 0.5403, 1, 0, 0, 1, 1], abs=1e-4)


def test_wide_grids_keep_rows_and_columns_apart() -> None:
    """4M mixes them for grids that are not square."""
    cells = sincos_2d(2, 3, 8).view(2, 3, 8)

    assert torch.equal(cells[:, 0, :4], cells[:, 2, :4])
    assert torch.equal(cells[0, :, 4:], cells[1, :, 4:])
    assert len(torch.unique(cells.flatten(0, 1), dim=0)) == 6


def test_streams_of_one_shape_share_rows_and_row_zero_is_nothing() -> None:
    """Fixed rows are a function of the shape; a second copy would only cost memory."""
    plan = plan_of(stream("image", 0), stream("image", 1), stream("text", 2))
    allocation = allocate(plan)
    table = fixed_table(allocation, 8)

    assert not table[0].any()
    assert allocation.position_offset(plan.streams[0]) == allocation.position_offset(plan.streams[1])
    span = allocation.fixed_positions[position_key(plan.streams[2])]
    assert torch.equal(table[span.start : span.stop], sincos_1d(span.size, 8))
