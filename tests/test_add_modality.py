"""The recipe of examples/add_modality: four entries, and the verbs that take each into a trained model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fourm_codecs.fit import FitRecipe
from fourm_codecs.store import load_codec
from fourm_codecs.wordpiece import WordPieceCodec
from fourm_runtime.checkpoints.grow import compare_schemas
from fourm_runtime.checkpoints.store import load
from fourm_runtime.cli.app import app
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.raw_values import checker_of
from fourm_runtime.training.recipe import load_recipe
from fourm_runtime.training.trainer import train
from fourm_schema.load import load_schema, parse_schema
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

pytest.importorskip("sklearn", reason="the digits come with the extra `examples`")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "add_modality"
for folder in (FOLDER, ROOT / "examples" / "quickstart"):
    sys.path.insert(0, str(folder))  # as python does for a script

import compare  # noqa: E402
import digits  # noqa: E402
import undeclared  # noqa: E402
from quickstart import RECIPE, SCHEMA, train_codecs  # noqa: E402

KINDS = {"edges": "image", "profile": "vector", "rows": "set", "note": "text"}
ALL = "+".join(KINDS)


def with_entries(*names: str) -> Schema:
    """What `cat examples/quickstart/modalities.yaml <name>.yaml ...` declares."""
    return parse_schema(
        "".join(file.read_text() for file in (SCHEMA, *(FOLDER / f"{n}.yaml" for n in names)))
    )


@pytest.fixture(scope="module")
def samples() -> tuple[list[digits.Row], list[digits.Row]]:
    """Training and held-out digits."""
    rows, held, _ = digits.load_splits()
    return rows, held


@pytest.fixture(scope="module")
def quickstart(
    samples: tuple[list[digits.Row], list[digits.Row]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What a quickstart of one step on a few digits leaves behind."""
    to = tmp_path_factory.mktemp("quickstart")
    rows, held = samples
    splits = {"train": rows[:48], "held-out": held[:24]}
    undeclared.write_undeclared(to / "more", splits)
    schema = load_schema(SCHEMA)
    data = {name: Dataset.create(to / f"{name}.lance", schema, split) for name, split in splits.items()}
    codecs = train_codecs(schema, data["train"], to / "codecs", FitRecipe(steps=2))
    for dataset in data.values():
        dataset.encode(codecs)
    train(
        load_recipe(RECIPE, ["steps.total=1"]), schema, data["train"], to / "run", codecs=codecs, quiet=True
    )
    return to


