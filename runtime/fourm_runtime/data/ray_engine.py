"""Work on fragments by Ray: one task per fragment, on this machine or on those of a cluster.

Workers read and write; they never commit. A worker that dies, or that storage fails, is tried again. What is
wrong with a value is raised at once, as it would be wrong again.
"""

import importlib
import warnings
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from fourm_runtime.data.engines import Moved, Work
from fourm_runtime.data.staged_files import StagedColumn
from fourm_runtime.data.storage_faults import StorageError, first_line
from fourm_schema.errors import FourmError, MissingExtraError

RETRIES: Final = 3
"""How often a fragment is tried again after the first time."""

_AHEAD = 64
"""Fragments that are handed to Ray at a time: it keeps a record of each in memory."""


class RayEngine:
    """Does work by Ray tasks.

    Connects to the cluster that the environment variable RAY_ADDRESS names; without one, to workers of this
    machine, which end with this program. A program that has started Ray itself keeps its own.

    Args:
        retries: how often a fragment is tried again.

    Raises:
        MissingExtraError: if Ray is not installed.
    """

    def __init__(self, retries: int = RETRIES) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as missing:
            raise MissingExtraError("the engine ray", "ray") from missing
        self._retries = retries
        self._started = False

    def run(self, work: Work, fragments: Sequence[int], moved: Moved) -> Iterator[StagedColumn]:
        ray = self._start()
        task = ray.remote(max_retries=self._retries, retry_exceptions=[StorageError])(_do)
        shared, left, running = ray.put(work), list(reversed(fragments)), dict[Any, int]()
        try:
            while left or running:
                while left and len(running) < _AHEAD:
                    fragment = left.pop()
                    running[task.remote(shared, fragment)] = fragment
                (ready, *_), _ = ray.wait(list(running))
                staged = self._result(ready, running.pop(ready))
                moved(staged.rows)
                yield staged
        finally:
            for reference in running:
                ray.cancel(reference)

    def close(self) -> None:
        """End Ray, if this engine started it."""
        if self._started:
            self._ray.shutdown()
            self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> Any:
        if not self._ray.is_initialized():
            with warnings.catch_warnings():
                # Ray starts programs of its own; no process goes on with our open files.
                warnings.filterwarnings("ignore", message="lance is not fork-safe")
                self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
            self._started = True
        return self._ray

    def _result(self, ready: Any, fragment: int) -> StagedColumn:
        errors = self._ray.exceptions
        try:
            staged: StagedColumn = self._ray.get(ready)
        except errors.RayTaskError as error:
            if isinstance(error.cause, FourmError):
                raise error.cause from None
            raise
        except errors.RayError as error:
            raise StorageError(
                f"fragment {fragment}",
                f"no worker of Ray finished it in {self._retries + 1} attempts",
                got=first_line(error),
                mend="have they memory enough? what is committed stays: run it again",
            ) from error
        return staged


def _do(work: Work, fragment: int) -> StagedColumn:
    return work(fragment, _unseen)


def _unseen(rows: int) -> None:
    """Progress within a fragment is not sent around."""
