"""Packing changes how a batch is laid out and nothing else.

For any plan, architecture and mask, the packed model gives the logits, the loss and the gradient of
every parameter that the same weights give when samples are padded and masked (`fourm_runtime.oracle`).
"""

import math
from collections.abc import Callable, Sequence

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fourm_runtime import oracle
from fourm_runtime.assemble import assemble
from fourm_runtime.attention import Blocks
from fourm_runtime.batch import Masked, MicroBatch
from fourm_runtime.loss import loss_sums, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_runtime.transformer import AnyToAnyTransformer, Routes
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan
from tests.runtime.drawn_plans import (
    architectures,
    masked_samples,
    of_samples,
    plan_of,
    plans,
    stream,
    without_empty,
)

SEEDS = st.integers(0, 10_000)


@attrs.frozen(eq=False)
class Answers:
    """What a forward and a backward pass give.

    Attributes:
        logits: stream name -> (T, V).
        loss: scalar; 0 where nothing was asked for.
        gradients: parameter name -> gradient; zeros where the loss does not reach it.
    """

    logits: dict[str, Tensor]
    loss: Tensor
    gradients: dict[str, Tensor]


def build(plan: Plan, shape: Architecture, seed: int, dtype: torch.dtype) -> AnyToAnyTransformer:
    """A model with no parameter at a value where a fault could hide: no zero biases, no unit scales."""
    model = assemble(plan, shape, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    tables = model.tables
    rows_of_nothing = [tables.encoder.tokens, tables.decoder.tokens, tables.head]
    rows_of_nothing += [tables.encoder_streams, tables.decoder_streams]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        for table in rows_of_nothing:
            if table is not None:
                table[0] = 0.0
    return model.to(dtype)


def gradients(model: AnyToAnyTransformer, loss: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    if not loss.requires_grad:
        return {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(named.items(), found, strict=True)
    }


def packed(model: AnyToAnyTransformer, batches: Sequence[MicroBatch]) -> Answers:
    factors = stream_factors(target_counts(tuple(batches)), model.plan)
    parts = [model(batch) for batch in batches]
    losses = [
        weighted(loss_sums(logits, batch), factors) for logits, batch in zip(parts, batches, strict=True)
    ]
    joined = {
        name: torch.cat([logits[name] for logits in parts if name in logits])
        for name in model.plan.names
        if any(name in logits for logits in parts)
    }
    loss = torch.stack([each.to(torch.float64) for each in losses]).sum()
    return Answers(joined, loss, gradients(model, loss))


def padded(model: AnyToAnyTransformer, masked: Masked, softmax: oracle.Softmax = "explicit") -> Answers:
    """The weighted mean of the streams' mean losses, as its definition has it."""
    shape = model.architecture
    batch = oracle.pad(
        masked, model.plan, shape.registers, shape.decoder_streams_apart, shape.decoder_left_to_right
    )
    logits = oracle.forward(model, batch, softmax)
    weights = {name: model.plan.stream(name).loss_weight for name in logits}
    means = [w * functional.cross_entropy(logits[name], batch.labels[name]) for name, w in weights.items()]
    loss = torch.stack(means).sum() / sum(weights.values()) if means else torch.zeros(())
    return Answers(logits, loss, gradients(model, loss))


def agree(found: Answers, truth: Answers, tolerance: float) -> bool:
    """Whether all numbers are within `tolerance` of the largest of their tensor; see `distance`."""
    return distance(found, truth) < tolerance


def distance(found: Answers, truth: Answers) -> float:
    """How far the worst number is off, as a share of the largest of its tensor; infinite if one is lacking.

    Some gradients are 0 for every input (a bias on all keys moves no softmax), and come out as rounding:
    they are held against a hundredth of the largest gradient there is.
    """
    floor = 0.01 * max(
        float(gradient.abs().max()) for gradient in truth.gradients.values() if gradient.numel()
    )
    if found.logits.keys() != truth.logits.keys():
        return math.inf
    pairs = [(found.loss, truth.loss, 0.0)]
    pairs += [(found.logits[name], truth.logits[name], 0.0) for name in truth.logits]
    pairs += [(found.gradients[name], truth.gradients[name], floor) for name in truth.gradients]
    errors = [0.0]
    for one, other, smallest in pairs:
        a, b = one.detach().double(), other.detach().double()
        if b.numel():
            error = float((a - b).abs().max()) / max(float(b.abs().max()), smallest, 1e-12)
            errors.append(error if math.isfinite(error) else math.inf)
    return max(errors)


@settings(max_examples=35)
@given(plan=plans(), shape=architectures(), seed=SEEDS, size=st.integers(1, 4), tight=st.booleans())
def test_logits_loss_and_every_gradient_are_those_of_padded_samples(
    plan: Plan, shape: Architecture, seed: int, size: int, tight: bool
) -> None:
    """In float64, with all samples in one micro-batch or split over several static ones with tails."""
    model = build(plan, shape, seed, torch.float64)
    masked = masked_samples(plan, size, seed)
    longest = max(1, sum(each.length for each in plan.streams)) + shape.registers
    batches = pack(
        masked, plan, model.allocation, shape.registers, capacity=(longest, longest) if tight else None
    )

    assert agree(packed(model, batches), padded(model, masked), 1e-9)


@settings(max_examples=20)
@given(
    plan=plans(),
    seed=SEEDS,
    size=st.integers(1, 3),
    tight=st.booleans(),
    apart=st.booleans(),
    left_to_right=st.booleans(),
)
def test_other_sights_in_the_decoder_are_packed_as_exactly(
    plan: Plan, seed: int, size: int, tight: bool, apart: bool, left_to_right: bool
) -> None:
    """Where streams are not apart, the keys of each block are gathered: earlier streams, and itself."""
    shape = attrs.evolve(SHAPE, decoder_streams_apart=apart, decoder_left_to_right=left_to_right)
    model = build(plan, shape, seed, torch.float64)
    masked = masked_samples(plan, size, seed)
    longest = max(1, sum(each.length for each in plan.streams))
    capacity = (longest, longest) if tight else None
    batches = pack(
        masked, plan, model.allocation, capacity=capacity, apart=apart, left_to_right=left_to_right
    )

    assert agree(packed(model, batches), padded(model, masked), 1e-9)


@settings(max_examples=25)
@given(plan=plans(), shape=architectures(), seed=SEEDS, size=st.integers(1, 4))
def test_float32_is_as_exact_as_its_rounding(plan: Plan, shape: Architecture, seed: int, size: int) -> None:
    """Against the padded model in float64, so that one error is measured and not two.

    How much float32 loses depends on the weights: a gradient that is a small difference of large sums has the
    rounding of these. So does that of the padded model, which in one drawn case of 250 is itself off by 5e-6
    or more. Packing adds up in another order, and may be off by a few times as much as that.
    """
    model = build(plan, shape, seed, torch.float32)
    masked = masked_samples(plan, size, seed)
    batches = pack(masked, plan, model.allocation, shape.registers)
    found, rounded = packed(model, batches), padded(model, masked)
    truth = padded(model.double(), masked)

    assert distance(found, truth) < max(1e-5, 4 * distance(rounded, truth))


@settings(max_examples=10)
@given(plan=plans(), seed=SEEDS)
def test_a_stream_without_tokens_may_as_well_be_missing(plan: Plan, seed: int) -> None:
    """Masks leave streams out, or give them no token: both mean absent."""
    model = build(plan, SHAPE, seed, torch.float64)
    full = masked_samples(plan, 2, seed, absent=0.6)
    bare = attrs.evolve(full, inputs=without_empty(full.inputs), targets=without_empty(full.targets))

    found = packed(model, pack(bare, plan, model.allocation))

    assert agree(found, packed(model, pack(full, plan, model.allocation)), 1e-12)


PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))
SHAPE = Architecture(dim=16, heads=2, encoder_depth=2, decoder_depth=2)


