"""The kills of `bench/crash.py` in short: rows that were reported as stored outlive SIGKILL, once each."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))  # as python does for a script

from crash import attack
from crash_story import act_all, judge, story
from fourm_runtime.data.dataset import Dataset


def test_what_was_stored_outlives_kills_at_random_moments(tmp_path: Path) -> None:
    toll = attack(kills=6, seed=11, folder=tmp_path)

    assert toll.faults == []
    assert toll.kills == 6 == sum(toll.during.values())
    assert toll.stories >= 1 and toll.versions > 0


def test_the_judge_finds_what_was_lost_and_what_is_there_twice(tmp_path: Path) -> None:
    """Otherwise nothing would follow from its silence."""
    path, seed = tmp_path / "a.lance", 5
    act_all(path, seed, lambda word: None)
    steps = story(seed)
    assert judge(path, seed, len(steps) - 1, set()) == []
    dataset = Dataset.open(path)
    dataset.append([{"id": steps[0].names[0], "digit": [[0] * 4] * 4}])
    faults = judge(path, seed, len(steps) - 1, set())
    assert "1 rows are there twice" in faults and f"{steps[0].names[0]} has another digit" in faults
    dataset.arrow.delete("id = 's0-1'")
    lost = f"step 0 left {len(steps[0].names) - 1} of {len(steps[0].names)} rows"
    assert lost in judge(path, seed, len(steps) - 1, set())
    # One that the latest version reads, which not every file there is.
    (kept, *_) = Dataset.open(path).arrow.get_fragments()
    (path / "data" / kept.data_files()[0].path).write_bytes(bytes(100))
    assert any("cannot be read" in fault for fault in judge(path, seed, len(steps) - 1, set()))
