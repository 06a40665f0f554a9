"""Claims about evaluation: equal questions for every model, and a baseline that is hard to beat."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fourm_codecs.store import save_codec
from fourm_runtime.assemble import assemble
from fourm_runtime.batch import Batch, Int64
from fourm_runtime.checkpoints.store import Checkpoint, save
from fourm_runtime.cli.app import app
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.masking.mask import Masker
from fourm_runtime.training.evaluate import evaluate, evaluate_checkpoint
from fourm_runtime.training.recipe import Recipe
from fourm_runtime.training.trainer import train
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.errors import CheckpointError, RequestError
from fourm_schema.load import dump_schema
from fourm_schema.resolve import resolve
from tests.runtime.small_run import ROWS, MadeUp, small_codecs, small_recipe, small_schema

PLAN = resolve(small_schema())


def masker(recipe: Recipe | None = None) -> Masker:
    return Masker(PLAN, (recipe or small_recipe()).mixture(PLAN), 0)


def model(seed: int = 0) -> AnyToAnyTransformer:
    return assemble(PLAN, small_recipe().model.architecture(), seed)


def test_the_scores_of_a_model_do_not_depend_on_how_samples_are_packed() -> None:
    """Numbers of a small and of a large machine can be compared."""
    whole = evaluate(model(), masker(), MadeUp(PLAN), np.arange(ROWS))
    parts = evaluate(model(), masker(), MadeUp(PLAN), np.arange(ROWS), capacity=(60, 60))

    assert [score.targets for score in whole.streams.values()] == [s.targets for s in parts.streams.values()]
    assert whole.loss == pytest.approx(parts.loss, rel=1e-5)
    assert list(whole.streams) == ["digit.tokens", "shape.tokens", "caption.tokens"]


def test_every_model_is_asked_the_same() -> None:
    """The baseline depends on the targets alone, so it is the same for both."""
    first, second = (evaluate(model(seed), masker(), MadeUp(PLAN), np.arange(ROWS)) for seed in (1, 2))

    assert first.baseline_loss == second.baseline_loss
    assert first.loss != second.loss


class Knowing(AnyToAnyTransformer):
    """Always puts almost all weight on the right answer."""

    def forward(self, batch):  # type: ignore[no-untyped-def]  # as in the class above it
        return {
            name: 20.0 * torch.nn.functional.one_hot(head.targets, self.plan.stream(name).vocab_size).float()
            for name, head in batch.heads.items()
        }


def test_a_model_that_knows_every_answer_is_found_to() -> None:
    known = model()
    known.__class__ = Knowing
    scores = evaluate(known, masker(), MadeUp(PLAN), np.arange(ROWS))

    assert {score.accuracy for score in scores.streams.values()} == {1.0}
    assert 0 < scores.loss < 1e-6 < scores.baseline_loss


def test_the_whole_loss_is_the_training_loss_of_the_streams() -> None:
    scores = evaluate(model(), masker(), MadeUp(PLAN), np.arange(ROWS))
    declared = evaluate(model(), masker(), MadeUp(PLAN), np.arange(ROWS), divisor="declared")
    mean = sum(score.loss for score in scores.streams.values()) / 3

    assert scores.loss == pytest.approx(mean)
    assert declared.loss == pytest.approx(mean)


def test_the_model_is_left_in_the_mode_it_was_in() -> None:
    trained = model().train()
    evaluate(trained, masker(), MadeUp(PLAN), np.arange(20))

    assert trained.training
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_nothing_to_evaluate_is_said() -> None:
    with pytest.raises(RequestError, match=r"evaluate: there are no samples; name a dataset"):
        evaluate(model(), masker(), MadeUp(PLAN), np.arange(0))
    with pytest.raises(RequestError, match=r"the masks leave nothing to predict in these samples"):
        evaluate(model(), masker(), Absent(PLAN), np.arange(3))


class Absent(MadeUp):
    """Samples that lack everything."""

    def batch(self, rows: Int64, epoch: Int64, seed: int) -> Batch:
        return Batch(rows, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has: a schema, a recipe, codecs and an encoded dataset."""
    where, schema = tmp_path_factory.mktemp("user"), small_schema()
    codecs = small_codecs(schema)
    words = ("one", "two", "three", "four")
    rows = [{"digit": np.full((4, 4), 5 * (n % 4)), "caption": words[n % 4]} for n in range(40)]
    Dataset.create(where / "x.lance", schema, rows).encode(codecs)
    for name, codec in codecs.items():
        save_codec(codec, where / "codecs" / name)
    (where / "modalities.yaml").write_text(dump_schema(schema))
    (where / "train.yaml").write_text(json.dumps(small_recipe().model_dump(mode="json")))
    return where


def test_a_run_is_trained_and_evaluated_from_the_command_line(folder: Path) -> None:
    """The verbs that the README shows, with a change of the recipe on the way."""
    common = (
        f"{folder}/train.yaml --schema {folder}/modalities.yaml --data {folder}/x.lance --to {folder}/run"
    )
    runner = CliRunner()
    done = runner.invoke(app, f"train {common} --codecs {folder}/codecs --set steps.total=3 --quiet".split())
    assert done.exit_code == 0, done.output
    assert "step-00000003: 3 of 3 steps, loss " in done.output.replace("\n", "")

    again = runner.invoke(app, f"train {common} --set steps.total=4 --resume --quiet".split())
    assert again.exit_code == 0, again.output
    assert "4 of 4 steps" in again.output

    scored = runner.invoke(app, f"evaluate {folder}/run --data {folder}/x.lance --json".split())
    assert scored.exit_code == 0, scored.output
    scores = json.loads(scored.stdout)
    assert scores["samples"] == 40
    assert scores["streams"].keys() == {"digit.tokens", "caption.tokens"}
    table = runner.invoke(app, f"evaluate {folder}/run --data {folder}/x.lance --samples 20".split())
    assert "20 samples, loss " in table.output


def test_a_checkpoint_without_a_recipe_needs_one(folder: Path, tmp_path: Path) -> None:
    schema = small_schema()
    save(tmp_path / "x", Checkpoint.of(model(), schema, small_codecs(schema)))

    with pytest.raises(CheckpointError, match=r"has no training state"):
        evaluate_checkpoint(tmp_path / "x", folder / "x.lance")
    scores = evaluate_checkpoint(tmp_path / "x", folder / "x.lance", recipe=small_recipe(), samples=10)
    assert scores.samples == 10


def test_a_learned_stream_beats_its_baseline(folder: Path, tmp_path: Path) -> None:
    """The caption follows from the picture, and not from the position: only looking can tell it."""
    recipe = small_recipe(
        steps={"total": 50, "samples_per_step": 32},
        optimizer={"lr": 1e-2},
        masks=[{"preset": "from", "stream": "digit.tokens", "targets": ["caption"]}],
    )
    codecs = small_codecs(small_schema())
    train(recipe, small_schema(), folder / "x.lance", tmp_path, codecs=codecs, quiet=True)
    scores = evaluate_checkpoint(tmp_path, folder / "x.lance").streams["caption.tokens"]

    assert scores.accuracy > 0.95
    assert scores.loss < 0.5 * scores.baseline_loss
