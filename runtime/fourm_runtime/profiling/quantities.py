"""Numbers as they go by -> mean, deviation, ends and quantiles, in memory that does not grow.

Shapes: R values of a block, K kinds of numbers (channels, dimensions).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.profiling.record import QUANTILES, Numbers

Float64 = NDArray[np.float64]

MOST_SAMPLED = 65_536
"""Numbers that quantiles are estimated from, all kinds of a gatherer together."""

BARS = 40

_ROWS = 2**17


class NumberGatherer:
    """Gathers K kinds of numbers.

    Mean and deviation are merged block by block (Chan et al. 1983, equation 2.1), which loses no digits.
    Quantiles are those of a sample: each row is kept with the same chance, which halves when they are many.

    Args:
        names: of each kind.
        ranges: the declared range of each kind, or None.
    """

    def __init__(self, names: Sequence[str], ranges: Sequence[tuple[float, float] | None]) -> None:
        assert len(names) == len(ranges), "each kind has a range or None"
        self._names, self._ranges = tuple(names), tuple(ranges)
        kinds = len(names)
        self._low = np.array([-np.inf if ends is None else ends[0] for ends in ranges], np.float64)
        self._high = np.array([np.inf if ends is None else ends[1] for ends in ranges], np.float64)
        self._count = 0
        self._mean, self._squares = np.zeros(kinds), np.zeros(kinds)
        self._least, self._most = np.full(kinds, np.inf), np.full(kinds, -np.inf)
        self._outside = np.zeros((4, kinds), np.int64)
        self._kept: list[Float64] = []
        self._held, self._chance, self._draws = 0, 1.0, np.random.default_rng(0)
        self._room = max(1, MOST_SAMPLED // max(kinds, 1))

    def add(self, block_RK: NDArray[np.generic]) -> None:
        """Take in a block of numbers, (R, K)."""
        for start in range(0, len(block_RK), _ROWS):
            self._add(block_RK[start : start + _ROWS].astype(np.float64))

    def _add(self, block_RK: Float64) -> None:
        rows = len(block_RK)
        mean = block_RK.mean(axis=0)
        apart, total = mean - self._mean, self._count + rows
        self._squares += ((block_RK - mean) ** 2).sum(axis=0) + apart**2 * (self._count * rows / total)
        self._mean += apart * (rows / total)
        self._count = total
        self._least = np.minimum(self._least, block_RK.min(axis=0))
        self._most = np.maximum(self._most, block_RK.max(axis=0))
        # The ends are those of float32 too, as when values are stored.
        slack = np.finfo(np.float32).eps * np.maximum(np.abs(self._low), np.abs(self._high))
        slack = np.where(np.isfinite(slack), slack, 0.0)
        self._outside += np.stack(
            [
                (block_RK < self._low - slack).sum(axis=0),
                (block_RK > self._high + slack).sum(axis=0),
                (np.abs(block_RK - self._low) <= slack).sum(axis=0),
                (np.abs(block_RK - self._high) <= slack).sum(axis=0),
            ]
        )
        self._sample(block_RK)

    def _sample(self, block_RK: Float64) -> None:
        rows = len(block_RK)
        if self._chance == 1.0 and self._held + rows <= self._room:
            chosen = block_RK
        else:
            chosen = block_RK[self._draws.random(rows) < self._chance]
        self._kept.append(chosen)
        self._held += len(chosen)
        while self._held > self._room:
            every = np.concatenate(self._kept)
            every = every[self._draws.random(len(every)) < 0.5]
            self._kept, self._held = [every], len(every)
            self._chance /= 2

    def finished(self) -> dict[str, Numbers]:
        """What was gathered, by name; nothing if there were no numbers."""
        if not self._count:
            return {}
        sample = np.concatenate(self._kept)
        if not len(sample):
            sample = np.stack([self._least, self._most])
        deviation = np.sqrt(self._squares / self._count)
        found = {}
        for kind, name in enumerate(self._names):
            least, most = float(self._least[kind]), float(self._most[kind])
            bars, _ = np.histogram(
                sample[:, kind], bins=BARS, range=(least, most if most > least else least + 1)
            )
            ends, outside = self._ranges[kind], self._outside[:, kind].tolist()
            found[name] = Numbers(
                count=self._count,
                mean=float(self._mean[kind]),
                std=float(deviation[kind]),
                least=least,
                most=most,
                quantiles={
                    f"{share:g}": float(value)
                    for share, value in zip(QUANTILES, np.quantile(sample[:, kind], QUANTILES), strict=True)
                },
                low=None if ends is None else float(ends[0]),
                high=None if ends is None else float(ends[1]),
                below=outside[0],
                above=outside[1],
                at_low=outside[2] if ends is not None else 0,
                at_high=outside[3] if ends is not None else 0,
                histogram=tuple(bars.tolist()),
            )
        return found
