"""`fourm data import`: samples of any format into a new dataset."""

import sys
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.data_place import StorageOption, place_of
from fourm_runtime.cli.show import show_json, show_table
from fourm_schema.errors import RequestError


class Missing(StrEnum):
    """What becomes of samples that lack what others have."""

    error = "error"
    null = "null"


# No StrEnum: strings have a method `center`.
class Fit(Enum):
    """How pictures of other sizes are taken."""

    exact = "exact"
    center = "center"
    stretch = "stretch"


class Cut(StrEnum):
    """What becomes one sample of a text."""

    paragraph = "paragraph"
    line = "line"
    document = "document"


_FILES = "What is read"
_TEXT = "Texts"
_CROPS = "Sizes and crops"
_FAULTS = "Samples that cannot be stored"


def import_samples(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Samples: a file, a folder or a pattern.")],
    schema: Annotated[
        Path, typer.Option("--schema", metavar="FILE", help="The YAML file of the modalities.")
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DATASET", help="Folder or URI of the dataset to write.")
    ],
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the samples that are there; old versions stay readable."),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget an import that was cut off here, and begin anew.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of the order in which the samples are stored.")
    ] = 0,
    shuffle: Annotated[
        bool,
        typer.Option(
            "--shuffle/--no-shuffle", help="Store the samples in a random order, or as PATH has them."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FOLDER",
            help="Where the journal and the report of an import into an object store lie. "
            "Default: NAME.lance.import in the current folder.",
        ),
    ] = None,
    storage: StorageOption = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="jsonl, npz, arrays, folders, tars, webdataset, parquet, datasets, coco or text. "
            "Default: recognised from PATH.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    places: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="MODALITY=FOLDER",
            help="Where the files of a modality lie, if not where they are looked for; repeat it for more.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    missing: Annotated[
        Missing,
        typer.Option(
            "--missing",
            help="Samples that lack what others have: refuse all, or store them without it.",
            rich_help_panel=_FILES,
        ),
    ] = Missing.error,
    views: Annotated[
        int | None,
        typer.Option(
            "--views",
            metavar="N",
            min=1,
            help="Arrays hold so many views of a sample, as 4M's tokenizers write them: a row each.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    cut: Annotated[
        Cut, typer.Option("--cut", help="What becomes one sample of a text.", rich_help_panel=_TEXT)
    ] = Cut.paragraph,
    words: Annotated[
        int | None,
        typer.Option(
            "--words",
            metavar="N",
            min=1,
            help="Cut what is longer into samples of at most so many words.",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    fit: Annotated[
        Fit,
        typer.Option(
            "--fit",
            help="Pictures of other sizes than the schema's: refuse them, take the largest window in "
            "their middle, or scale each side for itself. Boxes, masks and maps follow.",
            rich_help_panel=_CROPS,
        ),
    ] = Fit.exact,
    crops: Annotated[
        int,
        typer.Option(
            "--crops",
            metavar="N",
            min=0,
            help="Store N windows of each sample, a row each: the one in the middle, then random ones.",
            rich_help_panel=_CROPS,
        ),
    ] = 0,
    crop_seed: Annotated[
        int,
        typer.Option("--crop-seed", metavar="N", help="Of the random windows.", rich_help_panel=_CROPS),
    ] = 0,
    crop_area: Annotated[
        float,
        typer.Option(
            "--crop-area",
            metavar="SHARE",
            min=0.01,
            max=1.0,
            help="Least share of the picture that a random window covers.",
            rich_help_panel=_CROPS,
        ),
    ] = 0.2,
    flip: Annotated[
        bool,
        typer.Option("--flip/--no-flip", help="Mirror every other random window.", rich_help_panel=_CROPS),
    ] = True,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Fail at the first one; without it they are left out.", rich_help_panel=_FAULTS
        ),
    ] = False,
    max_bad: Annotated[
        float,
        typer.Option(
            "--max-bad",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Fail if more than this share of the samples would be left out.",
            rich_help_panel=_FAULTS,
        ),
    ] = 0.1,
) -> None:
    """Write a new dataset from samples of any format.

    Every value is checked against the schema. What cannot be stored is left out and listed in
    DATASET/import/quarantine.jsonl (of an object store: in --state). An import that was killed goes on
    where it was when it is run again; until it ends there is no new version of the dataset.

    Example:
        fourm data import samples.jsonl --schema modalities.yaml --to digits.lance
        fourm data import 'cc12m/[rgb,depth]/shard-{0000..0009}.tar' --schema modalities.yaml --to cc12m.lance
    """
    from fourm_runtime.cli.progress import bars
    from fourm_runtime.data.importing.importer import ImportSettings, import_source
    from fourm_runtime.data.importing.journal import folder_of
    from fourm_runtime.data.importing.sources.opening import open_source
    from fourm_runtime.data.importing.sources.source import Reading
    from fourm_runtime.data.importing.views import Views
    from fourm_schema.load import load_schema

    declared = load_schema(schema)
    reading = Reading(
        schema=declared,
        wanted=frozenset(declared.modalities),
        missing=missing.value,
        places=_folders(places or ()),
        cut=cut.value,
        words=words,
        views=views,
    )
    settings = ImportSettings(
        seed=seed if shuffle else None,
        strict=strict,
        max_bad=max_bad,
        overwrite=overwrite,
        restart=restart,
        views=Views(fit.value, crops, crop_seed, crop_area, flip),
        state=state,
    )
    place = place_of(to, storage)
    source = open_source(path, reading, format)
    if place.folder is None:
        # Told before it begins: whoever is killed has to know it.
        print(f"{place}: the journal of this import lies in {state or folder_of(place)}", file=sys.stderr)
    with bars() as move:
        report = import_source(place, declared, source, settings, progress=move)
    if as_json:
        import attrs

        show_json(attrs.asdict(report))
        return
    resumed = ", the rest of an import that was cut off" if report.resumed else ""
    print(f"{place}: {report.samples} samples, version {report.version}{resumed}")
    for note in report.notes:
        print(f"{path}: {note}")
    if report.quarantined:
        print(f"{report.quarantined:,} samples were left out; each is listed in {report.quarantine}")
        show_table(
            "", ("faults", "what", "first"), ((one.faults, one.what, one.first) for one in report.reasons)
        )


def _folders(given: list[str] | tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        modality, sign, place = text.partition("=")
        if not sign or not place:
            raise RequestError("--from", "is MODALITY=FOLDER", got=text)
        found[modality] = Path(place)
    return found
