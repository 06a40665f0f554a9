"""The quickstart runs end to end, and its own functions say what is in a digit."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fourm_schema.load import load_schema
from tests.runtime.browser import measure_page

pytest.importorskip("sklearn", reason="the digits come with the extra `examples`")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "quickstart"
sys.path.insert(0, str(FOLDER))  # as python does for a script

import digits  # noqa: E402
import evaluation  # noqa: E402
import measures  # noqa: E402

TRAIN, HELD_OUT = 340, 60
FEW_DIGITS = f"""
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, {str(FOLDER)!r})
import digits, evaluation, steering
evaluation.DRAWN_PER_DIGIT, steering.DRAWS = 5, 1
load_digits = digits.load_digits
digits.load_digits = lambda **asked: tuple(part[:{TRAIN + HELD_OUT}] for part in load_digits(**asked))
digits.load_splits.__defaults__ = ({HELD_OUT}, 0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script as `make quickstart` does, in a process of its own, on few digits and few drawings."""
    path = os.pathsep.join(str(ROOT / room) for room in (".", "codecs", "runtime"))
    return subprocess.run(
        [sys.executable, "-c", FEW_DIGITS, str(FOLDER / "quickstart.py"), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def young(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """What `make quickstart` runs, with a model and a codec too young to be right."""
    to = tmp_path_factory.mktemp("quickstart") / "run"
    small = [f"model.{key}" for key in ("encoder_depth=1", "decoder_depth=1", "dim=32", "heads=2")]
    return to, run_script("--to", str(to), "--json", "--codec-steps", "3", "steps.total=3", *small)


def test_three_steps_of_the_quickstart_write_figures_of_every_modality(
    young: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """The whole path: what a newcomer runs first cannot rot."""
    _, done = young

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    declared = load_schema(FOLDER / "modalities.yaml").modalities
    assert len(declared) >= 8
    assert {entry.kind for entry in declared.values()} == {"image", "vector", "set", "text"}
    assert {line["predicted"] for line in found["lines"]} == {*declared, "image"} - {"digit"}
    assert all(line[key] for line in found["lines"] for key in ("model", "bound", "guess"))
    assert [one["guidance"] for one in found["steering"]] == [1.0, 2.0]
    assert "step 3 of 3" in done.stderr


def test_what_its_schema_does_not_declare_lies_beside_the_datasets(
    young: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """A modality that is added later finds its values there, one line per sample."""
    for name, count in (("train", 2 * TRAIN), ("held-out", HELD_OUT)):
        lines = (young[0] / "more" / f"{name}.jsonl").read_text().splitlines()
        assert len({json.loads(line)["id"] for line in lines}) == count
    declared = load_schema(FOLDER / "modalities.yaml").modalities
    assert not json.loads(lines[0]).keys() & declared.keys()


def test_even_a_young_model_writes_only_valid_sets(
    young: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """The grammar sees to it, not the training."""
    valid, sets = json.loads(young[1].stdout)["valid"]

    assert valid == sets == 4 * HELD_OUT


def test_the_report_is_one_page_that_a_phone_can_show(
    young: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """Looked at by a real browser: every picture is there, nothing is wider than the screen."""
    measured = measure_page(young[0] / "report.html", width=390)

    assert measured.scroll_width <= measured.width
    assert measured.images > 100 and not measured.broken_images
    assert not measured.errors and not measured.requests
    for heading in ("Figures", "Drawn from captions", "Steered by the record", "Loss", "Codebook", "Masks"):
        assert f"H2 {heading}" in measured.headings


def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str]:
    """Run the script in this process: how it exits, and what it says. Only an exit prints no traceback."""
    script = str(FOLDER / "quickstart.py")
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    return ended.value.code, capsys.readouterr().err


def test_a_wrong_override_ends_with_its_mend_and_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script is a user's first meeting with the errors."""
    status, said = run_here(monkeypatch, capsys, "--to", str(tmp_path / "run"), "steps.totl=3")

    assert status == 2
    assert "did you mean 'total'" in said


def test_a_folder_of_other_files_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quickstart starts afresh each time, which must never cost a user their files."""
    (tmp_path / "thesis.txt").write_text("years of work")
    status, said = run_here(monkeypatch, capsys, "--to", str(tmp_path))

    assert status == 2
    assert "holds something else than an earlier quickstart" in said
    assert (tmp_path / "thesis.txt").exists()


def bar() -> NDArray[np.uint8]:
    """A bar of full ink in one column."""
    image = np.zeros((8, 8), dtype=np.uint8)
    image[:, 3] = 16
    return image


def test_measurements_of_a_bar_are_those_of_a_bar() -> None:
    """One column: no spread sideways, no slant, no hole; contour on both sides."""
    moments = measures.moments(bar()).tolist()
    facts = measures.facts(bar())

    assert moments == pytest.approx([3.5, 3.0, np.std(np.arange(8)), 0.0, 0.0, 0.0], abs=1e-6)
    assert facts == {
        "ink": 1 / 8, "slant": pytest.approx(0), "width": pytest.approx(0.9),
        "height": pytest.approx(7.2), "holes": "none",
    }  # fmt: skip
    assert measures.stroke_map(bar())[0].tolist() == [0, 0, 1, 2, 1, 0, 0, 0]
    assert measures.half_size(bar())[0].tolist() == [0, 8, 0, 0]
    assert measures.parts(bar()) == [{"kind": "ink", "box": [3, 0, 4, 8], "mass": 8.0}]


def test_a_ring_has_a_hole_and_what_leans_right_has_its_top_there() -> None:
    """Parts are found where they are; the sign of the slant is that of handwriting."""
    ring = np.zeros((8, 8), dtype=np.uint8)
    ring[2:6, 2:6] = 16
    ring[3:5, 3:5] = 0
    assert measures.parts(ring)[1] == {"kind": "hole", "box": [3, 3, 5, 5], "mass": 4.0}
    assert measures.facts(ring)["holes"] == "one"
    leaning = (16 * np.eye(8)[::-1]).astype(np.uint8)
    assert measures.facts(leaning)["slant"] == pytest.approx(45)


def test_a_caption_names_one_digit_or_none() -> None:
    """A model that says two digits has not answered."""
    assert digits.digit_in("a handwritten Three") == 3
    assert digits.digit_in("a thin seven, leaning left") == 7
    assert digits.digit_in("a handwritten") is None
    assert digits.digit_in("one or two") is None


def test_a_plain_caption_names_its_digit_and_nothing_else() -> None:
    """A drawing asked for by it is free in everything else; every wording has its turn."""
    asked = [digits.plain_caption(3, draw) for draw in range(4)]

    assert asked == ["the digit three", "a handwritten three"] * 2
    assert set(asked) <= set(digits.captions(bar(), 3))


def test_a_blind_guess_of_digits_says_the_commonest() -> None:
    """The figure beside the model's is that of the best guess, not of a fair die."""
    assert evaluation.commonest_share(np.array([1, 7, 7, 7])) == "75.0 %"
    assert evaluation.commonest_share(np.repeat(np.arange(10), 20)) == "10.0 %"


def test_the_split_keeps_the_share_of_every_digit_and_no_digit_is_on_both_sides() -> None:
    """Figures on held-out digits mean nothing otherwise."""
    train, held, labels = digits.load_splits()

    assert (len(train), len(held)) == (2 * 1437, 360)
    assert sum(map(digits.is_real, train)) == 1437 and all(map(digits.is_real, held))
    names = [{str(row["id"]).removesuffix("-pen") for row in rows} for rows in (train, held)]
    assert not names[0] & names[1]
    assert np.bincount(labels).min() >= 34
