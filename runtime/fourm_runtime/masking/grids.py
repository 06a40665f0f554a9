"""Which cells of a grid are visible and which are to be predicted: two disjoint random subsets.

Rows are grids of one length, whichever stream or sample they belong to. Every cell gets a random key;
the smallest keys are visible, the next ones are targets (the scheme of 4M, and of MAE before it:
He et al. 2022, https://arxiv.org/abs/2111.06377, appendix A).
"""

import numpy as np

from fourm_runtime.batch import Bools, Int64
from fourm_runtime.masking.draws import bits
from fourm_runtime.mixer import UInt64

_ROWS_AT_ONCE = 128  # keys of so many rows of 14 x 14 cells stay in a core's cache while they are mixed


def choose_cells(keys: UInt64, length: int, inputs: Int64, targets: Int64) -> tuple[Int64, Int64]:
    """Choose the cells of R grids.

    Args:
        keys: (R,) keys of the random numbers.
        length: cells of a grid.
        inputs, targets: (R,) cells to show and to predict, together at most `length`.

    Returns:
        Cells to show and to predict, row after row, increasing within a row: `inputs.sum()` and
        `targets.sum()` of them.
    """
    shown = np.zeros((len(keys), length), np.bool_)
    predicted = np.zeros((len(keys), length), np.bool_)
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        ranked = _ranked(keys[block], length)
        ordered = np.sort(ranked, axis=1)
        visible = _smallest(ranked, ordered, inputs[block])
        shown[block] = visible
        predicted[block] = _smallest(ranked, ordered, inputs[block] + targets[block]) & ~visible
    return _cells(shown, inputs), _cells(predicted, targets)


def _ranked(keys: UInt64, length: int) -> UInt64:
    """(R, L) random numbers, all different within a row: the cell's number stands in the lowest bits."""
    width = np.uint64(max(length - 1, 1).bit_length())
    cells = np.arange(length, dtype=np.uint64)
    drawn = bits(keys[:, None], cells)
    drawn >>= width
    drawn <<= width
    drawn |= cells
    return drawn


def _smallest(ranked: UInt64, ordered: UInt64, counts: Int64) -> Bools:
    """(R, L) True for the `counts` smallest numbers of each row; `ordered` has them sorted."""
    last = np.take_along_axis(ordered, np.maximum(counts - 1, 0)[:, None], axis=1)
    chosen: Bools = (ranked <= last) & (counts > 0)[:, None]
    return chosen


def _cells(chosen: Bools, counts: Int64) -> Int64:
    rows = np.repeat(np.arange(len(counts)), counts)
    cells: Int64 = np.flatnonzero(chosen) - rows * chosen.shape[1]
    return cells
