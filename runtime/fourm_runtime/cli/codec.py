"""`fourm codec ...`: train what has to be trained, and hold every codec to its law."""

from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.data_place import StorageOption, open_dataset
from fourm_runtime.cli.show import show_json, show_table
from fourm_schema.errors import CodecError

group = typer.Typer(no_args_is_help=True, help="Train codecs and hold them to their laws.")


@group.command()
def train(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A vocabulary's name in the schema, or that of a modality with a learned codec.",
        ),
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DATASET", help="Learn from the values of this dataset.")
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="Folder of codecs, one sub-folder per modality.")
    ],
    size: Annotated[str, typer.Option(metavar="NAME", help="Learned codec: size of the networks.")] = "tiny",
    steps: Annotated[int, typer.Option(metavar="N", help="Learned codec: steps of the optimizer.")] = 2000,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Learned codec: values per step.")] = 64,
    lr: Annotated[float, typer.Option(metavar="RATE", help="Learned codec: highest learning rate.")] = 2e-3,
    seed: Annotated[
        int,
        typer.Option(metavar="SEED", help="Learned codec: of the first weights and the order of the values."),
    ] = 0,
    ema: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Learned codec: take a moving average of the weights, e.g. 0.999; 0 does not.",
        ),
    ] = 0.0,
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="SIDES",
            help="Learned codec of images: sides in cells, e.g. 64,96,128; each step is trained at one of "
            "them. The declared size if left out.",
        ),
    ] = None,
    perceptual: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Learned codec of images of numbers: add this loss, an entry point fourm.perceptual.",
        ),
    ] = None,
    perceptual_weight: Annotated[
        float, typer.Option(metavar="WEIGHT", help="Learned codec: weight of the loss of --perceptual.")
    ] = 1.0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Learned codec: go on with a fit that was cut off, as if it had not been."
        ),
    ] = False,
    storage: StorageOption = None,
) -> None:
    """Learn a word vocabulary from texts, or a learned codec from images, vectors, or the fields of a set.

    A vocabulary is learned from every text that is written in it, those of sets too, and goes into one
    codec per modality that has such texts. A learned codec is fitted to nine values in ten and measured on
    the tenth; what it keeps of those is its law, and stands in NAME/fit with a picture. Of a set,
    each field in learned codes (a mask, a long vector) is fitted so, to its values in all records, and
    NAME/FIELD/fit says what is kept. The same values and seed give the same codec.

    Example:
        fourm codec train words --data digits.lance --to codecs/
        fourm codec train photo --data photos.lance --to codecs/ --size small --steps 20000
    """
    from fourm_codecs.fit import FitRecipe
    from fourm_codecs.perceptual import perceptual_loss
    from fourm_runtime.cli.codec_train import (
        sizes_of,
        train_learned,
        train_set,
        train_vocabulary,
        trainable,
        unknown,
    )

    dataset = open_dataset(data, storage)
    known = trainable(dataset)
    if name not in known:
        raise unknown(dataset, name, known)
    if name in dataset.schema.vocabularies:
        print(train_vocabulary(dataset, name, known[name], to))
        return
    recipe = FitRecipe(
        size=size,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        ema=ema,
        sizes=sizes_of(sizes),
        perceptual_weight=perceptual_weight,
    )
    loss = None if perceptual is None else perceptual_loss(perceptual)
    if dataset.schema.modalities[name].kind != "set":
        print(train_learned(dataset, name, to, recipe, resume, loss))
    elif loss is None:
        print(train_set(dataset, name, to, recipe, resume))
    else:
        raise CodecError(name, "a perceptual loss is for images of numbers", got="a set")


@group.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file that declares the modalities.")],
    codecs: Annotated[
        Path | None,
        typer.Option(
            "--codecs", metavar="FOLDER", help="Codecs by modality; texts need one, trained on your data."
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=1, help="Values that are drawn for each modality.")
    ] = 100,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DATASET",
            help="Measure learned codecs on its first values, as many as --examples.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout in place of text.")] = False,
    storage: StorageOption = None,
) -> None:
    """Hold the codec of every modality to its law, on values drawn from its schema entry.

    The same values are drawn each time. The law of a learned codec says what was measured when it was
    fitted; with --data, what it keeps of other values stands beside it. Needs the extra `test`. Exit status
    1: a codec breaks its law.

    Example:
        fourm codec check modalities.yaml --codecs codecs/ --data held-out.lance
    """
    import attrs

    from fourm_runtime.cli.codec_check import check_codec, measure
    from fourm_runtime.cli.codec_folder import read_codecs
    from fourm_schema.load import load_schema

    schema = load_schema(file)
    found = read_codecs(schema, codecs)
    rows = [check_codec(codec, schema.modalities[name], examples) for name, codec in found.items()]
    if data is not None:
        dataset = open_dataset(data, storage)
        rows = [
            attrs.evolve(row, measured=measure(found[row.modality], dataset.values(row.modality), examples))
            for row in rows
        ]
    if as_json:
        show_json([attrs.asdict(row) for row in rows])
    else:
        show_table(
            str(file),
            ("modality", "codec", "law", "kept", *(["measured"] if data is not None else [])),
            ((r.modality, r.codec, r.law, r.kept, *([r.measured] if data is not None else [])) for r in rows),
        )
        for row in rows:
            for fault in row.faults:
                print(f"{row.modality}: {fault}")
    if not all(row.kept for row in rows):
        raise typer.Exit(1)
