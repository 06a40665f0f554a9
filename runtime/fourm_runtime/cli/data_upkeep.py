"""`fourm data compact` and `fourm data clean`: fewer files, and no more old versions than are wanted."""

from datetime import timedelta
from typing import Annotated

import typer

from fourm_runtime.cli.data import DatasetPath
from fourm_runtime.cli.data_place import StorageOption, open_dataset


def compact(
    dataset: DatasetPath,
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows", metavar="N", min=1, help="Samples of a merged file at most. Default: as for import."
        ),
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Merge small files, as many appends leave them, into larger ones; others may read and write meanwhile.

    It makes a new version; those before stay as they are until `fourm data clean` removes them. A file that
    is encoded or filled is never merged with one that is not.

    Example:
        fourm data compact digits.lance
    """
    opened = open_dataset(dataset, storage)
    done = opened.compact(rows)
    print(
        f"{dataset}: {done.before} files of samples, {done.after} now; "
        f"{done.rows:,} samples rewritten, version {opened.version}"
    )


def clean(
    dataset: DatasetPath,
    days: Annotated[
        float,
        typer.Option("--days", metavar="N", min=0, help="Keep versions that are younger than so many days."),
    ] = 7.0,
    storage: StorageOption = None,
) -> None:
    """Remove old versions that are not pinned, and files that no version refers to.

    The latest version and pinned ones stay. A program that reads an old version without a pin cannot go on:
    keep more days than the longest run. Files of writers that were killed are removed after 7 days.

    Example:
        fourm data clean digits.lance --days 30
    """
    opened = open_dataset(dataset, storage)
    done = opened.clean_up(timedelta(days=days))
    print(f"{dataset}: {done.versions:,} old versions removed, {done.bytes:,} bytes")
