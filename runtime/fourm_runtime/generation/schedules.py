"""How many tokens each step of parallel decoding fixes, and how hot it samples.

Sources: MaskGIT (Chang et al. 2022, section 3.2) for the cosine schedule of tokens; the schedules of
temperature are 4M's (Mizrahi et al. 2023, appendix on generation). Pure functions of a few numbers.
"""

import math
from collections.abc import Sequence
from typing import Literal

from fourm_schema.errors import RequestError, nearest

TokenSchedule = Literal["cosine", "linear"]
TOKEN_SCHEDULES: tuple[TokenSchedule, ...] = ("cosine", "linear")
TEMPERATURE_SCHEDULES = ("constant", "linear", "onex")

ONEX_END = 100.0
"""The 1/x curve is taken from x = 1 to here, as 4M takes it."""


def token_counts(schedule: str, steps: int, tokens: int) -> tuple[int, ...]:
    """Split `tokens` over `steps`.

    Args:
        schedule: `cosine` fixes few tokens in the first steps and in the last, many between; `linear`
            fixes equally many in each.
        steps: how many steps; at most one per token.
        tokens: how many tokens there are.

    Returns:
        One count per step, each at least 1; they sum to `tokens`.

    Raises:
        RequestError: if no such schedule exists or the steps do not fit the tokens.

    >>> token_counts("cosine", 8, 784)
    (30, 85, 127, 150, 150, 127, 85, 30)
    >>> token_counts("linear", 3, 10)
    (4, 3, 3)
    """
    if schedule not in TOKEN_SCHEDULES:
        raise RequestError(
            "token_schedule", f"{schedule!r} is no schedule", mend=nearest(schedule, TOKEN_SCHEDULES)
        )
    if not 1 <= steps <= tokens:
        raise RequestError("steps", f"{tokens} tokens can be decoded in 1 to {tokens} steps", got=str(steps))
    counts = _cosine(steps, tokens) if schedule == "cosine" else _linear(steps, tokens)
    # Rounding can leave a step without a token, or the last one with fewer than none.
    while min(counts) < 1:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(min(counts))] += 1
    return tuple(counts)


def _cosine(steps: int, tokens: int) -> list[int]:
    """Before step i the share s_i = (1 + cos(pi i / n)) / 2 is open; the step fixes s_i - s_{i+1} of it."""
    still_open = [0.5 * (1 + math.cos(math.pi * i / steps)) for i in range(steps + 1)]
    counts = [round(tokens * (still_open[i] - still_open[i + 1])) for i in range(steps - 1)]
    return [*counts, tokens - sum(counts)]


def _linear(steps: int, tokens: int) -> list[int]:
    each, more = divmod(tokens, steps)
    return [each + (step < more) for step in range(steps)]


def temperatures(schedule: str, temperature: float, counts: Sequence[int]) -> tuple[float, ...]:
    """Choose the sampling temperature of each step.

    Args:
        schedule: `constant`; `linear`, proportional to the share of tokens that is still open before the
            step; or `onex:MIN:POWER`, which falls from `temperature` to MIN like 1 / x^POWER.
        temperature: what the first step starts from.
        counts: tokens that each step fixes.

    Returns:
        One temperature per step, none below zero.

    Raises:
        RequestError: if the schedule cannot be read, or a number in it is out of range.

    >>> [round(t, 3) for t in temperatures("linear", 2.0, (2, 1, 1))]
    [2.0, 1.0, 0.5]
    """
    name, _, arguments = schedule.partition(":")
    if name not in TEMPERATURE_SCHEDULES:
        raise RequestError(
            "temperature_schedule", f"{schedule!r} is no schedule", mend=nearest(name, TEMPERATURE_SCHEDULES)
        )
    if name == "onex":
        low, power = _onex_arguments(schedule, arguments)
        return _onex(temperature, low, power, counts)
    if arguments:
        raise RequestError("temperature_schedule", f"{name!r} takes no numbers", got=repr(schedule))
    if name == "constant":
        return (temperature,) * len(counts)
    total = sum(counts)
    return tuple(temperature * (total - sum(counts[:step])) / total for step in range(len(counts)))


def _onex_arguments(schedule: str, arguments: str) -> tuple[float, float]:
    try:
        low, power = (float(part) for part in arguments.split(":"))
    except ValueError:
        low = power = math.nan
    if not (0 <= low < math.inf and 0 < power < math.inf):
        raise RequestError(
            "temperature_schedule",
            "onex needs a lowest temperature >= 0 and a power > 0",
            got=repr(schedule),
            mend="write it as onex:MIN:POWER, e.g. onex:0.5:0.5",
        )
    return low, power


def _onex(high: float, low: float, power: float, counts: Sequence[int]) -> tuple[float, ...]:
    """low + (high - low) (1 - fixed_k) y_k, with y the curve x^-power scaled to [0, 1].

    The curve has one point per token and is read at the number of the step, as 4M does.
    """
    total = sum(counts)
    if total == 1:
        return (low,)
    end = ONEX_END**-power
    values = []
    for step in range(len(counts)):
        x = 1 + (ONEX_END - 1) * step / (total - 1)
        curve = (x**-power - end) / (1 - end)
        values.append(low + (high - low) * (1 - sum(counts[: step + 1]) / total) * curve)
    return tuple(values)
