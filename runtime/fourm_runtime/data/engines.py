"""Who does the work on a dataset's fragments: this process, or others. Who asked commits what they made.

A worker reads one fragment and writes one file, which no version refers to. So workers may die, and their
work may be done twice: only what is committed counts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from fourm_runtime.data.staged_files import StagedColumn

Moved = Callable[[int], None]
"""Called with the number of rows that were dealt with since the last call."""


class Work(Protocol):
    """What is done to one fragment, whatever the process; it can be sent to another one."""

    def __call__(self, fragment: int, moved: Moved) -> StagedColumn: ...


class Engine(Protocol):
    """Does the same work on many fragments."""

    def run(self, work: Work, fragments: Sequence[int], moved: Moved) -> Iterator[StagedColumn]:
        """Do the work on each fragment, in any order.

        Args:
            work: what to do.
            fragments: their numbers.
            moved: called as work goes on.

        Returns:
            what was staged, as it gets ready.

        Raises:
            FourmError: the first one that the work raises, when retries do not help.
        """
        ...


class LocalEngine:
    """One fragment after the other, in this process."""

    def run(self, work: Work, fragments: Sequence[int], moved: Moved) -> Iterator[StagedColumn]:
        for fragment in fragments:
            yield work(fragment, moved)
