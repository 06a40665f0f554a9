"""`train`: from a recipe, a schema and a dataset to a run's directory of checkpoints and metrics.

runs/x/metrics.jsonl                   one line per step
runs/x/evaluation.jsonl                one line per evaluation, if held-out samples were given
runs/x/checkpoints/step-00001000/      see `fourm_runtime.checkpoints.run_folder`
runs/x/checkpoints/latest              the name of the newest
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourm_codecs.base import StoredCodec
from fourm_runtime.assemble import assemble
from fourm_runtime.checkpoints.files import listed
from fourm_runtime.checkpoints.grow import grow, grow_state, require_same_schema
from fourm_runtime.checkpoints.run_folder import has_checkpoint
from fourm_runtime.checkpoints.store import Checkpoint, load, load_training_state
from fourm_runtime.training.loop import HeldOut, Start, TrainedRun, run_steps
from fourm_runtime.training.metrics import METRICS
from fourm_runtime.training.processes import run_in_processes
from fourm_runtime.training.recipe import Recipe, differences
from fourm_runtime.training.starting_point import begin_at, complete_codecs, differing, schema_of_run
from fourm_runtime.training.world import join_world
from fourm_schema.errors import TrainingError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

if TYPE_CHECKING:
    from fourm_runtime.data.dataset import Dataset
    from fourm_runtime.data.location import Location
    from fourm_runtime.training.mixing import Given


def train(
    recipe: Recipe,
    schema: Schema | None,
    dataset: "Given",
    out_dir: Path | str,
    *,
    start: Path | str | None = None,
    codecs: Mapping[str, StoredCodec] | None = None,
    held_out: "Dataset | Location | Path | str | None" = None,
    resume: bool = False,
    extend: bool = False,
    device: str | None = None,
    processes: int = 1,
    quiet: bool = False,
    tensorboard: bool = False,
) -> TrainedRun:
    """Train a model, or go on with a run.

    A run that was killed goes on from its newest checkpoint with the same samples, masks and losses as if
    it had never stopped. SIGINT and SIGTERM make it write a checkpoint at the next step border and return.

    Args:
        recipe: how to train.
        schema: what the data is; None takes that of `start`, of the run that goes on, or of the dataset.
        dataset: the samples, token columns filled; several datasets as {path: weight}. Modalities of the
            schema that a dataset lacks are absent in its samples. The run pins the versions that it reads.
        out_dir: the run's directory.
        start: the model whose weights the run begins with: a checkpoint, a run, a released 4M model, or
            OWNER/NAME of the hub. A schema with other modalities grows it. None begins at random.
        codecs: modality -> codec, stored in every checkpoint; those that follow from the schema alone may
            be left out, those of texts may not.
        held_out: samples to evaluate on, each `recipe.evaluate_every` steps and at the end.
        resume: go on with the run in `out_dir`; it starts anew if that has no checkpoint yet.
        extend: with `resume`, take over a schema with added or removed modalities, a changed recipe and
            the dataset as it is now.
        device: `cpu`, `cuda` or `cuda:<n>`; None takes a GPU where there is one.
        processes: that share the work, all on this machine; a script that asks for several keeps what it
            does behind `if __name__ == "__main__"`, since they import it.
        quiet: no progress bar.
        tensorboard: write numbers for TensorBoard too.

    Raises:
        TrainingError: if the directory holds another run, the recipe does not fit the run, or a gradient
            is not finite.
        CheckpointError: if the checkpoint is damaged, or the schema is not the run's.
        DataError: if the dataset does not hold what the schema says.
    """
    from fourm_runtime.data.reader import Reader
    from fourm_runtime.training.mixing import open_samples
    from fourm_runtime.training.open_dataset import open_dataset

    if processes != 1:
        if processes < 1:
            raise TrainingError("processes", "must be 1 or more", got=str(processes))
        work = partial(
            train, recipe, schema, _path(dataset), out_dir, start=start, codecs=codecs,
            held_out=None if held_out is None else _path(held_out),
            resume=resume, extend=extend, device=device, quiet=quiet, tensorboard=tensorboard,
        )  # fmt: skip
        return run_in_processes(processes, device, work)
    world, run = join_world(device), Path(out_dir)
    declared = schema or schema_of_run(dataset, run, start, resume=resume, extend=extend)
    begun = begin(recipe, declared, run, codecs, start=start, resume=resume, extend=extend)
    plan = begun.checkpoint.plan
    marks = None if begun.state is None or extend else begun.state.datasets
    with ExitStack() as stack:
        samples = stack.enter_context(open_samples(dataset, begun.checkpoint, marks, world, run))
        recipe = recipe.counted([mark.rows for mark in samples.marks])
        evaluation = None
        if held_out is not None:
            other = open_dataset(held_out, begun.checkpoint)
            seen = stack.enter_context(Reader(other, plan))
            evaluation = HeldOut(seen, other.rows, run, recipe)
        return run_steps(recipe, begun, samples, run, world, evaluation, quiet=quiet, tensorboard=tensorboard)


def _path(given: "Given") -> Any:
    """What was given, as another process can take it: a location, or paths with their weights."""
    from fourm_runtime.data.dataset import Dataset

    return given.location if isinstance(given, Dataset) else given


def begin(
    recipe: Recipe,
    schema: Schema,
    run: Path,
    codecs: Mapping[str, StoredCodec] | None = None,
    *,
    start: Path | str | None = None,
    resume: bool = False,
    extend: bool = False,
) -> Start:
    """Find where a run begins: at its newest checkpoint, at another model's weights, or with fresh ones.

    Raises:
        TrainingError, CheckpointError: see `train`.
    """
    if extend and not resume:
        raise TrainingError("--extend", "needs a run to go on with", mend="give --resume too")
    if not resume and (run / METRICS).exists():
        raise TrainingError(
            str(run), "already holds a run", mend="go on with it by --resume, or choose another --to"
        )
    if not resume or not has_checkpoint(run):
        if start is not None:
            begun = begin_at(recipe, schema, start, codecs)
            recipe.mixture(begun.plan)
            return Start(begun, None)
        plan = resolve(schema)
        recipe.mixture(plan)
        model = assemble(plan, recipe.model.architecture(), recipe.seed)
        return Start(Checkpoint.of(model, schema, complete_codecs(schema, plan, codecs)), None)
    found, state = load(run), load_training_state(run)
    other = differing(recipe.model, found.architecture)
    if other:
        raise TrainingError(
            str(run),
            "was begun with another network, and weights cannot take another shape",
            mend=listed("set the recipe's model back, or start another run", other),
        )
    if extend:
        added = complete_codecs(schema, resolve(schema), {**(codecs or {}), **found.codecs})
        grown = grow(found, schema, added, recipe.seed)
        return Start(grown, grow_state(state, grown))
    require_same_schema(found, schema)
    changed = differences(Recipe.model_validate(state.recipe), recipe)
    if changed:
        raise TrainingError(
            str(run),
            "cannot go on with another recipe",
            mend=listed("set these back, or take them over with --extend", changed),
        )
    return Start(found, state)
