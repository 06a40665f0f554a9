"""The numbers of 4M's texts: what a user writes <-> the whole number that a word such as `v0=342` says.

Encoding is that of the released code to the last rounding, since models have learned it. Decoding gives a
number that encodes to the same word, and among these the middle one; the released code shows some metadata
off by up to one bin instead (it encodes with 49 and decodes with 50).
"""

import bisect
import math
from typing import Protocol

import attrs

from fourm_codecs.levels import FLOAT32_ROUNDING
from fourm_codecs.scale import CLIP, ROUNDING
from fourm_codecs.values import show
from fourm_schema.errors import CodecError

WIDEST = 99_999
"""Largest number, and with a minus smallest, that is written where 4M does not clip."""


class Quantity(Protocol):
    """A number of one meaning."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def codes(self) -> range:
        """Words there are for it; a quantity that is not clipped is also written outside, in pieces."""
        ...

    def code(self, number: float) -> int:
        """What the word of a number says."""
        ...

    def number(self, code: int) -> float:
        """A number of that word."""
        ...

    def error(self, code: int) -> float:
        """How far a number of that word can lie from the decoded one."""
        ...


@attrs.frozen
class Steps:
    """round(factor * number + offset), half to even.

    Attributes:
        low, high: of the number.
        factor, offset: as the released code has them.
        codes: words there are.
        is_open: numbers outside are written as they are, which 4M does not clip.
    """

    low: float
    high: float
    factor: float
    offset: float
    codes: range = range(1000)
    is_open: bool = False

    def code(self, number: float) -> int:
        return round(self.factor * number + self.offset)

    def number(self, code: int) -> float:
        return (code - self.offset) / self.factor

    def error(self, code: int) -> float:
        return 0.5 / self.factor


@attrs.frozen
class Whole:
    """A whole number as it is.

    Attributes:
        low, high: of the number.
        is_open: numbers outside are written as they are, which 4M does not clip.
    """

    low: float
    high: float
    is_open: bool = False

    @property
    def codes(self) -> range:
        return range(int(self.low), int(self.high) + 1)

    def code(self, number: float) -> int:
        return math.floor(number)

    def number(self, code: int) -> float:
        return float(code)

    def error(self, code: int) -> float:
        return 0.0


@attrs.frozen
class Sizes:
    """Width and height of a picture: how many times 32 pixels they hold; decoded as that many."""

    low: float = 0.0
    high: float = 32_000.0
    codes: range = attrs.field(default=range(1000), init=False)

    def code(self, number: float) -> int:
        return min(math.floor(number / 32), 999)

    def number(self, code: int) -> float:
        return 32.0 * code

    def error(self, code: int) -> float:
        return 32.0


@attrs.frozen
class Shares:
    """int(49 * share of the range): 49 bins, and one for the upper end alone."""

    low: float
    high: float
    codes: range = attrs.field(default=range(50), init=False)

    def code(self, number: float) -> int:
        return int(min(max((number - self.low) / (self.high - self.low), 0.0), 1.0) * 49)

    def number(self, code: int) -> float:
        share = 1.0 if code == 49 else (code + 0.5) / 49
        return self.low + share * (self.high - self.low)

    def error(self, code: int) -> float:
        return 0.0 if code == 49 else 0.5 / 49 * (self.high - self.low)


@attrs.frozen
class Thresholds:
    """How many borders a number has reached.

    Attributes:
        edges: lowest number, the borders, highest number.
    """

    edges: tuple[float, ...]

    @property
    def low(self) -> float:
        return self.edges[0]

    @property
    def high(self) -> float:
        return self.edges[-1]

    @property
    def codes(self) -> range:
        return range(len(self.edges) - 1)

    def code(self, number: float) -> int:
        return bisect.bisect_right(self.edges[1:-1], number)

    def number(self, code: int) -> float:
        return (self.edges[code] + self.edges[code + 1]) / 2

    def error(self, code: int) -> float:
        return (self.edges[code + 1] - self.edges[code]) / 2


def code_of(quantity: Quantity, number: float, where: str, clip: bool) -> int:
    """What the word of a number says, if 4M has a word for it.

    Raises:
        CodecError: if it lies outside and is not to be clipped.
    """
    if isinstance(quantity, Whole) and number != math.floor(number):
        raise CodecError(where, "is a whole number", got=show(number))
    is_open = getattr(quantity, "is_open", False)
    slack = FLOAT32_ROUNDING * max(abs(quantity.low), abs(quantity.high))
    if not is_open and not clip and not quantity.low - slack <= number <= quantity.high + slack:
        what = f"lies in [{show(quantity.low)}, {show(quantity.high)}]"
        raise CodecError(where, what, got=show(number), mend=CLIP)
    if not is_open:
        number = min(max(number, quantity.low), quantity.high)
    code = quantity.code(number)
    if abs(code) > WIDEST:
        raise CodecError(where, "is far outside what 4M writes", got=show(number))
    return code


def promise(quantity: Quantity) -> str:
    """The largest error of a number inside; empty where there is none."""
    largest = max(quantity.error(code) for code in quantity.codes)
    return f"{largest:.3g}" if largest else ""


def apart(quantity: Quantity, given: float, back: float) -> str:
    """How far a decoded number is off, if by more than its word allows."""
    if not getattr(quantity, "is_open", False):
        given = min(max(given, quantity.low), quantity.high)
    allowed = quantity.error(quantity.code(back)) + ROUNDING * max(abs(quantity.low), abs(quantity.high))
    if abs(given - back) <= allowed:
        return ""
    return f"{show(given)} came back as {show(back)}, more than {allowed:.3g} apart"
