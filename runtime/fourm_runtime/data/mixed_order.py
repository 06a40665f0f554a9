"""Several datasets in one order: which of them a position falls to, and which row there.

    position p --weights--> dataset d, and its own position q --Order(seed of d)--> epoch of d, row of d

The datasets take turns as evenly as their weights allow. Of the positions 0 .. r - 1 that the datasets
before it have left, dataset d takes floor(r f), where f is its share of the weights not dealt with yet; so
position r is its own where floor((r + 1) f) is one more than floor(r f). Every stretch of n positions then
holds n times its weight of each dataset, to within one sample of two datasets and a few of many. All of it
is integer arithmetic on p alone: seeking costs as much as there are datasets.

Each dataset goes through epochs of its own: all of its rows once, then all of them again. There is no further
shuffle among the datasets, since the gradient of a step does not depend on the order within it.

Shapes: P positions, D datasets.
"""

from collections.abc import Sequence
from fractions import Fraction

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourm_runtime.data.order import Int64, Order, dataset_seed, step_positions

_LARGEST_DENOMINATOR = 2**20
"""So that products with positions below 2**43 fit 64 bits; shares are met to six digits or more."""


@attrs.frozen
class Share:
    """How large a part of what is left falls to a dataset: `parts` of every `whole` positions."""

    parts: int
    whole: int


@attrs.frozen
class MixedOrder:
    """The order in which the samples of several datasets are seen.

    A row is counted over all datasets: row 0 of the second comes after the last row of the first.

    Attributes:
        rows: (D,) rows of each dataset.
        weights: (D,) how often each is drawn from, relative to the others.
        seed: another seed, another order.
    """

    rows: tuple[int, ...]
    weights: tuple[float, ...]
    seed: int
    _orders: tuple[Order, ...] = attrs.field(init=False, repr=False)
    _turns: tuple[tuple[int, Share], ...] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        assert len(self.rows) == len(self.weights) > 0, "each dataset has rows and a weight"
        assert min(self.weights) > 0, "recipes refuse other weights"
        orders = (Order(rows, dataset_seed(self.seed, d)) for d, rows in enumerate(self.rows))
        object.__setattr__(self, "_orders", tuple(orders))
        object.__setattr__(self, "_turns", _turns(self.weights))

    def datasets(self, positions: ArrayLike) -> tuple[NDArray[np.int64], Int64]:
        """Which dataset each global position falls to, and which of its own positions that is.

        Args:
            positions: (P,) global positions from 0.

        Returns:
            numbers (P,) of datasets and positions (P,) within their own orders.
        """
        rest = np.atleast_1d(np.asarray(positions, dtype=np.int64))
        found, own = np.zeros(len(rest), np.int64), np.zeros(len(rest), np.int64)
        waiting = np.arange(len(rest))
        for number, share in self._turns:
            taken = rest * share.parts // share.whole
            here = (rest + 1) * share.parts // share.whole > taken
            found[waiting[here]] = number
            own[waiting[here]] = taken[here]
            waiting, rest = waiting[~here], (rest - taken)[~here]
        assert not len(waiting), "the last dataset takes all that is left"
        return found, own

    def at(self, positions: ArrayLike) -> tuple[Int64, Int64]:
        """Which row of which epoch stands at each global position.

        Args:
            positions: (P,) global positions from 0.

        Returns:
            epochs (P,) of the datasets' own, and rows (P,) counted over all datasets.
        """
        numbers, own = self.datasets(positions)
        epochs, rows = np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.int64)
        first = 0
        for number, order in enumerate(self._orders):
            here = np.flatnonzero(numbers == number)
            epochs[here], found = order.at(own[here])
            rows[here] = found + first
            first += order.rows
        return epochs, rows

    def step(self, step: int, samples_per_step: int, rank: int = 0, world: int = 1) -> tuple[Int64, Int64]:
        """Epochs and rows of the samples of a global step that a rank works on; see `step_positions`."""
        return self.at(step_positions(step, samples_per_step, rank, world))


def _turns(weights: Sequence[float]) -> tuple[tuple[int, Share], ...]:
    """Datasets from the heaviest to the lightest, and their share of what those before them leave.

    The heaviest first: what one dataset is off by, the next ones share.
    """
    # The number as it was written: 0.8 is four fifths, not the nearest binary fraction.
    exact = [Fraction(repr(float(weight))) for weight in weights]
    turns = []
    left = sum(exact, Fraction(0))
    for number in sorted(range(len(exact)), key=lambda d: (-exact[d], d)):
        share = (exact[number] / left).limit_denominator(_LARGEST_DENOMINATOR)
        turns.append((number, Share(share.numerator, share.denominator)))
        left -= exact[number]
    return tuple(turns)
