"""What we rely on of the package behind the quantizer; a release that breaks it fails here first."""

import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.quantizers.fsq import FiniteScalarQuantizer
from fourm_schema.codebooks import FSQ_LEVELS, LEARNED_VOCAB_SIZES, nearest_codebook
from fourm_schema.errors import CodecError


@pytest.mark.parametrize("vocab_size", FSQ_LEVELS)
def test_every_id_survives_decode_then_encode(vocab_size: int) -> None:
    """No id is lost: the codebook is the whole grid, each cell once, its cells in [-1, 1]."""
    quantizer = FiniteScalarQuantizer(FSQ_LEVELS[vocab_size])
    ids = torch.arange(vocab_size)[:, None]

    codes = quantizer.codes_of(ids)

    assert quantizer.vocab_size == vocab_size == math.prod(quantizer.levels)
    assert torch.equal(quantizer.ids_of(codes), ids)
    assert codes.abs().max() <= 1
    assert len({tuple(row) for row in codes.tolist()}) == vocab_size


@given(
    levels=st.lists(st.integers(3, 9), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([0.01, 1.0, 1e4]),
)
def test_codes_and_ids_of_latents_name_the_same_cells(
    levels: tuple[int, ...], seed: int, spread: float
) -> None:
    """Training decodes codes, generation decodes ids: both must be the same numbers, bit for bit."""
    quantizer = FiniteScalarQuantizer(levels)
    latents = torch.randn(2, 3, len(levels), generator=torch.Generator().manual_seed(seed)) * spread

    codes, ids, _ = quantizer(latents)

    assert ids.dtype == torch.int64 and ids.shape == (2, 3, 1)
    assert ids.min() >= 0 and ids.max() < quantizer.vocab_size
    torch.testing.assert_close(quantizer.codes_of(ids), codes, rtol=0, atol=1e-6)
    assert torch.equal(quantizer.ids_of(codes), ids)


@pytest.mark.parametrize("levels", [3, 4, 5, 8])
def test_latents_reach_every_level_of_a_dimension(levels: int) -> None:
    """A level that no latent rounds to would be a dead share of the vocabulary."""
    ids = FiniteScalarQuantizer((levels,))(torch.linspace(-6, 6, 601)[:, None]).ids

    assert ids.unique().tolist() == list(range(levels))
    assert torch.equal(ids, ids.sort(dim=0).values), "ids grow with the latent"


def test_gradients_pass_the_rounding() -> None:
    """Rounding has no slope of its own; without the straight-through one the encoder learns nothing."""
    latents = torch.zeros(1, 4, 2, requires_grad=True)

    codes = FiniteScalarQuantizer((5, 5))(latents).codes
    codes.sum().backward()

    assert latents.grad is not None
    assert (latents.grad > 0.5).all()


def test_a_quantizer_has_no_weights_and_draws_nothing() -> None:
    """A codec's files hold none of the package's state; building one leaves the global generator alone."""
    before = torch.get_rng_state()
    quantizer = FiniteScalarQuantizer((8, 6, 5))
    quantizer(torch.ones(1, 2, 3))

    assert quantizer.state_dict() == {}
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("levels", "message"), [((8, 2), "has 3 levels or more; got \\(8, 2\\)"), ((), "has 3 levels or more")]
)
def test_too_few_levels_are_refused(levels: tuple[int, ...], message: str) -> None:
    with pytest.raises(CodecError, match=f"^fsq: every code dimension {message}"):
        FiniteScalarQuantizer(levels)


def test_ids_and_codes_that_do_not_fit_are_refused() -> None:
    """The package itself wraps an id round to another code without a word."""
    quantizer = FiniteScalarQuantizer((8, 5))

    with pytest.raises(CodecError, match=r"^fsq: an id is in \[0, 40\); got ids from 3 to 40$"):
        quantizer.codes_of(torch.tensor([[3], [40]]))
    with pytest.raises(CodecError, match=r"^fsq: a code has 2 numbers; got 3$"):
        quantizer(torch.zeros(1, 3))


def test_the_table_of_codebooks_holds_its_own_sizes_and_the_default() -> None:
    assert all(math.prod(levels) == size for size, levels in FSQ_LEVELS.items())
    assert LEARNED_VOCAB_SIZES["vit-fsq"] in FSQ_LEVELS
    assert nearest_codebook(1).startswith("the nearest is 40;")


def test_who_builds_no_learned_codec_does_not_load_the_package() -> None:
    """It takes seconds with torch; `fourm data import` needs neither."""
    code = "import sys, fourm_codecs.build, fourm_codecs.store; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )

    assert done.stdout.strip() == "False", done.stderr
