"""Benchmarks compare what was measured in turn."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))  # as python does for a script

import pairs


def test_ways_take_turns_and_who_goes_first_alternates() -> None:
    """A machine that slows down must favour neither; the round that warms up is in no figure."""
    calls: list[str] = []
    found = pairs.interleave(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, before=lambda: calls.append("-")
    )

    assert "".join(calls) == "-b-a" + "-a-b" + "-b-a"
    assert len(found.cpu_s["a"]) == len(found.wall_s["b"]) == 2


def test_a_ratio_is_that_of_the_first_way_to_the_second_round_by_round() -> None:
    """Of neighbours in time: the machine that both ran on was the same."""
    found = pairs.Pairs({"slow": (4.0, 6.0, 9.0), "fast": (1.0, 2.0, 1.0)}, {"slow": (2.0,), "fast": (4.0,)})

    assert (found.ratio, found.low, found.high, found.wall_ratio) == (4.0, 3.0, 9.0, 0.5)
    assert (found.cpu("slow"), found.wall("fast")) == (6.0, 4.0)


def test_only_the_way_itself_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What prepares a step is not the step."""
    clock = {"process_time": 0.0, "perf_counter": 0.0}
    for name in clock:
        monkeypatch.setattr(f"pairs.time.{name}", lambda name=name: clock[name])

    def work(cpu: float, wall: float) -> None:
        clock["process_time"] += cpu
        clock["perf_counter"] += wall

    found = pairs.interleave({"way": lambda: work(1, 2)}, 1, before=lambda: work(8, 9), warm=False)

    assert (found.cpu("way"), found.wall("way")) == (1, 2)
