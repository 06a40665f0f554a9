"""Generation's own trunk computes what the model computes: it may be quicker, never different."""

from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from fourm_runtime import products
from fourm_runtime.assemble import assemble
from fourm_runtime.attention import Blocks, attend
from fourm_runtime.batch import MicroBatch
from fourm_runtime.generation import trunk as trunk_module
from fourm_runtime.generation.samples import Sample, Tokens, packed
from fourm_runtime.generation.trunk import MANY, Trunk
from fourm_runtime.transformer import AnyToAnyTransformer, Routes
from fourm_schema.architecture import Architecture
from fourm_schema.errors import BackendError
from tests.runtime.drawn_plans import plan_of, stream

PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))
SHAPE = Architecture(dim=48, heads=2, encoder_depth=2, decoder_depth=2)
SHAPES = {
    "imported": attrs.evolve(SHAPE, norm_bias=False, tie_head=False, null_is_silent=True),
    "with biases": attrs.evolve(
        SHAPE, qkv_bias=True, proj_bias=True, mlp_bias=True, activation="gelu", gated_mlp=False
    ),
    "biases, silent": attrs.evolve(SHAPE, qkv_bias=True, null_is_silent=True),
    "normed, registers": attrs.evolve(SHAPE, qk_norm=True, registers=2),
}


def model_of(shape: Architecture) -> AnyToAnyTransformer:
    model = assemble(PLAN, shape, seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(
                    0, 0.5, generator=generator
                )  # at their first value of 0 they would not show
    return model


def batch_of(model: AnyToAnyTransformer, asked: int, cells: int) -> MicroBatch:
    """A sample that shows dense tokens and some of a grid, one that shows a text, one that shows nothing."""
    rng = np.random.default_rng(0)
    pixels, grid, _, text = model.plan.streams
    assert pixels.dense_dim is not None
    values = rng.standard_normal((pixels.length, pixels.dense_dim)).astype(np.float32)
    fixed = np.arange(cells, dtype=np.int32)
    wanted = np.arange(asked, dtype=np.int32)
    shown = Tokens(fixed, rng.integers(0, grid.vocab_size or 1, cells).astype(np.int32))
    words = Tokens.whole(rng.integers(0, text.vocab_size or 1, 4).astype(np.int32))
    samples = [
        Sample({pixels.name: Tokens.dense(values), grid.name: shown}, {grid.name: wanted}),
        Sample({text.name: words}, {grid.name: wanted}),
        Sample({}, {grid.name: wanted}),
    ]
    return packed(samples, model)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("asked", [1, 3, 4])
@pytest.mark.parametrize("onednn", [True, False])
def test_the_trunk_gives_the_scores_of_the_model(
    shape: Architecture, asked: int, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few queries and many, biases, silence, registers; laid out for oneDNN, and where that is missing. Two
    passes, as the second takes what the first has kept."""
    monkeypatch.setattr(products, "_HAS_ONEDNN", onednn and products._HAS_ONEDNN)
    model = model_of(shape)
    with torch.inference_mode():
        trunk = Trunk(model, passes=MANY)
        for cells in (0, 2):
            batch = batch_of(model, asked, cells)
            routes = Routes.of(batch)
            context = trunk.encode(batch, routes)
            hidden = trunk.decode(batch, context, routes)
            (name,) = batch.heads
            found = trunk.logits(hidden[batch.heads[name].index], model.plan.stream(name))

            # Rounding of a sum of some dozens of numbers of size one.
            torch.testing.assert_close(context, model.encode(batch), atol=2e-5, rtol=2e-5)
            torch.testing.assert_close(found, model(batch)[name], atol=2e-5, rtol=2e-5)


def test_short_queries_find_what_long_ones_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way round the keys is taken where it is the shorter one, and ends at the same place."""
    model = model_of(SHAPES["imported"])
    layer = Trunk(model).decoder[0].cross_attn
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(150, 48, generator=generator)
    x, silent = torch.randn(3, 48, generator=generator), torch.tensor([149])
    blocks = Blocks.build([2, 0, 1], [100, 49, 1])
    made: list[torch.Tensor] = []
    calls: list[torch.Size] = []

    def watched(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, own: Blocks) -> torch.Tensor:
        calls.append(k.shape)
        return attend(q, k, v, own)

    monkeypatch.setattr(trunk_module, "attend", watched)
    with torch.inference_mode():
        made.append(Trunk(model).look(layer, x, context, blocks, silent))
        monkeypatch.setattr(trunk_module, "_are_short", lambda *_: False)
        made.append(Trunk(model).look(layer, x, context, blocks, silent))

    assert [shape[-1] for shape in calls] == [48, 24]
    torch.testing.assert_close(made[0], made[1], atol=1e-5, rtol=1e-5)
    assert not made[0][2].any()


def test_weights_that_are_laid_out_stay_within_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are copies: a large model must not need twice its memory."""
    model = model_of(SHAPES["imported"])
    monkeypatch.setattr(trunk_module, "ROOM", 48 * 48 * 4)
    with torch.inference_mode():
        trunk = Trunk(model, passes=MANY)
        batch = batch_of(model, 4, 2)
        trunk.encode(batch, Routes.of(batch))

    assert len(trunk._laid) <= 1


def test_blocks_that_passed_once_still_refuse_what_does_not_fit() -> None:
    """Later layers are not checked anew; queries of another form are."""
    blocks = Blocks.build([2])
    q = torch.zeros(2, 1, 8)
    attend(q, q, q, blocks)
    assert torch.equal(attend(q, q, q, blocks), q)
    with pytest.raises(BackendError, match="no kernel serves float32"):
        attend(q, q.double(), q.double(), blocks)
    with pytest.raises(BackendError, match="no kernel serves float32"):
        attend(q, q.double(), q.double(), blocks)


def test_the_benchmark_runs_and_both_its_sides_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caption, MaskGIT, random order and fourteen targets of a 4M-21 model, guided and not: the loops of 4M's
    sampler over the dense model generate what ours do."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    import generate

    assert generate.main(["--quick", "--pairs", "1"]) == 0
