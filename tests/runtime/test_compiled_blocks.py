"""Compiled blocks are the blocks, and they are compiled once.

The compiler's front half runs here, and the graphs it makes are run as they are: what a back end makes of
them (inductor's C++ or Triton) is its own to test, and takes a minute.
"""

import importlib.util
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.utils import counters
from torch.library import opcheck

from fourm_runtime.assemble import assemble
from fourm_runtime.attention import Blocks, attend
from fourm_runtime.attention_passes import packed_lse, padded_lse
from fourm_runtime.attention_regions import Regions, attend_regions
from fourm_runtime.packing import pack
from fourm_runtime.training.learner import Learner
from fourm_runtime.training.recipe import compiles
from fourm_runtime.training.world import World
from fourm_schema.architecture import Architecture
from tests.runtime.drawn_plans import masked_samples, plan_of, stream
from tests.runtime.small_run import small_recipe
from tests.runtime.test_packed_equals_padded import agree, build, packed

PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))
SHAPE = Architecture(dim=16, heads=2, encoder_depth=2, decoder_depth=2)
REGIONS = {
    "encoder": Regions((Blocks.build([5, 3]),)),
    "decoder": Regions((Blocks.build([4, 0, 3]), Blocks.build([2, 6], causal=True))),
    "joined": Regions((Blocks.build([4, 2], [4, 6]), Blocks.prefixed([3], [7]))),
    "context": Regions((Blocks.build([4, 3], [5, 0]), Blocks.build([0, 0], [5, 0])), shared=True),
    "cached": Regions((Blocks.cached([1, 0], [3, 2], 4),)),
}


def test_blocks_are_compiled_once_and_compute_what_they_did() -> None:
    """Two graphs, one for all blocks of either side, and none more for new lengths.

    The first micro-batch is one of equal sizes on both sides, which the compiler must not take for a rule;
    in another there is nothing to predict in one of the regions.
    """
    eager, compiled = (build(PLAN, SHAPE, 1, torch.float32) for _ in range(2))
    compiled.compile_blocks(backend="aot_eager")
    torch._dynamo.reset()
    counters.clear()
    graphs = []
    for seed, capacity in enumerate([(60, 60), None, None, None]):
        masked = masked_samples(PLAN, 2 + seed, seed, absent=0.4)
        if seed == 2:
            masked.targets.pop("s3.tokens", None)  # type: ignore[attr-defined]  # a dict, as this builder makes it
        batches = pack(masked, PLAN, eager.allocation, capacity=capacity)[:1]
        assert agree(packed(compiled, batches), packed(eager, batches), 1e-5)
        graphs.append(counters["stats"]["unique_graphs"])

    assert graphs == [2, 2, 2, 2]


def test_names_of_parameters_stay_as_they_are() -> None:
    """A checkpoint of a compiled model is a checkpoint of the model."""
    model = assemble(PLAN, SHAPE)
    names = list(model.state_dict())
    model.compile_blocks()

    assert list(model.state_dict()) == names


@pytest.mark.parametrize("regions", REGIONS.values(), ids=REGIONS.keys())
def test_regions_travel_as_numbers(regions: Regions) -> None:
    back = Regions.decoded(regions.code.tolist())

    assert back.shared == regions.shared
    assert [(p.q_lengths, p.k_lengths, p.causal, p.capacity) for p in back.parts] == [
        (p.q_lengths, p.k_lengths, p.causal, p.capacity) for p in regions.parts
    ]


@pytest.mark.parametrize("kind", ["encoder", "decoder", "joined", "context"])
def test_the_opaque_operator_gives_what_attention_gives(kind: str) -> None:
    """Outputs and gradients in float64; `opcheck` compares the shapes that the compiler is told."""
    regions = REGIONS[kind]
    generator = torch.Generator().manual_seed(0)
    keys = regions.parts[0].k_size if regions.shared else sum(part.k_size for part in regions.parts)
    sizes = (sum(part.q_size for part in regions.parts), keys, keys)
    leaves = [torch.randn(n, 2, 8, dtype=torch.float64, generator=generator).requires_grad_() for n in sizes]
    upstream = torch.randn(leaves[0].shape, dtype=torch.float64, generator=generator)

    expected = attend_regions(leaves[0], leaves[1], leaves[2], regions)
    found = torch.ops.fourm.attend(*leaves, regions.code)[0]
    pairs = zip(
        torch.autograd.grad(found, leaves, upstream),
        torch.autograd.grad(expected, leaves, upstream),
        strict=True,
    )

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)
    opcheck(
        torch.ops.fourm.attend.default,
        (*leaves, regions.code),
        test_utils=["test_schema", "test_autograd_registration", "test_faketensor"],
    )


def test_regions_without_a_compiler_are_calls_of_attend() -> None:
    """Bit for bit, so that results do not depend on how a layer comes in."""
    regions = REGIONS["decoder"]
    x = torch.randn(15, 2, 8, generator=torch.Generator().manual_seed(0))
    parts = [attend(x[:7], x[:7], x[:7], regions.parts[0]), attend(x[7:], x[7:], x[7:], regions.parts[1])]

    assert torch.equal(attend_regions(x, x, x, regions), torch.cat(parts))


@settings(max_examples=20)
@given(lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=5))
def test_the_log_sum_exp_survives_the_layout_of_cutlass(lengths: list[tuple[int, int]]) -> None:
    """One padded row per block there, one row per query here; queries without a key have none."""
    blocks = Blocks.build([q for q, _ in lengths], [k for _, k in lengths])
    lse_HT = torch.randn(3, sum(q for q, k in lengths if k), generator=torch.Generator().manual_seed(0))

    padded = padded_lse(lse_HT, blocks)

    assert padded.shape[:2] == (len(lengths), 3) and padded.shape[2] % 32 == 0
    assert torch.equal(packed_lse(padded, blocks), lse_HT)
    assert int(padded.isinf().sum()) == padded.numel() - lse_HT.numel()


@pytest.mark.parametrize(
    ("told", "device", "triton", "expected"),
    [
        ("auto", "cpu", True, False),
        ("auto", "cuda", True, True),
        ("auto", "cuda", False, False),
        (True, "cpu", False, True),
        (False, "cuda", True, False),
    ],
)
def test_a_recipe_says_whether_blocks_are_compiled(
    told: object, device: str, triton: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU it saves a few percent and costs half a minute; on a GPU it needs Triton."""
    found: Callable[[str], object] = lambda name: object() if triton else None  # noqa: E731 - one line
    monkeypatch.setattr(importlib.util, "find_spec", found)

    assert compiles(small_recipe(compile=told), torch.device(device)) is expected


def test_a_learner_compiles_what_its_recipe_asks_it_to() -> None:
    for told in (True, False):
        assert Learner(assemble(PLAN, SHAPE), small_recipe(compile=told), World()).model.compiled is told
