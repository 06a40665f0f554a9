"""A run under `torchrun`, as it is started on several machines: here two processes of one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.training.metrics import read_metrics
from fourm_runtime.training.trainer import train
from tests.runtime.small_run import small_codecs, small_recipe, small_schema
from tests.runtime.test_mixtures import text_rows, text_schema
from tests.runtime.test_training import rows_of


def test_a_mixture_begun_alone_goes_on_under_torchrun(tmp_path: Path, root: Path) -> None:
    """Two ranks take over after 2 of 4 steps: each step has the samples and the losses of one process."""
    photos, books = tmp_path / "photos.lance", tmp_path / "books.lance"
    codecs = small_codecs(small_schema())
    Dataset.create(photos, small_schema(), rows_of(40)).encode(codecs)
    Dataset.create(books, text_schema(), text_rows(30)).encode({"caption": codecs["caption"]})
    given = {str(photos): 0.75, str(books): 0.25}
    recipe = small_recipe(steps={"total": 4}, checkpoint_every=2, datasets=given)
    run = tmp_path / "run"
    train(recipe, None, given, run, codecs=codecs, device="cpu", quiet=True)
    alone = read_metrics(run)
    shutil.rmtree(run / "checkpoints" / "step-00000004")
    file = tmp_path / "train.yaml"
    file.write_text(json.dumps(recipe.model_dump(mode="json", exclude_none=True)))

    path = os.pathsep.join([str(root), str(root / "codecs"), str(root / "runtime")])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    verb = ["-m", "fourm_runtime", "train", str(file), "--to", str(run), "--resume", "--device", "cpu"]
    done = subprocess.run(
        [*torchrun, *verb, "--quiet"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 of 4 steps") == 1
    shared = read_metrics(run)
    assert [metrics.step for metrics in shared] == [0, 1, 2, 3]
    for ours, theirs in zip(shared, alone, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert (ours.tokens_in, ours.tokens_out) == (theirs.tokens_in, theirs.tokens_out)
