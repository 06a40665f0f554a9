"""Learning rate as a pure function of the step: linear warm-up, then half a cosine (SGDR, Loshchilov and
Hutter 2017, equation 5, without restarts)."""

import math

import attrs


@attrs.frozen
class Schedule:
    """Learning rate of each step of a run.

    Attributes:
        peak: highest learning rate, reached at step `warmup`.
        floor: learning rate that the cosine approaches; every step from `total` on has it.
        warmup: steps before the peak.
        total: steps of the run.
    """

    peak: float
    floor: float
    warmup: int
    total: int

    def at(self, step: int) -> float:
        """Learning rate of a step, from 0.

        Neither end wastes a step: the first has peak / (warmup + 1), not 0, and the cosine meets the
        floor one step after the last.

        >>> [round(Schedule(peak=1.0, floor=0.0, warmup=3, total=7).at(step), 3) for step in range(8)]
        [0.25, 0.5, 0.75, 1.0, 0.854, 0.5, 0.146, 0.0]
        """
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        if step >= self.total:
            return self.floor
        if step == self.warmup:
            return self.peak
        done = (step - self.warmup) / (self.total - self.warmup)
        share = 0.5 * (1.0 + math.cos(math.pi * done))
        # Rounding is monotone, so this falls as the share does, and to the floor exactly; the sum can round
        # to just above the peak.
        return min(self.peak, self.floor + (self.peak - self.floor) * share)
