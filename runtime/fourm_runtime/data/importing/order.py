"""The order in which the rows of a source are imported: a pure function of a seed and a position.

Rows that can be read one by one are permuted as a whole. Where they are read in runs (row groups, tars), the
runs are permuted, and the rows of a few consecutive ones are permuted among themselves, so that only these
are held. Nothing is drawn in turn: an import that was cut off finds its place from the position alone.
"""

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.data.order import keyed, permute

Int64 = NDArray[np.int64]

POOL_ROWS = 65_536
POOL_BYTES = 256 * 2**20
"""A pool of runs is closed when it holds either."""

_OF_RUNS, _OF_ROWS = 11, 12


class ImportOrder:
    """Which row of a source stands at each position.

    Args:
        runs: (R,) rows of each run of rows that are read together.
        seed: another seed, another order; None keeps that of the source.
        run_bytes: memory that the largest run takes.
    """

    def __init__(self, runs: Int64, seed: int | None, run_bytes: int = 0) -> None:
        self.rows = int(runs.sum())
        self._seed = seed
        if seed is None:
            return
        count = np.array([max(len(runs), 1)])
        order = permute(np.arange(len(runs)), count, keyed(seed, _OF_RUNS)) if len(runs) else runs
        sizes = runs[order]
        most = max(1, POOL_BYTES // run_bytes) if run_bytes else len(runs)
        firsts = _pools(sizes, most)
        ends = np.cumsum(sizes)
        self._starts = (np.cumsum(runs) - runs)[order]
        self._run_ends = ends
        self._pool_starts = (ends - sizes)[firsts] if len(runs) else np.zeros(0, np.int64)
        self._pool_sizes = np.diff(np.append(self._pool_starts, self.rows))

    def at(self, positions: Int64) -> Int64:
        """Rows of the source at some positions.

        Args:
            positions: (P,) each below the number of rows.

        Returns:
            (P,) rows.
        """
        if self._seed is None or not len(positions):
            return positions
        pools = np.searchsorted(self._pool_starts, positions, "right") - 1
        starts = self._pool_starts[pools]
        inside = permute(
            positions - starts, self._pool_sizes[pools], keyed(self._seed, _OF_ROWS, pools.astype(np.int64))
        )
        place = starts + inside
        run = np.searchsorted(self._run_ends, place, "right")
        before = np.where(run > 0, self._run_ends[run - 1], 0)
        rows: Int64 = self._starts[run] + place - before
        return rows


def _pools(sizes: Int64, most: int) -> Int64:
    """The first run of each pool."""
    firsts, rows, runs = [0], 0, 0
    for number, size in enumerate(sizes.tolist()):
        if runs and (rows + size > POOL_ROWS or runs >= most):
            firsts.append(number)
            rows = runs = 0
        rows, runs = rows + size, runs + 1
    return np.array(firsts if len(sizes) else [], np.int64)
