"""Claims about the global step: however it is split, it is one step with one gradient."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fourm_runtime.assemble import assemble
from fourm_runtime.data.order import Order
from fourm_runtime.masking.mask import Masker
from fourm_runtime.training.gradients import FlatGradients
from fourm_runtime.training.metrics import read_metrics
from fourm_runtime.training.preparation import Preparation
from fourm_runtime.training.step import StepCounts, compute_gradients
from fourm_runtime.training.world import World
from fourm_schema.resolve import resolve
from tests.forks import fork
from tests.runtime.small_run import (
    ROWS,
    MadeUp,
    one_rank,
    small_recipe,
    small_schema,
    small_train,
    step_gradients,
)

Named = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def whole() -> tuple[Named, torch.Tensor, list[int]]:
    """Gradient, loss sums and rows of 64 samples in one micro-batch, on one rank."""
    gradients, losses, source, batches = step_gradients()
    assert batches == 1
    return gradients, losses.sums, source.asked[0]


def assert_same(found: Named, expected: Named) -> None:
    """Equal to 1e-6 of each tensor's largest entry; a gradient that is zero everywhere must be so exactly."""
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (found[name] - gradient).abs().max() if gradient.numel() else torch.zeros(())
        assert error <= 1e-6 * (gradient.abs().max() if gradient.numel() else 0), name


def test_every_parameter_gets_a_gradient(whole: tuple[Named, torch.Tensor, list[int]]) -> None:
    """The comparison below would pass on parameters that nothing reaches: only empty tables may be zero."""
    zero = {name for name, gradient in whole[0].items() if not gradient.any()}

    assert zero == {"tables.registers"}


def test_micro_batches_add_up_to_the_whole_step(whole: tuple[Named, torch.Tensor, list[int]]) -> None:
    """4 x 16 samples of static shape give the gradient of 1 x 64: losses are sums, counts are global."""
    gradients, losses, source, batches = step_gradients(capacity=(160, 140))

    assert batches >= 4
    assert source.asked[0] == whole[2]
    assert_same(gradients, whole[0])
    torch.testing.assert_close(losses.sums, whole[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [3, 4])
def test_parts_of_any_number_of_ranks_add_up_to_the_whole_step(
    whole: tuple[Named, torch.Tensor, list[int]], size: int
) -> None:
    """What ranks sum, summed here: their parts are uneven, and some have no target of a stream."""
    plan, recipe = resolve(small_schema()), small_recipe()
    model = assemble(plan, recipe.model.architecture(), seed=3).double()
    masker, order = Masker(plan, recipe.mixture(plan), seed=7), Order(ROWS, seed=7, block=8, pool=4)
    parts = [
        Preparation(MadeUp(plan), order, masker, plan, model.allocation, 64, world=World(rank, size)).prepare(
            1
        )
        for rank in range(size)
    ]
    names = {name for part in parts for name in part.targets}
    counts = StepCounts(
        {name: sum(part.targets.get(name, 0) for part in parts) for name in names},
        sum(part.tokens_in for part in parts),
    )
    gradients = FlatGradients(model.parameters())
    summed: Named = {}
    for part in parts:
        compute_gradients(model, gradients, part, counts, World())
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            summed[name] = summed.get(name, 0.0) + parameter.grad

    assert_same(summed, whole[0])


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two real processes under gloo wrote: the gradient of the 64 samples, and a run of 6 steps."""
    folder = tmp_path_factory.mktemp("ranks")
    ranks = [fork(one_rank, folder, torch.get_num_threads(), rank, 2) for rank in range(2)]
    for process in ranks:
        process.join(180)
    assert [process.exitcode for process in ranks] == [0, 0]
    return folder


def test_ranks_add_up_to_the_whole_step(
    whole: tuple[Named, torch.Tensor, list[int]], two_ranks: Path
) -> None:
    """2 ranks x 32 samples: each holds the gradient of the 64."""
    first, second = (load_file(two_ranks / f"rank{rank}.safetensors") for rank in range(2))
    for found in (first, second):
        torch.testing.assert_close(found.pop("sums"), whole[1], rtol=1e-12, atol=0)
        norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in whole[0].values()]))
        torch.testing.assert_close(found.pop("norm"), norm, rtol=1e-9, atol=0)
    assert first.pop("rows").tolist() + second.pop("rows").tolist() == whole[2]
    assert_same(first, whole[0])
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_of_two_ranks_is_the_run_of_one_and_goes_on_with_one(two_ranks: Path, tmp_path: Path) -> None:
    """Machines come and go; the losses stay those of one process."""
    shutil.rmtree(two_ranks / "run" / "checkpoints" / "step-00000006")
    assert small_train(two_ranks / "run", small_recipe(steps={"total": 6}), resume=True).step == 6
    small_train(tmp_path / "alone", small_recipe(steps={"total": 6}))
    shared, alone = read_metrics(two_ranks / "run"), read_metrics(tmp_path / "alone")

    assert [m.step for m in shared] == list(range(6))
    for ours, theirs in zip(shared, alone, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert (ours.tokens_in, ours.tokens_out) == (theirs.tokens_in, theirs.tokens_out)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_ranks_see_the_samples_of_one_process_in_the_same_order(size: int) -> None:
    """A run may go on with another number of machines: positions are cut, never dealt."""
    order = Order(ROWS, seed=7)
    alone = np.concatenate([order.step(step, 64)[1] for step in range(4)])
    shared = np.concatenate(
        [order.step(step, 64, rank, size)[1] for step in range(4) for rank in range(size)]
    )

    assert np.array_equal(alone, shared)


def test_gradients_live_in_one_buffer_and_keep_their_shapes() -> None:
    """Summing over ranks and clipping touch one tensor, and autograd still adds into each parameter's own."""
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in [(3, 5), (7,), (0, 4)]]
    gradients = FlatGradients(weights)
    gradients.clear()
    sum((weight * (place + 1)).sum() for place, weight in enumerate(weights)).backward()  # type: ignore[union-attr]  # a tensor: the sum of three

    assert len(gradients.buffers) == 1
    assert [float(view.sum()) for view in gradients.views] == [15.0, 14.0, 0.0]
    assert weights[0].grad is not None
    assert weights[0].grad.data_ptr() == gradients.buffers[0].data_ptr()
    assert float(gradients.norm()) == pytest.approx((15 + 4 * 7) ** 0.5)


@pytest.mark.parametrize(("limit", "expected"), [(1.0, 1.0), (100.0, 10.0)])
def test_clipping_shortens_long_gradients_and_leaves_short_ones(limit: float, expected: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    gradients = FlatGradients([weight])
    gradients.clear()
    assert weight.grad is not None
    weight.grad.fill_(5.0)
    before = gradients.norm()
    gradients.clip(before, limit)

    assert float(before) == 10.0
    assert float(gradients.norm()) == pytest.approx(expected, rel=1e-5)


def test_reduction_visits_every_number_once() -> None:
    """Buckets tile the buffer, whatever its length."""
    gradients = FlatGradients(
        [torch.nn.Parameter(torch.zeros(9_000_000)), torch.nn.Parameter(torch.zeros(5))]
    )

    def add_one(bucket: torch.Tensor) -> None:
        bucket += 1

    gradients.reduce(add_one)

    assert all(bool((buffer == 1).all()) for buffer in gradients.buffers)
