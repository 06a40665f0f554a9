"""A user's own YAML, a modality of each kind, in a fresh folder and without a line of Python."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.command_line import fourm

SCHEMA = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 120}
modalities:
  heat: {kind: image, size: 8, patch: 4, cell: {type: continuous, range: [-20, 60]}, vocab_size: 64}
  land: {kind: image, size: 8, patch: 4, cell: {type: categorical, classes: [sea, wood]}, vocab_size: 64}
  mood: {kind: vector, dim: 40, tokens: 2, vocab_size: 64}
  wind: {kind: vector, dim: 2, ranges: [-40, 40], units: [m/s, m/s]}
  ships:
    kind: set
    max_items: 3
    fields: {box: {type: box}, flag: {type: category, classes: [red, blue]}}
  note: {kind: text, vocabulary: words, max_tokens: 12}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the YAML and a file of samples."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "modalities.yaml").write_text(SCHEMA)
    rng = np.random.default_rng(0)
    rows = [
        {
            "heat": rng.uniform(-20, 60, (8, 8)).tolist(),
            "land": rng.integers(0, 2, (8, 8)).tolist(),
            "mood": rng.normal(size=40).tolist(),
            "wind": rng.uniform(-40, 40, 2).tolist(),
            "ships": [{"box": [0.1, 0.2, 0.5, 0.9], "flag": "red"}] * (number % 3),
            "note": f"a red ship and {number} others",
        }
        for number in range(12)
    ]
    (folder / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_its_laws_hold(home: Path) -> None:
    """Learned codecs untrained and fitted, words from samples; nothing was trained before."""
    record = json.loads(fourm("test", home / "modalities.yaml", "--examples", 1, "--fitted", "--json"))

    assert (record["broken"], record["not_tested"]) == (0, 0)
    assert {each["subject"] for each in record["laws"]} == {
        *("schema", "heat", "land", "mood", "wind", "ships", "note"),
        *("heat (fitted)", "land (fitted)", "mood (fitted)"),
    }


def test_its_codecs_are_trained_and_encode_its_samples(home: Path) -> None:
    dataset, codecs = home / "own.lance", home / "codecs"
    fourm("data", "import", home / "samples.jsonl", "--schema", home / "modalities.yaml", "--to", dataset)
    for name in ("words", "heat", "land", "mood"):
        steps = () if name == "words" else ("--steps", 3, "--batch-size", 4)
        fourm("codec", "train", name, "--data", dataset, "--to", codecs, *steps)
    fourm("data", "encode", dataset, "--codecs", codecs)
    states = {
        each["stream"]: each["state"]
        for each in json.loads(fourm("data", "status", dataset, "--json"))["streams"]
    }

    assert states == dict.fromkeys(
        (f"{name}.tokens" for name in ("heat", "land", "mood", "wind", "ships", "note")), "encoded"
    )
    record = json.loads(
        fourm(
            "test",
            home / "modalities.yaml",
            "--codecs",
            codecs,
            "--modality",
            "heat",
            "--examples",
            1,
            "--json",
        )
    )
    assert record["broken"] == 0 and record["stands_in"] == {}
