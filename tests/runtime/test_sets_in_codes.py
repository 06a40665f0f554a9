"""Sets with masks and poses on their way through the verbs: store, fit, encode, train, generate, draw."""

import json
from pathlib import Path

import numpy as np
import pytest

from fourm_codecs.fit import FitRecipe
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.set_fit import fit_set
from fourm_codecs.sets import SetCodec
from fourm_codecs.store import codec_hash, load_codec
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.scores import COSINE, MASKS, RIGHT_ITEMS, score_values, usual_value
from fourm_schema.errors import CodecError, DataError
from fourm_schema.load import parse_schema
from fourm_schema.modality import Set
from fourm_schema.schema import Schema
from tests.runtime.command_line import fourm, refused

SCHEMA = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 64}
modalities:
  label: {kind: vector, dim: 1, ranges: [0, 4], bins: 4}
  things:
    kind: set
    max_items: 2
    order: area
    fields:
      box: {type: box, bins: 10}
      outline: {type: mask, size: 4, tokens: 4, vocab_size: 40}
      pose: {type: vector, dim: 6, range: [-1, 1], tokens: 2, vocab_size: 8}
      says: {type: text, vocabulary: words, max_tokens: 3, optional: true}
"""
RECIPE = """\
budget: {input: 1, target: 40}
model: {size: nano, dim: 32, heads: 2, encoder_depth: 1, decoder_depth: 1}
steps: {total: 2, samples_per_step: 8, warmup: 1}
masks: [{preset: from, stream: label}]
"""
FIT = ("--steps", 40, "--batch-size", 16)


def thing(number: int) -> dict[str, object]:
    """One of four shapes, with a pose of its own."""
    rows, columns = np.indices((4, 4))
    mask = [rows < 2, columns < 2, rows >= columns, rows + columns == 3][number % 4]
    return {
        "box": [0.1, 0.1, 0.3 + 0.1 * (number % 4), 0.5],
        "outline": mask.astype(int).tolist() if number % 2 else mask.tolist(),
        "pose": [[-1, 1][number % 2] * 0.5] * 3 + [0.1 * (number % 4)] * 3,
        "says": "a dog",
    }


def schema() -> Schema:
    return parse_schema(SCHEMA)


def entry_of(declared: Schema) -> Set:
    entry = declared.modalities["things"]
    assert isinstance(entry, Set)
    return entry


VALUES: list[list[dict[str, object]]] = [[thing(k), thing(k + 1)][: k % 3] for k in range(40)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and the codecs that were trained on it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "modalities.yaml").write_text(SCHEMA)
    (folder / "train.yaml").write_text(RECIPE)
    rows = [{"label": [k % 4 + 0.5], "things": value} for k, value in enumerate(VALUES)]
    (folder / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data, codecs = folder / "x.lance", folder / "codecs"
    fourm("data", "import", folder / "samples.jsonl", "--schema", folder / "modalities.yaml", "--to", data)
    printed = fourm("codec", "train", "things", "--data", data, "--to", codecs, *FIT)
    assert "outline: " in printed and "masks overlap by" in printed and "pose: " in printed
    return folder


def test_a_fit_of_each_field_says_what_it_keeps(home: Path) -> None:
    """In a folder per field; masks with a picture, and how far they overlap."""
    folder = home / "codecs" / "things"
    codec = load_codec(folder)
    outline = json.loads((folder / "outline" / "fit" / "report.json").read_text())
    pose = json.loads((folder / "pose" / "fit" / "report.json").read_text())

    assert isinstance(codec, SetCodec) and set(codec.codecs) == {"outline", "pose"}
    assert 0.7 < outline["mask_overlap"] <= 1.0
    assert outline["held_out"]["values"] == pose["held_out"]["values"] == sum(map(len, VALUES)) // 10
    assert (folder / "outline" / "fit" / "round_trip.png").is_file()
    assert codec.parts.vocabulary is not None
    assert violations(codec, VALUES[:9]) == []


def test_the_same_values_and_seed_give_the_same_codec_also_after_a_break(tmp_path: Path, home: Path) -> None:
    """A state is there for each field: the second call only reads it."""
    entry = entry_of(schema())
    entry = entry.model_copy(update={"fields": {n: f for n, f in entry.fields.items() if n != "says"}})
    values = [[{n: v for n, v in one.items() if n != "says"} for one in value] for value in VALUES]
    steps, recipe = list[str](), FitRecipe(steps=4, batch_size=8)

    def note(name: str, done: int, total: int) -> None:
        steps.append(name)

    one = fit_set("things", entry, values, tmp_path, recipe, progress=note)
    said = len(steps)
    two = fit_set("things", entry, values, tmp_path, recipe, resume=True, progress=note)

    assert codec_hash(one.codec) == codec_hash(two.codec)
    assert len(steps) == said and set(steps) == {"things.outline", "things.pose"}


def test_a_vocabulary_can_be_trained_before_or_after_the_fields(home: Path) -> None:
    data, codecs = home / "x.lance", home / "codecs"
    before = load_codec(codecs / "things")
    fourm("codec", "train", "words", "--data", data, "--to", codecs)

    assert codec_hash(load_codec(codecs / "things")) == codec_hash(before)
    printed = fourm("codec", "train", "words", "--data", data, "--to", home / "other")
    assert printed.startswith("things has learned fields: train them, and the words with them")
    assert "its codec 'vit-class-fsq' is not trained yet; train it" in refused("data", "encode", data)


def test_a_model_trains_on_them_and_what_it_generates_is_valid(home: Path) -> None:
    """A stream like any other; what comes out is a value of the schema."""
    data, codecs = home / "x.lance", home / "codecs"
    fourm("data", "encode", data, "--codecs", codecs)
    fourm("train", home / "train.yaml", "--data", data, "--codecs", codecs, "--to", home / "run", "--quiet")
    given = ("--from", "label=[0.5]", "--to", "things", "--temperature", 5)
    (made,) = json.loads(fourm("generate", home / "run", *given, "--json"))
    codec = load_codec(codecs / "things")
    part = ("--continue", f"things={json.dumps([VALUES[2][0]])}")
    (more,) = json.loads(fourm("generate", home / "run", *part, "--to", "things", "--json"))

    codec.encode([sample["things"]["value"] for sample in (made, more)])
    kept = codec.decode(codec.encode([[VALUES[2][0]]]))[0][0]
    assert kept in more["things"]["value"]
    page = home / "page.html"
    fourm("data", "show", data, "--to", page)
    assert "shape of the item" in page.read_text()


def test_check_measures_each_field_on_other_values(home: Path) -> None:
    arguments = (home / "modalities.yaml", "--codecs", home / "codecs", "--examples", 5, "--json")
    rows = json.loads(fourm("codec", "check", *arguments, "--data", home / "x.lance"))
    (row,) = (row for row in rows if row["modality"] == "things")

    assert row["kept"]
    assert row["measured"].startswith("outline: ") and "; pose: " in row["measured"]


def test_masks_are_stored_as_they_were_given_and_checked(tmp_path: Path) -> None:
    """As JSON, so that a codec fitted later sees what the user had."""
    mask = np.eye(4, dtype=np.bool_)
    stored = Dataset.create(tmp_path / "x.lance", schema(), [{"things": [{**thing(0), "outline": mask}]}])

    assert next(stored.values("things"))[0][0]["outline"] == mask.tolist()  # type: ignore[index]
    with pytest.raises(DataError, match=r"things\[0\]\.outline.* at \[0, 0\]: is 0 or 1; got 2"):
        Dataset.create(tmp_path / "y.lance", schema(), [{"things": [{**thing(0), "outline": mask * 2}]}])


def test_a_set_without_learned_fields_has_nothing_to_fit(tmp_path: Path) -> None:
    entry = entry_of(schema())
    entry = entry.model_copy(update={"fields": {"box": entry.fields["box"]}})

    with pytest.raises(CodecError, match=r"^things: has no field in learned codes; its codec follows"):
        fit_set("things", entry, [], tmp_path)


def test_masks_are_scored_by_their_overlap_and_long_vectors_by_their_angle() -> None:
    """Of items that pair by their boxes; of a record, of the one there is."""
    entry = entry_of(schema())
    one, other = thing(0), thing(2)
    wrong = {**one, "outline": other["outline"], "pose": [-0.5] * 3 + [0.0] * 3}
    found = {score.measure: score.value for score in score_values(entry, [[wrong], []], [[one], [other]])}
    record = entry.model_copy(update={"max_items": 1})
    single = {score.measure: score.value for score in score_values(record, [[wrong]], [[one]])}

    assert found[RIGHT_ITEMS] == pytest.approx(2 / 3)
    assert found[MASKS] == single[MASKS] == pytest.approx(3 / 15)
    assert found[COSINE] == single[COSINE] == pytest.approx(1.0)
    assert usual_value(record, [[one], [one], [other]]) == [
        {**one, "outline": np.asarray(one["outline"], int).tolist()}
    ]


def test_without_boxes_items_pair_by_what_their_masks_share() -> None:
    entry = entry_of(schema())
    entry = entry.model_copy(update={"fields": {"outline": entry.fields["outline"]}})
    top, left, corner = ([{"outline": thing(k)["outline"]}] for k in (0, 1, 2))

    def right(predicted: object, true: object) -> float:
        return score_values(entry, [predicted], [true])[0].value

    assert (right(left, corner), right(top, left), right([{}], [{}])) == (1.0, 0.0, 1.0)
