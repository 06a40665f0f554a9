"""Runs that begin with trained weights: those of a released file, of a checkpoint, of another run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fourm_runtime.checkpoints.store import load, load_training_state
from fourm_runtime.cli.app import app
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.released.importing import import_4m
from fourm_runtime.training.metrics import read_metrics
from fourm_runtime.training.recipe import Recipe
from fourm_runtime.training.trainer import train
from fourm_schema.errors import CheckpointError, DataError, TrainingError
from fourm_schema.load import dump_schema, parse_schema
from fourm_schema.schema import Schema
from tests.runtime.small_release import small_release

RECIPE: dict[str, object] = {
    "budget": {"input": 24, "target": 24},
    "masks": [{"preset": "from", "stream": "tok_depth", "targets": ["caption"]}],
    "steps": {"total": 30, "samples_per_step": 16},
    "optimizer": {"lr": 0.02},
    "checkpoint_every": 15,
}

MORE = "land: {kind: image, size: 2, patch: 1, cell: {type: categorical, classes: [sea, shore, hill]}}"


def fourm(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, " ".join((done.stdout + done.stderr).replace("│", " ").split())


def ran(*arguments: str | Path) -> str:
    code, said = fourm(*arguments)
    assert code == 0, said
    return said


def with_more(schema: Schema, *lines: str) -> str:
    return dump_schema(schema).rstrip() + "".join(f"\n  {line}" for line in lines) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released file, the model imported from it, and a few samples whose caption tells their depth."""
    folder = tmp_path_factory.mktemp("home")
    small_release(folder)
    ran("import", "4m", folder / "model.safetensors", "--to", folder / "model")
    rows: list[dict[str, object]] = [
        {"id": str(row), "tok_depth": [[row % 4] * 4] * 4, "caption": [210 + row % 4] * 3}
        for row in range(32)
    ]
    Image.new("RGB", (224, 224), (9, 99, 199)).save(folder / "sky.png")
    rows[0]["rgb"] = "sky.png"
    rows[1]["t5_caption"] = np.ones((3, 24)).tolist()
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "train.yaml").write_text(json.dumps(RECIPE))
    ran(
        *("data", "import", folder / "samples.jsonl", "--schema", folder / "model" / "schema.yaml"),
        *("--to", folder / "mine.lance", "--no-shuffle"),
    )
    ran("data", "encode", folder / "mine.lance")
    return folder


def test_a_released_model_is_fine_tuned_on_samples_that_have_some_of_its_modalities(
    home: Path, tmp_path: Path
) -> None:
    """Untied head, stored positions and all: the loss falls, the run resumes, and the model goes back out."""
    run, data = tmp_path / "run", home / "mine.lance"
    begin = ("train", home / "train.yaml", "--data", data, "--to", run, "--quiet", "--from", home / "model")
    ran(*begin, "--set", "steps.total=15")
    ran("train", home / "train.yaml", "--data", data, "--to", run, "--quiet", "--resume")
    metrics, old, new = read_metrics(run), load(home / "model"), load(run)

    assert [step.step for step in metrics] == list(range(30))
    assert metrics[-1].loss < 0.5 * metrics[0].loss
    assert metrics[0].losses.keys() == {"caption.tokens"}
    assert new.architecture == old.architecture and not new.architecture.tie_head
    assert new.schema == old.schema and new.allocation == old.allocation
    assert torch.equal(new.weights["tables.fixed_positions"], old.weights["tables.fixed_positions"])
    assert not torch.equal(new.weights["tables.head"], old.weights["tables.head"])

    ran("export", "4m", run, "--to", tmp_path / "again.safetensors")
    again = import_4m(tmp_path / "again.safetensors")
    assert all(torch.equal(again.weights[name], new.weights[name]) for name in new.weights)


def test_the_first_step_sees_the_model_as_it_was(home: Path, tmp_path: Path) -> None:
    """The same loss from the file, from its checkpoint, and from a run that began at it and did nothing."""
    recipe = Recipe.model_validate({**RECIPE, "steps": {"total": 1, "samples_per_step": 16}})
    still = Recipe.model_validate(
        {**RECIPE, "steps": {"total": 1, "samples_per_step": 4}, "optimizer": {"lr": 1e-30}}
    )
    train(still, None, home / "mine.lance", tmp_path / "still", start=home / "model", quiet=True)
    losses = []
    for start in (home / "model.safetensors", home / "model", tmp_path / "still"):
        run = tmp_path / f"from-{start.name}"
        train(recipe, None, home / "mine.lance", run, start=start, quiet=True)
        losses.append(read_metrics(run)[0].loss)

    assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-5)


