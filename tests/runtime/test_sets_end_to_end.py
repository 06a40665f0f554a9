"""The way of a set through the house: rows, chunks, training, evaluation, generation, the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from fourm_codecs.base import StoredCodec
from fourm_codecs.build import build_codec
from fourm_codecs.sets import SetCodec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.batch import Sequences
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.reader import Reader
from fourm_runtime.generation.request import Prefix
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.spans import merge, target_sequence
from fourm_runtime.training.evaluate import evaluate_checkpoint
from fourm_runtime.training.recipe import Recipe
from fourm_runtime.training.trainer import train
from fourm_schema.errors import DataError, RequestError
from fourm_schema.load import parse_schema
from fourm_schema.plan import Special
from fourm_schema.resolve import resolve
from tests.runtime.command_line import fourm, refused

YAML = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 64}
modalities:
  scene: {kind: vector, dim: 2, ranges: [0, 1], bins: 8}
  boxes:
    kind: set
    max_items: 3
    order: random
    fields:
      box: {type: box, bins: 8}
      label: {type: category, classes: [cat, dog], optional: true}
      note: {type: text, vocabulary: words, max_tokens: 4}
"""
SCHEMA = parse_schema(YAML)
PLAN = resolve(SCHEMA)
STREAM = PLAN.stream("boxes")
SPECIAL = PLAN.special(STREAM)


def rows(count: int) -> list[dict[str, object]]:
    """Scenes of none to three boxes; every seventh has no set at all, which is not an empty one."""
    rng = np.random.default_rng(0)
    made: list[dict[str, object]] = []
    for index in range(count):
        corners = np.sort(rng.random((index % 4, 2, 2)), axis=1).reshape(-1, 4)
        boxes = [
            {"box": box, "label": (None, "cat", "dog")[place], "note": ("a red cat", "two dogs")[index % 2]}
            for place, box in enumerate(corners.tolist())
        ]
        row: dict[str, object] = {"scene": rng.random(2), "boxes": boxes}
        made.append({"scene": row["scene"]} if index % 7 == 6 else row)
    return made


ROWS = rows(60)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, dict[str, StoredCodec]]:
    """The rows, encoded."""
    dataset = Dataset.create(
        tmp_path_factory.mktemp("sets") / "scenes.lance", SCHEMA, ROWS, rows_per_fragment=25
    )
    declared = PLAN.vocabularies[0]
    words = WordVocabulary.train(dataset.texts("boxes"), "words", declared.size, declared.special)
    codecs = {name: build_codec(SCHEMA, name, {"words": words}) for name in SCHEMA.modalities}
    dataset.encode(codecs)
    return dataset, codecs


