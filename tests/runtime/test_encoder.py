"""The encoder on its own: values become features, whatever stands beside them."""

import numpy as np
import pytest

from fourm_runtime.any_to_any import AnyToAny
from fourm_schema.errors import RequestError
from tests.runtime.small_release import small_release

DIM = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AnyToAny:
    return AnyToAny.from_pretrained(small_release(tmp_path_factory.mktemp("encoder")))


PICTURE = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
SAMPLES: list[dict[str, object]] = [
    {"rgb": PICTURE, "caption": [210, 211]},
    {"caption": [212]},
    {"tok_depth@224": np.arange(16).reshape(4, 4), "t5_caption": np.ones((2, 24)), "caption": None},
]


def test_each_token_has_a_feature_and_each_sample_their_mean(model: AnyToAny) -> None:
    """Registers are the network's own and are left out; the end token of a text is a token."""
    tokens = model.encoder().tokens(SAMPLES)

    assert [part.shape for part in tokens] == [(16 + 3, DIM), (2, DIM), (16 + 2, DIM)]
    assert np.allclose(model.embed(SAMPLES), np.stack([part.mean(0) for part in tokens]), atol=1e-6)


def test_a_feature_does_not_depend_on_the_batch(model: AnyToAny) -> None:
    alone = np.concatenate([model.embed(sample) for sample in SAMPLES])

    assert np.allclose(model.embed(SAMPLES, batch_size=2), alone, rtol=0, atol=1e-5)
    assert model.embed([]).shape == (0, DIM)


def test_every_value_that_cannot_be_encoded_is_named(model: AnyToAny) -> None:
    with pytest.raises(RequestError) as error:
        model.embed([{"captoin": [210]}, {"caption": "text"}, {"tok_dinov2_global": np.zeros(16, int)}])

    told = str(error.value)
    assert "sample 0, captoin: is no stream or modality to show; did you mean" in told
    assert "sample 1, caption: a value is a row of token ids" in told
    assert "sample 2, tok_dinov2_global: is no stream or modality to show" in told


@pytest.mark.parametrize(
    ("inputs", "batch_size", "message"),
    [
        ([{"caption": [210]}, {"caption": None}], 16, r"sample 1: gives nothing"),
        ({"caption": [210]}, 0, r"batch_size: must be 1 or more; got 0"),
    ],
)
def test_a_sample_gives_something(
    inputs: list[dict[str, object]], batch_size: int, message: str, model: AnyToAny
) -> None:
    with pytest.raises(RequestError, match=message):
        model.embed(inputs, batch_size=batch_size)


def test_a_model_stays_in_the_mode_it_was_in(model: AnyToAny) -> None:
    model.model.train()
    model.embed(SAMPLES)

    assert model.model.training