@pytest.mark.parametrize("registers", [0, 2])
def test_samples_that_show_nothing_or_are_asked_nothing_change_no_other(registers: int) -> None:
    """A null token (or the registers) stands in for what is not shown; nobody else sees it."""
    shape = attrs.evolve(SHAPE, registers=registers)
    model = build(PLAN, shape, 3, torch.float64)
    full = masked_samples(PLAN, 3, seed=5, absent=0.0)
    masked = attrs.evolve(
        full,
        inputs={name: of_samples(selection, [0, 2]) for name, selection in full.inputs.items()},
        targets={name: of_samples(selection, [0, 1]) for name, selection in full.targets.items()},
    )
    (batch,) = pack(masked, PLAN, model.allocation, registers)
    together = packed(model, [batch])

    assert batch.encoder_lengths[1] == max(registers, 1)
    assert batch.parallel_queries[2] == batch.causal_queries[2] == 0
    assert agree(together, padded(model, masked), 1e-9)
    for name, logits in packed(model, pack(full, PLAN, model.allocation, registers)).logits.items():
        own = int((full.targets[name].samples == 0).sum())
        assert torch.allclose(together.logits[name][:own], logits[:own], rtol=0, atol=1e-12)


def test_both_softmaxes_of_the_padded_model_agree() -> None:
    """The benchmark times the fused one; it must be the same model."""
    model = build(PLAN, SHAPE, 1, torch.float64)
    masked = masked_samples(PLAN, 4, seed=2)

    assert agree(padded(model, masked, "sdpa"), padded(model, masked), 1e-9)


