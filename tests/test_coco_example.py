"""The example on COCO, on a few photos: every command does what the page says of it."""

import os
import subprocess
from pathlib import Path

import attrs
import numpy as np
import pytest

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.training.metrics import read_metrics
from tests.runtime.coco_files import write_coco
from tests.runtime.command_line import fourm

PHOTOS = 12


@attrs.frozen
class Ran:
    """What a run of the example left."""

    folder: Path
    said: str

    @property
    def data(self) -> Dataset:
        return Dataset.open(self.folder / "photos.lance")


@pytest.fixture(scope="module")
def ran(coco: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    home = tmp_path_factory.mktemp("coco")
    # Photos with captions stand behind those without.
    records = (coco / "annotations.jsonl").read_text().splitlines()
    spread = "\n".join(records[:: len(records) // PHOTOS][:PHOTOS])
    (home / "annotations.jsonl").write_text(spread)
    (home / "categories.json").write_bytes((coco / "categories.json").read_bytes())
    file = write_coco(home / "annotations.jsonl", home / "annotations", PHOTOS)
    # What the script would call, one after the other: to start Python eight times would take half a minute.
    calls = subprocess.run(
        [
            *("bash", root / "examples" / "coco" / "run.sh", file, coco / "images", "--to", home / "run"),
            *("--set", "model.dim=32", "--set", "model.heads=2", "--set", "steps.samples_per_step=4"),
        ],
        env={**os.environ, "FOURM": "echo fourm"},
        capture_output=True,
        text=True,
        check=True,
    )
    commands = [line.split()[1:] for line in calls.stdout.splitlines() if line.startswith("fourm ")]
    assert len(commands) == 8
    return Ran(home / "run", "".join(fourm(*words) for words in commands))


def test_coco_photos_are_imported_and_what_is_derived_has_a_column(ran: Ran) -> None:
    """Every photo has what is computed of it; captions have those that people have described."""
    table = ran.data.arrow.to_table()
    there = {name: len(table) - table[name].null_count for name in ran.data.schema.modalities}

    assert [*there] == ["photo", "boxes", "caption", "edges", "palette", "metadata"]
    assert {there[name] for name in ("photo", "boxes", "edges", "palette", "metadata")} == {PHOTOS}
    assert 0 < there["caption"] < PHOTOS


def test_coco_boxes_and_captions_are_encoded(ran: Ran) -> None:
    """All ids there are: a sample lacks those of what it lacks, and of nothing else."""
    table = ran.data.arrow.to_table()
    for name in ("boxes", "caption", "palette", "metadata"):
        assert table[f"{name}__tokens"].is_null().equals(table[name].is_null())
    assert "stale" not in ran.said and "missing" not in ran.said


def test_coco_one_epoch_is_trained(ran: Ran) -> None:
    """Three steps of four samples: each of the twelve once, and a prediction of each modality has a loss."""
    metrics = read_metrics(ran.folder / "run")

    assert [one.step for one in metrics] == [0, 1, 2]
    assert all(np.isfinite(one.loss) and one.tokens_out > 0 for one in metrics)
    seen = {name for one in metrics for name, loss in one.losses.items() if loss is not None}
    assert seen == {"boxes.tokens", "caption.tokens", "palette.tokens", "metadata.tokens"}


def test_coco_samples_are_drawn_with_all_they_have(ran: Ran) -> None:
    page = (ran.folder / "samples.html").read_text()

    for name in ran.data.schema.modalities:
        assert name in page
    assert page.count("data:image/") >= 12  # six photos, and their edges
