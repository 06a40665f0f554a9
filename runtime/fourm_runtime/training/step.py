"""The gradient of one global step, equal for every way of splitting it.

Each micro-batch's losses are sums; they are multiplied with factors that know the target counts of the
whole step, so gradients of micro-batches and of ranks just add up (design: 1 x 64, 4 x 16 and 2 ranks x
32 samples agree to 1e-6 in float64).
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import attrs
import torch

from fourm_runtime.loss import Divisor, stream_factors, weighted
from fourm_runtime.tables import rows_added_in_place
from fourm_runtime.training.gradients import FlatGradients
from fourm_runtime.training.preparation import PreparedStep
from fourm_runtime.training.world import World
from fourm_runtime.transformer import AnyToAnyTransformer


@attrs.frozen
class StepCounts:
    """What a global step holds, over all ranks.

    Attributes:
        targets: target tokens of each stream.
        tokens_in: visible tokens.
        stop: whether some rank was asked to stop.
    """

    targets: dict[str, int]
    tokens_in: int
    stop: bool = False

    @property
    def tokens_out(self) -> int:
        return sum(self.targets.values())


@attrs.frozen(eq=False)
class StepLosses:
    """What the model said of a global step; tensors that nobody has waited for yet.

    Attributes:
        sums: (S,) float64, summed cross-entropy in nats of each target stream, in the order of the plan.
        norm: scalar, Euclidean norm of the gradient before clipping.
    """

    sums: torch.Tensor
    norm: torch.Tensor


def count_step(prepared: PreparedStep, names: list[str], world: World, stop: bool = False) -> StepCounts:
    """Sum counts over the ranks, on the host: one small message per step.

    Args:
        prepared: this rank's part.
        names: the target streams, in an order that all ranks share.
        world: the ranks.
        stop: ask every rank to stop before this step.
    """
    if world.size == 1:
        return StepCounts(prepared.targets, prepared.tokens_in, stop)
    own = [prepared.targets.get(name, 0) for name in names]
    counts = torch.tensor([*own, prepared.tokens_in, int(stop)], dtype=torch.int64)
    world.add(counts)
    *targets, tokens_in, stops = counts.tolist()
    return StepCounts(
        {name: count for name, count in zip(names, targets, strict=True) if count}, tokens_in, stops > 0
    )


def compute_gradients(
    model: AnyToAnyTransformer,
    gradients: FlatGradients,
    prepared: PreparedStep,
    counts: StepCounts,
    world: World,
    divisor: Divisor = "present",
    precision: torch.dtype = torch.float32,
) -> StepLosses:
    """Fill `gradients` with the gradient of the global step. Nothing here waits for the device.

    Args:
        model: what is trained.
        gradients: over the model's parameters; cleared first.
        prepared: this rank's part of the step.
        counts: of the whole step.
        world: the ranks over which gradients and losses are summed.
        divisor: see `fourm_runtime.loss.stream_factors`.
        precision: bfloat16 runs the model under autocast; any other leaves its own dtypes.
    """
    plan = model.plan
    factors = stream_factors(counts.targets, plan, divisor)
    slots = {stream.name: place for place, stream in enumerate(plan.targets)}
    gradients.clear()
    sums = torch.zeros(len(slots), dtype=torch.float64, device=world.device)
    for batch in prepared.micro_batches:
        with autocast(world.device, precision), rows_added_in_place(model.tables, gradients.rows):
            found = model.losses(batch)
        part = weighted(found, factors)
        if part.requires_grad:
            part.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for name, value in found.items():
            sums[slots[name]] += value.detach()
    gradients.reduce(world.add)
    world.add(sums)
    return StepLosses(sums, gradients.norm())


def stream_losses(sums: Mapping[str, float], counts: StepCounts) -> dict[str, float]:
    """Mean loss of each stream that has targets, in nats per token."""
    return {name: sums[name] / count for name, count in counts.targets.items() if count}


def total_loss(sums: Mapping[str, float], factors: Mapping[str, float]) -> float:
    """The step's loss: what the gradient is the gradient of."""
    return math.fsum(sums[name] * factor for name, factor in factors.items())


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    return torch.autocast(device.type, precision) if precision == torch.bfloat16 else nullcontext()
