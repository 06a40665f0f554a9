"""`fourm init`: a folder of samples in, drafts of `modalities.yaml` and `train.yaml` out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fourm_runtime.cli.schema import AsJson
from fourm_runtime.cli.show import show_json, show_table

if TYPE_CHECKING:
    from fourm_runtime.scan.draft import Draft

MOST_LINES = 20


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Samples: images, arrays, texts, tables of annotations.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The YAML file to write.")] = Path(
        "modalities.yaml"
    ),
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe", metavar="FILE", help="The recipe to write. Default: train.yaml, beside --to."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a folder of samples and write a first `modalities.yaml` and `train.yaml`, with comments.

    Files and rows are sampled: a large folder takes seconds. Each entry stands under comments that say what
    was seen, and what may have to be changed. What was not understood is listed. Where no importer reads the
    folder as it is, `samples.jsonl` beside the YAML file names the files of each sample. The commands that
    are printed last import the samples, train on them and predict.

    Example:
        fourm init photos/ --to modalities.yaml
    """
    import attrs

    from fourm_runtime.scan.draft import init as draft_of

    plan, samples = recipe or to.with_name("train.yaml"), to.with_name("samples.jsonl")
    _require_free([to, plan], force)
    draft = draft_of(folder)
    if draft.samples is not None:
        _require_free([samples], force)
    _write(to, draft.yaml)
    _write(plan, draft.recipe)
    lines = None if draft.samples is None else draft.samples.write(samples)
    commands = draft.commands(to, plan, samples)
    if as_json:
        show_json(
            {
                "file": str(to),
                "recipe": str(plan),
                "samples": None if lines is None else str(samples),
                "modalities": [attrs.asdict(found) for found in draft.found],
                "skipped": [attrs.asdict(item) for item in draft.skipped],
                "first": draft.by_hand,
                "next": commands,
            }
        )
        return
    _print(draft, folder, to)
    print(f"\n{plan}: a first run, some minutes long")
    if lines is not None:
        print(f"{samples}: {lines:,} samples, which name their files")
    if draft.by_hand:
        print("\nfirst, by hand:")
        for need in draft.by_hand:
            print(f"  {need}")
    print(f"\nnext (the comments in {to} say what may have to be changed before):")
    for command in commands:
        print(f"  {command}")


def _print(draft: "Draft", folder: Path, to: Path) -> None:
    count = "1 modality" if len(draft.found) == 1 else f"{len(draft.found)} modalities"
    show_table(
        f"{to}: {count} drafted from {folder}",
        ("modality", "kind", "seen", "in"),
        ((found.name, found.kind, found.seen, found.origin) for found in draft.found),
    )
    if draft.skipped:
        print("\nleft out:")
        for item in draft.skipped[:MOST_LINES]:
            print(f"  {item.what}: {item.why}")
        if len(draft.skipped) > MOST_LINES:
            print(f"  and {len(draft.skipped) - MOST_LINES} more, listed at the head of {to}")


def _require_free(files: list[Path], force: bool) -> None:
    from fourm_schema.errors import DataError

    for file in files:
        if file.exists() and not force:
            raise DataError(
                str(file), "is there already", mend="name another by --to, or give --force to replace it"
            )


def _write(file: Path, text: str) -> None:
    from fourm_schema.errors import DataError

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(str(file), "cannot be written", got=error.strerror or str(error)) from None
