"""Results come in order, faults come where they belong, and nothing runs on after the end."""

import threading
import time

import pytest

from fourm_runtime.data.prefetch import Prefetch


def test_results_come_in_order_and_end() -> None:
    with Prefetch(lambda step: step * step, first=3, stop=8) as squares:
        assert list(squares) == [9, 16, 25, 36, 49]
        assert list(squares) == []


@pytest.mark.parametrize("threads", [0, 1, 2, 3])
def test_any_number_of_threads_gives_the_same_results_in_the_same_order(threads: int) -> None:
    """Later steps may be ready before earlier ones; they wait for their turn."""

    def slow_at_first(step: int) -> int:
        time.sleep(0.02 if step % 3 == 0 else 0.0)
        return step

    with Prefetch(slow_at_first, first=5, stop=20, ahead=2, threads=threads) as steps:
        assert list(steps) == list(range(5, 20))


def test_threads_prepare_at_the_same_time() -> None:
    """Two steps meet at a barrier that neither could pass alone."""
    meeting = threading.Barrier(2, timeout=10)
    with Prefetch(lambda step: meeting.wait() >= 0, stop=6, threads=2) as steps:
        assert list(steps) == [True] * 6


def test_without_threads_nothing_runs_ahead() -> None:
    seen: list[int] = []
    before = threading.active_count()
    with Prefetch(seen.append, threads=0) as steps:
        assert (next(steps), next(steps)) == (None, None)
        assert (seen, threading.active_count()) == ([0, 1], before)


def test_no_more_is_prepared_than_was_asked_for() -> None:
    """Prepared steps take memory: `ahead` finished ones and one in the making."""
    seen: list[int] = []

    def prepare(step: int) -> int:
        seen.append(step)
        return step

    with Prefetch(prepare, ahead=2) as steps:
        assert next(steps) == 0
        deadline = time.monotonic() + 5
        while len(seen) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_fault_is_raised_where_its_result_would_have_come(threads: int) -> None:
    def prepare(step: int) -> int:
        if step == 2:
            raise ValueError("row 7 is damaged")
        return step

    with Prefetch(prepare, threads=threads) as steps:
        assert [next(steps), next(steps)] == [0, 1]
        with pytest.raises(ValueError, match="row 7 is damaged"):
            next(steps)
        with pytest.raises(StopIteration):
            next(steps)


def test_closing_ends_the_thread_however_full_it_is() -> None:
    before = threading.active_count()
    steps = Prefetch(lambda step: step, ahead=1)
    next(steps)
    steps.close()
    steps.close()

    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(steps)


def test_an_exception_of_the_consumer_ends_the_thread() -> None:
    before = threading.active_count()

    def consume() -> None:
        with Prefetch(lambda step: step) as steps:
            next(steps)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        consume()
    assert threading.active_count() == before