def recorded(folder: Path, *arguments: object) -> list[list[str]]:
    """Run the script with programs that only take note of what they are asked to do."""
    note = folder / "note"
    note.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >> '{folder}/log'; echo >> '{folder}/log'\n")
    note.chmod(0o755)
    done = subprocess.run(
        [FOLDER / "run.sh", *map(str, arguments)],
        env=os.environ | {"FOURM": f"{note} fourm", "PYTHON": f"{note} python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.split("\0")[:-1] for line in (folder / "log").read_text().splitlines()]


@pytest.fixture(scope="module")
def added(quickstart: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The script's own commands, run in this process, for all four at once: folder, and what was printed."""
    to = tmp_path_factory.mktemp("added")
    arguments = ("--from", quickstart, "--to", to / "out", "--steps", 2, "--processes", 1, ALL)
    work, printed = to / "out" / ALL, ""
    for program, *rest in recorded(to, *arguments):
        if program == "python":
            assert rest == [str(FOLDER / "compare.py"), str(work)]
            continue
        done = CliRunner().invoke(app, rest, catch_exceptions=False)
        assert done.exit_code == 0, f"{rest}\n{done.output}"
        printed += done.stdout
        if rest[0] == "evaluate":
            (work / "evaluation.json").write_text(done.stdout)
    return work, printed


def test_the_commands_take_all_four_into_the_trained_model(added: tuple[Path, str]) -> None:
    """Validated, added, filled, encoded, trained from where the quickstart ended, evaluated."""
    work, printed = added
    checkpoint = load(work / "run")

    assert {name: checkpoint.schema.modalities[name].kind for name in KINDS} == KINDS
    assert "no fault" in printed
    for name in KINDS:
        assert f"train.lance, {name}: 48 samples filled, 0 absent" in printed
        assert f"held-out.lance, {name}: 24 samples filled, 0 absent" in printed
    assert "3 of 3 steps" in printed
    streams = json.loads((work / "evaluation.json").read_text())["streams"]
    assert all(streams[f"{name}.tokens"]["targets"] > 0 for name in KINDS)


def test_the_table_counts_lines_and_compares_with_the_baseline(
    added: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps teach nothing, and --check says so."""
    found = {one.modality: one for one in compare.read_added(added[0])}
    monkeypatch.setattr(sys, "argv", ["compare.py", "--check", str(added[0])])
    with pytest.raises(SystemExit) as ended:
        compare.main()

    assert {name: one.kind for name, one in found.items()} == KINDS
    assert {name: one.yaml_lines for name, one in found.items()} == {
        "edges": 5, "profile": 1, "rows": 8, "note": 1,
    }  # fmt: skip
    assert sum(one.python_lines for one in found.values()) == 0
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert all(name in shown.out for name in KINDS)
    assert "the loss is not below 0.8 of the baseline" in shown.err


@pytest.mark.parametrize("name", KINDS)
def test_an_entry_alone_makes_a_stream_that_is_shown_and_predicted(name: str) -> None:
    """Appended to the quickstart's file it is a schema that a trained model can grow to; the recipe needs no
    entry of its own, since its presets expand over whatever is declared."""
    schema, before = with_entries(name), load_schema(SCHEMA)
    plan, change = resolve(schema), compare_schemas(before, schema)
    mixture = load_recipe(RECIPE).mixture(plan)
    stream = plan.stream(name).name

    assert schema.modalities[name].kind == KINDS[name]
    assert change.added == (stream,)
    assert (change.removed, change.policy, change.broken) == ((), (), ())
    assert any(component.input_alphas.get(stream, 0) > 0 for component in mixture.components)
    assert any(component.target_alphas.get(stream, 0) > 0 for component in mixture.components)


def test_every_measurement_of_every_digit_is_one_the_entries_admit(
    samples: tuple[list[digits.Row], list[digits.Row]], tmp_path: Path
) -> None:
    """Ranges and most items are those of the data, not of the few digits that a quick test fills in."""
    schema = with_entries(*KINDS)
    undeclared.write_undeclared(tmp_path, {"all": [*samples[0], *samples[1]]})
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]

    assert len(lines) == 2 * 1437 + 360
    for name in KINDS:
        check = checker_of(schema.modalities[name])
        for line in lines:
            check(line[name], f"{line['id']}, {name}")


def test_notes_are_written_in_words_the_captions_have_taught(quickstart: Path) -> None:
    """The vocabulary is shared and trained: a word it cannot spell would be lost, a longer text refused."""
    caption = load_codec(quickstart / "codecs" / "caption")
    assert isinstance(caption, WordPieceCodec)
    lines = (quickstart / "more" / "train.jsonl").read_text().splitlines()
    notes = [json.loads(line)["note"] for line in lines]
    longest = "plain plain on plain plain, ring on ring on ring"

    assert [caption.vocabulary.normalise(note) for note in notes] == notes
    assert max(map(len, caption.vocabulary.pieces_of([*notes, longest]))) < 16


def test_measurements_of_a_bar_and_a_ring_are_those_of_a_bar_and_a_ring() -> None:
    bar, ring = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    bar[:, 3] = 16
    ring[1:6, 1:6] = 16
    ring[2:5, 2:5] = 0

    assert undeclared.edge_map(bar)[4].tolist() == [0, 0, 1, 0, 3, 0, 0, 0]
    assert undeclared.edge_map(bar.T)[:, 4].tolist() == [0, 0, 2, 0, 4, 0, 0, 0]
    assert undeclared.profile(bar).tolist() == [0, 0, 0, 8, 0, 0, 0, 0]
    assert undeclared.runs(bar.T) == [{"row": 3, "first": 0, "last": 7, "mass": 8}]
    assert [(run["row"], run["first"], run["last"]) for run in undeclared.runs(ring)[:3]] == [
        (1, 1, 5), (2, 1, 1), (2, 5, 5),
    ]  # fmt: skip
    assert undeclared.note(ring) == "plain thin on thin thin, a ring"
    assert undeclared.note(bar) == "thin thin on thin thin, no ring"


def refused(*arguments: object) -> str:
    """What the script says when it ends without having done anything."""
    command = [str(FOLDER / "run.sh"), *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | {"FOURM": "false"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout
    return done.stderr


def test_the_script_says_what_it_lacks_and_leaves_other_files_alone(quickstart: Path, tmp_path: Path) -> None:
    """It starts afresh each time, which must never cost a user their files."""
    (tmp_path / "edges").mkdir()
    (tmp_path / "edges" / "thesis.txt").write_text("years of work")

    assert "holds no finished quickstart; run: make quickstart" in refused("--from", tmp_path)
    assert "holds something else than an earlier run" in refused("--from", quickstart, "--to", tmp_path)
    assert (tmp_path / "edges" / "thesis.txt").exists()
    assert "egdes: there is no" in refused("--from", quickstart, "--to", tmp_path, "egdes")
    assert "--fast: is no option" in refused("--fast")
