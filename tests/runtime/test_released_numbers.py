"""Numbers that the released code gives for models with written-out weights and inputs.

They need no file: weights are waves of their place, seeded by the tensor's name.
"""

import zlib

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fourm_runtime.assemble import empty_model, stored_tensors
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.loss import Divisor, loss_sums, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_runtime.released.exporting import released_tensors
from fourm_runtime.released.modalities import domain_of
from fourm_runtime.released.schema import released_schema
from fourm_runtime.released.tensors import Place, places
from fourm_schema.allocation import allocate, position_key
from fourm_schema.architecture import SIZES, Architecture
from fourm_schema.errors import PlanError
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from tests.runtime.released_cases import Arrays, masked_of

SHOWN = ("caption", "rgb@224", "t5_caption", "tok_depth@224", "human_poses", "tok_dinov2_global")
ASKED = ("caption", "tok_depth@224", "human_poses", "tok_dinov2_global")
ORDER = ("rgb@224", "tok_depth@224", "caption", "human_poses", "t5_caption", "tok_dinov2_global")

PRINTED = 0.5e-6 + 2 * 2.0**-20
"""Half of the last printed digit, and two spacings of a float32 between 8 and 16."""

LOGIT = 0.5e-5 + 1e-5
"""Half of the last printed digit, and what two orders of summation differ by."""

SWIGLU = Architecture(
    dim=64, heads=1, encoder_depth=2, decoder_depth=2, tie_head=False, stored_positions=True
)
GELU = attrs.evolve(
    SWIGLU, activation="gelu", gated_mlp=False, qkv_bias=True, proj_bias=True, mlp_bias=True, norm_bias=True
)
VARIANTS: dict[str, tuple[Architecture, tuple[float, ...], float, float, tuple[float, ...]]] = {
    # shape, (total, depth, caption, poses, dino) of `mod`, `token`, `mod` with smaller budgets, logits
    "swiglu": (
        SWIGLU,
        (10.924452, 10.680849, 10.437976, 12.472694, 10.106287),
        12.382620,
        8.400547,
        (-3.18281, 0.62100, 3.32909, 0.16321),
    ),
    "qk_norm": (
        attrs.evolve(SWIGLU, qk_norm=True),
        (10.942392, 10.683397, 10.455587, 12.585958, 10.044622),
        12.490301,
        8.416245,
        (-3.17579, 0.55289, 3.30603, 0.22589),
    ),
    "gelu": (
        GELU,
        (9.956694, 9.371576, 10.414550, 10.886355, 9.154293),
        10.832137,
        7.626246,
        (-1.30348, -0.39624, 1.21014, 0.68130),
    ),
    "registers": (
        attrs.evolve(SWIGLU, registers=3),
        (10.931115, 10.688678, 10.446690, 12.476682, 10.112411),
        12.386761,
        8.390684,
        (-3.19119, 0.62632, 3.33873, 0.16016),
    ),
    "heads": (
        attrs.evolve(SWIGLU, heads=4),
        (10.918227, 10.717066, 10.440619, 12.464726, 10.050498),
        12.374661,
        8.400682,
        (-3.22539, 0.62518, 3.37266, 0.16929),
    ),
}

SEVEN = ("caption", "det", "rgb@224", *(f"tok_{n}@224" for n in ("clip", "depth", "normal", "rgb", "semseg")))
TWENTY_ONE = (
    *SEVEN,
    *("color_palette", "human_poses", "metadata", "sam_instance", "t5_caption"),
    *(f"tok_{name}@224" for name in ("canny_edge", "dinov2", "imagebind", "sam_edge")),
    *("tok_dinov2_global", "tok_imagebind_global"),
)
UPSCALED = tuple(f"tok_{name}@448" for name in ("clip", "depth", "normal", "rgb", "semseg"))
FAMILIES = {
    "4M-7": (SEVEN, tuple(name for name in SEVEN if name != "rgb@224")),
    "4M-21": (TWENTY_ONE, tuple(name for name in TWENTY_ONE if name not in ("rgb@224", "t5_caption"))),
    "SR": ((*SEVEN, "rgb@448", *UPSCALED), UPSCALED),
}


