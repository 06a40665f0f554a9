"""`fourm test`: hold a schema, its codecs, masks and a tiny model to every law there is."""

from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.schema import AsJson, Overrides, SchemaFile
from fourm_runtime.cli.show import show_json

EXIT_BROKEN = 1


# Under the verb's own name it would be a test to pytest.
def hold_to_laws(
    file: SchemaFile,
    modalities: Annotated[
        list[str] | None,
        typer.Option("--modality", metavar="NAME", help="Test these only; repeat it for more. Default: all."),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="200 examples of each, in place of 5 or 2; with --fitted.")
    ] = False,
    fitted: Annotated[
        bool, typer.Option("--fitted", help="Also test learned codecs after a short fit to drawn values.")
    ] = False,
    examples: Annotated[
        int | None,
        typer.Option("--examples", metavar="N", min=1, help="So many examples of each law and modality."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Same seed, same examples.")] = 0,
    codecs: Annotated[
        Path | None,
        typer.Option("--codecs", metavar="FOLDER", help="Fitted codecs, as `fourm codec train` writes them."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Processes that share the work.")
    ] = 1,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Test the laws of a schema: on its file, its codecs, masks, packing, and a tiny model over its streams.

    Values are drawn from each entry. A law that is broken is told with the smallest value found that breaks
    it. What has to be trained and is not in --codecs is tested with random weights, and words learned from a
    few sample texts; what cannot be, is told as not tested. Needs the extra `test`. Exit status 1: a law is
    broken.

    Example:
        fourm test modalities.yaml --modality depth --modality caption --examples 50
    """
    from functools import partial
    from importlib.util import find_spec

    if find_spec("hypothesis") is None:
        from fourm_schema.errors import MissingExtraError

        raise MissingExtraError("fourm test", "test")
    from fourm_runtime.cli.codec_folder import stored_codecs
    from fourm_runtime.cli.progress import bars
    from fourm_runtime.lawbook.book import cases, hold
    from fourm_runtime.lawbook.report import law_records, law_report
    from fourm_runtime.lawbook.workers import hold_in_workers
    from fourm_schema.lawbook.search import Profile
    from fourm_schema.load import load_schema

    schema = load_schema(file, overrides or ())
    trained = stored_codecs(schema, codecs) if codecs is not None else {}
    source = partial(cases, schema, trained, modalities, fit=fitted or thorough)
    found, profile = source(), Profile.of(thorough, examples, seed)
    with bars() as move:

        def moved(done: int, total: int) -> None:
            move("laws", done, total)

        if workers > 1:
            outcomes = hold_in_workers(source, len(found), workers, profile, moved)
        else:
            outcomes = hold(found, profile, moved)
    if as_json:
        show_json({"file": str(file), "seed": seed, **law_records(found, outcomes)})
    else:
        print(f"{file}, seed {seed}")
        print(law_report(found, outcomes))
    if any(outcome.fault for outcome in outcomes):
        raise typer.Exit(EXIT_BROKEN)
