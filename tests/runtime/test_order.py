"""The order of samples: every row once an epoch, for any size, from any position, at any world size."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.data.order import Order, keyed, permute, sample_hash
from fourm_runtime.mixer import mix
from fourm_schema.errors import DataError

SIZES = st.integers(1, 400)
SEEDS = st.integers(-(2**63), 2**64)
ORDERS = st.builds(Order, rows=SIZES, seed=SEEDS, block=st.integers(1, 40), pool=st.integers(1, 7))


@given(ORDERS, st.integers(0, 2**31))
def test_an_epoch_visits_every_row_once(order: Order, epoch: int) -> None:
    """Also where the last block is short, wherever the permutation puts it, and in the last short pool."""
    epochs, rows = order.at(np.arange(order.rows) + epoch * order.rows)

    assert np.array_equal(np.sort(rows), np.arange(order.rows))
    assert (epochs == epoch).all()


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_permuting_is_one_to_one_and_can_be_undone(size: int, key: int) -> None:
    values, sizes, keys = np.arange(size), np.array([size]), np.array([key], dtype=np.uint64)
    images = permute(values, sizes, keys)

    assert np.array_equal(np.sort(images), values)
    assert np.array_equal(permute(images, sizes, keys, inverse=True), values)


@given(ORDERS, st.lists(st.integers(0, 2000), max_size=40))
def test_a_position_has_the_same_row_whoever_asks_for_it_and_with_what_else(
    order: Order, positions: list[int]
) -> None:
    """A resumed run asks for other positions together than the first run did."""
    together = order.at(positions)
    alone = [order.at(position) for position in positions]

    assert together[0].tolist() == [int(epoch[0]) for epoch, _ in alone]
    assert together[1].tolist() == [int(row[0]) for _, row in alone]


@given(ORDERS, st.integers(0, 50), st.integers(1, 30), st.integers(1, 8))
def test_ranks_share_a_step_without_gap_or_overlap(order: Order, step: int, samples: int, world: int) -> None:
    """The samples of a step do not depend on how many ranks work on it."""
    whole = order.step(step, samples)
    parts = [order.step(step, samples, rank, world) for rank in range(world)]

    assert np.array_equal(np.concatenate([rows for _, rows in parts]), whole[1])
    assert np.array_equal(np.concatenate([epochs for epochs, _ in parts]), whole[0])
    sizes = [len(rows) for _, rows in parts]
    assert sum(sizes) == samples
    assert max(sizes) - min(sizes) <= 1


@given(ORDERS)
def test_rows_of_one_pool_come_from_few_blocks(order: Order) -> None:
    """The reason for the pools: a reader holds `pool` blocks and reads each once an epoch."""
    _, rows = order.at(np.arange(order.rows))
    blocks = rows // order.block
    spread = max(np.ptp(np.flatnonzero(blocks == block)) for block in np.unique(blocks))

    assert spread < order.pool * order.block


def test_the_order_is_the_published_one() -> None:
    """A run of years ago must resume: no change may touch these numbers."""
    small = Order(rows=10, seed=0, block=4, pool=2)
    large = Order(rows=100_000_000, seed=7)

    assert small.at(np.arange(20))[1].tolist() == [7, 5, 0, 1, 2, 3, 6, 4, 8, 9, 1, 3, 2, 8, 0, 9, 7, 4, 6, 5]
    places = [0, 1, 99_999_999, 12_345_678_901]
    assert large.at(places)[1].tolist() == [93538008, 66176020, 97423479, 15991365]
    assert [hex(word) for word in mix(np.array([1, 2], dtype=np.uint64)).tolist()] == [
        "0x5692161d100b05e5",
        "0xdbd238973a2b148a",
    ]
    assert keyed(1, 2, 3).tolist() == [16914669369030367833]
    assert sample_hash(0, [0, 1], [5, 5]).tolist() == [6260299324169424876, 14432110753485988340]


def test_epochs_and_seeds_differ() -> None:
    first, second = np.split(Order(5000, seed=1).at(np.arange(10_000))[1], 2)
    other = Order(5000, seed=2).at(np.arange(5000))[1]

    assert (first == second).mean() < 0.01
    assert (first == other).mean() < 0.01
    assert (np.diff(first) == 1).mean() < 0.01


@pytest.mark.parametrize("size", [5, 17, 64, 1797])
def test_every_row_is_as_likely_to_come_first(size: int) -> None:
    """Chi-square over 40 epochs of 100 seeds, at 5 standard deviations: both are drawn from alike."""
    first = [Order(size, seed).at(np.arange(40) * size)[1] for seed in range(100)]
    counts = np.bincount(np.concatenate(first), minlength=size)
    expected = 4000 / size
    statistic = float(((counts - expected) ** 2 / expected).sum())

    assert abs(statistic - (size - 1)) < 5 * np.sqrt(2 * (size - 1))


def test_negative_and_wide_seeds_are_one_ring() -> None:
    assert keyed(-1).tolist() == keyed(2**64 - 1).tolist() == keyed(np.array([-1])).tolist()


def test_an_empty_dataset_has_no_order_and_the_message_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"dataset: has no rows to order; append samples first"):
        Order(0, seed=0)


def test_the_order_needs_no_lance(root: Path) -> None:
    """The schedule of a run is computed on machines that hold no data."""
    code = "import fourm_runtime.data.order; sys.exit('lance' in sys.modules or 'pyarrow' in sys.modules)"
    path = [str(root), str(root / "codecs"), str(root / "runtime")]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"], check=True, timeout=60
    )
