"""Prepare the next steps while the present one trains.

One thread, not worker processes: reading and decoding release the interpreter's lock, and tensors need not
travel between processes.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

_POLL_S = 0.05


class Prefetch(Generic[T]):
    """The results of `prepare(first)`, `prepare(first + 1)`, ..., a few of them ahead.

    An exception of `prepare` is raised where its result would have come; there is none after it.

    Args:
        prepare: makes the result of a step; called in order, by one background thread.
        first: the first step.
        stop: the step at which to end; None never ends.
        ahead: results that may wait, finished, at any time.

    >>> with Prefetch(lambda step: step * step, first=2, stop=5) as squares:
    ...     list(squares)
    [4, 9, 16]
    """

    def __init__(
        self, prepare: Callable[[int], T], first: int = 0, stop: int | None = None, ahead: int = 2
    ) -> None:
        assert ahead > 0, "at least one result waits"
        self._prepare = prepare
        self._stop = stop
        self._next = first
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
        self._closing = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._work, args=(first,), name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._failed or self._closing.is_set() or self._next == self._stop:
            raise StopIteration
        result, error = self._ready.get()
        if error is not None:
            self._failed = True
            raise error
        self._next += 1
        return result  # type: ignore[return-value]  # None is here only beside an error, or where T admits it

    def close(self) -> None:
        """Stop preparing and wait for the result in the making; what is ready is thrown away."""
        self._closing.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self, step: int) -> None:
        while step != self._stop and not self._closing.is_set():
            try:
                outcome: tuple[T | None, BaseException | None] = self._prepare(step), None
            except BaseException as error:
                outcome = None, error
            while not self._closing.is_set():
                try:
                    self._ready.put(outcome, timeout=_POLL_S)
                    break
                except queue.Full:
                    continue
            if outcome[1] is not None:
                return
            step += 1
