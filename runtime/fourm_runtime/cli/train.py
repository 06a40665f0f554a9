"""`fourm train`: a recipe, a schema and samples in; a run's directory out."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The YAML file that says how to train.")],
    to: Annotated[Path, typer.Option("--to", metavar="RUN", help="Folder of the run.")],
    schema: Annotated[
        Path | None,
        typer.Option(
            "--schema", metavar="FILE", help="The YAML file of the modalities. Default: the dataset's own."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DATASET", help="Samples, encoded. Default: the recipe's dataset."),
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option("--held-out", metavar="DATASET", help="Samples to evaluate on, encoded.")
    ] = None,
    codecs: Annotated[
        Path | None,
        typer.Option(
            "--codecs",
            metavar="FOLDER",
            help="Codecs by modality, as `fourm codec train` writes them. Default: built from the schema.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Change a field of the recipe; repeat it for more."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run from its newest checkpoint.")
    ] = False,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="With --resume: take over more or fewer modalities, another recipe and dataset.",
        ),
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda or cuda:N. Default: a GPU where there is one.")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes",
            min=1,
            help="Processes of this machine that share the work. Default: 1; on CPUs, try one per core.",
        ),
    ] = 1,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write numbers for TensorBoard too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Draw no progress bar.")] = False,
) -> None:
    """Train a model; metrics go to RUN/metrics.jsonl, checkpoints to RUN/checkpoints.

    Ctrl-C writes a checkpoint at the next step and ends. A run that ended, or was killed, goes on with
    --resume as if it had not been cut off. Processes on several machines: start it under `torchrun`.

    Example:
        fourm train train.yaml --data digits.lance --codecs codecs/ --to runs/digits
    """
    from fourm_runtime.cli.codec_folder import read_codecs
    from fourm_runtime.data.dataset import Dataset
    from fourm_runtime.training.recipe import load_recipe
    from fourm_runtime.training.trainer import train as train_model
    from fourm_runtime.training.world import leave_world
    from fourm_schema.errors import TrainingError
    from fourm_schema.load import load_schema

    how = load_recipe(recipe, settings or ())
    samples = data or next((Path(name) for name in how.datasets), None)
    if samples is None:
        raise TrainingError(
            str(recipe), "names no dataset", mend="give --data, or write datasets: {x.lance: 1}"
        )
    declared = load_schema(schema) if schema is not None else Dataset.open(samples).schema
    stored = None if codecs is None and resume else read_codecs(declared, codecs)
    done = train_model(
        how,
        declared,
        samples,
        to,
        codecs=stored,
        held_out=held_out,
        resume=resume,
        extend=extend,
        device=device,
        processes=processes,
        quiet=quiet,
        tensorboard=tensorboard,
    )
    leave_world()
    if not done.leads:
        return
    ended = "trained" if done.finished else "stopped; go on with --resume"
    loss = "" if done.last is None else f", loss {done.last.loss:.4f}"
    print(f"{done.checkpoint}: {done.step:,} of {how.total_steps:,} steps{loss}, {ended}")
