"""Progress bars on stderr; nothing is drawn where stderr is no terminal."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

ItemT = TypeVar("ItemT")


def counted(items: Iterable[ItemT], label: str) -> Iterator[ItemT]:
    """Pass items on and show how many went by; for streams whose length nobody knows."""
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn())
    with _on_stderr(*columns) as bars:
        task = bars.add_task(label, total=None)
        for item in items:
            yield item
            bars.advance(task)


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that moves the bar of a name: (name, done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _on_stderr(*columns) as shown:
        tasks = {}

        def move(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=total)
            shown.update(tasks[name], completed=done, total=total)

        yield move


def _on_stderr(
    *columns: TextColumn | BarColumn | MofNCompleteColumn | TimeElapsedColumn | TimeRemainingColumn,
) -> Progress:
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)
