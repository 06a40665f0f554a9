"""Claims about `fourm generate`: what is typed, what is printed, what is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from fourm_codecs.build import build_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.assemble import assemble
from fourm_runtime.checkpoints import store as checkpoint
from fourm_schema.architecture import Architecture
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.runtime.command_line import Outcome, run


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a small random model and a picture to give it."""
    folder = tmp_path_factory.mktemp("run")
    image = {"kind": "image", "size": 4, "patch": 1}
    schema = Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": 64}},
            "modalities": {
                "digit": {**image, "cell": {"type": "continuous", "range": [0, 16], "levels": 17}},
                "ink": {**image, "cell": {"type": "categorical", "classes": ["no", "yes"]}},
                "shape": {
                    "kind": "vector",
                    "dim": 2,
                    "ranges": [[0, 1], [-5, 5]],
                    "bins": 8,
                    "names": ["width", "tilt"],
                    "units": ["mm", "degree"],
                },
                "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 10},
            },
        }
    )
    plan = resolve(schema)
    words = WordVocabulary.train(["a small three", "a tall seven"], "words", 64, plan.vocabularies[0].special)
    network = assemble(plan, Architecture(dim=32, heads=4, encoder_depth=1, decoder_depth=1))
    model = AnyToAny(schema, network, {"caption": build_codec(schema, "caption", {"words": words})})
    model.save_pretrained(folder / "model")
    np.save(folder / "digit.npy", np.arange(16.0).reshape(4, 4))
    return folder


def fourm(saved: Path, *arguments: str) -> Outcome:
    return run("generate", saved / "model", *arguments)


def test_every_kind_is_shown_and_written_as_people_look_at_it(saved: Path, tmp_path: Path) -> None:
    """A text as a line, a vector as a table with names and units, images as files."""
    code, shown, _ = fourm(
        saved, "--from", f"digit={saved / 'digit.npy'}", "--to", "caption,shape,ink", "--out", str(tmp_path)
    )

    assert code == 0
    assert shown.startswith("caption: ")
    assert "width" in shown and "degree" in shown
    assert "ink: image 4x4" in shown
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "caption-0.txt",
        "ink-0.npy",
        "ink-0.png",
        "shape-0.npy",
    ]


def test_a_written_class_map_can_be_given_again(saved: Path, tmp_path: Path) -> None:
    """Its pixels are the class numbers; the palette only colours them."""
    fourm(saved, "--to", "ink", "--out", str(tmp_path))
    classes = np.load(tmp_path / "ink-0.npy")
    with Pictures.open(tmp_path / "ink-0.png") as picture:
        assert np.array_equal(np.asarray(picture), classes)

    code, _, _ = fourm(saved, "--from", f"ink={tmp_path / 'ink-0.png'}", "--to", "shape")
    assert code == 0


def test_a_range_is_stretched_to_what_can_be_seen(saved: Path, tmp_path: Path) -> None:
    """Levels 0..16 would all look black; the .npy beside it has the numbers."""
    fourm(saved, "--to", "digit", "--out", str(tmp_path))
    values = np.load(tmp_path / "digit-0.npy")
    with Pictures.open(tmp_path / "digit-0.png") as picture:
        assert np.array_equal(np.asarray(picture), np.round(values / 16 * 255).astype(np.uint8))


def test_json_has_values_tokens_and_confidences_of_each_draw(saved: Path) -> None:
    arguments = ("--from", "shape=[0.5, 1]", "--to", "caption,ink", "--count", "2", "--json", "--seed", "4")
    code, shown, _ = fourm(saved, *arguments)
    made = json.loads(shown)

    assert code == 0
    assert [list(sample) for sample in made] == [["caption", "ink"]] * 2
    assert set(made[0]["ink"]) == {"value", "tokens", "confidence"}
    assert np.array(made[0]["ink"]["value"]).reshape(-1).tolist() == made[0]["ink"]["tokens"]
    assert made[0] != made[1]
    assert json.loads(fourm(saved, *arguments)[1]) == made


