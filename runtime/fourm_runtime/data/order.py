"""The order of samples: a pure function of (seed, epoch, position), so a run resumes from its step alone.

An epoch visits every row once. Rows are stored in blocks, blocks are permuted, and the rows of each pool
of consecutive permuted blocks are permuted among themselves: a reader needs only one pool in memory.
Both permutations are keyed Feistel networks (Luby and Rackoff 1988), restricted to [0, n) by walking
their cycles (Black and Rogaway 2002, section 3), so no table is built and any position costs the same.

The integer mixer is our own copy of a fixed formula, not NumPy's generators: NumPy promises no streams
across versions, and a run must resume years later. The tests publish vectors of this order.

Shapes: P positions.
"""

from typing import Protocol

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourm_runtime.mixer import GOLDEN, UInt64, mix
from fourm_schema.errors import DataError

Int64 = NDArray[np.int64]

_ROUNDS = 8

_OF_BLOCKS = 1
_OF_ROWS = 2
_OF_SAMPLES = 3
_OF_DATASETS = 4


def keyed(*parts: ArrayLike) -> UInt64:
    """Hash integers, in order, into one 64-bit word per element of their broadcast shape.

    Args:
        parts: integers or integer arrays; negative ones count modulo 2**64.

    Returns:
        uint64 words, at least one-dimensional.
    """
    state: UInt64 = np.zeros(1, dtype=np.uint64)
    for part in parts:
        state = mix((state + np.uint64(GOLDEN)) ^ _words(part))
    return state


def sample_hash(seed: int, epochs: ArrayLike, samples: ArrayLike) -> UInt64:
    """The word from which a sample's own choices of an epoch are drawn, e.g. which caption is shown.

    It depends on the sample's number, never on its row, the batch or the worker that loads it.
    """
    return keyed(seed, _OF_SAMPLES, epochs, samples)


def dataset_seed(seed: int, number: int) -> int:
    """The seed of one dataset's order within a mixture; that of the first is the run's own."""
    return seed if number == 0 else int(keyed(seed, _OF_DATASETS, number)[0])


def permute(values: Int64, sizes: Int64, keys: UInt64, inverse: bool = False) -> Int64:
    """Send each value of [0, size) to another, one to one for each (size, key).

    Args:
        values: (P,) each in [0, sizes[p]).
        sizes: (P,) or (1,) size of each value's domain.
        keys: (P,) or (1,) key of each value's permutation.
        inverse: undo the permutation.

    Returns:
        (P,) images of the values.
    """
    shape = np.broadcast_shapes(values.shape, sizes.shape, keys.shape)
    result = np.array(np.broadcast_to(values, shape).astype(np.uint64))
    bound = np.broadcast_to(sizes, shape).astype(np.uint64)
    keys = np.broadcast_to(keys, shape)
    width = np.frexp((bound - np.uint64(1)).astype(np.float64))[1].astype(np.uint64)
    todo = np.arange(result.size)
    while todo.size:
        moved = _feistel(result[todo], width[todo], keys[todo], inverse)
        result[todo] = moved
        todo = todo[moved >= bound[todo]]
    return result.astype(np.int64)


def _feistel(words: UInt64, width: UInt64, keys: UInt64, inverse: bool) -> UInt64:
    """One pass of the network over words of `width` bits; the halves may differ by one bit."""
    one = np.uint64(1)
    low_width = width >> one
    low_mask = (one << low_width) - one
    high_mask = (one << (width - low_width)) - one
    high, low = words >> low_width, words & low_mask
    for number in reversed(range(_ROUNDS)) if inverse else range(_ROUNDS):
        key = keys + np.uint64((number + 1) * GOLDEN % 2**64)
        if number % 2:
            low = low ^ (mix(high ^ key) & low_mask)
        else:
            high = high ^ (mix(low ^ key) & high_mask)
    joined: UInt64 = (high << low_width) | low
    return joined


