"""What a codec promises about decode(encode(x)), and the check of that promise.

`Lossless`, `Canonical` and `Bounded` also promise that canonical ids, those which `encode` gives,
survive encode(decode(ids)); `Calibrated` (learned codecs) promises neither, only shape, range and a
measured quantile; `Unmeasured` (tokenizers made elsewhere) promises the shape alone. Every law also promises
that a value's ids do not depend on the rest of its batch.
"""

from collections.abc import Callable
from typing import Protocol

import attrs
import numpy as np
from numpy.typing import NDArray


class Law(Protocol):
    """A promise that a person can read and a machine can check."""

    @property
    def keeps_ids(self) -> bool:
        """Whether encode(decode(ids)) = ids on canonical ids."""
        ...

    def describe(self) -> str:
        """The promise as one sentence."""
        ...

    def check(self, value: object, decoded: object) -> list[str]:
        """Say how `decoded` = decode(encode(value)) breaks the promise; empty when it does not."""
        ...


@attrs.frozen
class Lossless:
    """decode(encode(x)) = x.

    Attributes:
        rounding: how far the two may lie apart because one of them is a float32; 0 when every value
            of the modality is exact in float32.
    """

    rounding: float = 0.0
    keeps_ids: bool = attrs.field(default=True, init=False)

    def describe(self) -> str:
        up_to = f", up to the rounding of a float32 ({self.rounding:.2g})" if self.rounding else ""
        return f"decoding gives back what was encoded{up_to}"

    def check(self, value: object, decoded: object) -> list[str]:
        if isinstance(value, str) or isinstance(decoded, str):
            return [] if value == decoded else [f"{value!r} came back as {decoded!r}"]
        return _apart(value, decoded, self.rounding)


@attrs.frozen
class Canonical:
    """decode(encode(x)) = normalise(x).

    Attributes:
        normalise: gives the canonical form of a value; applying it twice changes nothing more.
        form: the canonical form in words.
    """

    normalise: Callable[[object], object] = attrs.field(eq=False)
    form: str
    keeps_ids: bool = attrs.field(default=True, init=False)

    def describe(self) -> str:
        return f"decoding gives back the canonical form of what was encoded: {self.form}"

    def check(self, value: object, decoded: object) -> list[str]:
        canonical = self.normalise(value)
        faults = [] if decoded == canonical else [f"{canonical!r} came back as {decoded!r}"]
        twice = self.normalise(canonical)
        return faults if twice == canonical else [*faults, f"{canonical!r} normalises further to {twice!r}"]


@attrs.frozen
class Bounded:
    """|decode(encode(x)) - x| <= error, number by number, for x within the range.

    Attributes:
        error: the bound of each number.
        unit: the unit of each number; "" where there is none.
        rounding: float32 rounding of each number, allowed on top of the bound.
    """

    error: tuple[float, ...]
    unit: tuple[str, ...]
    rounding: tuple[float, ...]
    keeps_ids: bool = attrs.field(default=True, init=False)

    def describe(self) -> str:
        bounds = [f"{error:.3g} {unit}".strip() for error, unit in zip(self.error, self.unit, strict=True)]
        shown = bounds[0] if len(set(bounds)) == 1 else f"({', '.join(bounds)})"
        return f"decoding is off by at most {shown}"

    def check(self, value: object, decoded: object) -> list[str]:
        limit = np.asarray(self.error) + np.asarray(self.rounding)
        return _apart(value, decoded, limit)


@attrs.frozen
class Calibrated:
    """decode(encode(x)) has the shape and range of x, and an error measured when the codec was fitted.

    Attributes:
        metric: what was measured, e.g. `mean absolute error`.
        quantile: which part of the held-out values stayed below `error`.
        error: the measured value of the metric at that quantile.
        unit: its unit.
    """

    metric: str
    quantile: float
    error: float
    unit: str = ""
    keeps_ids: bool = attrs.field(default=False, init=False)

    def describe(self) -> str:
        bound = f"{self.error:.3g} {self.unit}".strip()
        return f"{self.quantile:.0%} of the values held out at fitting had a {self.metric} of at most {bound}"

    def check(self, value: object, decoded: object) -> list[str]:
        """Shape and finiteness; the quantile is a statement about many values, not about one."""
        return _shape_lost(value, decoded)


@attrs.frozen
class Unmeasured:
    """decode(encode(x)) has the shape of x. How much of it that is depends on weights from elsewhere."""

    keeps_ids: bool = attrs.field(default=False, init=False)

    def describe(self) -> str:
        return "decoding gives back a value of the same shape; what it keeps was not measured"

    def check(self, value: object, decoded: object) -> list[str]:
        return _shape_lost(value, decoded)


def _shape_lost(value: object, decoded: object) -> list[str]:
    given, back = np.asarray(value), np.asarray(decoded)
    if given.shape != back.shape:
        return [f"shape {given.shape} came back as {back.shape}"]
    return [] if np.isfinite(back.astype(np.float64)).all() else ["it came back with NaN or infinity"]


def _apart(value: object, decoded: object, limit: float | NDArray[np.float64]) -> list[str]:
    """Compare two arrays number by number; a trailing channel axis of one says nothing."""
    given, back = np.asarray(value), np.asarray(decoded)
    if given.ndim == back.ndim + 1 and given.shape[-1] == 1:
        given = given[..., 0]
    if given.shape != back.shape:
        return [f"shape {given.shape} came back as {back.shape}"]
    difference = np.abs(given.astype(np.float64) - back.astype(np.float64))
    # `not <=` rather than `>`: a NaN on either side is a violation too.
    broken = ~(difference <= limit)
    if not broken.any():
        return []
    place = tuple(int(i) for i in np.argwhere(broken)[0])
    allowed = float(np.broadcast_to(np.asarray(limit), given.shape)[place])
    return [
        f"{given[place]} at {list(place)} came back as {back[place]}, "
        f"{difference[place]:.3g} apart (at most {allowed:.3g})"
    ]
