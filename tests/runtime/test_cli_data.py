"""The way of samples through the verbs: import, train a vocabulary, encode, look, check."""

import json
from pathlib import Path

import numpy as np
import pytest

from fourm_codecs.store import load_codec
from tests.runtime.command_line import fourm, refused

SCHEMA = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 64}
modalities:
  digit: {kind: image, size: 3, patch: 1, cell: {type: continuous, range: [0, 8], levels: 9}}
  shape: {kind: vector, dim: 2, ranges: [0, 1], bins: 8}
  caption: {kind: text, vocabulary: words, max_tokens: 8, views: 2}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the verbs up to `data encode` have been run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "modalities.yaml").write_text(SCHEMA)
    rows: list[dict[str, object]] = [
        {
            "id": f"sample-{number}",
            "digit": np.full((3, 3), number).tolist(),
            "shape": [number / 10, 0.5],
            "caption": ["a small seven", "seven"],
        }
        for number in range(5)
    ]
    del rows[3]["caption"]
    (folder / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    dataset = folder / "digits.lance"
    fourm("data", "import", folder / "samples.jsonl", "--schema", folder / "modalities.yaml", "--to", dataset)
    fourm("codec", "train", "words", "--data", dataset, "--to", folder / "codecs")
    fourm("data", "encode", dataset, "--codecs", folder / "codecs")
    return folder


def test_status_counts_what_is_there_and_what_is_encoded(home: Path) -> None:
    record = json.loads(fourm("data", "status", home / "digits.lance", "--json"))

    assert record["rows"] == 5
    assert record["present"] == {"digit": 5, "shape": 5, "caption": 4}
    assert {stream["state"] for stream in record["streams"]} == {"encoded"}
    assert "caption.tokens" in fourm("data", "status", home / "digits.lance")


def test_appended_samples_wait_for_the_next_encode(home: Path, tmp_path: Path) -> None:
    """Appending is quick and never half-done: tokens are filled in by a step that can be taken up again."""
    dataset = tmp_path / "digits.lance"
    fourm("data", "import", home / "samples.jsonl", "--schema", home / "modalities.yaml", "--to", dataset)
    fourm("data", "encode", dataset, "--stream", "shape")
    assert "5 samples added, 10 in all" in fourm("data", "append", home / "samples.jsonl", "--to", dataset)
    states = {
        s["stream"]: s["state"] for s in json.loads(fourm("data", "status", dataset, "--json"))["streams"]
    }

    assert states == {"digit.tokens": "missing", "shape.tokens": "partial", "caption.tokens": "missing"}


def test_a_row_that_does_not_fit_is_named_by_its_line_and_nothing_is_stored(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"shape": [0.1, 0.2]}\n{"shape": [0.1, 2.0]}\n')
    dataset = tmp_path / "bad.lance"
    message = refused(
        "data", "import", tmp_path / "bad.jsonl", "--schema", home / "modalities.yaml", "--to", dataset
    )

    assert "line 2" in message
    assert "values lie in [0, 1]" in message
    assert not dataset.exists()


def test_a_text_without_a_trained_vocabulary_names_the_verb_that_trains_it(home: Path) -> None:
    message = refused("data", "encode", home / "digits.lance")

    assert "vocabulary 'words' is not trained yet" in message
    assert "fourm codec train words" in message


def test_a_wrong_vocabulary_name_lists_the_right_ones(home: Path, tmp_path: Path) -> None:
    message = refused("codec", "train", "wrds", "--data", home / "digits.lance", "--to", tmp_path)

    assert "did you mean 'words'?" in message


def test_a_trained_vocabulary_is_stored_with_the_codec_that_uses_it(home: Path) -> None:
    """One folder per modality, as in a checkpoint: whatever reads the one reads the other."""
    codec = load_codec(home / "codecs" / "caption")

    assert codec.decode(codec.encode(["a small seven"])) == ["a small seven"]


def test_a_dataset_can_take_over_a_schema_with_more_modalities(home: Path, tmp_path: Path) -> None:
    """A modality is one more entry and one more column; nothing else is rewritten."""
    dataset, more = tmp_path / "digits.lance", tmp_path / "more.yaml"
    fourm("data", "import", home / "samples.jsonl", "--schema", home / "modalities.yaml", "--to", dataset)
    more.write_text(SCHEMA + "  wind: {kind: vector, dim: 1, ranges: [0, 40]}\n")
    fourm("data", "add-modality", dataset, "--schema", more)

    assert json.loads(fourm("data", "status", dataset, "--json"))["present"]["wind"] == 0


def test_a_modality_that_was_added_is_filled_from_a_file_by_id(home: Path, tmp_path: Path) -> None:
    """What was filled, what stays absent, what was left out and what was there before is all said."""
    dataset, more, winds = tmp_path / "digits.lance", tmp_path / "more.yaml", tmp_path / "winds.jsonl"
    fourm("data", "import", home / "samples.jsonl", "--schema", home / "modalities.yaml", "--to", dataset)
    more.write_text(
        SCHEMA
        + "  wind: {kind: vector, dim: 1, ranges: [0, 40]}\n"
        + "  night: {kind: vector, dim: 1, ranges: [0, 1], bins: 2}\n"
    )
    fourm("data", "add-modality", dataset, "--schema", more)
    names = ("sample-4", "sample-0", "elsewhere-1", "elsewhere-2", "sample-2")
    lines = [{"id": name, "shape": [0, 0], "wind": [7], "night": [1]} for name in names]
    winds.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    message = refused("data", "fill", dataset, winds)
    assert "2 values cannot be stored; nothing was stored" in message
    assert "line 3 (id 'elsewhere-1'): is no sample of this dataset" in message
    assert fourm("data", "fill", dataset, winds, "--modality", "night", "--skip-unknown").splitlines() == [
        f"{dataset}, night: 3 samples filled, 2 absent",
        f"{winds}: 2 samples are not in the dataset and were left out: 'elsewhere-1', 'elsewhere-2'",
    ]
    said = fourm("data", "fill", dataset, winds, "--skip-unknown")
    assert f"{dataset}, wind: 3 samples filled, 2 absent\n" in said
    assert f"{dataset}: shape, night had been filled before, and stay as they are\n" in said
    assert "no value is ever replaced" in refused("data", "fill", dataset, winds, "--skip-unknown")
    assert json.loads(fourm("data", "status", dataset, "--json"))["present"]["wind"] == 3
    fourm("data", "encode", dataset, "--stream", "wind")


def test_every_shipped_codec_keeps_its_law(home: Path) -> None:
    arguments = ("--codecs", home / "codecs", "--examples", 20, "--json")
    rows = json.loads(fourm("codec", "check", home / "modalities.yaml", *arguments))

    assert {row["modality"]: row["kept"] for row in rows} == {"digit": True, "shape": True, "caption": True}


def test_a_stored_codec_goes_by_what_the_schema_says_of_its_values_now(home: Path, tmp_path: Path) -> None:
    """What the error says to do helps: `out_of_range` is no part of what ids mean, and words stay learned."""
    dataset, schema = tmp_path / "digits.lance", tmp_path / "modalities.yaml"
    long = {"id": "long", "caption": ["a small seven seven seven seven seven seven seven seven"] * 2}
    (tmp_path / "samples.jsonl").write_text(json.dumps(long))
    fourm("data", "import", tmp_path / "samples.jsonl", "--schema", home / "modalities.yaml", "--to", dataset)
    encode = ("data", "encode", dataset, "--codecs", home / "codecs", "--stream", "caption")
    assert "or set `out_of_range: clip` to cut it" in refused(*encode)
    schema.write_text(SCHEMA.replace("views: 2", "views: 2, out_of_range: clip"))
    fourm("data", "add-modality", dataset, "--schema", schema)

    assert "1 samples encoded" in fourm(*encode)
