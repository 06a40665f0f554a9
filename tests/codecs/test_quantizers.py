"""One contract for every quantizer, and what is relied on of the package behind them.

Codecs, files and resumed fits rest on it; a release of the package that breaks it fails here.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fourm_codecs.code_network import CodeNetwork
from fourm_codecs.quantizers.choice import build_quantizer
from fourm_codecs.quantizers.interface import Quantizer
from fourm_codecs.quantizers.lfq import LookupFreeQuantizer
from fourm_codecs.quantizers.vq import VectorQuantizer
from fourm_schema.codebooks import LEARNED
from fourm_schema.errors import CodecError

CODECS = ("vit-fsq", "vit-lfq", "vit-vq", "mlp-pq", "mlp-rvq")
TABLES = CODECS[2:]
LATENTS = 120


def quantizer_of(codec: str, seed: int = 0, latents: int = 0) -> Quantizer:
    quantizer = build_quantizer(codec, 64, "x", tokens=3 if codec.startswith("mlp") else 1)
    quantizer.draw(torch.Generator().manual_seed(seed), latents)
    return quantizer


def latents_of(quantizer: Quantizer, count: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, quantizer.width, generator=generator) * spread


def trained(codec: str, steps: int = 4) -> Quantizer:
    quantizer = quantizer_of(codec, latents=LATENTS).train()
    for seed in range(steps):
        quantizer(latents_of(quantizer, LATENTS // 3, seed))
    return quantizer


def test_every_quantizer_that_a_codec_can_have_is_held_to_the_contract() -> None:
    assert {LEARNED[codec].quantizer for codec in CODECS} == {name.quantizer for name in LEARNED.values()}


@pytest.mark.parametrize("codec", CODECS)
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([0.01, 1.0, 1e4]))
@settings(max_examples=10)
def test_ids_are_in_range_and_stand_for_the_codes(codec: str, seed: int, spread: float) -> None:
    """Training decodes codes, generation decodes ids: both must be the same numbers."""
    quantizer = quantizer_of(codec).eval()
    latents = latents_of(quantizer, 4, seed, spread)

    codes, ids, loss = quantizer(latents)

    assert ids.dtype == torch.int64 and ids.shape == (4, 3, quantizer.ids_per_code)
    assert ids.min() >= 0 and ids.max() < quantizer.vocab_size == 64
    torch.testing.assert_close(quantizer.codes_of(ids), codes, rtol=1e-6, atol=1e-6)
    assert codes.shape == latents.shape and float(loss) == 0


@pytest.mark.parametrize("codec", CODECS)
def test_a_latent_has_the_same_id_alone_and_in_a_batch(codec: str) -> None:
    """Asking changes nothing either."""
    quantizer = trained(codec).eval()
    latents = latents_of(quantizer, 50, seed=9)
    before = {key: tensor.clone() for key, tensor in quantizer.state_dict().items()}

    together = quantizer(latents).ids

    assert torch.equal(together, torch.cat([quantizer(latents[n : n + 1]).ids for n in range(50)]))
    assert len(set(together.flatten().tolist())) > 8, "latents that all have one id would prove nothing"
    assert all(torch.equal(before[key], tensor) for key, tensor in quantizer.state_dict().items())


@pytest.mark.parametrize("codec", CODECS)
def test_a_quantizer_is_its_state_also_in_the_middle_of_a_fit(codec: str) -> None:
    """Counts, and how many updates were done: rows that start again are those that would have come."""
    going_on, resumed = trained(codec), quantizer_of(codec, latents=LATENTS).train()
    resumed.load_state_dict(going_on.state_dict())

    for seed in range(100, 130):
        # Far from all that was seen, so that rows die.
        latents = latents_of(going_on, LATENTS // 3, seed) + 50
        ours, theirs = (quantizer(latents.clone()) for quantizer in (going_on, resumed))
        assert torch.equal(ours.ids, theirs.ids) and torch.equal(ours.codes, theirs.codes)
    assert all(
        torch.equal(tensor, resumed.state_dict()[key]) for key, tensor in going_on.state_dict().items()
    )


@pytest.mark.parametrize("codec", CODECS)
def test_what_a_codec_keeps_of_a_quantizer_is_all_that_its_ids_need(codec: str) -> None:
    """Counts of a fit are no part of a codec: they would change its hash and not its ids."""
    quantizer, loaded = trained(codec).eval(), quantizer_of(codec, seed=5).eval()
    network = CodeNetwork()
    network.quantizer = quantizer
    kept = {name.removeprefix("quantizer."): tensor for name, tensor in network.weights().items()}

    loaded.load_state_dict(kept, strict=False)

    latents = latents_of(quantizer, 20, seed=3)
    assert torch.equal(loaded(latents).ids, quantizer(latents).ids)
    assert torch.equal(loaded(latents).codes, quantizer(latents).codes)
    assert all(name.endswith("embed") for name in kept) and bool(kept) == (codec in TABLES)


@pytest.mark.parametrize("codec", CODECS)
def test_gradients_flow_and_no_global_generator_is_drawn_from(codec: str) -> None:
    """Rounding has no slope of its own; a draw from the global generator would make fits unrepeatable."""
    before = torch.get_rng_state()
    quantizer = quantizer_of(codec, latents=LATENTS).train()
    latents = (latents_of(quantizer, 40) / 4).requires_grad_()

    codes, _, loss = quantizer(latents)
    (codes.sum() + loss).backward()

    assert latents.grad is not None and latents.grad.isfinite().all()
    assert (latents.grad != 0).all()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("codec", CODECS)
def test_ids_and_latents_that_do_not_fit_are_refused(codec: str) -> None:
    """The package itself wraps an id round to another code, or broadcasts, without a word."""
    quantizer = quantizer_of(codec)
    ids = torch.full((1, quantizer.ids_per_code), 3)
    with pytest.raises(CodecError, match=r": an id is in \[0, 64\); got ids from 3 to 64$"):
        quantizer.codes_of(torch.cat([ids, ids + 61]))
    with pytest.raises(CodecError, match=r": the last axis of ids has the \d of a code; got shape \(1, 2\)$"):
        quantizer.codes_of(torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(CodecError, match=rf": a code has {quantizer.width} numbers; got 9$"):
        quantizer(torch.zeros(1, 3, 9))


@pytest.mark.parametrize("codec", TABLES)
def test_rows_that_nothing_falls_to_start_again_where_the_latents_are(codec: str) -> None:
    """A table drawn around zero must not stay dead when latents lie elsewhere; without restarts it does."""
    used = []
    # Too few for k-means, which would start all rows where latents are.
    for latents in (60, 0):
        generator = torch.Generator().manual_seed(0)
        quantizer = quantizer_of(codec, latents=latents).train()
        centres = 20 + torch.randn(12, quantizer.width, generator=generator)
        batch = centres.repeat(5, 1)[None]
        for _ in range(100):
            quantizer(batch + torch.randn(batch.shape, generator=generator) / 10)
        used.append(len(quantizer.eval()(batch).ids[0, :, 0].unique()))

    assert used[0] == 12 > used[1]


def test_each_id_of_a_code_has_a_table_of_its_own() -> None:
    codes = quantizer_of("mlp-pq").codes_of(torch.tensor([[5, 5, 5]]))[0]

    assert len({tuple(part) for part in codes.reshape(3, -1).tolist()}) == 3


def test_a_residual_code_is_a_sum_whose_later_rows_write_what_was_left() -> None:
    """Each id makes the code come nearer to the latents that it was trained on."""
    quantizer = trained("mlp-rvq", steps=60).eval()
    latents = latents_of(quantizer, LATENTS // 3, seed=0)
    ids = quantizer(latents).ids
    tables = [rows[0] for name, rows in quantizer.named_buffers() if name.endswith("embed")]

    sums = torch.stack([rows[ids[..., place]] for place, rows in enumerate(tables)]).cumsum(dim=0)
    left = [float((latents - partial).square().mean()) for partial in sums]

    torch.testing.assert_close(quantizer.codes_of(ids), sums[-1])
    assert left[0] > left[1] > left[2]


def test_the_entropy_of_signs_has_a_gradient_where_latents_are_sure() -> None:
    """At the package's own temperature it has none beyond a tenth: nothing spreads latents over the ids."""
    quantizer = LookupFreeQuantizer(64).train()
    latents = torch.full((1, 8, 6), 1.0, requires_grad=True)

    quantizer(latents).loss.backward()

    assert latents.grad is not None and latents.grad.abs().min() > 1e-4


@pytest.mark.parametrize(
    ("codec", "size", "message"),
    [
        (
            "vit-fsq",
            100,
            r"^x\.vocab_size: is the size of no codebook of 'vit-fsq'; got 100; the nearest is",
        ),
        (
            "vit-lfq",
            100,
            r"^x\.vocab_size: .* of 'vit-lfq'; got 100; the nearest is 128; it is a power",
        ),
        ("vit-vq", 1, r"^x\.vocab_size: .* of 'vit-vq'; got 1; it is a number from 2 to 65536$"),
        ("mlp-rvq", 70_000, r"^x\.vocab_size: .* of 'mlp-rvq'; got 70000; it is a number from 2 to 65536$"),
    ],
)
def test_a_codebook_that_there_is_not_is_refused(codec: str, size: int, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        build_quantizer(codec, size, "x")


def test_a_quantizer_refuses_what_it_cannot_be() -> None:
    with pytest.raises(CodecError, match=r"^vq: a codebook has two codes or more; got 1$"):
        VectorQuantizer(1)
    with pytest.raises(CodecError, match=r"^lfq: the codebook's size is a power of two; got 100$"):
        LookupFreeQuantizer(100)