def _next_sample_seen(batch: MicroBatch, routes: Routes) -> Routes:
    first, second, *rest = batch.encoder_lengths
    return attrs.evolve(routes, encoder=Blocks.build([first + second, *rest]))


def _future_seen(batch: MicroBatch, routes: Routes) -> Routes:
    return attrs.evolve(routes, causal=Blocks.build(batch.causal_lengths))


def _streams_seen(batch: MicroBatch, routes: Routes) -> Routes:
    return attrs.evolve(routes, parallel=Blocks.build(batch.parallel_queries))


@pytest.mark.parametrize("fault", [_next_sample_seen, _future_seen, _streams_seen])
def test_a_wrong_route_is_caught(
    fault: Callable[[MicroBatch, Routes], Routes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is only worth what it can see: samples, futures and streams that leak."""
    model = build(PLAN, SHAPE, 1, torch.float64)
    masked = masked_samples(PLAN, 3, seed=4, absent=0.0)
    batches = pack(masked, PLAN, model.allocation)
    truth, right = padded(model, masked), Routes.of
    assert agree(packed(model, batches), truth, 1e-9)
    monkeypatch.setattr(Routes, "of", lambda batch: fault(batch, right(batch)))

    assert not agree(packed(model, batches), truth, 1e-4)


@pytest.mark.parametrize("place", ["loss", "logits", "gradients"])
def test_what_is_not_a_number_never_agrees(place: str) -> None:
    model = build(PLAN, SHAPE, 1, torch.float64)
    truth = padded(model, masked_samples(PLAN, 2, seed=4, absent=0.0))
    found = attrs.evolve(
        truth,
        logits={name: x.clone() for name, x in truth.logits.items()},
        gradients={name: x.clone() for name, x in truth.gradients.items()},
    )
    assert agree(found, truth, 1e-12)
    if place == "loss":
        found = attrs.evolve(found, loss=found.loss * torch.nan)
    else:
        last = list(getattr(found, place).values())[-1]
        last.view(-1)[0] = torch.nan

    assert not agree(found, truth, 1e12)
