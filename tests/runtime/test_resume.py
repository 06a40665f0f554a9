"""Claims about runs that end before their end: they go on as if they had not."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from fourm_runtime.batch import Batch, Int64
from fourm_runtime.checkpoints import store as checkpoints
from fourm_runtime.training.metrics import METRICS, StepMetrics, read_metrics
from fourm_schema.errors import TrainingError
from fourm_schema.resolve import resolve
from tests.forks import fork
from tests.runtime.small_run import MadeUp, small_recipe, small_schema, small_train, train_until


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MadeUp]:
    """A run of 12 steps that nobody stopped, and what it read."""
    run, source = tmp_path_factory.mktemp("unbroken"), MadeUp(resolve(small_schema()))
    small_train(run / "run", small_recipe(), source=source)
    return run / "run", source


def assert_as_if_unbroken(run: Path, unbroken: Path) -> None:
    """Each step stands once in the metrics with the loss it would have had; weights are the same bits."""
    found, expected = read_metrics(run), read_metrics(unbroken)
    assert [metrics.step for metrics in found] == list(range(12))
    for now, then in zip(found, expected, strict=True):
        assert now.loss == pytest.approx(then.loss, rel=1e-6)
        assert now.losses == pytest.approx(then.losses, rel=1e-6)
        assert (now.lr, now.tokens_in, now.tokens_out) == (then.lr, then.tokens_in, then.tokens_out)
    for averaged in (False, True):
        weights = checkpoints.load(run, averaged=averaged).weights
        truth = checkpoints.load(unbroken, averaged=averaged).weights
        assert all(torch.equal(weights[name], truth[name]) for name in truth)


def test_a_run_killed_in_any_step_goes_on_as_if_it_had_not_been(
    unbroken: tuple[Path, MadeUp], tmp_path: Path
) -> None:
    """SIGKILL leaves no time to tidy up. The step is drawn anew each time: no step is special."""
    step = int(np.random.default_rng().integers(1, 12))
    killed = fork(train_until, tmp_path / "run", torch.get_num_threads(), step)
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL, f"killed in step {step}"
    assert len(read_metrics(tmp_path / "run")) == step

    source = MadeUp(resolve(small_schema()))
    small_train(tmp_path / "run", small_recipe(), resume=True, source=source)

    assert source.asked == unbroken[1].asked[step - step % 4 :], f"killed in step {step}"
    assert_as_if_unbroken(tmp_path / "run", unbroken[0])


def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    unbroken: tuple[Path, MadeUp], tmp_path: Path
) -> None:
    """A half-written checkpoint is never found under a checkpoint's name, and does not stay."""
    killed = fork(train_until, tmp_path / "run", torch.get_num_threads(), None, 2)
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(entry.name for entry in folder.iterdir()) == [
        ".step-00000008.new",
        "latest",
        "step-00000004",
    ]

    small_train(tmp_path / "run", small_recipe(), resume=True)

    names = ["latest", *(f"step-{step:08d}" for step in (4, 8, 12))]
    assert sorted(entry.name for entry in folder.iterdir()) == names
    assert_as_if_unbroken(tmp_path / "run", unbroken[0])


class Interrupting(MadeUp):
    """Sends this process a signal when it is asked for the samples of its sixth step."""

    def batch(self, rows: Int64, epoch: Int64, seed: int) -> Batch:
        if len(self.asked) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch(rows, epoch, seed)


def test_a_run_that_is_asked_to_stop_writes_a_checkpoint_at_the_step_border(
    unbroken: tuple[Path, MadeUp], tmp_path: Path
) -> None:
    """SIGTERM is what a cluster sends before SIGKILL: nothing that was computed is lost."""
    before = signal.getsignal(signal.SIGTERM)
    stopped = small_train(tmp_path, small_recipe(), source=Interrupting(resolve(small_schema())))

    assert not stopped.finished
    assert 0 < stopped.step < 12
    assert checkpoints.load_training_state(tmp_path).step == stopped.step == len(read_metrics(tmp_path))
    assert signal.getsignal(signal.SIGTERM) is before

    assert small_train(tmp_path, small_recipe(), resume=True).finished
    assert_as_if_unbroken(tmp_path, unbroken[0])


def test_lines_after_the_checkpoint_and_half_lines_are_dropped(tmp_path: Path) -> None:
    """Steps that are taken again must not stand twice in the metrics."""
    small_train(tmp_path, small_recipe(steps={"total": 4}))
    with (tmp_path / METRICS).open("a") as file:
        file.write(json.dumps({"step": 4, "loss": 1.0}) + "\n" + '{"step": 5, "lo')

    small_train(tmp_path, small_recipe(steps={"total": 6}), resume=True)

    assert [metrics.step for metrics in read_metrics(tmp_path)] == list(range(6))
    assert all(isinstance(metrics, StepMetrics) for metrics in read_metrics(tmp_path))


def test_a_finished_run_resumes_to_nothing(tmp_path: Path) -> None:
    small_train(tmp_path, small_recipe(steps={"total": 2}))
    again = small_train(tmp_path, small_recipe(steps={"total": 2}), resume=True)

    assert (again.step, again.finished, again.last) == (2, True, None)


def test_a_run_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    """A run that was killed before its first checkpoint is started by the same command as any other."""
    assert small_train(tmp_path / "new", small_recipe(steps={"total": 2}), resume=True).step == 2


def test_a_second_run_does_not_overwrite_the_first(tmp_path: Path) -> None:
    small_train(tmp_path, small_recipe(steps={"total": 1}))

    with pytest.raises(TrainingError, match=r"already holds a run; go on with it by --resume, or choose"):
        small_train(tmp_path, small_recipe(steps={"total": 1}))


def test_what_would_change_the_samples_or_their_masks_is_refused_and_named(tmp_path: Path) -> None:
    """A resumed run is one run; another seed or another budget is another."""
    small_train(tmp_path, small_recipe(steps={"total": 1}))
    other = small_recipe(steps={"total": 9, "samples_per_step": 8}, seed=3, budget={"input": 11})

    with pytest.raises(TrainingError) as error:
        small_train(tmp_path, other, resume=True)

    assert "seed: was 0 when the run began; got 3" in str(error.value)
    assert "steps.samples_per_step: was 16 when the run began; got 8" in str(error.value)
    assert "budget.input: was 12 when the run began; got 11" in str(error.value)
    assert "steps.total" not in str(error.value)
    assert "take them over with --extend" in str(error.value)


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    small_train(tmp_path, small_recipe(checkpoint_every=1, keep_checkpoints=2, steps={"total": 5}))
    folder = tmp_path / "checkpoints"

    assert sorted(entry.name for entry in folder.iterdir()) == ["latest", "step-00000004", "step-00000005"]
    assert (folder / "latest").read_text() == "step-00000005\n"
