"""Claims about the model as a user meets it: values in, values out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fourm_codecs.build import build_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.assemble import assemble
from fourm_runtime.batch import MicroBatch
from fourm_runtime.generation import run
from fourm_runtime.generation.causal import open_span
from fourm_runtime.generation.request import Prefix, Target
from fourm_runtime.generation.samples import Sample, packed
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.architecture import Architecture
from fourm_schema.errors import CheckpointError, CodecError, RequestError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

DIGIT = np.arange(16, dtype=np.float32).reshape(4, 4)


@pytest.fixture(scope="module")
def model() -> AnyToAny:
    schema = Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": 64}},
            "modalities": {
                "digit": {
                    "kind": "image",
                    "size": 4,
                    "patch": 1,
                    "cell": {"type": "continuous", "channels": 1, "range": [0, 16], "levels": 17},
                    "shown": ["pixels", "tokens"],
                },
                "classes": {
                    "kind": "image",
                    "size": 4,
                    "patch": 1,
                    "cell": {"type": "categorical", "classes": ["ground", "ink"]},
                },
                "shape": {"kind": "vector", "dim": 3, "ranges": [[0, 1], [-5, 5], [0, 100]], "bins": 8},
                "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 10},
            },
        }
    )
    plan = resolve(schema)
    words = WordVocabulary.train(["a small three", "a tall seven"], "words", 64, plan.vocabularies[0].special)
    network = assemble(plan, Architecture(dim=32, heads=4, encoder_depth=1, decoder_depth=2))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("tables."):
                parameter.mul_(20)  # as drawn, an untrained model hardly tells its inputs apart
    return AnyToAny(schema, network, {"caption": build_codec(schema, "caption", {"words": words})})


def test_every_target_comes_back_as_a_value_of_its_schema(model: AnyToAny) -> None:
    """What is generated can be used as it is: in natural units, in range, of the declared shape."""
    (made,) = model.generate({"digit": DIGIT}, ["classes", "shape", "caption"], seed=3)

    classes, shape, caption = made["classes"].value, made["shape"].value, made["caption"].value
    assert list(made) == ["classes", "shape", "caption"]
    assert isinstance(classes, np.ndarray)
    assert classes.shape == (4, 4)
    assert set(classes.flat) <= {0, 1}
    assert isinstance(shape, np.ndarray)
    assert ((np.array([0, -5, 0]) <= shape) & (shape <= np.array([1, 5, 100]))).all()
    assert isinstance(caption, str)
    assert "⁇" not in caption
    for name, value in made.items():
        assert value.tokens.shape == value.confidence.shape
        assert ((value.confidence > 0) & (value.confidence <= 1)).all(), name


@pytest.mark.parametrize("seed", range(10))
def test_any_seed_gives_a_text_that_ends_and_says_only_words_of_the_vocabulary(
    model: AnyToAny, seed: int
) -> None:
    """Special ids, sentinels and ids that no piece was learned for cannot be drawn, however hot."""
    (made,) = model.generate({}, [Target("caption", temperature=50.0)], seed=seed)
    special = model.plan.vocabularies[0].special
    tokens = made["caption"].tokens

    assert tokens[-1] == special.end
    assert len(tokens) <= 10
    assert (tokens[:-1] >= special.size).all()
    assert "⁇" not in str(made["caption"].value)


def test_a_modality_feeds_its_pixels_and_can_be_made_to_feed_its_tokens(model: AnyToAny) -> None:
    """The dense view loses nothing, so it is the default; naming the stream chooses the other."""
    assert "sees digit.pixels" in model.explain(["digit"], ["caption"])
    assert "sees digit.tokens" in model.explain(["digit.tokens"], ["caption"])

    by_pixels = model.generate({"digit": DIGIT}, ["shape"], temperature=0.0)[0]["shape"]
    by_tokens = model.generate({"digit.tokens": DIGIT}, ["shape"], temperature=0.0)[0]["shape"]
    assert not np.array_equal(by_pixels.confidence, by_tokens.confidence)


def test_samples_may_give_different_modalities_and_an_absent_value_is_not_given(model: AnyToAny) -> None:
    """A missing value is no value of its own: it leaves the sample as if the name were not there."""
    inputs: list[dict[str, object]] = [
        {"digit": DIGIT, "shape": None},
        {"digit": DIGIT},
        {"shape": [0.5, 0.0, 50.0]},
    ]
    first, second, third = model.generate(inputs, ["caption"], temperature=0.0)

    assert np.array_equal(first["caption"].tokens, second["caption"].tokens)
    assert np.allclose(first["caption"].confidence, second["caption"].confidence)
    assert not np.allclose(first["caption"].confidence[0], third["caption"].confidence[0])


def test_tokens_do_not_depend_on_the_batch_size(model: AnyToAny) -> None:
    """Side by side or one after the other: each sample draws from a generator of its own."""
    inputs = [{"digit": np.roll(DIGIT, i)} for i in range(5)]
    together = model.generate(inputs, ["classes", "caption"], seed=7, guidance=2.0)
    alone = model.generate(inputs, ["classes", "caption"], seed=7, guidance=2.0, batch_size=1)

    for one, other in zip(together, alone, strict=True):
        for name in one:
            assert np.array_equal(one[name].tokens, other[name].tokens), name


def test_a_prefix_is_kept_and_the_text_goes_on_behind_it(model: AnyToAny) -> None:
    """Continuation: the given words are the visible part of the sequence, the rest is generated."""
    (made,) = model.generate({"digit": DIGIT, "caption": Prefix("a small")}, ["caption"], seed=1)
    text, given = str(made["caption"].value), model.codecs["caption"].encode(["a small"]).ids[:-1]

    assert text.startswith("a small")
    assert made["caption"].tokens[: len(given)].tolist() == given.tolist()
    assert made["caption"].confidence[: len(given)].tolist() == [1.0] * len(given)
    assert len(made["caption"].tokens) <= 10


def test_a_text_that_is_begun_with_nothing_shows_that_it_is_to_be_written(
    model: AnyToAny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in 4M, whose sampler always shows the sentinel that opens the hidden span."""
    seen: list[list[int] | None] = []

    def watched(samples: Sequence[Sample], network: AnyToAnyTransformer) -> MicroBatch:
        seen.extend(
            sample.shows["caption.tokens"].ids.tolist() if "caption.tokens" in sample.shows else None
            for sample in samples
        )
        return packed(samples, network)

    monkeypatch.setattr(run, "packed", watched)
    model.generate([{"digit": DIGIT, "caption": Prefix("")}], ["caption"])
    model.generate([{"digit": DIGIT}], ["caption"])

    assert seen == [[open_span(model.plan.special(model.plan.stream("caption")))], None]


