"""`fourm init`: a folder of samples in, a draft of `modalities.yaml` out."""

from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.schema import AsJson
from fourm_runtime.cli.show import show_json, show_table

MOST_LINES = 20


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Samples: images, arrays, texts, tables of annotations.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The YAML file to write.")] = Path(
        "modalities.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a folder of samples and write a first `modalities.yaml`, with comments.

    Files and rows are sampled: a large folder takes seconds. Each entry stands under comments that say what
    was seen, what may have to be changed, and what must be done before the data can be imported. What was
    not understood is listed.

    Example:
        fourm init photos/ --to modalities.yaml
    """
    import attrs

    from fourm_runtime.scan.draft import init as draft_of
    from fourm_schema.errors import DataError

    if to.exists() and not force:
        raise DataError(
            str(to), "is there already", mend="name another by --to, or give --force to replace it"
        )
    draft = draft_of(folder)
    try:
        with to.open("w" if force else "x", encoding="utf-8") as file:
            file.write(draft.yaml)
    except OSError as error:
        raise DataError(str(to), "cannot be written", got=error.strerror or str(error)) from None
    steps = draft.next_steps(to)
    if as_json:
        show_json(
            {
                "file": str(to),
                "modalities": [attrs.asdict(found) for found in draft.found],
                "skipped": [attrs.asdict(item) for item in draft.skipped],
                "ready": None if draft.ready is None else str(draft.ready),
                "next": steps,
            }
        )
        return
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
    print("\nnext:")
    for step in steps:
        print(f"  {step}")