@pytest.fixture(scope="module")
def run(home: tuple[Dataset, dict[str, StoredCodec]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few training steps on them."""
    folder = tmp_path_factory.mktemp("runs")
    model = {"size": "nano", "dim": 32, "heads": 4, "encoder_depth": 1, "decoder_depth": 1}
    told = {
        "budget": {"input": 20, "target": 24},
        "steps": {"total": 4, "samples_per_step": 16, "warmup": 1},
        "model": model,
    }
    train(Recipe.model_validate(told), SCHEMA, home[0], folder / "scenes", codecs=home[1], quiet=True)
    return folder / "scenes"


def chunks(column: Sequences, sample: int) -> list[list[int]]:
    assert column.chunk_lengths is not None
    borders = np.cumsum(column.chunk_lengths)
    parts = [part.tolist() for part in np.split(column.ids, borders)[:-1]]
    start, stop = column.offsets[sample : sample + 2]
    return [part for part, end in zip(parts, borders, strict=True) if start < end <= stop]


def test_a_batch_holds_each_set_item_by_item_in_an_order_of_its_own(
    home: tuple[Dataset, dict[str, StoredCodec]],
) -> None:
    """`order: random` is drawn from seed, epoch and sample: the same in any batch, another in each epoch."""
    dataset, codecs = home
    with Reader(dataset, PLAN) as reader:
        batch = reader.batch(np.arange(60), epoch=1, seed=2)
        alone = reader.batch([3, 59], epoch=1, seed=2)
        epochs = [reader.batch([3], epoch=epoch, seed=2).columns[STREAM.name] for epoch in range(40)]
    column, few = batch.columns[STREAM.name], alone.columns[STREAM.name]
    assert isinstance(column, Sequences) and isinstance(few, Sequences)

    for index, row in enumerate(ROWS):
        assert bool(column.present[index]) == ("boxes" in row)
        if "boxes" in row:
            tokens = codecs["boxes"].encode([row["boxes"]])
            assert tokens.chunk_lengths is not None
            stored = [part.tolist() for part in np.split(tokens.ids, np.cumsum(tokens.chunk_lengths)[:-1])]
            found = chunks(column, index)
            assert sorted(found[:-1]) == sorted(stored[:-1])
            assert found[-1] == [SPECIAL.end]
    assert chunks(few, 0) == chunks(column, 3)
    orders = {tuple(map(tuple, chunks(one, 0))) for one in epochs if isinstance(one, Sequences)}
    assert len(orders) == 6


def test_what_masking_cuts_apart_parses_as_the_set_when_merged(
    home: tuple[Dataset, dict[str, StoredCodec]],
) -> None:
    """parse(merge(input, target)) = the set, from the dataset to the mask, under the run's own budgets."""
    dataset, codecs = home
    codec = codecs["boxes"]
    assert isinstance(codec, SetCodec)
    recipe = Recipe.model_validate({"budget": {"input": 30, "target": 40}, "steps": {"total": 1}})
    masker = Masker(PLAN, recipe.mixture(PLAN), seed=0)
    whole = 0
    with Reader(dataset, PLAN) as reader:
        for epoch in range(4):
            batch = reader.batch(np.arange(60), epoch)
            masked = masker(batch, epoch)
            column = batch.columns[STREAM.name]
            assert isinstance(column, Sequences)
            shown, asked = masked.inputs[STREAM.name], masked.targets[STREAM.name]
            for sample in range(60):
                visible = shown.ids[shown.samples == sample]
                target = target_sequence(asked, sample)
                merged = merge(visible, target, SPECIAL)
                given = column.ids[column.offsets[sample] : column.offsets[sample + 1]]
                if not len(visible) or not len(target) or len(merged) < len(given):
                    continue  # nothing was cut apart, or the target was cut to its budget
                whole += 1
                assert merged.tolist() == given.tolist()
                assert codec.automaton.chunk_lengths(merged.tolist()) is not None
                items = [token for token in visible.tolist() if not is_sentinel(token, SPECIAL)]
                stripped = items if items[-1:] == [SPECIAL.end] else [*items, SPECIAL.end]
                assert codec.automaton.chunk_lengths(stripped) is not None, "whole items are visible"
    assert whole > 20


def is_sentinel(token: int, special: Special) -> bool:
    return special.first_sentinel <= token < special.first_sentinel + special.sentinel_count


def test_a_trained_run_is_evaluated_on_its_sets(
    run: Path, home: tuple[Dataset, dict[str, StoredCodec]]
) -> None:
    scores = evaluate_checkpoint(run, home[0].path, device="cpu").streams

    assert set(scores) == {"scene.tokens", "boxes.tokens"}
    assert all(np.isfinite([score.loss, score.baseline_loss]).all() for score in scores.values())


def test_a_checkpoint_generates_sets_that_can_be_stored_again(run: Path, tmp_path: Path) -> None:
    """Records in the schema's units: what comes out of the model goes into a dataset without a change."""
    model = AnyToAny.from_pretrained(run)
    codec = model.codecs["boxes"]
    made = model.generate([{"scene": [0.5, 0.5]}] * 30, ["boxes"], seed=3, temperature=2.0)
    values = [sample["boxes"].value for sample in made]

    assert {len(value) for value in values} > {0}
    for sample in made:
        assert sample["boxes"].tokens[-1] == SPECIAL.end
        assert len(sample["boxes"].tokens) <= STREAM.length
        codec.encode([sample["boxes"].value])
    dataset = Dataset.create(tmp_path / "again.lance", SCHEMA, ({"boxes": value} for value in values))
    assert dataset.rows == 30
    shown = model.generate({"boxes": values[0]}, ["scene"])[0]
    assert set(shown) == {"scene"}


def test_items_that_are_given_are_among_those_generated(run: Path) -> None:
    """At most three in all, as the schema says, however many are given."""
    model = AnyToAny.from_pretrained(run)
    codec = model.codecs["boxes"]
    item = {"box": [0.0, 0.0, 0.5, 0.5], "label": "dog", "note": "a red cat"}
    kept = codec.decode(codec.encode([[item]]))[0][0]
    for given in (1, 2, 3):
        request = {"scene": [0.5, 0.5], "boxes": Prefix([item] * given)}
        for sample in model.generate([request] * 5, ["boxes"], seed=given, temperature=3.0):
            value = sample["boxes"].value
            assert isinstance(value, list)
            assert value[:given] == [kept] * given
            assert given <= len(value) <= 3

    with pytest.raises(RequestError, match="at most 3 items"):
        model.generate({"boxes": Prefix([item] * 4)}, ["boxes"])


def test_records_are_checked_before_anything_is_stored(tmp_path: Path) -> None:
    """Every fault of every sample at once, with the sample, the record and the field."""
    corners, note = [0.0, 0.0, 1.0, 1.0], "a cat"
    wrong = [
        {"id": "a", "boxes": [{"box": corners, "note": note}, {"box": [0.0, 0.0, 2.0, 1.0], "note": note}]},
        {"id": "b", "boxes": [{"box": corners, "note": 7}]},
        {"id": "c", "boxes": [{"box": corners, "note": note, "label": "cow"}]},
    ]
    with pytest.raises(DataError) as caught:
        Dataset.create(tmp_path / "x.lance", SCHEMA, wrong)

    told = [fault.where for fault in caught.value.faults]
    assert [place.partition(" (id ")[2][:3] for place in told] == ["'a'", "'b'", "'c'"]
    assert ["boxes[1].box" in told[0], "boxes[0].note" in told[1], "boxes[0].label" in told[2]] == [True] * 3
    assert not (tmp_path / "x.lance").exists()


class TestCommandLine:
    """Sets as JSON: in a file of samples, on the command line, and printed."""

    def test_rows_of_json_become_tokens(self, tmp_path: Path) -> None:
        """The vocabulary is learned from the texts of the records, where no other text has it."""
        (tmp_path / "m.yaml").write_text(YAML)
        told = [{**row, "scene": np.asarray(row["scene"]).tolist()} for row in ROWS[:12]]
        (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in told))
        data = tmp_path / "d.lance"
        fourm("data", "import", tmp_path / "rows.jsonl", "--schema", tmp_path / "m.yaml", "--to", data)
        trained = fourm("codec", "train", "words", "--data", data, "--to", tmp_path / "codecs")
        fourm("data", "encode", data, "--codecs", tmp_path / "codecs")
        status = json.loads(fourm("data", "status", data, "--json"))

        assert "codec of boxes" in trained
        assert {stream["stream"]: stream["state"] for stream in status["streams"]} == {
            "scene.tokens": "encoded",
            "boxes.tokens": "encoded",
        }

    def test_records_are_given_and_printed(self, run: Path, tmp_path: Path) -> None:
        given = 'boxes=[{"box": [0, 0, 0.5, 0.5], "label": "dog", "note": "a red cat"}]'
        made = json.loads(fourm("generate", run, "--from", given, "--to", "scene", "--json"))
        table = fourm("generate", run, "--continue", given, "--to", "boxes", "--out", tmp_path, "--seed", 1)
        written = json.loads((tmp_path / "boxes-0.json").read_text())

        assert len(made[0]["scene"]["value"]) == 2
        assert table.startswith(f"boxes: {len(written)} item")
        assert "dog" in table and "a red cat" in table
        assert written[0]["label"] == "dog"
        again = fourm("generate", run, "--from", f"boxes={json.dumps(written)}", "--to", "scene")
        assert "scene" in again

    def test_a_slip_is_named(self, run: Path) -> None:
        told = refused("generate", run, "--from", "boxes=[{", "--to", "scene")

        assert 'write [{"box": ..., "label": ..., "note": ...}, ...]' in told

    @pytest.mark.parametrize(
        ("records", "said"),
        [
            ([{"note": "a cat"}, 3], "--from boxes, item 1: is a record {field: value}; got int"),
            (
                [{"box": [0, 0, 1, 2], "note": "a cat"}],
                "request 0, inputs.boxes, item 0, field 'box' y1: lies in [0, 1]; got 2",
            ),
        ],
    )
    def test_a_wrong_record_is_named_by_item_and_field(self, run: Path, records: object, said: str) -> None:
        given = f"boxes={json.dumps(records)}"

        assert said in refused("generate", run, "--from", given, "--to", "scene")
