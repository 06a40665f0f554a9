"""Benchmarks compare what was measured in turn."""

import sys
import time
from pathlib import Path

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


def test_only_the_way_itself_is_timed() -> None:
    """What prepares a step is not the step; sleeping takes the clock's time and none of the processor's."""
    found = pairs.interleave(
        {"sleep": lambda: time.sleep(0.02)}, 1, before=lambda: time.sleep(0.2), warm=False
    )

    assert 0.02 <= found.wall("sleep") < 0.2
    assert found.cpu("sleep") < 0.02
