"""Several ways to do the same thing, timed in turn: what else a machine does hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping

import attrs


@attrs.frozen
class Pairs:
    """Seconds of each round, by way. Ratios are those of the first way to the second, round by round.

    Attributes:
        cpu_s: way -> seconds of the processor, a figure per round.
        wall_s: way -> seconds on the clock.
    """

    cpu_s: Mapping[str, tuple[float, ...]]
    wall_s: Mapping[str, tuple[float, ...]]

    @property
    def ratio(self) -> float:
        """Median of the ratios of CPU time."""
        return statistics.median(_ratios(self.cpu_s))

    @property
    def low(self) -> float:
        """The smallest of these ratios."""
        return min(_ratios(self.cpu_s))

    @property
    def high(self) -> float:
        """The largest of these ratios."""
        return max(_ratios(self.cpu_s))

    @property
    def wall_ratio(self) -> float:
        """Median of the ratios of time on the clock."""
        return statistics.median(_ratios(self.wall_s))

    def cpu(self, way: str) -> float:
        """Median CPU seconds of one way."""
        return statistics.median(self.cpu_s[way])

    def wall(self, way: str) -> float:
        """Median seconds on the clock of one way."""
        return statistics.median(self.wall_s[way])


def interleave(
    ways: Mapping[str, Callable[[], object]],
    pairs: int,
    before: Callable[[], object] = lambda: None,
    warm: bool = True,
) -> Pairs:
    """Time ways in turn.

    Args:
        ways: name -> what is timed.
        pairs: rounds in which each way runs once.
        before: runs before each of them, untimed.
        warm: run each once first, untimed: what is set up in a first call is not what is measured.
    """
    names = list(ways)
    cpu_s: dict[str, list[float]] = {name: [] for name in names}
    wall_s: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1 if warm else 0, pairs):
        # Who goes first alternates, so that a slowing machine favours none.
        for name in reversed(names) if turn % 2 else names:
            before()
            cpu, wall = time.process_time(), time.perf_counter()
            ways[name]()
            spent = time.process_time() - cpu, time.perf_counter() - wall
            if turn >= 0:
                cpu_s[name].append(spent[0])
                wall_s[name].append(spent[1])
    return Pairs(*({name: tuple(found) for name, found in times.items()} for times in (cpu_s, wall_s)))


def _ratios(seconds: Mapping[str, tuple[float, ...]]) -> list[float]:
    first, second, *_ = seconds.values()
    return [one / other for one, other in zip(first, second, strict=True)]
