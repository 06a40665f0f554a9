"""`fourm data profile`: what a dataset holds, in numbers, and what a person should act on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fourm_runtime.cli.data_place import StorageOption, open_dataset
from fourm_runtime.cli.show import show_json, show_table

if TYPE_CHECKING:
    from fourm_runtime.profiling.record import Profile

MOST_PARTS = 40
"""Rows of the table; a page has all."""


def profile(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="The dataset's folder, e.g. photos.lance.")
    ],
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", metavar="N", min=1, help="Look at N samples, evenly spread. Default: at all."
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="Hold the tokens of a sample against its budgets."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Draw all of it into one HTML page.")
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="N", help="A version number or pinned name. Default: the latest."),
    ] = None,
    storage: StorageOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout in place of text.")] = False,
) -> None:
    """Count and measure what a dataset holds, and say what to act on.

    What should be mended stands first, each with its mend: values outside their range, numbers that never
    change, copies, texts that are cut, ids that are never used. Then come counts and statistics of every
    modality. One pass in bounded memory; quantiles are estimated.

    Example:
        fourm data profile digits.lance --html profile.html
    """
    from fourm_runtime.cli.progress import bars
    from fourm_runtime.pictures.page import write_page
    from fourm_runtime.pictures.profile_page import profile_page
    from fourm_runtime.profiling.dataset_profile import profile as profile_of
    from fourm_runtime.training.recipe import load_recipe

    opened = open_dataset(dataset, storage, version)
    how = None if recipe is None else load_recipe(recipe)
    with bars() as move:
        found = profile_of(opened, sample, how, progress=move)
    if html is not None:
        write_page(profile_page(found), html)
    if as_json:
        show_json(found.record())
    else:
        _print(found)
        if html is not None:
            print(f"\n{html}: the same, with pictures")


def _print(found: "Profile") -> None:
    from fourm_runtime.pictures.profile_page import HEADERS, part_row
    from fourm_runtime.profiling.shares import percent

    looked = "" if found.profiled == found.rows else f", {found.profiled:,} of them looked at"
    print(f"{found.path}: {found.rows:,} samples, version {found.version}{looked}")
    print("\nto act on:" if found.findings else "\nnothing to act on")
    for one in found.findings:
        print(f"  {one.level}: {one}")
    print()
    show_table(
        "",
        ("modality", "kind", "present", "share", "equal another"),
        (
            (name, one.kind, one.present, percent(one.present, found.profiled), one.copies.copies)
            for name, one in found.modalities.items()
        ),
    )
    parts = [
        (f"{name}, {part_name}", part)
        for name, one in found.modalities.items()
        for part_name, part in one.parts.items()
    ]
    print()
    show_table("", HEADERS, (part_row(name, part) for name, part in parts[:MOST_PARTS]))
    if len(parts) > MOST_PARTS:
        print(f"and {len(parts) - MOST_PARTS:,} more: --html or --json")
    print()
    show_table("", HEADERS, [part_row("tokens per sample", found.tokens_per_sample)])
    if found.streams:
        print()
        show_table(
            "",
            ("stream", "state", "tokens", "ids used", "perplexity", "commonest id", "a value"),
            (
                (
                    name, one.state, one.tokens, f"{one.used:,} of {one.vocabulary:,}",
                    f"{one.perplexity:,.0f}", f"{one.commonest:.1%}", f"{one.lengths.mean:.1f}",
                )
                for name, one in found.streams.items()
            ),
        )  # fmt: skip
