"""What learned codecs promise besides what a fit measured: nothing yet, or at which size it was."""

import attrs

from fourm_codecs.laws import Calibrated


@attrs.frozen
class Unfitted(Calibrated):
    """The law of a codec with its first weights: nothing was measured."""

    def describe(self) -> str:
        return "nobody has fitted it: what it decodes has the right shape and range, and no more is promised"


@attrs.frozen
class MeasuredAt(Calibrated):
    """The law of a codec of images at another size than that of its fit.

    Attributes:
        at: height and width that it was measured at, in cells.
    """

    at: tuple[int, int] = (0, 0)

    def describe(self) -> str:
        return f"at {self.at[0]}x{self.at[1]} cells, {Calibrated.describe(self)}"


def unfitted(law: Calibrated) -> Unfitted:
    """The law of the same codec before its fit."""
    return Unfitted(law.metric, 0.0, 0.0, law.unit)


def measured_at(law: Calibrated, at: tuple[int, int]) -> MeasuredAt:
    """The same law of a codec that takes another size now."""
    return MeasuredAt(law.metric, law.quantile, law.error, law.unit, at=at)
