"""Costs are said before a model is built; here they are held against models that are."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from fourm_runtime import oracle
from fourm_runtime.assemble import assemble, empty_model
from fourm_runtime.batch import MicroBatch
from fourm_runtime.loss import loss_sums
from fourm_runtime.packing import pack
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema import cost as costs
from fourm_schema.allocation import allocate
from fourm_schema.architecture import SIZES, Architecture
from fourm_schema.cost import Tokens, cost, sample_tokens
from fourm_schema.plan import Plan
from tests.runtime.drawn_plans import architectures, masked_samples, plan_of, plans, stream

PLAN = plan_of(
    stream("pixels", 0, 8, 8, dense_dim=12),
    stream("image", 1, 8, 8, vocab_size=50),
    stream("bins", 2, 2, 8, vocab_size=32),
    stream("text", 3, 6, 6),
)
PARTS = {
    "tables.encoder.tokens": costs.ENCODER_TABLE,
    "tables.decoder.tokens": costs.DECODER_TABLE,
    "tables.head": costs.HEAD,
    "tables.encoder.learned_positions": costs.POSITIONS,
    "tables.decoder.learned_positions": costs.POSITIONS,
    "tables.encoder_streams": costs.STREAMS,
    "tables.decoder_streams": costs.STREAMS,
    "tables.mask_token": costs.LEARNED,
    "tables.registers": costs.LEARNED,
    "tables.dense": costs.DENSE,
    "encoder": costs.ENCODER,
    "encoder_norm": costs.ENCODER,
    "context_proj": costs.CONTEXT,
    "decoder": costs.DECODER,
    "decoder_norm": costs.DECODER,
}


def built(model: AnyToAnyTransformer) -> dict[str, int]:
    """Parameters of a model, part by part."""
    found = dict.fromkeys(PARTS.values(), 0)
    for name, parameter in model.named_parameters():
        prefix = max((p for p in PARTS if name == p or name.startswith(f"{p}.")), key=len)
        found[PARTS[prefix]] += parameter.numel()
    return found


def packed_tokens(batch: MicroBatch) -> Tokens:
    samples = batch.encoder_lengths
    return Tokens(
        encoder=samples,
        decoder=batch.parallel_lengths + batch.causal_lengths,
        context=(
            *zip(batch.parallel_queries, samples, strict=True),
            *zip(batch.causal_queries, samples, strict=True),
        ),
        dense={name: len(tokens.index) for name, tokens in batch.dense.items()},
        targets={name: len(head.targets) for name, head in batch.heads.items()},
    )


def padded_tokens(padded: oracle.Padded) -> Tokens:
    """What the padded model computes: every slot, real or not."""
    samples, wanted, visible = padded.context_mask.shape
    return Tokens(
        encoder=(visible,) * samples,
        decoder=(wanted,) * samples,
        context=((wanted, visible),) * samples,
        dense={name: len(values) for name, values in padded.dense.items()},
        targets={name: len(ids) for name, ids in padded.labels.items()},
    )


def counted_flops(model: AnyToAnyTransformer, padded: oracle.Padded) -> tuple[int, int]:
    """What PyTorch counts: (forward, forward and backward)."""
    with FlopCounterMode(display=False) as forward:
        logits = oracle.forward(model, padded)
    with FlopCounterMode(display=False) as backward:
        torch.autograd.backward(torch.stack([scores.logsumexp(-1).sum() for scores in logits.values()]).sum())
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


@settings(max_examples=30)
@given(plan=plans(), shape=architectures())
def test_parameters_are_those_of_the_built_model_part_by_part(plan: Plan, shape: Architecture) -> None:
    rows = allocate(plan)
    told = cost(plan, rows, shape, sample_tokens(plan, shape, 4, 4))

    assert {part.name: part.parameters for part in told.parts} == built(empty_model(plan, rows, shape))


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_the_named_sizes_cost_what_they_are(size: str) -> None:
    rows = allocate(PLAN)
    told = cost(PLAN, rows, SIZES[size], sample_tokens(PLAN, SIZES[size], 32, 32))

    assert told.parameters == sum(p.numel() for p in empty_model(PLAN, rows, SIZES[size]).parameters())


@settings(max_examples=25)
@given(plan=plans(), shape=architectures(), seed=st.integers(0, 1000), size=st.integers(1, 3))
def test_flops_are_those_that_pytorch_counts(plan: Plan, shape: Architecture, seed: int, size: int) -> None:
    """Both sides count the padded model with an explicit softmax: the counter sees no fused attention."""
    masked = masked_samples(plan, size, seed)
    padded = oracle.pad(masked, plan, shape.registers)
    assume(padded.targets)
    told = cost(plan, allocate(plan), shape, padded_tokens(padded))
    forward, train = counted_flops(assemble(plan, shape), padded)

    assert told.forward_flops == pytest.approx(forward, rel=0.02)
    assert told.train_flops == pytest.approx(train, rel=0.02)


def test_flops_of_a_larger_model_are_exact() -> None:
    """At a width where no rounding could hide a missing product."""
    shape = Architecture(dim=128, heads=4, encoder_depth=2, decoder_depth=3)
    padded = oracle.pad(masked_samples(PLAN, 4, seed=1), PLAN)
    told = cost(PLAN, allocate(PLAN), shape, padded_tokens(padded))

    assert (told.forward_flops, told.train_flops) == counted_flops(assemble(PLAN, shape), padded)


def _kept_bytes(model: AnyToAnyTransformer, batch: MicroBatch) -> int:
    """Bytes that autograd keeps for the backward pass, weights aside."""
    owned = {x.untyped_storage().data_ptr() for x in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        address = x.untyped_storage().data_ptr()
        if address not in owned:
            kept[address] = x
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        losses: Mapping[str, Tensor] = loss_sums(model(batch), batch)
    assert losses
    return sum(x.untyped_storage().nbytes() for x in kept.values())


@pytest.mark.parametrize("changes", [{}, {"gated_mlp": False}, {"activation": "gelu"}])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_activations_are_within_five_percent_of_what_autograd_keeps(
    changes: dict[str, Any], qk_norm: bool
) -> None:
    shape = Architecture(dim=128, heads=4, encoder_depth=2, decoder_depth=3, qk_norm=qk_norm, **changes)
    model = assemble(PLAN, shape)
    (batch,) = pack(masked_samples(PLAN, 6, seed=1), PLAN, model.allocation)
    told = cost(PLAN, model.allocation, shape, packed_tokens(batch))

    assert told.memory.activations == pytest.approx(_kept_bytes(model, batch), rel=0.05)


def test_adamw_holds_four_numbers_for_each_parameter() -> None:
    """The weight, its gradient and two moments; half of that in half precision."""
    shape = SIZES["nano"]
    tokens = sample_tokens(PLAN, shape, 32, 32)
    full = cost(PLAN, allocate(PLAN), shape, tokens)
    half = cost(PLAN, allocate(PLAN), shape, tokens, weights="bfloat16", activations="bfloat16")

    model = assemble(PLAN, shape)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = sum(
        x.numel() * x.element_size()
        for state in optimizer.state.values()
        for name, x in state.items()
        if name != "step"
    )

    assert full.memory.optimizer == moments
    assert full.memory.weights == full.memory.gradients == 4 * full.parameters
    assert full.memory.total == 16 * full.parameters + full.memory.activations
    assert half.memory.total * 2 == full.memory.total


@given(plan=plans(), shape=architectures(), inputs=st.integers(0, 40), targets=st.integers(0, 40))
def test_a_typical_sample_keeps_to_its_budgets_and_its_streams(
    plan: Plan, shape: Architecture, inputs: int, targets: int
) -> None:
    tokens = sample_tokens(plan, shape, inputs, targets)

    assert tokens.encoder == (max(1, tokens.encoder[0]),)
    assert tokens.encoder[0] <= max(1, inputs + shape.registers)
    assert sum(tokens.decoder) == sum(tokens.targets.values()) <= targets
    assert sum(queries for queries, _ in tokens.context) == sum(tokens.decoder)
    assert all(count <= plan.stream(name).length for name, count in tokens.targets.items())


def test_what_a_small_stream_leaves_goes_to_the_others() -> None:
    plan = plan_of(stream("bins", 0, 1, 2, role="input"), stream("image", 1, 4, 4), stream("text", 2, 4, 5))
    tokens = sample_tokens(plan, SIZES["nano"], inputs=12, targets=100)

    assert tokens.encoder == (2 + 5 + 5,)
    assert tokens.targets == {"image1.tokens": 16 - 5, "text2.tokens": 20}
    assert tokens.decoder == (11, 20)
    assert tokens.context == ((11, 12), (20, 12))


def test_a_removed_modality_still_costs_its_rows() -> None:
    """Rows are append-only, and a checkpoint carries the holes."""
    grown = allocate(plan_of(stream("image", 9, vocab_size=100)))
    plan = plan_of(stream("image", 1, vocab_size=10))
    rows = allocate(plan, grown)
    shape = SIZES["nano"]

    told = {
        part.name: part.parameters for part in cost(plan, rows, shape, sample_tokens(plan, shape, 4, 4)).parts
    }

    assert told == built(empty_model(plan, rows, shape))
    assert told[costs.ENCODER_TABLE] == 111 * shape.dim