def test_a_text_is_continued(saved: Path) -> None:
    _, shown, _ = fourm(saved, "--continue", "caption=a small", "--to", "caption", "--temperature", "0")

    assert shown.startswith("caption: a small")


def test_explaining_loads_no_weights(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request can be looked at, and is refused, before gigabytes are read."""

    def refuse(path: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(checkpoint, "read_tensors", refuse)
    code, shown, _ = fourm(
        saved, "--from", "shape=[0.5, 1]", "--to", "ink,caption", "--steps", "2", "--explain"
    )
    assert code == 0
    assert shown.splitlines() == [
        "inputs: shape.tokens",
        "step 1 sees shape.tokens",
        "  ink.tokens: maskgit, 16 tokens in 2 steps (2 x 8), temperature 1",
        "step 2 sees shape.tokens, ink.tokens",
        "  caption.tokens: autoregressive, at most 10 tokens, temperature 1",
    ]

    code, _, told = fourm(saved, "--from", "shap=[0.5, 1]", "--to", "captoin", "--guidance", "2")
    assert code == 2
    assert "the request has 2 faults" in told
    assert "inputs.shap: is no stream or modality; did you mean 'shape'?" in told
    assert "targets.captoin: is no stream or modality; did you mean 'caption'?" in told


def test_one_modality_can_be_told_what_others_are_not(saved: Path) -> None:
    """Every setting that Python has: numbers, names, and guidance by condition as JSON."""
    code, shown, _ = fourm(
        saved, "--from", "shape=[0.5, 1]", "--to", "ink,digit.tokens,caption", "--temperature", "0.5",
        "--explain", "--set", "ink.scheme=roar", "--set", "ink.steps=4", "--set", "caption.temperature=0",
        "--set", 'digit.tokens.guidance={"shape": 2, "ink": 0.5}', "--set", "caption.samples=3",
    )  # fmt: skip

    assert code == 0
    assert [line for line in shown.splitlines() if line.startswith("  ")] == [
        "  ink.tokens: roar, 16 tokens in 4 steps (4 x 4), temperature 0.5",
        "  digit.tokens: maskgit, 16 tokens in 8 steps (1, 3 x 2, 2 x 3, 2, 1), temperature 0.5, "
        "guidance 2 by shape.tokens, 0.5 by ink.tokens",
        "  caption.tokens: autoregressive, at most 10 tokens, temperature 0, 3 samples, the likeliest kept",
    ]


def test_settings_that_cannot_be_read_are_told_at_once(saved: Path) -> None:
    code, _, told = fourm(
        saved, "--to", "ink", "--set", "steps=4", "--set", "inc.steps=4", "--set", "ink.steps=1",
        "--set", "ink.steps=2",
    )  # fmt: skip

    assert code == 2
    assert "the request has 3 faults" in told
    assert "--set: is written NAME.SETTING=VALUE; got 'steps=4'" in told
    assert "--set: inc is not asked for; got 'inc.steps=4'; did you mean 'ink'?" in told
    assert "--set: sets ink.steps a second time; got 'ink.steps=2'" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "digit"], "--from: is written NAME=VALUE; got 'digit'"),
        (
            ["--from", "shape=[1, 1]", "--from", "shape=[1, 2]"],
            "--from: gives shape a second time; got 'shape=[1, 2]'",
        ),
        (["--from", "shape=[1, "], "--from shape: is no JSON; got"),
        (["--from", "shape=[1, 2, 3]"], "--from shape: a value has shape 2; got 3"),
        (["--from", "digit=no.npy"], "--from digit: there is no such file; got no.npy"),
    ],
)
def test_what_cannot_be_read_is_named(saved: Path, arguments: list[str], message: str) -> None:
    code, _, told = fourm(saved, *arguments, "--to", "caption")

    assert code == 2
    assert message in told