def test_the_optimizer_and_the_steps_begin_anew(home: Path, tmp_path: Path) -> None:
    """Also when the weights are those of a run that has moments of its own."""
    recipe = Recipe.model_validate({**RECIPE, "steps": {"total": 2, "samples_per_step": 4}})
    train(recipe, None, home / "mine.lance", tmp_path / "first", start=home / "model", quiet=True)
    done = train(recipe, None, home / "mine.lance", tmp_path / "second", start=tmp_path / "first", quiet=True)

    assert done.step == 2 and [step.step for step in read_metrics(tmp_path / "second")] == [0, 1]
    state = load_training_state(tmp_path / "second")
    assert {float(value) for name, value in state.optimizer.items() if name.endswith(".step")} == {2.0}


def test_a_schema_with_other_modalities_grows_the_model(home: Path, tmp_path: Path) -> None:
    """One more, one less: what is new begins at random and is trained; the rows of the others stay theirs."""
    old = load(home / "model")
    kept = {name: entry for name, entry in old.schema.modalities.items() if name != "tok_dinov2_global"}
    schema = parse_schema(with_more(old.schema.model_copy(update={"modalities": kept}), MORE))
    rows = [{"tok_depth": np.full((4, 4), row % 3), "land": np.full((2, 2), row % 3)} for row in range(16)]
    dataset = Dataset.create(tmp_path / "land.lance", schema, rows)
    (tmp_path / "more.yaml").write_text(dump_schema(schema))
    ran("data", "encode", tmp_path / "land.lance")
    asked = ("--set", "masks=[{preset: from, stream: tok_depth}]", "--set", "steps.total=20")
    begin = (
        "train",
        home / "train.yaml",
        "--data",
        dataset.path,
        "--from",
        home / "model",
        "--quiet",
        *asked,
    )

    said = ran(*begin, "--to", tmp_path / "without", "--set", "masks=[{preset: all_to_all, alpha: 1}]")
    ran(*begin, "--to", tmp_path / "run", "--schema", tmp_path / "more.yaml")
    new, metrics = load(tmp_path / "run"), read_metrics(tmp_path / "run")

    assert "the model does not know land" in said
    assert set(load(tmp_path / "without").schema.modalities) == set(old.schema.modalities)
    assert set(new.schema.modalities) == {*kept, "land"}
    assert metrics[0].losses.keys() == {"land.tokens"} and metrics[-1].loss < 0.5 * metrics[0].loss
    assert new.allocation.tokens["caption.tokens"] == old.allocation.tokens["caption.tokens"]
    rows_of = old.allocation.tokens["caption.tokens"]
    assert len(new.weights["tables.head"]) > len(old.weights["tables.head"]) >= rows_of.stop


def test_the_recipe_may_say_of_the_model_only_what_is_so(home: Path, tmp_path: Path) -> None:
    """Weights have one shape; what the recipe asks for in vain is named key by key."""
    told = {**RECIPE, "model": {"dim": 16, "registers": 2}, "steps": {"total": 1, "samples_per_step": 4}}
    train(Recipe.model_validate(told), None, home / "mine.lance", tmp_path, start=home / "model", quiet=True)

    told["model"] = {"size": "nano", "tie_head": True}
    with pytest.raises(TrainingError) as error:
        train(Recipe.model_validate(told), None, home / "mine.lance", tmp_path / "x", start=home / "model")
    assert "is not the network of" in str(error.value) and "leave `model` out of the recipe" in str(
        error.value
    )
    assert "model.dim: is 16 in the checkpoint; got 128" in str(error.value)
    assert "model.tie_head: is False in the checkpoint; got True" in str(error.value)
    assert not (tmp_path / "x").exists()


def test_a_run_that_took_over_a_network_goes_on_without_being_told_of_it(home: Path, tmp_path: Path) -> None:
    """With --from given again or not, and with --extend: but not with another network."""
    short = {**RECIPE, "steps": {"total": 1, "samples_per_step": 4}}
    longer = Recipe.model_validate({**short, "steps": {"total": 2, "samples_per_step": 4}})
    data = home / "mine.lance"
    train(Recipe.model_validate(short), None, data, tmp_path, start=home / "model", quiet=True)

    assert train(longer, None, data, tmp_path, start=home / "model", resume=True, quiet=True).step == 2
    assert train(longer, None, data, tmp_path, resume=True, extend=True, quiet=True).finished
    wider = Recipe.model_validate({**short, "model": {"dim": 64}})
    with pytest.raises(TrainingError, match=r"was begun with another network"):
        train(wider, None, data, tmp_path, resume=True, extend=True, quiet=True)