def domains(plan: Plan) -> dict[str, str]:
    return {stream.name: domain_of(stream) or "" for stream in plan.streams}


def filled(shape: Architecture) -> Checkpoint:
    """Element k of a parameter n is base + 0.2 sin(0.37 k + crc32(n) mod 1000); base is 1 of a norm."""
    schema = released_schema(SHOWN, ASKED)
    plan = resolve(schema)
    allocation = allocate(plan)
    model = empty_model(plan, allocation, shape)
    weights = {name: tensor.detach().zero_() for name, tensor in stored_tensors(model).items()}
    checkpoint = Checkpoint(schema, plan, allocation, shape, weights)
    for place in places(plan, allocation, shape, domains(plan)):
        if place.native is None or place.copy_of is not None:
            continue
        own = place.of(weights)
        values = positions(place) if place.optional else waves(place)
        own.copy_(torch.from_numpy(values).reshape(place.shape))
    return checkpoint


def waves(place: Place) -> NDArray[np.float32]:
    name = place.name
    base = 1.0 if "norm" in name and name.endswith("weight") and "tok_normal" not in name else 0.0
    steps = np.arange(int(np.prod(place.shape)), dtype=np.float64)
    wave: NDArray[np.float64] = base + 0.2 * np.sin(0.37 * steps + zlib.crc32(name.encode()) % 1000)
    return wave.astype(np.float32)


