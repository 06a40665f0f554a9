"""The axis of a chart: where numbers lie between its ends, and at which of them a tick stands."""

import math
import sys

import attrs
import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_MOST_TICKS = 6


@attrs.frozen
class Axis:
    """One axis.

    Attributes:
        low, high: its ends.
        log: equal ratios are equally far apart.
        ticks: numbers that are written beside it, ascending.
    """

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def share(self, number: float) -> float:
        """Where a number lies: 0 at the lower end, 1 at the upper one."""
        if self.log:
            return _between(math.log(number), math.log(self.low), math.log(self.high))
        return _between(number, self.low, self.high)


def axis_of(numbers: Float64, log: bool) -> Axis:
    """The axis on which numbers lie.

    Args:
        numbers: at least one; finite, and above 0 where `log`.
        log: equal ratios are equally far apart.
    """
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        # One number alone stands in the middle.
        if log:
            low, high = max(low / 2, math.ulp(0.0)), min(high * 2, _LARGEST)
        else:
            reach = max(abs(low) / 2, 1e-9) if low else 1.0
            low, high = max(low - reach, -_LARGEST), min(high + reach, _LARGEST)
    ticks = _log_ticks(low, high) if log else ()
    return Axis(low, high, log, tuple(ticks) if len(ticks) > 1 else tuple(_ticks(low, high)))


_LARGEST = sys.float_info.max


def number_label(number: float) -> str:
    """A tick as people read it.

    >>> [number_label(tick) for tick in (0.25, 2000.0, 1e6, 1e-5)]
    ['0.25', '2,000', '1e+06', '1e-05']
    """
    size = abs(number)
    return f"{number:.3g}" if size and not 1e-3 <= size < 1e6 else f"{number:,.6g}"


def _between(number: float, low: float, high: float) -> float:
    width = high / 2 - low / 2
    return (number / 2 - low / 2) / width if width > 0 else 0.5


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends: multiples of 1, 2 or 5 times a power of ten."""
    width = high - low
    if not math.isfinite(width) or width < 1e-300:
        return [low, high]
    rough = width / (_MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    ticks = [number * step for number in range(first, last + 1)]
    return ticks if len(ticks) <= 2 * _MOST_TICKS else [low, high]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two ends: where they are few, 2 and 5 times them too; every so many of many."""
    first, last = math.floor(math.log10(low)), min(math.ceil(math.log10(high)), 308)
    every = math.ceil((last - first) / _MOST_TICKS)
    factors = (1.0, 2.0, 5.0) if last - first <= 2 else (1.0,)
    ticks = [factor * 10.0**power for power in range(first, last + 1, max(every, 1)) for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]
