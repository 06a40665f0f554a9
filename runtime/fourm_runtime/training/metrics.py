"""What a run writes down: one line of JSON per step in `metrics.jsonl`, and TensorBoard beside it if asked.

Losses and norms stay tensors until the log is flushed, so that on a GPU nobody waits for a step to end.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import attrs
import torch

from fourm_runtime.checkpoints.files import write_text
from fourm_runtime.loss import Divisor, stream_factors
from fourm_runtime.training.step import StepCounts, StepLosses, stream_losses, total_loss
from fourm_schema.errors import MissingExtraError, TrainingError
from fourm_schema.plan import Plan

METRICS = "metrics.jsonl"


@attrs.frozen
class StepMetrics:
    """One step in numbers.

    Attributes:
        step: its number, from 0.
        loss: what the gradient is the gradient of, nats.
        losses: stream -> mean loss of its targets, nats per token; streams without targets are missing.
        lr: learning rate.
        grad_norm: Euclidean norm of the gradient before clipping.
        tokens_in, tokens_out: visible and predicted tokens, over all ranks.
        samples_per_second: over the steps that were read together with this one.
        seconds: wall-clock time of the step, likewise averaged.
    """

    step: int
    loss: float
    losses: Mapping[str, float]
    lr: float
    grad_norm: float
    tokens_in: int
    tokens_out: int
    samples_per_second: float
    seconds: float

    def require_finite(self, advice: str = "") -> None:
        """Refuse a step whose gradient is no number.

        Raises:
            TrainingError: naming the step, its loss and those of its streams.
        """
        if math.isfinite(self.grad_norm) and math.isfinite(self.loss):
            return
        culprits = [name for name, loss in self.losses.items() if not math.isfinite(loss)]
        cause = f"nor is the loss of {', '.join(culprits)}" if culprits else "though every loss is"
        streams = ", ".join(f"{name} {loss:.4g}" for name, loss in self.losses.items())
        raise TrainingError(
            f"step {self.step}",
            f"the gradient is not finite, {cause}",
            got=f"gradient norm {self.grad_norm:.4g}, loss {self.loss:.4g} ({streams})",
            mend=advice or "lower optimizer.lr, lengthen the warm-up, or look at this step's samples",
        )


@attrs.frozen(eq=False)
class _Pending:
    step: int
    lr: float
    counts: StepCounts
    losses: StepLosses


class Writer(Protocol):
    """Where metrics go."""

    def write(self, metrics: StepMetrics) -> None:
        """Take one step."""

    def close(self) -> None:
        """Finish."""


class MetricsLog:
    """Collects steps and, when flushed, turns them to numbers and hands them to the writers.

    Args:
        plan: gives the order of the streams.
        divisor: of the loss.
        samples_per_step: over all ranks.
        writers: where numbers go; none on ranks that do not lead.
        advice: what to do when a gradient is not finite.
    """

    def __init__(
        self,
        plan: Plan,
        divisor: Divisor,
        samples_per_step: int,
        writers: Iterable[Writer] = (),
        advice: str = "",
    ) -> None:
        self._plan, self._samples = plan, samples_per_step
        self._divisor: Divisor = divisor
        self._writers, self._advice = tuple(writers), advice
        self._pending: list[_Pending] = []
        self._since = time.perf_counter()
        self.last: StepMetrics | None = None

    def add(self, step: int, lr: float, counts: StepCounts, losses: StepLosses) -> None:
        """Remember a step without waiting for its numbers."""
        self._pending.append(_Pending(step, lr, counts, losses))

    def flush(self) -> None:
        """Wait for the numbers of all remembered steps and write them.

        Raises:
            TrainingError: at the first step whose gradient is not finite; it is not written.
        """
        if not self._pending:
            return
        table = torch.stack([torch.cat([p.losses.sums, p.losses.norm.double()[None]]) for p in self._pending])
        rows: list[list[float]] = table.tolist()
        now = time.perf_counter()
        seconds = (now - self._since) / len(rows)
        pending, self._pending, self._since = self._pending, [], now
        for item, row in zip(pending, rows, strict=True):
            self.last = self._numbers(item, row, seconds)
            self.last.require_finite(self._advice)
            for writer in self._writers:
                writer.write(self.last)

    def restart_clock(self) -> None:
        """Forget the time since the last flush, e.g. when it went into a checkpoint."""
        self._since = time.perf_counter()

    def close(self) -> None:
        """Finish the writers; what was not flushed is lost."""
        for writer in self._writers:
            writer.close()

    def _numbers(self, item: _Pending, row: list[float], seconds: float) -> StepMetrics:
        sums = {stream.name: value for stream, value in zip(self._plan.targets, row, strict=False)}
        return StepMetrics(
            step=item.step,
            loss=total_loss(sums, stream_factors(item.counts.targets, self._plan, self._divisor)),
            losses=stream_losses(sums, item.counts),
            lr=item.lr,
            grad_norm=row[-1],
            tokens_in=item.counts.tokens_in,
            tokens_out=item.counts.tokens_out,
            samples_per_second=self._samples / max(seconds, 1e-9),
            seconds=seconds,
        )


class JsonLines:
    """Appends each step to `metrics.jsonl`, at once, so that a killed run leaves whole lines.

    Args:
        run: the run's directory.
        first: the step that comes next; what the file holds of it and later is dropped, so that a run
            that resumes from a checkpoint writes each step once.
    """

    def __init__(self, run: Path, first: int = 0) -> None:
        path = run / METRICS
        drop_lines_from(path, first)
        self._file = path.open("a", encoding="utf-8")

    def write(self, metrics: StepMetrics) -> None:
        self._file.write(json.dumps(attrs.asdict(metrics)) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """The same numbers for TensorBoard, in the run's `tensorboard` folder.

    Args:
        run: the run's directory.
        first: the step that comes next.

    Raises:
        MissingExtraError: if tensorboard is not installed.
    """

    def __init__(self, run: Path, first: int = 0) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise MissingExtraError("train --tensorboard", "tensorboard") from None
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=first)

    def write(self, metrics: StepMetrics) -> None:
        numbers = {
            "loss": metrics.loss,
            "lr": metrics.lr,
            "grad_norm": metrics.grad_norm,
            "samples_per_second": metrics.samples_per_second,
            **{f"loss/{name}": loss for name, loss in metrics.losses.items()},
        }
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, metrics.step)

    def close(self) -> None:
        self._writer.close()


def read_metrics(run: Path | str) -> list[StepMetrics]:
    """Read a run's metrics, one entry per step; a line that a killed process left unfinished is skipped."""
    return [
        StepMetrics(**json.loads(line)) for line in _lines(Path(run) / METRICS) if _step_of(line) is not None
    ]


def drop_lines_from(path: Path, first: int) -> None:
    """Leave in a file of JSON lines only those whose `step` is below `first`; make it if it is missing."""
    steps = ((line, _step_of(line)) for line in _lines(path))
    write_text(path, "".join(f"{line}\n" for line, step in steps if step is not None and step < first))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _step_of(line: str) -> int | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    step = found.get("step") if isinstance(found, dict) else None
    return step if isinstance(step, int) else None
