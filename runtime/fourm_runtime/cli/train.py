"""`fourm train`: a recipe, a schema and samples in; a run's directory out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fourm_runtime.cli.data_place import StorageOption, place_of

if TYPE_CHECKING:
    from fourm_runtime.training.mixing import Given
    from fourm_schema.schema import Schema


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The YAML file that says how to train.")],
    to: Annotated[Path, typer.Option("--to", metavar="RUN", help="Folder of the run.")],
    schema: Annotated[
        Path | None,
        typer.Option(
            "--schema",
            metavar="FILE",
            help="The YAML file of the modalities. Default: that of --from, else the dataset's own.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Begin with the weights of a checkpoint, run, released 4M model or OWNER/NAME of the hub.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DATASET", help="Samples, encoded. Default: the recipe's datasets."),
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
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare",
            help="First fit the codecs that --codecs lacks, briefly, and encode what is not encoded yet.",
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
    storage: StorageOption = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write numbers for TensorBoard too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Draw no progress bar.")] = False,
) -> None:
    """Train a model; metrics go to RUN/metrics.jsonl, checkpoints to RUN/checkpoints.

    Ctrl-C writes a checkpoint at the next step and ends. A run that ended, or was killed, goes on with
    --resume as if it had not been cut off. Processes on several machines: start it under `torchrun`.

    With --from the run begins with trained weights: the recipe leaves `model` out, what the samples lack of
    the model's modalities is absent, and those that --schema adds begin at random.

    With --prepare what `fourm codec train` and `fourm data encode` do is done first, where it is not done
    yet; codecs of images and vectors are fitted for some minutes only.

    Example:
        fourm train train.yaml --data digits.lance --codecs codecs/ --to runs/digits
    """
    from fourm_runtime.cli.codec_folder import read_codecs, token_modalities
    from fourm_runtime.training.recipe import load_recipe
    from fourm_runtime.training.starting_point import schema_of_run, schema_of_start
    from fourm_runtime.training.trainer import train as train_model
    from fourm_runtime.training.world import leave_world
    from fourm_schema.errors import TrainingError
    from fourm_schema.load import load_schema

    how = load_recipe(recipe, settings or ())
    samples: Given
    if data is not None:
        samples = place_of(data, storage)
    else:
        samples = {place_of(name, storage): weight for name, weight in how.datasets.items()}
    if not samples:
        raise TrainingError(
            str(recipe), "names no dataset", mend="give --data, or write datasets: {x.lance: 1}"
        )
    if prepare:
        from fourm_runtime.cli.prepare import prepare_samples
        from fourm_runtime.data.location import Location

        prepare_samples([samples] if isinstance(samples, Location) else list(samples), codecs)
    declared = (
        load_schema(schema)
        if schema is not None
        else schema_of_run(samples, to, start, resume=resume, extend=extend)
    )
    if start is not None and schema is None:
        _tell_left_out(samples, declared)
    stored = None
    if codecs is not None or not (resume or start):
        known = schema_of_start(start).modalities if start is not None else ()
        added = [name for name in token_modalities(declared) if name not in known]
        stored = read_codecs(declared, codecs, added)
    done = train_model(
        how,
        declared,
        samples,
        to,
        start=start,
        codecs=stored,
        held_out=None if held_out is None else place_of(held_out, storage),
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
    print(f"{done.checkpoint}: {done.step:,} of {done.total:,} steps{loss}, {ended}")


def _tell_left_out(samples: "Given", declared: "Schema") -> None:
    """Name what datasets have and the model does not know."""
    from fourm_runtime.data.dataset import Dataset
    from fourm_runtime.training.mixing import parts_of

    for part in parts_of(samples):
        dataset = part.dataset if isinstance(part.dataset, Dataset) else Dataset.open(part.dataset)
        more = [name for name in dataset.schema.modalities if name not in declared.modalities]
        if more:
            print(f"{dataset.path}: the model does not know {', '.join(more)}; --schema can add them")
