"""Ranges and counts that hold what was seen and that a person would have chosen."""

import math

_TICKS = 20
_ALMOST_ZERO = 1e-30


def outward(low: float, high: float) -> tuple[float, float]:
    """Round a range outward to a step of which it has about ten to twenty.

    What is positive and starts near zero starts at zero; a single value gets a range from zero.

    Args:
        low, high: the lowest and highest number seen, both finite.

    Returns:
        (low, high) with low < high, around both numbers.

    >>> outward(0.137, 9.72), outward(-39.2, 58.1), outward(428, 640), outward(5, 5)
    ((0, 10), (-40, 60), (420, 640), (0, 5))
    """
    first, last = float(low), float(high)
    largest = max(abs(first), abs(last))
    if largest < _ALMOST_ZERO:
        return (-1 if first < 0 else 0), 1
    is_one_value = last - first <= 1e-6 * largest
    if first > 0 and (is_one_value or first <= last / 4):
        first = 0.0
    elif last < 0 and (is_one_value or last >= first / 4):
        last = 0.0
    span = last - first
    if not math.isfinite(10 * span):
        return first, last
    step = _step(span)
    digits = -math.floor(math.log10(step))
    below = round(math.floor(round(first / step, 6)) * step, digits)
    above = round(math.ceil(round(last / step, 6)) * step, digits)
    # What lies a rounding error beyond a step is held by the next one.
    return whole(below if below <= first else below - step), whole(above if above >= last else above + step)


def _step(span: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(span / 10))
    return next(k * magnitude for k in (1, 2, 5, 10, 20) if span / (k * magnitude) <= _TICKS)


def whole(number: float) -> float:
    """A whole number without its point, where it is short enough to be read."""
    return int(number) if number.is_integer() and abs(number) < 1e9 else number


def between(low: int, high: int) -> str:
    """Say a span of counts.

    >>> between(2, 5), between(3, 3)
    ('2 to 5', '3')
    """
    return str(low) if low == high else f"{low} to {high}"


def count_up(count: int) -> int:
    """A round number of things that is not below `count` and at most a quarter above it.

    >>> [count_up(n) for n in (1, 7, 9, 17, 33, 93)]
    [1, 7, 10, 20, 40, 96]
    """
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step
