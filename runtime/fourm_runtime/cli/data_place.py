"""Where a verb finds its dataset: the folder or URI, and what opens an object store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fourm_runtime.data.dataset import Dataset
    from fourm_runtime.data.location import Location

StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="KEY=VALUE",
        help="What opens an object store (s3://bucket/name.lance), e.g. aws_region=eu-west-1; repeat it for "
        "more. Secrets are better kept in the environment (AWS_SECRET_ACCESS_KEY).",
    ),
]


def place_of(path: Path | str, storage: list[str] | None) -> "Location":
    """Where a dataset lies that a verb was given.

    Raises:
        DataError: if a storage option is not written key=value.
    """
    from fourm_runtime.data.location import Location, read_options

    return Location.of(path, read_options(storage or ()))


def open_dataset(path: Path, storage: list[str] | None, version: str | None = None) -> "Dataset":
    """Open the dataset that a verb was given, at a version number, a pinned name, or (None) the latest.

    Raises:
        DataError: if there is none, or a storage option is not written key=value.
    """
    from fourm_runtime.data.dataset import Dataset

    number = int(version) if version is not None and version.isdecimal() else version
    return Dataset.open(place_of(path, storage), number)
