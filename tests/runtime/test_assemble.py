"""First weights: seeded by name, zero where a row means nothing, of the size that their place asks for."""

import attrs
import pytest
import torch

from fourm_runtime.assemble import INPUT_STD, OUTPUT_STD, assemble
from fourm_runtime.loss import loss_sums, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_schema.allocation import allocate
from fourm_schema.architecture import Architecture
from tests.runtime.drawn_plans import masked_samples, plan_of, stream

PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))
SHAPE = Architecture(dim=64, heads=2, encoder_depth=2, decoder_depth=1, registers=2)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    """Global random state plays no part."""
    torch.rand(3)
    first, again, other = (assemble(PLAN, SHAPE, seed).state_dict() for seed in (5, 5, 6))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.0.attn.qkv.weight"], other["encoder.0.attn.qkv.weight"])


def test_one_more_modality_changes_no_first_weight_of_the_others() -> None:
    """Two runs that differ by a modality differ by nothing else."""
    more = plan_of(*PLAN.streams, stream("image", 4))
    small, large = assemble(PLAN, SHAPE, 1), assemble(more, SHAPE, 1, allocate(PLAN))

    for name, weights in small.state_dict().items():
        grown = large.state_dict()[name]
        assert torch.equal(grown[: len(weights)], weights), name


@pytest.mark.parametrize("tied", [True, False])
def test_row_zero_is_nothing_and_stays_it(tied: bool) -> None:
    """It stands for content that comes from elsewhere: were it trained, it would leak into dense tokens."""
    model = assemble(PLAN, attrs.evolve(SHAPE, tie_head=tied), 0)
    tables = model.tables
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    (batch,) = pack(masked_samples(PLAN, 4, 0), PLAN, model.allocation, SHAPE.registers)
    sums = loss_sums(model(batch), batch)
    loss = weighted(sums, stream_factors(target_counts((batch,)), PLAN))
    torch.autograd.backward(loss)
    optimizer.step()

    for table in (tables.encoder.tokens, tables.decoder.tokens, tables.encoder_streams):
        assert not table[0].any()
        assert table[1:].any()


def test_content_starts_at_the_size_of_its_position_and_a_head_small() -> None:
    """A token far smaller than its position is learned late; large first scores are unlearned late."""
    tables = assemble(PLAN, SHAPE, 0).tables
    span = tables.allocation.tokens["image1.tokens"]

    assert tables.encoder.tokens[span.start : span.stop].std().item() == pytest.approx(INPUT_STD, rel=0.2)
    assert tables.decoder.tokens[span.start : span.stop].std().item() == pytest.approx(OUTPUT_STD, rel=0.2)
    assert tables.fixed_positions[1:].square().mean().item() == pytest.approx(0.5)


def test_keys_begin_as_queries_and_values_as_neither() -> None:
    """A token attends to what is like it from the first step on; each layer likens in its own way."""
    weights = assemble(PLAN, SHAPE, 0).state_dict()
    first, second = (weights[f"encoder.{number}.attn.qkv.weight"].chunk(3) for number in (0, 1))
    q, (k, v) = weights["decoder.0.cross_attn.q.weight"], weights["decoder.0.cross_attn.kv.weight"].chunk(2)

    assert torch.equal(first[0], first[1]) and torch.equal(q, k)
    for one, other in ((first[0], first[2]), (q, v), (first[0], second[0])):
        assert (one - other).abs().mean() > 0.5 * one.abs().mean()
