"""The padded model that benchmarks compare with is the released code's, and ours: same loss and gradients."""

import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from fourm_runtime.assemble import assemble
from fourm_runtime.batch import Masked, Selection
from fourm_runtime.loss import loss_sums, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_runtime.released.importing import import_4m
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan
from tests.runtime.drawn_plans import masked_samples, plan_of, stream
from tests.runtime.released_cases import Arrays, recordings

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))  # as python does for a script

from dense_model import DenseModel, has_shared_tables
from dense_samples import Entry, working_dict

STREAMS = (stream("pixels", 0), stream("image", 1, role="target"), stream("bins", 2), stream("text", 3))
SHARED = plan_of(*STREAMS, stream("text", 4))
APART = plan_of(*STREAMS, stream("text", 4, row_space="text4.tokens"))
SHAPE = Architecture(dim=16, heads=2, encoder_depth=2, decoder_depth=2)
SHAPES = {
    "apart": (APART, attrs.evolve(SHAPE, tie_head=False)),
    "shared": (SHARED, SHAPE),
    "normed": (SHARED, attrs.evolve(SHAPE, qk_norm=True, share_stream_embedding=False)),
}


def drawn(plan: Plan, seed: int, absent: float = 0.3) -> Masked:
    """Samples whose texts are texts: what the decoder reads is what it was to predict before."""
    masked = masked_samples(plan, 4, seed, absent)
    targets = {name: _chained(selection) for name, selection in masked.targets.items()}
    return attrs.evolve(masked, targets=targets)


def _chained(selection: Selection) -> Selection:
    if selection.previous is None:
        return selection
    follows = np.flatnonzero(selection.positions > 0)
    previous = selection.previous.copy()
    previous[follows] = selection.ids[follows - 1]
    return attrs.evolve(selection, previous=previous)


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_the_dense_model_has_the_loss_and_gradient_of_the_packed_one(case: str, seed: int) -> None:
    """A ratio of times means something only where both sides do the same work with the same weights."""
    plan, shape = SHAPES[case]
    model = assemble(plan, shape, seed).double()
    masked = drawn(plan, seed)
    (batch,) = pack(masked, plan, model.allocation)
    factors = stream_factors(target_counts((batch,)), plan, "declared")
    packed = weighted(loss_sums(model(batch), batch), factors)
    own = dict(model.named_parameters(prefix=""))
    truth = dict(zip(own, torch.autograd.grad(packed, list(own.values()), allow_unused=True), strict=True))

    dense = DenseModel(model)
    samples = {name: as_double(entry) for name, entry in working_dict(masked, plan).items()}
    loss = dense.loss(samples, 24, 24)
    parts = {name: p for name, p in dense.named_parameters() if not name.startswith(("encoder_em", "heads"))}
    found = torch.autograd.grad(loss, list(parts.values()), allow_unused=True)

    assert has_shared_tables(model) == (case != "apart")
    assert float(loss.detach()) == pytest.approx(float(packed.detach()), rel=1e-12)
    compared = 0
    for name, gradient in zip(parts, found, strict=True):
        wanted = truth.get(name.replace("dense.", "tables.dense.").replace("mask_token", "tables.mask_token"))
        if wanted is not None and gradient is not None:
            assert torch.allclose(gradient, wanted, rtol=1e-9, atol=1e-12), name
            compared += 1
    assert compared > 30


def as_double(entry: Entry) -> Entry:
    return attrs.evolve(entry, tensor=entry.tensor.double()) if entry.tensor.is_floating_point() else entry


def test_the_budgets_only_pad() -> None:
    plan, shape = SHAPES["apart"]
    dense = DenseModel(assemble(plan, shape))
    samples = working_dict(drawn(plan, seed=1), plan)

    with torch.no_grad():
        assert float(dense.loss(samples, 24, 24)) == pytest.approx(
            float(dense.loss(samples, 30, 40)), rel=1e-6
        )


def test_what_it_predicts_while_generating_is_what_the_packed_model_predicts() -> None:
    """Cells of a grid see each other; a text is read up to each id."""
    plan, shape = SHAPES["apart"]
    model = assemble(plan, shape)
    masked = drawn(plan, seed=2, absent=0.0)
    prefix = torch.arange(15).view(3, 5)
    size = len(prefix)
    rows = np.repeat(np.arange(size, dtype=np.int32), 5)
    five = np.tile(np.arange(5, dtype=np.int32), size)
    targets = {
        "image1.tokens": Selection(rows, five, np.zeros_like(rows)),
        "text4.tokens": Selection(rows, five, np.zeros_like(rows), prefix.flatten().numpy().astype(np.int32)),
    }
    inputs = {
        name: Selection(s.samples[s.samples < size], s.positions[s.samples < size], s.ids[s.samples < size])
        for name, s in masked.inputs.items()
    }
    masked = Masked(
        size, inputs, targets, {n: x[:size] for n, x in masked.dense.items() if isinstance(x, np.ndarray)}
    )
    (batch,) = pack(masked, plan, model.allocation)
    truth = model(batch)

    dense, samples = DenseModel(model), working_dict(masked, plan)
    context = dense.encode(samples)
    cells, grid = dense.decode_grid(samples, "image1.tokens", context)
    last = dense.decode_grid(samples, "image1.tokens", context, cells)[1]

    assert cells.tolist() == [[0, 1, 2, 3, 4]] * size
    assert torch.allclose(grid.flatten(0, 1), truth["image1.tokens"], atol=1e-6)
    assert torch.equal(grid, last)
    texts = dense.decode_text("text4.tokens", prefix, context)
    assert torch.allclose(texts.flatten(0, 1), truth["text4.tokens"], atol=1e-6)


def test_golden_losses_of_the_released_code_are_those_of_the_dense_model(golden: Path) -> None:
    """Its own working dictionaries and budgets, those that cut too; rounding is all that differs."""
    compared = 0
    for recorded in recordings(golden):
        model = import_4m(recorded.model).model()
        shape = model.architecture
        if shape.registers or not shape.decoder_streams_apart:
            continue
        dense = DenseModel(model)
        for case in recorded.cases:
            samples = {model.plan.stream(n).name: entry(parts) for n, parts in recorded.inputs(case).items()}
            encoder_tokens, decoder_tokens = recorded.budgets(case)
            with torch.no_grad():
                context = dense.encode({s.name: samples[s.name] for s in model.plan.inputs}, encoder_tokens)
                order = [model.plan.stream(domain).name for domain in recorded.order(case)]
                chosen = dense.select_targets({name: samples[name] for name in order}, decoder_tokens)
                loss = float(dense.predict(dense.decode(chosen, context), chosen))
            assert loss == pytest.approx(float(recorded.arrays[f"{case}/loss_mod"].item()), rel=1e-5)
            compared += 1
    assert compared >= 4


def entry(parts: Arrays) -> Entry:
    """A recorded modality, as the dense model takes it."""
    tensor = torch.from_numpy(parts["tensor"])
    if tensor.ndim == 4 and tensor.is_floating_point():
        cut = tensor.unfold(2, 16, 16).unfold(3, 16, 16)
        tensor = cut.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)  # patches, channel fastest
    elif not tensor.is_floating_point():
        tensor = tensor.flatten(1).long()
    hidden, not_asked = (torch.from_numpy(parts[key]).bool() for key in ("input_mask", "target_mask"))
    return Entry(tensor, hidden, not_asked, torch.from_numpy(parts["decoder_attention_mask"]).long())
