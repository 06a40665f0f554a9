"""Gradients that are added row by row, and an AdamW that leaves out rows without any, change no number."""

import attrs
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fourm_runtime.assemble import assemble
from fourm_runtime.gate import gated_silu
from fourm_runtime.loss import head_losses, loss_sums, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_runtime.row_gradients import BLOCK, RowGradients
from fourm_runtime.tables import rows_added_in_place
from fourm_runtime.training.gradients import FlatGradients
from fourm_runtime.training.optimizer import build_optimizer, set_learning_rate
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.architecture import Architecture
from tests.runtime.drawn_plans import masked_samples, plan_of, stream

TEXTS = (stream("text", 3), stream("text", 4, loss_weight=0.5))
PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2, vocab_size=300), *TEXTS)
SHAPE = Architecture(dim=16, heads=2, encoder_depth=1, decoder_depth=1)


def gradients_of(model: AnyToAnyTransformer, how: str) -> dict[str, Tensor]:
    """Of one loss, by plain autograd, by the fused heads, or with rows added in place as well."""
    (batch,) = pack(masked_samples(PLAN, 3, seed=1, absent=0.0), PLAN, model.allocation)
    factors = stream_factors(target_counts((batch,)), PLAN)
    named = dict(model.named_parameters())
    if how == "plain":
        loss = weighted(loss_sums(model(batch), batch), factors)
        return autograd_of(loss, named)
    if how == "fused":
        return autograd_of(weighted(model.losses(batch), factors), named)
    gradients = FlatGradients(model.parameters(), RowGradients(model.tables.vocabulary))
    gradients.clear()
    with rows_added_in_place(model.tables, gradients.rows):
        loss = weighted(model.losses(batch), factors)
    torch.autograd.backward(loss)
    return dict(zip(named, gradients.views, strict=True))


def autograd_of(loss: Tensor, named: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(named.items(), found, strict=True)
    }


@pytest.mark.parametrize("tie_head", [True, False])
@pytest.mark.parametrize("how", ["fused", "in place"])
def test_every_gradient_is_the_one_of_plain_autograd(how: str, tie_head: bool) -> None:
    """Two texts share their rows of the head, at weights of their own."""
    model = assemble(PLAN, attrs.evolve(SHAPE, tie_head=tie_head)).double()
    truth, found = gradients_of(model, "plain"), gradients_of(model, how)

    assert found.keys() == truth.keys()
    for name, gradient in truth.items():
        assert torch.allclose(found[name], gradient, rtol=1e-10, atol=1e-13), name


def test_losses_of_bfloat16_are_summed_as_finely_as_before() -> None:
    """Under autocast both ways round the scores to bfloat16 and sum their exponentials in float32."""
    model = assemble(PLAN, SHAPE)
    (batch,) = pack(masked_samples(PLAN, 3, seed=1, absent=0.0), PLAN, model.allocation)
    with torch.no_grad():
        hidden = model.decode(batch, model.encode(batch))
        with torch.autocast("cpu", torch.bfloat16):
            truth = loss_sums(model.logits(hidden, batch), batch)
            found = head_losses(model.tables, hidden, batch, PLAN)

    assert {name: float(x) for name, x in found.items()} == pytest.approx(
        {name: float(x) for name, x in truth.items()}, rel=1e-6
    )


class Table(nn.Module):
    """A table of four blocks, the last one short, and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.tables = nn.Module()
        self.tables.rows = nn.Parameter(torch.randn(3 * BLOCK + 5, 8, generator=generator))
        self.matrix = nn.Parameter(torch.randn(8, 8, generator=generator))


def steps(remembering: bool, resumed_after: int | None = None) -> tuple[Table, list[float]]:
    """Four steps that touch a row of blocks 0 and 3; the third also one of block 1, with a zero gradient."""
    model = Table()
    table = model.tables.rows
    assert isinstance(table, nn.Parameter)
    rows = RowGradients([table] if remembering else [])
    gradients = FlatGradients(model.parameters(), rows)
    optimizer = build_optimizer(model, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8, rows=rows)
    set_learning_rate(optimizer, 0.01)
    norms = []
    for step in range(4):
        if step == resumed_after:
            state = optimizer.state[table]
            rows.restore(table, (state["exp_avg"], state["exp_avg_sq"]))
        gradients.clear()
        touched, size = torch.tensor([5, 3 * BLOCK + 4, 5, 0]), torch.full((4, 8), 0.5 + step)
        rows.add_rows(table, touched, size)
        if step == 2:
            rows.add_rows(table, torch.tensor([BLOCK + 1]), torch.zeros(1, 8))
        gradients.views[0].fill_(0.1 * step)
        norm = gradients.norm()
        gradients.clip(norm, 1.0)
        optimizer.step()
        norms.append(float(norm))
        if step == 3 and remembering:
            assert rows.live_rows(table) == [slice(0, BLOCK), slice(3 * BLOCK, 3 * BLOCK + 5)]
    return model, norms


def test_rows_without_a_gradient_are_left_out_and_nothing_else_changes() -> None:
    """Weights are the same to the last bit; a norm only adds up its parts in another order."""
    truth, norms = steps(remembering=False)
    found, own = steps(remembering=True)

    assert own == pytest.approx(norms, rel=1e-6)
    for (name, one), other in zip(found.named_parameters(), truth.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_what_is_live_follows_from_the_moments(after: int) -> None:
    """A run that is resumed clips by the same norm as one that went on, bit for bit."""
    truth, norms = steps(remembering=True)
    found, own = steps(remembering=True, resumed_after=after)

    assert own == norms
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), truth.parameters(), strict=True))


def test_a_step_over_live_rows_is_the_step_over_all_rows_bit_for_bit() -> None:
    """Without clipping there is no norm whose parts could add up in another order."""
    results = []
    for remembering in (True, False):
        model = Table()
        table = model.tables.rows
        assert isinstance(table, nn.Parameter)
        rows = RowGradients([table] if remembering else [])
        gradients = FlatGradients(model.parameters(), rows)
        optimizer = build_optimizer(model, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8, rows=rows)
        set_learning_rate(optimizer, 0.01)
        for step in range(5):
            gradients.clear()
            rows.add_rows(table, torch.tensor([7 + 60 * (step % 3)]), torch.full((1, 8), 0.3 + step))
            optimizer.step()
        state = optimizer.state[table]
        results.append([table.detach(), state["exp_avg"], state["exp_avg_sq"], state["step"]])

    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("biased", [True, False])
def test_the_gate_that_computes_again_has_the_gradient_of_the_plain_one(biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 5, 6), (2, 5, 6), (4, 6), (4,)]
    leaves = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    inner, gate, weight, bias = (leaf.requires_grad_() for leaf in leaves)
    used = [inner, gate, weight, *([bias] if biased else [])]
    found = gated_silu(inner, gate, weight, bias if biased else None)
    truth = functional.linear(functional.silu(inner) * gate, weight, bias if biased else None)
    upstream = torch.randn(truth.shape, generator=generator, dtype=torch.float64)

    assert torch.equal(found, truth)
    pairs = zip(
        torch.autograd.grad(found, used, upstream), torch.autograd.grad(truth, used, upstream), strict=True
    )
    assert all(torch.allclose(one, other, rtol=1e-12, atol=1e-14) for one, other in pairs)
