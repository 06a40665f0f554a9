"""Sin-cos position tables, one-dimensional and two-dimensional.

Source: Vaswani et al. 2017, section 3.5, with frequencies 10000^(-i/n); the two-dimensional form is
MAE's (He et al. 2022), one half of the channels for the row and one for the column.
Shapes: P positions, D channels.
"""

import torch

from fourm_schema.allocation import Allocation


def sincos_1d(count: int, dim: int) -> torch.Tensor:
    """Positions 0..count-1 as [sin(p w), cos(p w)], w_i = 10000^(-2i/dim). Float32, (P, D).

    >>> sincos_1d(3, 2)
    tensor([[ 0.0000,  1.0000],
            [ 0.8415,  0.5403],
            [ 0.9093, -0.4161]])
    """
    return _waves(torch.arange(count, dtype=torch.float64), dim // 2).float()


def sincos_2d(rows: int, columns: int, dim: int) -> torch.Tensor:
    """Cells of a grid, row by row: the first D/2 channels tell the row, the others the column.

    Float32, (P, D) with P = rows * columns. For square grids this equals 4M's table; for others 4M
    mixes rows and columns, which is not repeated here.
    """
    row = torch.arange(rows, dtype=torch.float64).repeat_interleave(columns)
    column = torch.arange(columns, dtype=torch.float64).repeat(rows)
    return torch.cat([_waves(row, dim // 4), _waves(column, dim // 4)], dim=1).float()


def _waves(positions_P: torch.Tensor, frequency_count: int) -> torch.Tensor:
    exponent = torch.arange(frequency_count, dtype=torch.float64) / frequency_count
    angles = positions_P[:, None] * (10000.0**-exponent)[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def fixed_table(allocation: Allocation, dim: int) -> torch.Tensor:
    """Every sin-cos row that the allocation names; row 0 (*nothing*) is zero. Float32, (P, D)."""
    table = torch.zeros(allocation.fixed_position_rows, dim)
    for key, span in allocation.fixed_positions.items():
        scheme, _, shape = key.partition(":")
        sizes = [int(size) for size in shape.split("x")]
        rows = sincos_2d(sizes[0], sizes[1], dim) if scheme == "sincos-2d" else sincos_1d(sizes[0], dim)
        table[span.start : span.stop] = rows
    return table
