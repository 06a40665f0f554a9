"""`fourm data ...`: samples in, tokens beside them, and what a dataset holds."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.data_import import import_samples
from fourm_runtime.cli.data_place import StorageOption, open_dataset
from fourm_runtime.cli.data_profile import profile
from fourm_runtime.cli.show import show_json, show_table

group = typer.Typer(no_args_is_help=True, help="Store samples and encode them.")
group.command("import")(import_samples)
group.command()(profile)

SampleFile = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="Samples of any format that `fourm data import` reads.",
    ),
]
DatasetPath = Annotated[
    Path, typer.Argument(metavar="DATASET", help="The dataset's folder, e.g. photos.lance.")
]
CodecFolder = Annotated[
    Path | None,
    typer.Option(
        "--codecs",
        metavar="FOLDER",
        help="Codecs by modality, as `fourm codec train` writes them. Default: built from the schema.",
    ),
]


@group.command()
def append(
    file: SampleFile,
    to: Annotated[Path, typer.Option("--to", metavar="DATASET", help="Folder of the dataset.")],
    again: Annotated[
        bool, typer.Option("--again", help="Add the samples of PATH even if that was done before.")
    ] = False,
    storage: StorageOption = None,
) -> None:
    """Add samples of any format to a dataset; their tokens are empty until the next `fourm data encode`.

    Files with the same content are added once, so that a run that was killed may simply be repeated.

    Example:
        fourm data append more.jsonl --to digits.lance
    """
    from fourm_runtime.cli.progress import counted
    from fourm_runtime.data.importing.sources.opening import open_rows

    dataset = open_dataset(to, storage)
    source = open_rows(file, dataset.schema)
    once = None if again else source.content()
    added = dataset.append(counted(source.rows(), "samples"), once=once)
    if not added and once is not None:
        print(f"{file}: was added before, and is left out now (--again adds it once more)")
    print(f"{to}: {added} samples added, {dataset.rows} in all, version {dataset.version}")


@group.command("add-modality")
def add_modality(
    dataset: DatasetPath,
    schema: Annotated[
        Path, typer.Option("--schema", metavar="FILE", help="The YAML file with more modalities.")
    ],
    storage: StorageOption = None,
) -> None:
    """Take over a schema with more modalities or changed entries; no stored value is rewritten.

    New modalities are absent everywhere until `fourm data fill` gives them values. A changed entry that
    tokens depend on makes these stale: encode them anew.

    Example:
        fourm data add-modality digits.lance --schema modalities.yaml
    """
    from fourm_schema.load import load_schema

    opened = open_dataset(dataset, storage)
    opened.add_modality(load_schema(schema))
    print(f"{dataset}: {len(opened.schema.modalities)} modalities, version {opened.version}")


@group.command()
def fill(
    dataset: DatasetPath,
    file: SampleFile,
    modalities: Annotated[
        list[str] | None,
        typer.Option(
            "--modality",
            metavar="NAME",
            help="A modality to fill; repeat it for more. What else FILE gives does not matter then. "
            "Default: all that it gives and that lack values.",
        ),
    ] = None,
    skip_unknown: Annotated[
        bool,
        typer.Option(
            "--skip-unknown",
            help="Leave out samples of FILE that the dataset does not have; without it they are refused.",
        ),
    ] = False,
    crops: Annotated[
        bool,
        typer.Option(
            "--follow-crops",
            help="FILE has the whole samples of a dataset that was imported with --crops: cut them as its "
            "rows were cut.",
        ),
    ] = False,
    storage: StorageOption = None,
) -> None:
    """Give modalities that were added later their values, from a file whose samples are matched by id.

    Every value is checked first, as by import. A sample that FILE has no value for lacks the modality from
    then on; values that are stored are never replaced. A fill that was killed goes on where it was.

    Example:
        fourm data fill digits.lance edges.jsonl
    """
    from fourm_runtime.cli.progress import bars, counted
    from fourm_runtime.data.importing.sources.opening import read_rows
    from fourm_runtime.data.importing.views import follow_crops

    opened = open_dataset(dataset, storage)
    needed = modalities or opened.unfilled
    rows = read_rows(file, opened.schema, needed=needed)
    if crops:
        rows = follow_crops(opened.location, opened.schema, rows, needed)
    with bars() as move:
        report = opened.fill_rows(counted(rows, "samples"), modalities, skip_unknown, progress=move)
    for one in report.filled:
        print_filled(dataset, one.modality, one.given, one.absent, one.before)
    if report.kept:
        print(f"{dataset}: {', '.join(report.kept)} had been filled before, and stay as they are")
    if report.strangers:
        shown = ", ".join(map(repr, report.strangers[:3])) + (", ..." if len(report.strangers) > 3 else "")
        print(f"{file}: {len(report.strangers):,} samples are not in the dataset and were left out: {shown}")


@group.command()
def derive(
    dataset: DatasetPath,
    modalities: Annotated[
        list[str] | None,
        typer.Option(
            "--modality",
            metavar="NAME",
            help="A modality to compute; repeat it for more. Default: all with `derive` that lack values.",
        ),
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Compute modalities that were added later and that the schema derives from others.

    Samples get theirs when they are imported, unless the file gives them. A run that was killed goes on
    where it was.

    Example:
        fourm data derive photos.lance --modality canny_edges
    """
    from fourm_runtime.cli.progress import bars

    opened = open_dataset(dataset, storage)
    with bars() as move:
        done = opened.derive(modalities, progress=move)
    for one in done:
        print_filled(dataset, one.modality, one.given, one.absent, one.before)