def test_a_dataset_may_declare_fewer_modalities_than_the_model(home: Path, tmp_path: Path) -> None:
    """The run keeps the model's schema, also when it goes on and nothing but the dataset is named."""
    schema = load(home / "model").schema
    some = {name: schema.modalities[name] for name in ("tok_depth", "caption")}
    rows = [{"tok_depth": np.full((4, 4), row), "caption": [210 + row]} for row in range(8)]
    data = Dataset.create(tmp_path / "few.lance", schema.model_copy(update={"modalities": some}), rows).path
    ran("data", "encode", data)
    begin = ("train", home / "train.yaml", "--data", data, "--to", tmp_path / "run", "--quiet")

    ran(*begin, "--from", home / "model", "--set", "steps.total=1")
    ran(*begin, "--resume", "--set", "steps.total=2")
    assert load(tmp_path / "run").schema == schema and len(read_metrics(tmp_path / "run")) == 2

    more = Dataset.open(data)
    more.add_modality(parse_schema(with_more(more.schema, MORE)))
    code, said = fourm(*begin, "--resume", "--set", "steps.total=3")
    assert code == 2 and "stream 'land.tokens' is not in the checkpoint" in said and "--extend" in said


def test_a_schema_that_gives_trained_rows_another_meaning_is_refused(home: Path, tmp_path: Path) -> None:
    text = dump_schema(load(home / "model").schema)
    assert "vocab_size: 40" in text
    changed = parse_schema(text.replace("vocab_size: 40", "vocab_size: 44"))
    recipe = Recipe.model_validate(RECIPE)

    with pytest.raises(CheckpointError, match=r"modality 'tok_depth', field vocab_size: was 40 .*; got 44"):
        train(recipe, changed, home / "mine.lance", tmp_path, start=home / "model")


def test_pixels_on_another_scale_are_refused(home: Path, tmp_path: Path) -> None:
    """A dataset may leave ImageNet's mean and deviation out: its numbers would not be those of training."""
    text = """
    version: 1
    modalities:
      rgb:
        kind: image
        size: 224
        patch: 56
        cell: {type: continuous, channels: 3, range: [0, 255], levels: 256}
        shown: [pixels]
        role: input
    """
    rows = [{"rgb": np.zeros((224, 224, 3), np.uint8)}] * 2
    Dataset.create(tmp_path / "bare.lance", parse_schema(text), rows)
    recipe = Recipe.model_validate({"steps": {"total": 1}})

    with pytest.raises(DataError, match=r"rgb\.pixels is brought to another scale.*\(value - 127\.5\)"):
        train(recipe, None, tmp_path / "bare.lance", tmp_path / "run", start=home / "model")


@pytest.mark.parametrize("start", ["nothing", "train.yaml"])
def test_what_is_no_model_is_refused(start: str, home: Path, tmp_path: Path) -> None:
    code, said = fourm(
        "train", home / "train.yaml", "--data", home / "mine.lance", "--to", tmp_path, "--from", home / start
    )

    assert code == 2 and start in said


def test_ids_of_a_text_are_checked_where_they_are_stored(home: Path, tmp_path: Path) -> None:
    """A model without a tokenizer takes texts as ids; strings are refused with a mend."""
    (tmp_path / "bad.jsonl").write_text('{"caption": "a dog"}\n{"caption": [1.5]}\n{"caption": [-1]}\n')
    code, said = fourm(
        *("data", "import", tmp_path / "bad.jsonl", "--schema", home / "model" / "schema.yaml"),
        *("--to", tmp_path / "bad.lance"),
    )

    assert code == 2 and "3 of 3 samples cannot be stored" in said
    assert "line 1, caption: is a text given as a row of token ids; got str" in said
    assert "line 2, caption: is a text given as a row of token ids; got list" in said
    assert "line 3, caption: a token id is 0 or more; got -1" in said


def test_a_dataset_of_given_ids_can_be_looked_at(home: Path, tmp_path: Path) -> None:
    """Rows of ids are shown as what they are."""
    ran("data", "show", home / "mine.lance", "--rows", "2", "--to", tmp_path / "page.html")

    page = (tmp_path / "page.html").read_text()
    assert "3 token ids: 210 210 210" in page and "4x4 token ids: 1 1 1 1 1 1 1 1 ..." in page
