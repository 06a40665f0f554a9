"""The progress bar of a run: step, loss, speed and what is left."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from fourm_runtime.training.metrics import StepMetrics

LINES = 20


class Progress:
    """A bar on stderr while entered; where that is no terminal, a line for each twentieth of the run.

    Args:
        total: steps of the run.
        done: steps done before.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int = 0, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._total, self._told = total, done
        self._lines = not quiet and not console.is_terminal
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=total, completed=done, numbers="")

    def show(self, done: int, metrics: StepMetrics | None) -> None:
        """Move the bar; `metrics` are the newest numbers."""
        numbers = ""
        if metrics is not None:
            numbers = f"loss {metrics.loss:.4f}  {metrics.samples_per_second:,.0f} samples/s"
        self._bar.update(self._task, completed=done, numbers=numbers)
        if self._lines and (done - self._told) * LINES >= self._total:
            self._told = done
            print(f"step {done:,} of {self._total:,}  {numbers}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