def _words(part: ArrayLike) -> UInt64:
    if isinstance(part, int):
        return np.array([part % 2**64], dtype=np.uint64)
    return np.atleast_1d(np.asarray(part)).astype(np.uint64)


def step_positions(step: int, samples_per_step: int, rank: int = 0, world: int = 1) -> Int64:
    """The positions of global step t that a rank works on: a contiguous slice of [t G, (t + 1) G).

    Args:
        step: global step t, from 0.
        samples_per_step: G, the samples of a step over all ranks.
        rank: this rank.
        world: how many ranks share the step; slices differ by at most one sample.

    Returns:
        Positions of the slice; the slices of all ranks laid end to end are the step.
    """
    assert 0 <= rank < world, "a rank lies below the world size"
    first = step * samples_per_step
    start, stop = (first + samples_per_step * number // world for number in (rank, rank + 1))
    return np.arange(start, stop, dtype=np.int64)


class SampleOrder(Protocol):
    """Which sample stands at each global position, of one dataset or of several."""

    @property
    def seed(self) -> int:
        """The run's seed."""
        ...

    def at(self, positions: ArrayLike) -> tuple[Int64, Int64]:
        """Epoch and row at each global position."""
        ...

    def step(self, step: int, samples_per_step: int, rank: int = 0, world: int = 1) -> tuple[Int64, Int64]:
        """Epochs and rows of a rank's slice of a global step."""
        ...


@attrs.frozen
class Order:
    """The order in which samples are seen; global position p belongs to epoch p // rows.

    Attributes:
        rows: rows of the dataset.
        seed: another seed, another order.
        block: rows that are read together; 512 reads ten times faster from Lance than single rows.
        pool: blocks whose rows are shuffled together, and so held in memory together.
    """

    rows: int
    seed: int
    block: int = 512
    pool: int = 16

    def __attrs_post_init__(self) -> None:
        if self.rows < 1:
            raise DataError("dataset", "has no rows to order", mend="append samples first")
        assert min(self.block, self.pool) > 0, "a block holds rows and a pool holds blocks"

    def at(self, positions: ArrayLike) -> tuple[Int64, Int64]:
        """Which row of which epoch stands at each global position.

        Args:
            positions: (P,) global positions, counted over all epochs from 0.

        Returns:
            epochs (P,) and rows (P,), int64.
        """
        where = np.atleast_1d(np.asarray(positions, dtype=np.int64))
        if not where.size:
            return where, where
        assert where.min() >= 0, "positions count from 0"
        epochs, place = np.divmod(where, self.rows)
        blocks = -(-self.rows // self.block)
        pool_rows = self.block * self.pool

        # The last block may be short. Wherever the permutation puts it, later pools begin `missing` earlier.
        missing = blocks * self.block - self.rows
        distinct, which = np.unique(epochs, return_inverse=True)
        last, count = np.array([blocks - 1]), np.array([blocks])
        short = permute(last, count, keyed(self.seed, _OF_BLOCKS, distinct), inverse=True)[which]
        short_pool, short_slot = np.divmod(short, self.pool)

        place = place + missing * (place >= (short_pool + 1) * pool_rows - missing)
        pools, local = np.divmod(place, pool_rows)
        holds_short = pools == short_pool
        sizes = np.minimum(self.pool, blocks - pools * self.pool) * self.block - missing * holds_short
        local = permute(local, sizes, keyed(self.seed, _OF_ROWS, epochs, pools))
        local = local + missing * (holds_short & (local >= (short_slot + 1) * self.block - missing))
        slots, inside = np.divmod(local, self.block)
        chosen = permute(pools * self.pool + slots, count, keyed(self.seed, _OF_BLOCKS, epochs))
        return epochs, chosen * self.block + inside

    def step(self, step: int, samples_per_step: int, rank: int = 0, world: int = 1) -> tuple[Int64, Int64]:
        """Epochs and rows of the samples of a global step that a rank works on; see `step_positions`."""
        return self.at(step_positions(step, samples_per_step, rank, world))
