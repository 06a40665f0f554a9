"""Several processes that train one model: they find each other, and no failure leaves one behind."""

import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.training import processes
from fourm_runtime.training.metrics import read_metrics
from fourm_runtime.training.processes import run_in_processes
from fourm_runtime.training.trainer import train
from fourm_schema.errors import TrainingError
from tests.forks import forks
from tests.runtime.rank_work import die_in_rank_1, number_off, refuse_in_rank_1
from tests.runtime.small_run import small_codecs, small_recipe, small_schema
from tests.runtime.test_training import rows_of


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that need not load torch first; that those of a run can start from nothing, one test shows."""
    new = SimpleNamespace(get_context={"spawn": forks()}.__getitem__)
    monkeypatch.setattr(processes, "multiprocessing", new)


def test_processes_are_the_ranks_of_one_world() -> None:
    """Each knows its number, sums reach everyone, and the first one's answer comes back."""
    assert run_in_processes(2, "cpu", number_off) == (0, 2, 3.0)


@pytest.mark.usefixtures("forked")
def test_an_error_of_one_rank_is_the_error_of_all() -> None:
    """The other rank waits for it in vain; the user sees the error itself, no traceback of a process."""
    with pytest.raises(TrainingError, match="step 3: the loss is not finite; lower the learning rate"):
        run_in_processes(2, "cpu", refuse_in_rank_1)
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("forked")
def test_a_rank_that_dies_ends_the_others() -> None:
    """A killed process says nothing: its end does."""
    with pytest.raises(TrainingError) as caught:
        run_in_processes(2, "cpu", die_in_rank_1)
    assert str(caught.value) == (
        "process 1: ended before its work was done; got exit status 9; "
        "what it wrote above says why; a run goes on with --resume"
    )
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("forked")
def test_two_processes_train_the_model_that_one_trains(tmp_path: Path) -> None:
    """Same samples, masks and losses, whoever computes them; one process writes the files."""
    schema = small_schema()
    data = Dataset.create(tmp_path / "x.lance", schema, rows_of(64))
    data.encode(small_codecs(schema))
    recipe = small_recipe(steps={"total": 3, "samples_per_step": 32})
    one, two = (
        train(
            recipe, schema, data, tmp_path / f"{number}", codecs=small_codecs(schema), held_out=data,
            device="cpu", processes=number, quiet=True,
        )
        for number in (1, 2)
    )  # fmt: skip

    assert two.finished and two.leads and one.last is not None and two.last is not None
    assert two.last.loss == pytest.approx(one.last.loss, rel=1e-5)
    losses = [[metrics.loss for metrics in read_metrics(run.run)] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_no_process_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        train(small_recipe(), small_schema(), tmp_path, tmp_path / "run", processes=0)
    assert str(caught.value) == "processes: must be 1 or more; got 0"
