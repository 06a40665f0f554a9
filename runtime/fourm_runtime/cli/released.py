"""`fourm import 4m` and `fourm export 4m`: models of the released 4M code, in and out."""

from collections.abc import Sequence
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
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            "--tokenizer",
            metavar="NAME=PATH",
            help="Tokenizer of an image or vector: a codec of `fourm import 4m-tokenizer`, or what it takes. "
            "Without it, the modality is token ids. Repeat for more.",
        ),
    ] = None,
) -> None:
    """Turn a released 4M or 4M-21 model into a checkpoint with a schema.

    Every tensor is checked against what the configuration asks for, and all that disagree are told at once.
    Nothing in the file is run. A modality keeps its 4M name as an alias.

    Example:
        fourm import 4m 4M-21_XL/model.safetensors --to models/4m-21-xl --text-tokenizer tokenizer.json
        fourm import 4m 4M-7_B --to models/4m-7 --tokenizer tok_semseg@224=codecs/tok_semseg
    """
    from fourm_runtime.checkpoints.store import save
    from fourm_runtime.cli.progress import counted
    from fourm_runtime.hub import fetch, is_hub_id
    from fourm_runtime.released import importing

    require_new(to)
    place = fetch(str(path)) if is_hub_id(path) else path
    checkpoint = importing.import_4m(
        place, text_tokenizer, _named(tokenizer or []), progress=lambda names: counted(names, "tensors")
    )
    save(to, checkpoint)
    count = sum(tensor.numel() for tensor in checkpoint.weights.values())
    print(f"{to}: {len(checkpoint.plan.streams)} streams, {count:,} numbers")


@imports.command("4m-tokenizer")
def import_4m_tokenizer(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="model.safetensors with its configuration, a folder with config.json, "
            "or OWNER/NAME of the hub.",
        ),
    ],
    name: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="NAME",
            help="What its values are: a 4M name (tok_rgb, tok_semseg@448, sam_mask, human_pose, ...), "
            "or a modality of the schema.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to write the codec.")],
    schema: Annotated[
        Path | None,
        typer.Option(
            "--schema", metavar="FILE", help="Take the entry of this file that asks for `codec: vq-4m`."
        ),
    ] = None,
    heads: Annotated[
        int,
        typer.Option(
            "--heads",
            metavar="N",
            min=0,
            help="Attention heads, for an enc_type that is none of the released ones.",
        ),
    ] = 0,
) -> None:
    """Turn a released tokenizer of 4M into a codec: images, class maps, features and vectors become its ids.

    Every tensor is checked against what the configuration asks for, and all that disagree are told at once.
    Nothing in the file is run. A DiVAE gives ids; its diffusion decoder is kept, and cannot be run yet.

    Example:
        fourm import 4m-tokenizer 4M_tokenizers_semseg_4k_224-448 --for tok_semseg --to codecs/tok_semseg
        fourm import 4m-tokenizer model.safetensors --schema modalities.yaml --for photo --to codecs/photo
    """
    from fourm_codecs.store import save_codec
    from fourm_runtime.released.tokenizers import import_tokenizer
    from fourm_schema.load import load_schema

    require_new(to)
    codec = import_tokenizer(path, name, None if schema is None else load_schema(schema), heads)
    save_codec(codec, to)
    tokens = "x".join(map(str, codec.token_shape))
    print(f"{to}: {codec.modality}, {tokens} tokens of {codec.vocab_size:,} ids; {codec.law.describe()}")
    if not codec.can_decode:
        print(f"{codec.why_not_decoded}; it serves as an input")


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


def _named(given: Sequence[str]) -> dict[str, str]:
    """NAME=PATH as a mapping.

    Raises:
        RequestError: if one is not written so, or a name comes twice.
    """
    from fourm_schema.errors import RequestError

    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not name or not equals or not path:
            raise RequestError("--tokenizer", "is written NAME=PATH", got=repr(text))
        if name in found:
            raise RequestError("--tokenizer", f"gives {name} a second time", got=repr(text))
        found[name] = path
    return found


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
