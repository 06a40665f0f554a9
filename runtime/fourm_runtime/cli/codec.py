"""`fourm codec ...`: train what has to be trained, and hold every codec to its law."""

from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.show import show_json, show_table

group = typer.Typer(no_args_is_help=True, help="Train codecs and hold them to their laws.")


@group.command()
def train(
    name: Annotated[str, typer.Argument(metavar="VOCABULARY", help="The vocabulary's name in the schema.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="DATASET", help="Learn from the texts of this dataset.")
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="Folder of codecs, one sub-folder per modality.")
    ],
) -> None:
    """Learn a word vocabulary from every text of a dataset that is written in it.

    The same texts give the same vocabulary. It is written into one codec per modality that has such texts.

    Example:
        fourm codec train words --data digits.lance --to codecs/
    """
    from fourm_codecs.build import build_codec
    from fourm_codecs.store import save_codec
    from fourm_codecs.vocabulary import WordVocabulary
    from fourm_runtime.cli.progress import counted
    from fourm_runtime.data.dataset import Dataset
    from fourm_runtime.data.layout import word_vocabulary
    from fourm_schema.errors import CodecError, nearest

    dataset = Dataset.open(data)
    schema = dataset.schema
    texts = [key for key, entry in schema.modalities.items() if word_vocabulary(key, entry) == name]
    if not texts:
        raise CodecError(
            name, "is no vocabulary of a text in this dataset", mend=nearest(name, list(schema.vocabularies))
        )
    declared = next(item for item in dataset.plan.vocabularies if item.name == name)
    strings = (text for modality in texts for text in dataset.texts(modality))
    vocabulary = WordVocabulary.train(
        counted(strings, "texts"), name, declared.size, declared.special, schema.vocabularies[name].lowercase
    )
    for modality in texts:
        save_codec(build_codec(schema, modality, {name: vocabulary}), to / modality)
    used = vocabulary.special.size + len(vocabulary.pieces)
    print(f"{to}: vocabulary {name}, {used} of {declared.size} ids used; codec of {', '.join(texts)}")


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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout in place of text.")] = False,
) -> None:
    """Hold the codec of every modality to its law, on values drawn from its schema entry.

    The same values are drawn each time. Needs the extra `test`. Exit status 1: a codec breaks its law.

    Example:
        fourm codec check modalities.yaml --codecs codecs/
    """
    import attrs

    from fourm_runtime.cli.codec_check import check_codec
    from fourm_runtime.cli.codec_folder import read_codecs
    from fourm_schema.load import load_schema

    schema = load_schema(file)
    rows = [
        check_codec(codec, schema.modalities[name], examples)
        for name, codec in read_codecs(schema, codecs).items()
    ]
    if as_json:
        show_json([attrs.asdict(row) for row in rows])
    else:
        show_table(
            str(file),
            ("modality", "codec", "law", "kept"),
            ((r.modality, r.codec, r.law, r.kept) for r in rows),
        )
        for row in rows:
            for fault in row.faults:
                print(f"{row.modality}: {fault}")
    if not all(row.kept for row in rows):
        raise typer.Exit(1)