def positions(place: Place) -> NDArray[np.float32]:
    """Sin-cos tables as the released code computes them: every step in float32."""
    _, count, dim = place.shape

    def table(places: torch.Tensor, width: int) -> torch.Tensor:
        angles = torch.outer(places, 1.0 / 10_000 ** (torch.arange(width) / width))
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    if count == 512:
        found = table(torch.arange(count).float(), dim // 2)
    else:
        side = round(count**0.5)
        line = torch.arange(side).float()
        halves = [table(line.repeat_interleave(side), dim // 4), table(line.repeat(side), dim // 4)]
        found = torch.cat(halves, dim=1)
    return found.numpy()


def inputs() -> dict[str, Arrays]:
    rgb = np.sin(0.01 * np.arange(3 * 224 * 224)).astype(np.float32).reshape(1, 3, 224, 224)
    caption, poses = np.zeros((1, 514), np.int64), np.zeros((1, 552), np.int64)
    caption[0, :4], caption[0, 20:25] = [4321, 5, 4926, 3], [5, 4215, 4912, 5857, 6]
    poses[0, 0], poses[0, 1:271] = 5, 204 + 37 * np.arange(270) % 2000
    t5 = np.cos(0.003 * np.arange(77 * 4096)).astype(np.float32).reshape(1, 77, 4096)
    return {
        "rgb@224": _parts(rgb, 196, shown=range(0, 196, 7)),
        "tok_depth@224": _parts(
            (131 * np.arange(196) % 8192)[None], 196, shown=range(1, 38, 4), asked=range(60, 100, 3)
        ),
        "caption": _parts(caption, 514, shown=range(4), asked=range(20, 25)),
        "human_poses": _parts(poses, 552, shown=range(1), asked=range(1, 271)),
        "t5_caption": _parts(t5, 77, shown=range(9)),
        "tok_dinov2_global": _parts((509 * np.arange(16) % 8192)[None], 16, asked=range(16)),
    }


def _parts(
    tensor: NDArray[np.generic], length: int, shown: range = range(0), asked: range = range(0)
) -> Arrays:
    hidden, skipped = np.ones((1, length), np.bool_), np.ones((1, length), np.bool_)
    hidden[0, list(shown)], skipped[0, list(asked)] = False, False
    return {"tensor": tensor, "input_mask": hidden, "target_mask": skipped}


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_logits_are_those_that_the_released_code_prints(variant: str) -> None:
    """To the printed digit, give or take two spacings of a float32.

    `human_poses` has more targets than positions, which is part of it.
    """
    shape, mod, token, cut, first = VARIANTS[variant]
    checkpoint = filled(shape)
    model, plan = checkpoint.model(), checkpoint.plan
    targets = [name for name in ORDER if name in ASKED]

    def losses(budgets: tuple[int, int], divisor: Divisor) -> tuple[list[float], torch.Tensor]:
        masked = masked_of(plan, inputs(), targets, budgets, ORDER)
        (batch,) = pack(masked, plan, checkpoint.allocation, shape.registers)
        with torch.no_grad():
            logits = model(batch)
        sums, counts = loss_sums(logits, batch), target_counts((batch,))
        streams = [plan.stream(name).name for name in targets]
        means = [float(sums[name]) / counts[name] if name in sums else 0.0 for name in streams]
        total = float(weighted(sums, stream_factors(counts, plan, divisor)))
        return [total, *means], logits[plan.stream("tok_depth@224").name][0, :4]

    found, logits = losses((60, 310), "declared")
    assert found == pytest.approx(mod, rel=0, abs=PRINTED)
    assert logits.tolist() == pytest.approx(first, rel=0, abs=LOGIT)
    assert losses((60, 310), "scores")[0][0] == pytest.approx(token, rel=0, abs=PRINTED)
    smaller = losses((40, 100), "declared")[0]
    assert smaller[0] == pytest.approx(cut, rel=0, abs=PRINTED)
    assert smaller[-1] == 0.0


@pytest.mark.parametrize(
    ("size", "trunk", "totals"),
    [
        ("tiny", 24.94, (146, 343, 118)),
        ("small", 59.00, (221, 483, 183)),
        ("base", 198.83, (441, 834, 385)),
        ("large", 705.74, (1029, 1553, 953)),
        ("xlarge", 2822.97, (3470, 4518, 3318)),
    ],
)
def test_released_sizes_have_the_parameters_that_are_told_of_them(
    size: str, trunk: float, totals: tuple[int, int, int]
) -> None:
    """Millions, of 4M-7, 4M-21 and the upscaling model, with heads of their own."""
    shape = attrs.evolve(SIZES[size], tie_head=False)
    for (shown, asked), total in zip(FAMILIES.values(), totals, strict=True):
        plan = resolve(released_schema(shown, asked))
        known = places(plan, allocate(plan), shape, domains(plan))
        own = [p for p in known if p.copy_of is None and not p.optional]
        numbers = {p.name: int(np.prod(p.shape)) for p in own}
        inner = sum(n for name, n in numbers.items() if "_embeddings." not in name and name != "mask_token")
        assert round(sum(numbers.values()) / 1e6) == total
        assert round(inner / 1e6, 2) == trunk


@pytest.mark.parametrize(
    ("size", "keys"), [("base", (359, 433, 369)), ("large", (659, 733, 669)), ("xlarge", (659, 733, 669))]
)
def test_released_files_have_the_tensors_that_are_told_of_them(size: str, keys: tuple[int, int, int]) -> None:
    for (shown, asked), count in zip(FAMILIES.values(), keys, strict=True):
        plan = resolve(released_schema(shown, asked))
        known = places(plan, allocate(plan), attrs.evolve(SIZES[size], tie_head=False), domains(plan))
        assert len({place.name for place in known}) == len(known) == count


def test_the_tables_of_a_21_modality_model_have_the_rows_of_the_released_one() -> None:
    """274,208 ids: 124,208 if texts shared their rows, but each keeps 30,000 of its own."""
    shown, asked = FAMILIES["4M-21"]
    allocation = allocate(resolve(released_schema(shown, asked)))

    assert sum(span.size for span in allocation.tokens.values()) == 274_208
    assert allocation.stream_rows == 1 + 19
    assert {size for size in (span.size for span in allocation.learned_positions.values())} == {16}
    assert sorted(allocation.fixed_positions) == ["sincos-1d:512", "sincos-2d:14x14", "sincos-2d:16x16"]


def test_no_tensor_of_a_released_model_shares_its_numbers_unsaid() -> None:
    """Two places of one native row would let one tensor overwrite the other."""
    checkpoint = filled(SWIGLU)
    tensors = released_tensors(checkpoint)
    own = [
        place
        for place in places(checkpoint.plan, checkpoint.allocation, SWIGLU, domains(checkpoint.plan))
        if place.native is not None and place.copy_of is None and not place.optional
    ]

    assert sum(tensors[place.name].numel() for place in own) == sum(
        place.of(checkpoint.weights).numel() for place in own
    )
    for place in own:
        expected = torch.from_numpy(waves(place)).reshape(place.shape)
        assert torch.equal(tensors[place.name], expected), place.name


def test_a_modality_that_4m_does_not_have_is_refused() -> None:
    with pytest.raises(PlanError, match=r"captoin: is no modality of 4M; did you mean 'caption'"):
        released_schema(["captoin"], [])


@pytest.mark.parametrize(
    ("domain", "vocabulary", "length", "positions", "embedding"),
    [
        ("rgb@224", 0, 196, "sincos-2d:14x14", "linear"),
        ("rgb@448", 0, 784, "sincos-2d:28x28", "linear"),
        ("caption", 30_000, 256, "sincos-1d:512", "table"),
        ("det", 30_000, 256, "sincos-1d:512", "table"),
        ("metadata", 30_000, 40, "sincos-1d:512", "table"),
        ("human_poses", 30_000, 275, "sincos-1d:512", "table"),
        ("color_palette", 30_000, 23, "sincos-1d:512", "table"),
        ("sam_instance", 30_000, 290, "sincos-1d:512", "table"),
        ("t5_caption", 0, 77, "sincos-1d:512", "linear"),
        ("tok_rgb@224", 16_384, 196, "sincos-2d:14x14", "table"),
        ("tok_depth@224", 8_192, 196, "sincos-2d:14x14", "table"),
        ("tok_normal@224", 8_192, 196, "sincos-2d:14x14", "table"),
        ("tok_semseg@224", 4_096, 196, "sincos-2d:14x14", "table"),
        ("tok_clip@224", 8_192, 196, "sincos-2d:14x14", "table"),
        ("tok_canny_edge@224", 8_192, 196, "sincos-2d:14x14", "table"),
        ("tok_sam_edge@224", 8_192, 196, "sincos-2d:14x14", "table"),
        ("tok_dinov2@224", 8_192, 256, "sincos-2d:16x16", "table"),
        ("tok_imagebind@224", 8_192, 256, "sincos-2d:16x16", "table"),
        ("tok_dinov2_global", 8_192, 16, "learned-1d:16", "table"),
        ("tok_imagebind_global", 8_192, 16, "learned-1d:16", "table"),
        ("tok_rgb@448", 16_384, 784, "sincos-2d:28x28", "table"),
        ("tok_semseg@448", 4_096, 784, "sincos-2d:28x28", "table"),
    ],
)
def test_every_modality_has_the_sizes_of_the_released_one(
    domain: str, vocabulary: int, length: int, positions: str, embedding: str
) -> None:
    """Ids, tokens, positions and what brings it into the network; dense ones are inputs only."""
    stream = resolve(released_schema([domain], [] if not vocabulary else [domain])).stream(domain)

    assert (stream.vocab_size, stream.length, stream.embedding) == (vocabulary, length, embedding)
    assert position_key(stream) == positions
    assert stream.can_be_target == bool(vocabulary)
    assert stream.target_ranks == {"human_poses": 263}.get(
        domain, length if stream.kind == "text" else stream.position_count
    )
