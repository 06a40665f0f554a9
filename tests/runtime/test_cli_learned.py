"""The way of a learned codec through the verbs: train, check, encode, train a model over its ids."""

import json
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from fourm_codecs.store import codec_hash, load_codec
from tests.runtime.command_line import fourm, refused

SCHEMA = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 64}
modalities:
  photo: {kind: image, size: 4, patch: 2, cell: {type: continuous, range: [0, 8]}, vocab_size: 40}
  land: {kind: image, size: 2, patch: 1, cell: {type: categorical, classes: 3}}
  caption: {kind: text, vocabulary: words, max_tokens: 8}
"""
RECIPE = """\
budget: {input: [2, 8], target: 8}
model: {size: nano, dim: 32, heads: 2, encoder_depth: 1, decoder_depth: 1}
steps: {total: 2, samples_per_step: 8, warmup: 1}
"""
FIT = ("--steps", 12, "--batch-size", 8)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and the codecs that were trained on it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "modalities.yaml").write_text(SCHEMA)
    (folder / "train.yaml").write_text(RECIPE)
    rows = [
        {
            "photo": np.full((4, 4), number % 9).tolist(),
            "land": [[number % 3, 0], [1, 2]],
            "caption": "a grey wall",
        }
        for number in range(40)
    ]
    rows[3].pop("photo")
    (folder / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data, codecs = folder / "photos.lance", folder / "codecs"
    fourm("data", "import", folder / "samples.jsonl", "--schema", folder / "modalities.yaml", "--to", data)
    fourm("codec", "train", "words", "--data", data, "--to", codecs)
    printed = fourm("codec", "train", "photo", "--data", data, "--to", codecs, *FIT)
    assert "3 values held out: root mean square error" in printed
    assert "of 40 ids used" in printed and "dead; perplexity" in printed
    assert (codecs / "photo" / "fit" / "round_trip.png").is_file()
    return folder


def test_a_model_trains_over_the_ids_of_a_learned_codec(home: Path) -> None:
    """The whole way to a drawn image: a stream with a learned codec is a stream like any other."""
    data, codecs = home / "photos.lance", home / "codecs"
    fourm("data", "encode", data, "--codecs", codecs)
    streams = json.loads(fourm("data", "status", data, "--json"))["streams"]

    assert {s["stream"]: s["state"] for s in streams}["photo.tokens"] == "encoded"
    fourm("train", home / "train.yaml", "--data", data, "--codecs", codecs, "--to", home / "run", "--quiet")
    fourm("generate", home / "run", "--from", "caption=a grey wall", "--to", "photo", "--out", home / "drawn")

    drawn = np.load(next((home / "drawn").glob("*.npy")))
    assert drawn.shape == (4, 4)
    assert 0 <= drawn.min() <= drawn.max() <= 8


def test_check_shows_the_law_of_the_fit_beside_what_is_measured_now(home: Path) -> None:
    """A user sees at once whether other data is kept as well as that which the codec was fitted to."""
    arguments = (home / "modalities.yaml", "--codecs", home / "codecs", "--examples", 20, "--json")
    rows = {row["modality"]: row for row in json.loads(fourm("codec", "check", *arguments))}
    measured = {
        row["modality"]: row
        for row in json.loads(fourm("codec", "check", *arguments, "--data", home / "photos.lance"))
    }

    assert all(row["kept"] for row in rows.values())
    assert rows["photo"]["law"].startswith("95% of the values held out at fitting had a root mean square")
    assert rows["photo"]["measured"] == ""
    said = measured["photo"]["measured"]
    assert "PSNR in dB" in said and "SSIM" in said
    assert "of 95% of the values root mean square error at most" in said
    assert "of 40 ids used" in said and "dead; perplexity" in said and said.endswith("in 20 values")
    assert measured["land"]["measured"] == ""


def test_training_again_gives_the_same_codec_and_resuming_a_finished_fit_too(
    home: Path, tmp_path: Path
) -> None:
    """Encoded columns stay valid: the hash is of the weights."""
    arguments = ("codec", "train", "photo", "--data", home / "photos.lance", "--to", tmp_path, *FIT)
    fourm(*arguments)
    fourm(*arguments, "--resume")

    assert codec_hash(load_codec(tmp_path / "photo")) == codec_hash(load_codec(home / "codecs" / "photo"))


def test_sizes_and_a_loss_of_pictures_are_asked_for_by_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another fit than the one without them, of the same size."""
    seen = list[tuple[int, ...]]()

    def loss(back: Tensor, given: Tensor) -> Tensor:
        seen.append(tuple(back.shape))
        return (back - given).abs().mean()

    monkeypatch.setattr("fourm_codecs.perceptual.perceptual_loss", {"plain": loss}.__getitem__)
    arguments = ("codec", "train", "photo", "--data", home / "photos.lance", "--to", tmp_path, *FIT)
    fourm(*arguments, "--sizes", "4,2x6", "--perceptual", "plain", "--perceptual-weight", 0.5)

    assert set(seen) == {(8, 1, 4, 4), (8, 1, 2, 6)}
    codec, plain = load_codec(tmp_path / "photo"), load_codec(home / "codecs" / "photo")
    assert codec.token_shape == (2, 2) and codec_hash(codec) != codec_hash(plain)
    assert "fit.sizes: is a side, or HEIGHTxWIDTH; got 4x2x1" in refused(*arguments, "--sizes", "4x2x1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("phto", "did you mean 'photo'? known: photo, words"),
        ("land", "has no codec that this version can train; got codec 'levels'; known: photo, words"),
        ("caption", "what is trained is its vocabulary; train its vocabulary: fourm codec train words"),
    ],
)
def test_a_name_that_nothing_can_be_trained_for_is_refused(
    home: Path, tmp_path: Path, name: str, message: str
) -> None:
    assert message in refused("codec", "train", name, "--data", home / "photos.lance", "--to", tmp_path)


def test_encoding_without_the_trained_codec_names_the_verb_that_trains_it(home: Path) -> None:
    message = refused("data", "encode", home / "photos.lance", "--stream", "photo")

    assert "its codec 'vit-fsq' is not trained yet; train it: fourm codec train photo" in message
