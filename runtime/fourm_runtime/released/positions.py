"""Sin-cos positions as the released code computes them, for files that lack the tables.

Every step is in float32 there, so that they differ from ours (`fourm_runtime.positions`) by up to 2e-5.
Shapes: P positions, D channels.
"""

import math

import torch


def released_positions(count: int, dim: int, on_grid: bool) -> torch.Tensor:
    """The table of a sequence, or of a square grid row by row. Float32, (P, D).

    Args:
        count: P.
        dim: D.
        on_grid: the first half of the channels tells the row, the second the column.
    """
    if not on_grid:
        return _waves(torch.arange(count, dtype=torch.float32), dim // 2)
    side = math.isqrt(count)
    line = torch.arange(side, dtype=torch.float32)
    return torch.cat(
        [_waves(line.repeat_interleave(side), dim // 4), _waves(line.repeat(side), dim // 4)], dim=1
    )


def _waves(places_P: torch.Tensor, frequencies: int) -> torch.Tensor:
    exponents = torch.arange(frequencies, dtype=torch.float32) / frequencies
    angles = torch.outer(places_P, 1.0 / 10_000**exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