def test_a_prefix_that_leaves_no_room_is_refused(model: AnyToAny) -> None:
    with pytest.raises(
        RequestError,
        match=r"request 0, inputs\.caption: a text has at most 10 tokens, its end included; got 11 tokens",
    ):
        model.generate({"caption": Prefix("a a a a a a a a a a")}, ["caption"])


def test_every_value_that_cannot_be_encoded_is_named_with_its_request(model: AnyToAny) -> None:
    """A batch with two bad values is mended in one go."""
    inputs: list[dict[str, object]] = [{"digit": DIGIT}, {"digit": DIGIT + 100}, {"shape": [0.5, 0.5]}]
    with pytest.raises(RequestError) as refusal:
        model.generate(inputs, ["caption"])

    assert [fault.where for fault in refusal.value.faults] == [
        "request 1, inputs.digit at [0, 0]",
        "request 2, inputs.shape",
    ]


def test_a_batch_size_below_one_is_refused(model: AnyToAny) -> None:
    with pytest.raises(RequestError, match=r"batch_size: must be 1 or more; got 0"):
        model.generate({}, ["caption"], batch_size=0)


def test_a_saved_model_comes_back_the_same(model: AnyToAny, tmp_path: Path) -> None:
    """Weights, plan and codecs travel in the checkpoint: equal seeds give equal tokens after loading."""
    model.save_pretrained(tmp_path / "model")
    loaded = AnyToAny.from_pretrained(tmp_path / "model")

    (before,) = model.generate({"digit": DIGIT}, ["shape", "caption"], seed=5)
    (after,) = loaded.generate({"digit": DIGIT}, ["shape", "caption"], seed=5)
    assert before["caption"].value == after["caption"].value
    for name in before:
        assert np.array_equal(before[name].tokens, after[name].tokens)
        assert np.array_equal(before[name].confidence, after[name].confidence)


def test_a_codec_that_must_be_trained_and_is_missing_is_named(model: AnyToAny) -> None:
    with pytest.raises(CodecError, match=r"caption: its vocabulary 'words' is not trained yet"):
        AnyToAny(model.schema, model.model)


def test_a_codec_that_cannot_be_stored_is_named(model: AnyToAny, tmp_path: Path) -> None:
    class Opaque:
        """A codec that says nothing of what it is made of."""

        def __init__(self) -> None:
            inner = model.codecs["shape"]
            self.name, self.modality, self.law = inner.name, inner.modality, inner.law
            self.vocab_size, self.token_shape = inner.vocab_size, inner.token_shape
            self.encode, self.decode = inner.encode, inner.decode

    opaque = AnyToAny(model.schema, model.model, {**model.codecs, "shape": Opaque()})
    with pytest.raises(CheckpointError, match=r"codec of shape: cannot be stored: it does not say"):
        opaque.save_pretrained(tmp_path / "model")


def test_of_many_requests_a_fault_says_which_have_it(model: AnyToAny) -> None:
    """One that all have is told once, without their numbers."""
    inputs: list[Mapping[str, object]] = [{"digit": DIGIT}, {"caption": "a three"}, {"caption": "a seven"}]
    with pytest.raises(RequestError, match=r"1 fault:\n  requests 1, 2, targets\.caption\.tokens: "):
        model.generate(inputs, ["caption"])
    with pytest.raises(RequestError, match=r"  request 0, targets\.digit\.tokens: digit is already given"):
        model.generate(inputs[:2], ["digit"])
    with pytest.raises(RequestError, match=r"1 fault:\n  targets\.caption\.tokens: "):
        model.generate(inputs[1:], ["caption"])
