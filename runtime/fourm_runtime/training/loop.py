"""The steps of a run, one after the other: read, compute, write down, update, now and then save.

Everything a step depends on is a function of its number and of the state that checkpoints hold, so a run
that was cut off anywhere goes on as if it had not been.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import attrs
import numpy as np

from fourm_runtime.checkpoints import store as checkpoints
from fourm_runtime.checkpoints.run_folder import publish, step_directory
from fourm_runtime.checkpoints.state import DatasetMark, TrainingState
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.data.mixed_order import MixedOrder
from fourm_runtime.data.order import Order, SampleOrder
from fourm_runtime.data.prefetch import Prefetch
from fourm_runtime.masking.mask import Masker
from fourm_runtime.training.evaluate import evaluate
from fourm_runtime.training.interrupts import Interrupts
from fourm_runtime.training.learner import Learner
from fourm_runtime.training.metrics import (
    JsonLines,
    MetricsLog,
    StepMetrics,
    TensorBoard,
    Writer,
    drop_lines_from,
)
from fourm_runtime.training.preparation import Preparation, Source
from fourm_runtime.training.progress import Progress
from fourm_runtime.training.recipe import Recipe, working_precision
from fourm_runtime.training.step import count_step
from fourm_runtime.training.world import World
from fourm_schema.errors import TrainingError

EVALUATION = "evaluation.jsonl"

Evaluation = Callable[[Learner, int], None]
"""Called with the learner and the steps done."""


@attrs.frozen(eq=False)
class Samples:
    """What training reads: a source of samples, and which samples they are: those of each dataset."""

    source: Source
    marks: tuple[DatasetMark, ...]

    def order(self, seed: int) -> SampleOrder:
        """The order in which they are seen."""
        if len(self.marks) == 1:
            return Order(self.marks[0].rows, seed)
        return MixedOrder(
            tuple(mark.rows for mark in self.marks), tuple(mark.weight for mark in self.marks), seed
        )


@attrs.frozen
class TrainedRun:
    """What a run has come to.

    Attributes:
        run: its directory.
        checkpoint: its newest checkpoint.
        step, total: steps done, and those of the whole run.
        finished: False if it was asked to stop before its last step.
        last: numbers of the last step; None if none was left to do.
        leads: whether this process is the one that wrote the files.
    """

    run: Path
    checkpoint: Path
    step: int
    total: int
    finished: bool
    last: StepMetrics | None
    leads: bool = True


@attrs.define(eq=False)
class Start:
    """Where a run begins: fresh, or at a checkpoint."""

    checkpoint: Checkpoint
    state: TrainingState | None

    @property
    def step(self) -> int:
        return 0 if self.state is None else self.state.step

    def release(self) -> None:
        """Let weights and state go, once the run has them: a large model does not fit twice."""
        self.checkpoint, self.state = attrs.evolve(self.checkpoint, weights={}), None


def run_steps(
    recipe: Recipe,
    start: Start,
    samples: Samples,
    run: Path,
    world: World | None = None,
    evaluation: Evaluation | None = None,
    *,
    quiet: bool = False,
    tensorboard: bool = False,
) -> TrainedRun:
    """Take the steps from `start` to the recipe's last one, whatever the samples come from.

    `start` is emptied: it is good for one run.

    Raises:
        TrainingError: if ranks outnumber the samples of a step, or a gradient is not finite.
    """
    world = world or World()
    if world.size > recipe.steps.samples_per_step:
        raise TrainingError(
            "steps.samples_per_step",
            "is less than one sample per rank",
            got=f"{recipe.steps.samples_per_step} samples, {world.size} ranks",
            mend="start fewer ranks, or raise it",
        )
    done, total, resumed = start.step, recipe.total_steps, start.state is not None
    learner = Learner(start.checkpoint.model(), recipe, world)
    if start.state is not None:
        learner.restore(start.state.optimizer, start.state.average, start.state.average_updates)
    start.release()
    origin = start.checkpoint
    # Nobody writes into the run before every rank has seen what was in it.
    world.wait()
    run.mkdir(parents=True, exist_ok=True)
    writers: list[Writer] = [JsonLines(run, done)] if world.leads else []
    if world.leads and (run / EVALUATION).exists():
        drop_lines_from(run / EVALUATION, done + 1)
    if tensorboard and world.leads:
        writers.append(TensorBoard(run, done))
    log = MetricsLog(
        origin.plan,
        recipe.loss.divisor,
        recipe.steps.samples_per_step,
        writers,
        advice="no checkpoint was touched: lower optimizer.lr or set optimizer.clip, and go on with --resume",
    )
    preparation = Preparation(
        samples.source,
        samples.order(recipe.seed),
        Masker(origin.plan, recipe.mixture(origin.plan), recipe.seed),
        origin.plan,
        origin.allocation,
        recipe.steps.samples_per_step,
        origin.architecture.registers,
        recipe.steps.micro_batch_tokens,
        world,
        origin.architecture.decoder_streams_apart,
        origin.architecture.decoder_left_to_right,
    )
    saved = done if resumed else -1

    def save() -> None:
        nonlocal saved
        if saved != done:
            log.flush()
            _save(learner, recipe, origin, samples.marks, run, done)
            log.restart_clock()
            saved = done

    names = [stream.name for stream in origin.plan.targets]
    schedule, on_cpu = recipe.schedule(), world.device.type == "cpu"
    with ExitStack() as stack:
        stack.callback(log.close)
        progress = stack.enter_context(Progress(total, done, quiet or not world.leads))
        interrupts = stack.enter_context(Interrupts())
        ahead, threads = recipe.reading.ahead, recipe.reading.threads
        steps = stack.enter_context(
            Prefetch(preparation.prepare, done, max(done, total), ahead=ahead, threads=threads)
        )
        log.restart_clock()
        for prepared in steps:
            counts = count_step(prepared, names, world, interrupts.asked)
            if counts.stop:
                break
            losses, rate = learner.compute(prepared, counts), schedule.at(done)
            log.add(done, rate, counts, losses)
            # Reading numbers costs nothing on a CPU, and so a bad gradient never reaches the weights there.
            if on_cpu or (done + 1) % recipe.log_every == 0:
                log.flush()
                progress.show(done + 1, log.last)
            learner.update(rate, losses.norm)
            done += 1
            if done % recipe.checkpoint_every == 0 or done == total:
                save()
            due = recipe.evaluate_every is not None and done % recipe.evaluate_every == 0
            if evaluation is not None and world.leads and (due or done == total):
                evaluation(learner, done)
                log.restart_clock()
        save()
    world.wait()
    newest = step_directory(run, done)
    return TrainedRun(run, newest, done, total, done >= total, log.last, world.leads)


@attrs.frozen(eq=False)
class HeldOut:
    """Evaluates a learner on held-out samples and appends the scores to `evaluation.jsonl`."""

    source: Source
    rows: int
    run: Path
    recipe: Recipe

    def __call__(self, learner: Learner, step: int) -> None:
        plan = learner.model.plan
        scores = evaluate(
            learner.model,
            Masker(plan, self.recipe.mixture(plan), self.recipe.seed),
            self.source,
            np.arange(self.rows),
            seed=self.recipe.seed,
            divisor=self.recipe.loss.divisor,
            precision=working_precision(self.recipe, learner.world.device),
        )
        with (self.run / EVALUATION).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **scores.to_json()}) + "\n")


def _save(
    learner: Learner,
    recipe: Recipe,
    origin: Checkpoint,
    marks: tuple[DatasetMark, ...],
    run: Path,
    step: int,
) -> None:
    """Write a checkpoint on the leading rank; the others wait until it is there."""
    if learner.world.leads:
        average = learner.average
        state = TrainingState(
            step,
            recipe.model_dump(mode="json"),
            marks,
            learner.optimizer_state(),
            None if average is None else average.weights,
            0 if average is None else average.updates,
        )
        model = Checkpoint.of(learner.model, origin.schema, origin.codecs)
        checkpoints.save(step_directory(run, step), model, state)
        publish(run, step, recipe.keep_checkpoints)
    learner.world.wait()
