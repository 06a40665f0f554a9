"""Prepare the next steps while the present one trains.

Threads, not worker processes: reading and decoding release the interpreter's lock, and tensors need not
travel between processes. Results come in the order of the steps, however many threads there are.
"""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """The results of `prepare(first)`, `prepare(first + 1)`, ..., a few of them ahead.

    An exception of `prepare` is raised where its result would have come; there is none after it.

    Args:
        prepare: makes the result of a step; with several threads, of several steps at a time.
        first: the first step.
        stop: the step at which to end; None never ends.
        ahead: results that may wait, finished, at any time.
        threads: how many prepare; 0 prepares each result when it is asked for.

    >>> with Prefetch(lambda step: step * step, first=2, stop=5) as squares:
    ...     list(squares)
    [4, 9, 16]
    """

    def __init__(
        self,
        prepare: Callable[[int], T],
        first: int = 0,
        stop: int | None = None,
        ahead: int = 2,
        threads: int = 1,
    ) -> None:
        assert ahead > 0, "at least one result waits"
        assert threads >= 0, "threads are counted"
        self._prepare = prepare
        self._stop = stop
        self._next = self._begun = first
        self._most = ahead + threads
        self._ready: dict[int, tuple[T | None, BaseException | None]] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._threads = [
            threading.Thread(target=self._work, name=f"prefetch-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ended or self._next == self._stop:
            raise StopIteration
        if not self._threads:
            result, error = self._outcome(self._next)
        else:
            with self._changed:
                while self._next not in self._ready:
                    self._changed.wait()
                result, error = self._ready.pop(self._next)
                self._next += 1
                self._changed.notify_all()
        if error is not None:
            self._end()
            raise error
        if not self._threads:
            self._next += 1
        return result  # type: ignore[return-value]  # None is here only beside an error, or where T admits it

    def close(self) -> None:
        """Stop preparing and wait for the results in the making; what is ready is thrown away."""
        self._end()
        for thread in self._threads:
            thread.join()
        self._ready.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _outcome(self, step: int) -> tuple[T | None, BaseException | None]:
        try:
            return self._prepare(step), None
        except BaseException as error:
            return None, error

    def _work(self) -> None:
        while (step := self._begin()) is not None:
            outcome = self._outcome(step)
            with self._changed:
                self._ready[step] = outcome
                self._changed.notify_all()
            if outcome[1] is not None:
                return

    def _begin(self) -> int | None:
        """Take the next step, as soon as there is room for its result; None if there is none to take."""
        with self._changed:
            while not self._ended and self._begun != self._stop and self._begun - self._next >= self._most:
                self._changed.wait()
            if self._ended or self._begun == self._stop:
                return None
            step, self._begun = self._begun, self._begun + 1
            return step