@group.command()
def encode(
    dataset: DatasetPath,
    codecs: CodecFolder = None,
    streams: Annotated[
        list[str] | None,
        typer.Option(
            "--stream",
            metavar="NAME",
            help="A stream or modality to encode; repeat it for more. Default: all.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Encode stale columns anew; without it they are refused.")
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="Who encodes: local (this process), or ray (one task per file of samples; extra `ray`).",
        ),
    ] = "local",
    storage: StorageOption = None,
) -> None:
    """Fill the token columns. A run that was killed goes on where it was.

    With `--engine ray` a file of samples is a task, done by workers of this machine or of the cluster that
    RAY_ADDRESS names; a task that fails is tried again, and this process commits what they made.

    Example:
        fourm data encode digits.lance --codecs codecs/
    """
    from fourm_runtime.cli.codec_folder import read_codecs
    from fourm_runtime.cli.progress import bars
    from fourm_runtime.data.ray_engine import RayEngine
    from fourm_schema.errors import RequestError

    if engine not in ("local", "ray"):
        raise RequestError("--engine", "is no engine", got=engine, mend="known: local, ray")
    opened = open_dataset(dataset, storage)
    wanted = None if streams is None else [opened.plan.stream(name).modality for name in streams]
    made = read_codecs(opened.schema, codecs, wanted)
    with ExitStack() as stack:
        worker = stack.enter_context(RayEngine()) if engine == "ray" else None
        move = stack.enter_context(bars())
        opened.encode(made, streams, progress=move, replace=replace, engine=worker)
    print(f"{dataset}: {opened.rows} samples encoded, version {opened.version}")


@group.command()
def status(
    dataset: DatasetPath,
    codecs: CodecFolder = None,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="N", help="A version number or pinned name. Default: the latest."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout in place of text.")] = False,
    storage: StorageOption = None,
) -> None:
    """Say what a dataset holds, and which token columns are missing, partial, encoded or stale.

    With --codecs, columns made by other codecs than these count as stale.

    Example:
        fourm data status digits.lance
    """
    import attrs

    from fourm_runtime.cli.codec_folder import read_codecs

    opened = open_dataset(dataset, storage, version)
    found = opened.status(None if codecs is None else read_codecs(opened.schema, codecs))
    if as_json:
        show_json(attrs.asdict(found))
        return
    print(f"{found.path}: {found.rows:,} samples, version {found.version}")
    if found.pins:
        print("pinned: " + ", ".join(f"{tag} = version {pin}" for tag, pin in found.pins.items()))
    if found.unfilled:
        print(f"added and not filled everywhere: {', '.join(found.unfilled)}")
    show_table("", ("modality", "present"), sorted_items(found.present))
    show_table(
        "",
        ("stream", "state", "rows", "codec", "why"),
        ((s.stream, s.state, s.encoded_rows, s.codec, s.why) for s in found.streams),
    )


@group.command()
def show(
    dataset: DatasetPath,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The HTML file to write.")],
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", min=1, max=1000, help="How many samples, from the first.")
    ] = 8,
    ids: Annotated[
        str | None,
        typer.Option(
            "--ids", metavar="IDS", help="These samples in place of the first ones: ids or rows, with commas."
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="N", help="A version number or pinned name. Default: the latest."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was drawn as JSON on stdout.")] = False,
    storage: StorageOption = None,
) -> None:
    """Draw samples with all their modalities into one HTML page, and count their tokens.

    Example:
        fourm data show digits.lance --rows 4 --to sheet.html
    """
    from fourm_runtime.data.samples import read_samples, rows_of
    from fourm_runtime.pictures.page import write_page
    from fourm_runtime.pictures.sheet import sample_record, sheet_page

    opened = open_dataset(dataset, storage, version)
    names = [name.strip() for name in (ids or "").split(",") if name.strip()]
    samples = read_samples(opened, rows_of(opened, names) if names else range(min(rows, opened.rows)))
    write_page(sheet_page(opened, samples), to)
    if as_json:
        show_json({"page": str(to), "samples": [sample_record(sample) for sample in samples]})
    else:
        print(f"{to}: {len(samples)} of {opened.rows:,} samples, {len(opened.schema.modalities)} modalities")


def print_filled(dataset: Path, modality: str, given: int, absent: int, before: int) -> None:
    """Say what a modality got."""
    earlier = f", {before:,} were filled before" if before else ""
    print(f"{dataset}, {modality}: {given:,} samples filled, {absent:,} absent{earlier}")


def sorted_items(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Name and count, the largest count first."""
    return sorted(counts.items(), key=lambda item: -item[1])
