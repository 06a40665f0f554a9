"""However the work of a step is shared, it is the same step: over ranks, threads and processes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_runtime.batch import Int64
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.mixed_order import MixedOrder
from fourm_runtime.data.order import Order, SampleOrder
from fourm_runtime.data.prefetch import Prefetch
from fourm_runtime.data.reader import Reader
from fourm_runtime.masking.mask import Masker
from fourm_runtime.training.preparation import Preparation, PreparedStep
from fourm_runtime.training.world import World
from fourm_schema.allocation import allocate
from fourm_schema.resolve import resolve
from tests.forks import forks
from tests.runtime.small_run import MadeUp, small_codecs, small_recipe, small_schema
from tests.runtime.test_training import rows_of

PLAN = resolve(small_schema())
MASKER = Masker(PLAN, small_recipe().mixture(PLAN), seed=7)
ALLOCATION = allocate(PLAN)
SAMPLES, STEPS = 13, 6
ORDERS: list[SampleOrder] = [Order(37, 3, block=4, pool=3), MixedOrder((20, 17), (0.6, 0.4), 3)]


def digest(step: PreparedStep) -> str:
    """Everything that the model would be given."""
    found = hashlib.sha256()
    for batch in step.micro_batches:
        for side in (batch.encoder, batch.decoder):
            for tensor in (side.rows, side.positions, side.streams):
                found.update(tensor.numpy().tobytes())
        found.update(repr([batch.encoder_lengths, batch.parallel_lengths, batch.causal_lengths]).encode())
    return found.hexdigest()


def preparation(order: SampleOrder, rank: int = 0, world: int = 1) -> tuple[Preparation, MadeUp]:
    source = MadeUp(PLAN, 37)
    made = Preparation(source, order, MASKER, PLAN, ALLOCATION, SAMPLES, world=World(rank, world))
    return made, source


def rows_of_run(order: SampleOrder, world: int, threads: int, first: int, stop: int) -> list[list[int]]:
    """The rows of each step, rank after rank, as the ranks' own sources were asked for them."""
    steps: list[list[int]] = [[] for _ in range(first, stop)]
    for rank in range(world):
        prepared, source = preparation(order, rank, world)

        def prepare(step: int, made: Preparation = prepared, asked: MadeUp = source) -> Int64:
            made.prepare(step)
            return order.step(step, SAMPLES, made.world.rank, made.world.size)[1]

        with Prefetch(prepare, first, stop, threads=threads) as results:
            found = [rows.tolist() for rows in results]
        assert sorted(map(str, source.asked)) == sorted(map(str, found))
        for step, rows in zip(steps, found, strict=True):
            step += rows
    return steps


@pytest.mark.parametrize("order", ORDERS, ids=["one dataset", "a mixture"])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("threads", [0, 1, 2, 3])
def test_ranks_and_threads_leave_the_global_order_as_it_is(
    order: SampleOrder, world: int, threads: int
) -> None:
    """What the sources were really asked for, not what the order says that they should be."""
    expected = order.at(np.arange(STEPS * SAMPLES))[1].reshape(STEPS, SAMPLES)

    assert rows_of_run(order, world, threads, 0, STEPS) == expected.tolist()


@settings(max_examples=25)  # each trains nothing, but prepares up to 24 parts of steps
@given(
    st.sampled_from(ORDERS),
    st.integers(0, STEPS),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(0, 3),
)
def test_a_run_interrupted_at_any_step_goes_on_at_another_world_size(
    order: SampleOrder, step: int, before: int, after: int, threads: int
) -> None:
    """The samples of both legs, one after the other, are those of a run that was never interrupted."""
    legs = rows_of_run(order, before, 0, 0, step) + rows_of_run(order, after, threads, step, STEPS)

    assert legs == order.at(np.arange(STEPS * SAMPLES))[1].reshape(STEPS, SAMPLES).tolist()


def test_masks_do_not_depend_on_ranks() -> None:
    """The tokens of a step, counted stream by stream over the ranks, are those that one process has."""
    alone = preparation(ORDERS[0])[0].prepare(2)
    for world in (2, 3, 4):
        parts = [preparation(ORDERS[0], rank, world)[0].prepare(2) for rank in range(world)]
        assert sum(part.tokens_in for part in parts) == alone.tokens_in
        for name, count in alone.targets.items():
            assert sum(part.targets.get(name, 0) for part in parts) == count


def digest_of_steps(prepared: Preparation, steps: list[int]) -> list[str]:
    """What a worker process makes of some steps."""
    return [digest(prepared.prepare(step)) for step in steps]


def test_a_reader_sent_to_another_process_reads_the_same_version_there(tmp_path: Path) -> None:
    """Handles of Lance do not survive a fork and cannot be sent; a new process opens the dataset anew."""
    dataset = Dataset.create(tmp_path / "x.lance", small_schema(), rows_of(37))
    dataset.encode(small_codecs(small_schema()))
    with Reader(dataset, PLAN) as reader:
        prepared = Preparation(reader, ORDERS[0], MASKER, PLAN, ALLOCATION, SAMPLES)
        here = digest_of_steps(prepared, [4, 0, 2])
        Dataset.open(dataset.path).append(rows_of(5, "two"))
        with forks().Pool(1) as workers:
            there = workers.apply(digest_of_steps, (prepared, [4, 0, 2]))

    assert there == here
    assert len(set(here)) == 3
