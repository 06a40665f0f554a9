"""One contract for every quantizer: what codecs, files and resumed fits rely on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_codecs.quantizers.choice import QUANTIZERS, build_quantizer
from fourm_codecs.quantizers.interface import Quantizer
from fourm_codecs.quantizers.vq import VectorQuantizer
from fourm_schema.errors import CodecError

KINDS = ("fsq", "lfq", "vq", "vq of 3")


def quantizer_of(kind: str) -> Quantizer:
    quantizer = build_quantizer(kind[:3].strip(), 64, "x", tables=3 if kind == "vq of 3" else 1)
    quantizer.draw(torch.Generator().manual_seed(0))
    return quantizer


def latents_of(quantizer: Quantizer, count: int, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, quantizer.width, generator=generator) * spread


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([0.01, 1.0, 1e4]))
@settings(max_examples=15)
def test_ids_are_in_range_and_stand_for_the_codes(kind: str, seed: int, spread: float) -> None:
    """Training decodes codes, generation decodes ids: both must be the same numbers."""
    quantizer = quantizer_of(kind).eval()
    latents = latents_of(quantizer, 4, seed, spread)

    codes, ids, loss = quantizer(latents)

    assert ids.dtype == torch.int64 and ids.shape == (4, 3)
    assert ids.min() >= 0 and ids.max() < quantizer.vocab_size == 64
    # Straight through is latent + (code - latent): off by a rounding of the latent.
    torch.testing.assert_close(quantizer.codes_of(ids), codes, rtol=0, atol=1e-6 * max(1.0, spread))
    assert codes.shape == latents.shape and float(loss) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_latent_has_the_same_id_alone_and_in_a_batch(kind: str) -> None:
    quantizer = quantizer_of(kind).eval()
    latents = latents_of(quantizer, 50)

    together = quantizer(latents).ids

    assert torch.equal(together, torch.cat([quantizer(latents[n : n + 1]).ids for n in range(50)]))
    assert len(set(together.flatten().tolist())) > 16, "latents that all have one id would prove nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantizer_is_its_state(kind: str) -> None:
    """Also after training steps, from which a fit may have to go on."""
    trained, other = quantizer_of(kind).train(), quantizer_of(kind).train()
    for seed in range(3):
        trained(latents_of(trained, 40, seed))
    other.load_state_dict(trained.state_dict())

    for seed in (3, 4):
        ours, theirs = (quantizer(latents_of(trained, 40, seed)) for quantizer in (trained, other))
        assert torch.equal(ours.ids, theirs.ids) and torch.equal(ours.codes, theirs.codes)
    ids = torch.arange(64).reshape(-1, 1).repeat(1, 3)
    assert torch.equal(trained.codes_of(ids), other.codes_of(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_and_no_global_generator_is_drawn_from(kind: str) -> None:
    """Rounding has no slope of its own; a draw from the global generator would make fits unrepeatable."""
    before = torch.get_rng_state()
    quantizer = quantizer_of(kind).train()
    latents = (latents_of(quantizer, 40) / 4).requires_grad_()

    codes, _, loss = quantizer(latents)
    (codes.sum() + loss).backward()

    assert latents.grad is not None and (latents.grad != 0).all()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_latents_that_do_not_fit_are_refused(kind: str) -> None:
    quantizer = quantizer_of(kind)
    with pytest.raises(CodecError, match=r": an id is in \[0, 64\); got ids from 3 to 64$"):
        quantizer.codes_of(torch.tensor([[3, 4, 64]]))
    with pytest.raises(CodecError, match=rf": a code has {quantizer.width} numbers; got 9$"):
        quantizer(torch.zeros(1, 3, 9))


def test_the_codes_of_a_table_follow_the_latents_and_none_stays_dead() -> None:
    """Each code is at the mean of the latents that get its id; one that gets none starts anew at a latent."""
    quantizer = VectorQuantizer(8, width=2).train()
    generator = torch.Generator().manual_seed(1)
    for shift in (0.0, 50.0):
        # After the jump one code is nearest to all latents, and the seven others to none.
        for _ in range(1000):
            quantizer(torch.rand(1, 256, 2, generator=generator) + shift)
        latents = torch.rand(1, 2000, 2, generator=generator) + shift
        ids = quantizer.eval()(latents).ids
        quantizer.train()

        assert torch.bincount(ids.flatten(), minlength=8).min() > 40
        means = torch.stack([latents[ids == number].mean(dim=0) for number in range(8)])
        torch.testing.assert_close(quantizer.codes_of(torch.arange(8)[None])[0], means, atol=0.1, rtol=0)


def test_each_token_has_a_table_of_its_own() -> None:
    quantizer = quantizer_of("vq of 3")

    codes = quantizer.codes_of(torch.tensor([[5, 5, 5]]))[0]

    assert len({tuple(code) for code in codes.tolist()}) == 3
    with pytest.raises(CodecError, match=r"^vq: a value has 3 tokens; got 2$"):
        quantizer.codes_of(torch.tensor([[5, 5]]))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("fsq", 100, r"^x\.vocab_size: is the size of no codebook of 'fsq'; got 100; the nearest is 64;"),
        ("lfq", 100, r"^x\.vocab_size: must be a power of two for the quantizer 'lfq'; got 100; write 64$"),
        ("vq", 1, r"^vq: a codebook has two codes or more; got 1$"),
        ("vqq", 64, r"^x: there is no quantizer 'vqq'; did you mean 'vq'\? known: fsq, lfq, vq$"),
    ],
)
def test_a_quantizer_that_there_is_not_is_refused(name: str, size: int, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        build_quantizer(name, size, "x")
    assert QUANTIZERS == ("fsq", "lfq", "vq")
