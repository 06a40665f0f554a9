"""From a folder to a model: what `fourm init` prints is typed as it stands, and works."""

import csv
import gzip
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from fourm_codecs.fit import FitRecipe
from fourm_runtime.cli import prepare
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.location import Location
from tests.runtime.command_line import fourm, refused

COUNT = 24
COLOURS = ("red", "green", "blue")


def photos_with_a_table(folder: Path) -> None:
    """Pictures of several sizes, and a table of what they show: names, numbers, classes and captions."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    rows = []
    for number in range(COUNT):
        picture = draws.integers(0, 60, (16 + number % 3, 20, 3), dtype=np.uint8)
        picture[..., number % 3] += 190
        Pictures.fromarray(picture).save(folder / f"p{number:02d}.png")
        colour = COLOURS[number % 3]
        says = f"the {colour} wall of house {number}" if number % 4 else ""
        rows.append([f"p{number:02d}.png", colour, 0.5 * number, "true" if number % 2 else "false", says])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "colour", "height", "isOpen", "caption"], *rows])


def idx_files(folder: Path) -> None:
    """Two splits of small pictures and their classes, as the files of MNIST have them."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    for split in ("train", "t10k"):
        for name, array in (
            ("images-idx3", draws.integers(0, 9, (COUNT, 6, 6))),
            ("labels-idx1", np.arange(COUNT) % 10),
        ):
            head = struct.pack(">4B", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
            with gzip.open(folder / f"{split}-{name}-ubyte.gz", "wb") as file:
                file.write(head + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize(
    ("make", "made"),
    [(photos_with_a_table, "image-0.png"), (idx_files, "images-0.png")],
    ids=["photos and a table", "idx"],
)
def test_four_commands_lead_from_a_folder_to_a_prediction(
    make: object, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is edited between them; only the run and the fit are made shorter here."""
    assert callable(make)
    make(tmp_path / "my data")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(prepare, "brief", lambda *_: FitRecipe(steps=4, batch_size=8))
    printed = fourm("init", "../my data")
    commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  fourm ")]

    assert [command[1] for command in commands] == ["data", "train", "generate"]
    assert "first, by hand" not in printed
    (imported, trained, generated) = (command[1:] for command in commands)
    fourm(*imported)
    fourm(*trained, "--quiet", "--set", "steps.total=2", "--set", "steps.warmup=1")
    fourm(*generated)

    dataset = Dataset.open("data.lance")
    assert dataset.rows == COUNT
    assert {status.state for status in dataset.status().streams} == {"encoded"}
    shown = np.asarray(Pictures.open(Path("generated", made)))
    assert shown.shape[:2] == dataset.schema.modalities[made.removesuffix("-0.png")].size  # type: ignore[union-attr]  # an image


def test_a_file_of_samples_has_values_as_the_draft_declares_them(tmp_path: Path) -> None:
    """Truths are classes, cells that are empty are absent, files are named from where the file lies."""
    photos_with_a_table(tmp_path / "photos")
    fourm("init", tmp_path / "photos", "--to", tmp_path / "modalities.yaml")
    lines = (tmp_path / "samples.jsonl").read_text().splitlines()

    assert len(lines) == COUNT
    assert lines[1] == (
        '{"id": "p01", "image": "photos/p01.png", '
        '"labels": [{"colour": "green", "height": 0.5, "is_open": 1}], '
        '"caption": "the green wall of house 1"}'
    )
    assert '"caption"' not in lines[0]


def test_what_is_prepared_is_not_prepared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--prepare` can stand in a script that is run every day."""
    photos_with_a_table(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    fourm("init", "photos")
    fourm(
        "data",
        "import",
        "samples.jsonl",
        "--schema",
        "modalities.yaml",
        "--to",
        "data.lance",
        "--fit",
        "center",
    )
    monkeypatch.setattr(prepare, "brief", lambda *_: FitRecipe(steps=2, batch_size=8))
    prepare.prepare_samples([Location.of("data.lance")], Path("codecs"))
    before = Dataset.open("data.lance").version
    prepare.prepare_samples([Location.of("data.lance")], Path("codecs"))

    assert Dataset.open("data.lance").version == before
    said = refused("train", "train.yaml", "--prepare", "--to", "run")
    assert "--prepare: needs a folder for the codecs that it fits; give one: --codecs codecs" in said
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused("train", "train.yaml", "--prepare", "--codecs", "codecs", "--to", "run")
    assert "--prepare: writes for all processes; got torchrun" in said
