"""Between a packed batch and the updated weights, nobody asks the device for a number.

On a GPU each such question stops the host until all that was queued is done. It cannot be timed on a CPU, but
every question goes through a few operators, and those can be forbidden.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fourm_runtime import transfer
from fourm_runtime.assemble import assemble
from fourm_runtime.packing import pack
from fourm_runtime.row_gradients import RowGradients
from fourm_runtime.training.learner import Learner
from fourm_runtime.training.preparation import PreparedStep
from fourm_runtime.training.step import StepCounts
from fourm_runtime.training.world import World
from fourm_schema.architecture import Architecture
from tests.runtime.drawn_plans import masked_samples, plan_of, stream
from tests.runtime.small_run import small_recipe

PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))
SHAPE = Architecture(dim=16, heads=2, encoder_depth=1, decoder_depth=1, qk_norm=True, registers=1)
ASKING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.repeat_interleave.Tensor,
    torch.ops.aten._unique2.default,
    torch.ops.aten.unique_dim.default,
}


class WaitingError(Exception):
    """Somebody asked."""


class NoWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Refuses operators whose answer the host must wait for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        masks = func is torch.ops.aten.index.Tensor and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if func in ASKING or masks:
            raise WaitingError(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("capacity", [None, (160, 140)])
def test_a_training_step_asks_nothing(
    capacity: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From lengths to weights, clipping and the running average included, in the first step and later.

    As on a GPU: on a CPU, where looking costs nothing, the host also keeps account of rows without gradient.
    """
    monkeypatch.setattr("fourm_runtime.training.learner.RowGradients", lambda tables: RowGradients(()))
    learner = Learner(assemble(PLAN, SHAPE), small_recipe(), World())
    for step in range(2):
        batches = pack(masked_samples(PLAN, 8, step), PLAN, learner.model.allocation, 1, capacity)
        targets: dict[str, int] = {}
        for batch in batches:
            for name, head in batch.heads.items():
                targets[name] = targets.get(name, 0) + len(head.index)
        prepared = PreparedStep(step, batches, targets, 1)
        before = learner.model.context_proj.weight.detach().clone()
        with NoWaiting():
            losses = learner.compute(prepared, StepCounts(targets, 1))
            learner.update(1e-3, losses.norm)
        assert not torch.equal(before, learner.model.context_proj.weight)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: float(x.sum()),
        lambda x: bool(x[0] > 0),
        lambda x: x[x > 0],
        lambda x: torch.nonzero(x),
        lambda x: x.unique(),
        lambda x: int(x.argmax()),
    ],
)
def test_every_way_of_asking_is_seen(ask: Callable[[Tensor], object]) -> None:
    """The claim above is only worth what it can see."""
    with NoWaiting(), pytest.raises(WaitingError):
        ask(torch.ones(3))


def test_a_batch_travels_by_way_of_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor of it: one copy from ordinary memory would stop the host until the GPU is idle."""
    moved: list[Tensor] = []

    def watched(values: Tensor, device: object) -> Tensor:
        moved.append(values)
        return values.to("meta")

    monkeypatch.setattr("fourm_runtime.batch.to_device", watched)
    (batch,) = pack(masked_samples(PLAN, 3, 0), PLAN, assemble(PLAN, SHAPE).allocation, 1, apart=False)
    there = batch.to("meta")
    tensors = [there.encoder.rows, there.decoder.streams, there.registers]
    tensors += [x for tokens in there.dense.values() for x in (tokens.values, tokens.index)]
    tensors += [x for head in there.heads.values() for x in (head.index, head.targets)]

    assert {x.device.type for x in tensors} == {"meta"}
    assert len(moved) == 6 + 1 + 2 * len(there.dense) + 2 * len(there.heads) + 1


def test_a_copy_to_a_gpu_is_pinned_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    class Device:
        def __init__(self, device: torch.device) -> None:
            calls.append(device)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    class Pinned(Tensor):
        def to(self, *args: object, **kwargs: object) -> Tensor:
            calls.append((args, kwargs))
            return self

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self.as_subclass(Pinned))
    transfer.to_device(torch.ones(2), "cuda:1")

    assert calls == [torch.device("cuda:1"), ((torch.device("cuda:1"),), {"non_blocking": True})]
