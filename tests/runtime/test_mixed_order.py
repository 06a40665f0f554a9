"""Several datasets in one order: weights hold everywhere, no row is lost, and any position can be sought."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.data.mixed_order import MixedOrder
from fourm_runtime.data.order import Order, SampleOrder

WEIGHTS = st.one_of(st.floats(1e-3, 1e3), st.sampled_from([0.1, 0.2, 0.8, 1.0, 3.0, 1 / 3]))
PARTS = st.lists(st.tuples(st.integers(1, 60), WEIGHTS), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**63)


def mixed(parts: list[tuple[int, float]], seed: int = 0) -> MixedOrder:
    rows, weights = zip(*parts, strict=True)
    return MixedOrder(rows, weights, seed)


@given(PARTS, st.integers(0, 10**9))
def test_every_position_belongs_to_one_dataset_and_none_skips_its_own(
    parts: list[tuple[int, float]], first: int
) -> None:
    """From any position on: a dataset's positions are numbered without a gap, so none of its rows is."""
    order = mixed(parts)
    numbers, own = order.datasets(np.arange(first, first + 300))

    for number in range(len(parts)):
        steps = np.diff(own[numbers == number])
        assert (steps == 1).all()


@given(PARTS, st.integers(0, 10**9), st.integers(1, 2000))
def test_weights_hold_in_every_stretch(parts: list[tuple[int, float]], first: int, size: int) -> None:
    """A dataset is off by less than one sample where there are two, and by a few where there are many.

    What dataset k of D is off by: one for its own floor, and what the datasets before it were off by, of
    which it takes its share; for equal weights that is the sum 1 + 1/2 + ... + 1/D, and for others less.
    Shares are rational numbers that are right to 2**-20, which adds a thousandth at 2000 positions.
    """
    numbers, _ = mixed(parts).datasets(np.arange(first, first + size))
    weights = np.array([weight for _, weight in parts]) / sum(weight for _, weight in parts)
    off = np.abs(np.bincount(numbers, minlength=len(parts)) - weights * size)
    allowed = 1.0 if len(parts) < 3 else 1.0 + sum(1 / k for k in range(1, len(parts) + 1))

    assert off.max() < allowed + 0.01


def test_four_fifths_are_four_of_every_five() -> None:
    """Weights mean the numbers that were written; 0.8 as a binary fraction is a little more."""
    numbers, own = mixed([(7, 0.8), (3, 0.2)]).datasets(np.arange(10_000))

    assert (numbers.reshape(-1, 5) == [1, 0, 0, 0, 0]).all()
    assert own[-1] == 7999


@given(PARTS, SEEDS)
def test_each_dataset_has_all_its_rows_once_in_each_of_its_own_epochs(
    parts: list[tuple[int, float]], seed: int
) -> None:
    """A small dataset comes round many times while a large one is read once."""
    order = mixed(parts, seed)
    numbers, _ = order.datasets(np.arange(3000))
    epochs, rows = order.at(np.arange(3000))
    first = 0
    for number, (size, _) in enumerate(parts):
        here = numbers == number
        seen, which = rows[here] - first, epochs[here]
        assert np.array_equal(which, np.arange(len(seen)) // size)
        for epoch in range(len(seen) // size):
            assert np.array_equal(np.sort(seen[which == epoch]), np.arange(size))
        first += size


@given(PARTS, SEEDS, st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
def test_a_position_has_the_same_row_whoever_asks_for_it(
    parts: list[tuple[int, float]], seed: int, positions: list[int]
) -> None:
    """A resumed run seeks: nothing depends on what was asked before, or together with it."""
    order = mixed(parts, seed)
    epochs, rows = order.at(positions)

    assert [(int(e[0]), int(r[0])) for e, r in map(order.at, positions)] == list(
        zip(epochs.tolist(), rows.tolist(), strict=True)
    )


def test_a_mixture_of_one_is_the_order_of_that_dataset() -> None:
    positions = np.arange(5000)
    for ours, theirs in zip(
        MixedOrder((777,), (0.3,), 5).at(positions), Order(777, 5).at(positions), strict=True
    ):
        assert np.array_equal(ours, theirs)


def test_datasets_of_one_size_have_orders_of_their_own() -> None:
    """Aligned rows of two datasets must not always come together."""
    order = mixed([(1000, 1.0), (1000, 1.0)])
    numbers, _ = order.datasets(np.arange(2000))
    _, rows = order.at(np.arange(2000))

    assert (rows[numbers == 0] == rows[numbers == 1] - 1000).mean() < 0.02


def test_the_order_of_a_mixture_is_the_published_one() -> None:
    """A run of years ago must resume: no change may touch these numbers."""
    order = MixedOrder((6, 4, 5), (0.5, 0.3, 0.2), seed=1)

    assert order.datasets(np.arange(10))[0].tolist() == [2, 0, 1, 0, 2, 0, 1, 0, 1, 0]
    assert order.at(np.arange(20))[1].tolist() == [
        12,
        0,
        8,
        2,
        13,
        4,
        9,
        5,
        6,
        3,
        11,
        1,
        7,
        0,
        10,
        4,
        9,
        3,
        6,
        2,
    ]
    large = MixedOrder((10**9, 10**7), (math.pi, 1.0), seed=3)
    assert large.at([0, 10**6, 10**11])[1].tolist() == [1000208021, 626582490, 847451134]


ORDERS = st.one_of(
    st.builds(mixed, PARTS, SEEDS),
    st.builds(Order, st.integers(1, 400), SEEDS, st.integers(1, 40), st.integers(1, 7)),
)


@given(
    ORDERS,
    st.integers(4, 40),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([1, 2, 3, 4])), min_size=1, max_size=5),
)
def test_a_run_that_is_cut_off_and_goes_on_at_other_world_sizes_sees_what_an_unbroken_one_sees(
    order: SampleOrder, samples: int, legs: list[tuple[int, int]]
) -> None:
    """Each leg runs some steps at a world size of its own; what is carried over is the step, nothing else."""
    step, seen = 0, []
    for steps, world in legs:
        for now in range(step, step + steps):
            for rank in range(world):
                epochs, rows = order.step(now, samples, rank, world)
                seen += list(zip(epochs.tolist(), rows.tolist(), strict=True))
        step += steps
    epochs, rows = order.at(np.arange(step * samples))

    assert seen == list(zip(epochs.tolist(), rows.tolist(), strict=True))


def test_far_positions_are_where_the_weights_say() -> None:
    """Nothing is counted up from the start, and nothing drifts: shares of decimal weights are exact."""
    order = mixed([(50_000_000, 0.7), (3_000_000, 0.2), (1000, 0.1)])
    numbers, own = order.datasets(2**40 + np.arange(30))

    for number, weight in enumerate((0.7, 0.2, 0.1)):
        assert abs(own[numbers == number][0] - weight * 2**40) < weight * 30 + 2


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_every_rank_has_its_share_of_each_dataset(world: int) -> None:
    """A rank's slice is a stretch of positions, so weights hold in it too: no rank has the text alone."""
    order = mixed([(500, 0.75), (500, 0.25)])
    for rank in range(world):
        _, rows = order.step(3, 64, rank, world)
        assert abs(int((rows >= 500).sum()) - len(rows) / 4) < 1
