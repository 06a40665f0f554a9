"""The quickstart runs end to end, and its own functions say what is in a digit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the digits come with the extra `examples`")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "quickstart"


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script as `make quickstart` does, in a process of its own."""
    path = os.pathsep.join(str(ROOT / room) for room in (".", "codecs", "runtime"))
    return subprocess.run(
        [sys.executable, str(FOLDER / "quickstart.py"), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_three_steps_of_the_quickstart_write_a_model_a_picture_and_a_table(tmp_path: Path) -> None:
    """The whole path, with a model too young to be right: what `make quickstart` runs cannot rot."""
    done = run_script(
        *("--to", str(tmp_path / "run"), "--json", "steps.total=3", "model.encoder_depth=1"),
        *("model.decoder_depth=1", "model.dim=32"),
    )

    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)
    assert [(line["given"], line["predicted"]) for line in lines] == [
        ("image", "caption"),
        ("caption", "image"),
        ("image", "strokes"),
        ("image", "shape"),
    ]
    assert (tmp_path / "run" / "drawn.png").stat().st_size > 1000
    assert "step 3 of 3" in done.stderr


def test_a_wrong_override_ends_with_its_mend_and_without_a_traceback(tmp_path: Path) -> None:
    """The script is a user's first meeting with the errors."""
    done = run_script("--to", str(tmp_path / "run"), "steps.totl=3")

    assert done.returncode == 2
    assert "did you mean 'total'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    """The quickstart starts afresh each time, which must never cost a user their files."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run_script("--to", str(tmp_path))

    assert done.returncode == 2
    assert "holds something else than an earlier quickstart" in done.stderr
    assert (tmp_path / "thesis.txt").exists()


def test_measurements_and_strokes_of_a_digit_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar of full ink in one column: no width, no slant, ink with a contour on both sides."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import digits

    bar = np.zeros((8, 8), dtype=np.uint8)
    bar[:, 3] = 16
    ink, centre_row, centre_column, height, width, slant = digits.measure(bar).tolist()

    assert (ink, centre_row, centre_column, width, slant) == pytest.approx((1 / 8, 3.5, 3.0, 0.0, 0.0))
    assert height == pytest.approx(np.std(np.arange(8)))
    assert digits.stroke_map(bar)[0].tolist() == [0, 0, 1, 2, 1, 0, 0, 0]


def test_a_caption_names_one_digit_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says two digits has not answered."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import digits

    assert digits.digit_in("a handwritten Three") == 3
    assert digits.digit_in("a handwritten") is None
    assert digits.digit_in("one or two") is None


def test_the_split_keeps_the_share_of_every_digit_and_no_digit_is_on_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Figures on held-out digits mean nothing otherwise."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import digits

    train, held, labels = digits.load_splits()

    assert (len(train), len(held)) == (1437, 360)
    assert not {row["id"] for row in train} & {row["id"] for row in held}
    assert np.bincount(labels).min() >= 34
