"""`fourm import 4m` and `fourm export 4m`: models of the released 4M code, in and out."""

from pathlib import Path
from typing import Annotated

import typer

imports = typer.Typer(no_args_is_help=True, help="Take over models of other programs.")
exports = typer.Typer(no_args_is_help=True, help="Write models for other programs.")


@imports.command("4m")
def import_4m(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="model.safetensors with its configuration, a folder with config.json, "
            "or OWNER/NAME of the hub.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to write the checkpoint.")],
    text_tokenizer: Annotated[
        Path | None,
        typer.Option(
            "--text-tokenizer",
            metavar="FILE",
            help="Tokenizer file of the model. Without it, texts are rows of token ids.",
        ),
    ] = None,
) -> None:
    """Turn a released 4M or 4M-21 model into a checkpoint with a schema.

    Every tensor is checked against what the configuration asks for, and all that disagree are told at once.
    Nothing in the file is run. A modality keeps its 4M name as an alias.

    Example:
        fourm import 4m 4M-21_XL/model.safetensors --to models/4m-21-xl --text-tokenizer tokenizer.json
    """
    from fourm_runtime.checkpoints.store import save
    from fourm_runtime.cli.progress import counted
    from fourm_runtime.hub import fetch, is_hub_id
    from fourm_runtime.released import importing

    require_new(to)
    place = fetch(str(path)) if is_hub_id(path) else path
    checkpoint = importing.import_4m(place, text_tokenizer, progress=lambda names: counted(names, "tensors"))
    save(to, checkpoint)
    count = sum(tensor.numel() for tensor in checkpoint.weights.values())
    print(f"{to}: {len(checkpoint.plan.streams)} streams, {count:,} numbers")


@exports.command("4m")
def export_4m(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of one checkpoint.")],
    to: Annotated[
        Path,
        typer.Option("--to", metavar="PATH", help="A file NAME.safetensors, or a folder for the two files."),
    ],
) -> None:
    """Write a model as the released 4M code reads it.

    An imported model comes back bit for bit, with its configuration. Every modality needs a 4M name.

    Example:
        fourm export 4m models/4m-21-xl --to 4M-21_XL/model.safetensors
    """
    from fourm_runtime.checkpoints.store import load
    from fourm_runtime.released import exporting

    require_new(to)
    exporting.export_4m(load(run), to)
    print(to)


def require_new(place: Path) -> None:
    """Refuse to write over something.

    Raises:
        CheckpointError: if there is a file, or a folder with something in it.
    """
    from fourm_schema.errors import CheckpointError

    if place.is_dir() and not any(place.iterdir()):
        return
    if place.exists():
        raise CheckpointError(str(place), "exists already", mend="give a new name, or remove it first")
