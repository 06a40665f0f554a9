"""The bins of one number: of equal width, of equal ratio, or with borders of their own."""

import bisect
import math
from functools import cached_property

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.levels import FLOAT32_ROUNDING
from fourm_codecs.values import show
from fourm_schema.bin_borders import bin_borders
from fourm_schema.errors import CodecError

ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""Relative error of the few additions between a number, its bin and the middle of that; bins are wider."""

CLIP = "rescale it, or set `out_of_range: clip` to bound it"


@attrs.frozen
class Scale:
    """The bins of a number.

    Attributes:
        edges: borders of the bins, ascending.
        log: the middle of a bin is the geometric mean of its borders.
        unit: of the number, "" where there is none.
        clip: a number outside is moved to the nearer end instead of refused.
    """

    edges: tuple[float, ...]
    log: bool = False
    unit: str = ""
    clip: bool = False

    @classmethod
    def of_range(
        cls, low: float, high: float, bins: int, where: str, clip: bool, log: bool = False
    ) -> "Scale":
        """Bins of equal width, or of equal ratio, from low to high.

        Raises:
            CodecError: if they are too fine for a float64 to tell them apart.
        """
        return cls(bin_borders(low, high, bins, log), log=log, clip=clip).checked(where)

    def checked(self, where: str) -> "Scale":
        """Itself.

        Raises:
            CodecError: if its bins are too fine for a float64 to tell them apart.
        """
        if not math.isfinite(self.high - self.low) or self._too_fine():
            raise CodecError(
                where,
                "its bins are too fine for a float to tell them apart",
                got=f"{len(self.edges) - 1} bins of [{show(self.low)}, {show(self.high)}]",
                mend="use fewer bins, or move the range towards zero",
            )
        return self

    def _too_fine(self) -> bool:
        edges = np.asarray(self.edges)
        # Boxes add and subtract coordinates, so linear bins must stand out at the far end of the range.
        size = edges[1:] if self.log else max(abs(self.low), abs(self.high))
        return bool((np.diff(edges) <= 16 * np.finfo(np.float64).eps * size).any())

    @property
    def low(self) -> float:
        return self.edges[0]

    @property
    def high(self) -> float:
        return self.edges[-1]

    @cached_property
    def open_borders(self) -> NDArray[np.float64]:
        """The edges, those at the ends moved so far out that a number at or beyond one is in the last bin."""
        return np.array([-math.inf, *self.edges[1:-1], math.inf])

    def slack(self, end: float, place: int) -> float:
        """How far outside a number may lie because it is a float32, or was computed from some.

        Args:
            end: of the range.
            place: the bin there; the slack is at most half of it.
        """
        if self.log:
            return FLOAT32_ROUNDING * end
        return min(FLOAT32_ROUNDING * max(abs(self.low), abs(self.high)), self.half(place))

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The range with its slack: what lies outside is refused, unless it is to be clipped."""
        return self.low - self.slack(self.low, 0), self.high + self.slack(self.high, len(self.edges) - 2)

    def inside(self, number: float, where: str) -> float:
        """The number, moved into the range if it may be.

        Raises:
            CodecError: if it lies outside and is not to be clipped.
        """
        if self.low <= number <= self.high:
            return number
        low, high = self.bounds
        if not self.clip and not low <= number <= high:
            what = f"lies in [{show(self.low)}, {show(self.high)}] {self.unit}".strip()
            raise CodecError(where, what, got=show(number), mend=CLIP)
        return min(max(number, self.low), self.high)

    def place(self, number: float) -> int:
        """The bin of a number of the range."""
        return min(max(bisect.bisect_right(self.edges, number) - 1, 0), len(self.edges) - 2)

    def middle(self, place: int) -> float:
        """The number in the middle of a bin."""
        low, high = self.edges[place], self.edges[place + 1]
        return math.sqrt(low) * math.sqrt(high) if self.log else low + (high - low) / 2

    @cached_property
    def middles(self) -> NDArray[np.float64]:
        """(bins,) the middle of each."""
        return np.array([self.middle(place) for place in range(len(self.edges) - 1)])

    def half(self, place: int) -> float:
        """Half the width of a bin; on a log scale, of its logarithms."""
        low, high = self.edges[place], self.edges[place + 1]
        return _ratio(low, high) / 2 if self.log else (high - low) / 2

    def promise(self) -> str:
        """The largest error."""
        largest = max(self.half(place) for place in range(len(self.edges) - 1))
        if self.log:
            return f"a factor of {math.exp(largest):.4g}"
        return f"{largest:.3g} {self.unit}".strip()

    def apart(self, number: float, back: float) -> str:
        """How far the decoded number is off, if by more than half its bin."""
        number = min(max(number, self.low), self.high)
        allowed = self.half(self.place(back))
        if self.log:
            off = abs(_ratio(number, back)) if back > 0 else math.inf
            fits = off <= allowed + ROUNDING * max(1.0, abs(math.log(self.low)), abs(math.log(self.high)))
        else:
            fits = abs(number - back) <= allowed + ROUNDING * max(abs(self.low), abs(self.high))
        return "" if fits else f"{show(number)} came back as {show(back)}, more than half a bin apart"


def _ratio(low: float, high: float) -> float:
    """Logarithm of high / low, which itself need not be a float."""
    return math.log(high) - math.log(low)
