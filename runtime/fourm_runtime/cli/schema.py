"""Verbs that read a schema: validate, explain, schema. None of them loads torch."""

from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.show import fault_record, show_json, show_table

SchemaFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The YAML file that declares the modalities.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the file first, e.g. modalities.shape.bins=64."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout in place of text.")]


def validate(file: SchemaFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a YAML file and report all its faults, each with line and column.

    Exit status 0: the file can be used. 2: it has faults; with --json they are listed on stdout.

    Example:
        fourm validate modalities.yaml
    """
    from fourm_schema.errors import SchemaError
    from fourm_schema.load import load_schema
    from fourm_schema.resolve import resolve

    try:
        schema = load_schema(file, overrides or ())
    except SchemaError as error:
        if not as_json:
            raise
        faults = [fault_record(fault) for fault in error.faults]
        show_json({"file": str(file), "valid": False, "faults": faults})
        raise typer.Exit(2) from None
    plan = resolve(schema)
    if as_json:
        show_json({"file": str(file), "valid": True, "faults": [], "schema_hash": plan.schema_hash})
    else:
        print(f"{file}: {len(schema.modalities)} modalities, {len(plan.streams)} streams, no fault")


def explain(file: SchemaFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what each stream becomes: tokens, codec, embedding and positions, and why.

    A stream is one way the model sees a modality, e.g. digit.pixels and digit.tokens.

    Example:
        fourm explain modalities.yaml
    """
    import attrs

    from fourm_schema.explain import explain_rows
    from fourm_schema.load import load_schema
    from fourm_schema.resolve import resolve

    rows = explain_rows(resolve(load_schema(file, overrides or ())))
    if as_json:
        show_json([attrs.asdict(row) for row in rows])
        return
    show_table(
        str(file),
        ("stream", "role", "tokens", "vocabulary", "codec", "positions"),
        ((row.stream, row.role, row.tokens, row.vocabulary, row.codec, row.positions) for row in rows),
    )
    for row in rows:
        print(f"\n{row.stream}")
        for name, chosen, reason in zip(
            ("codec", "embedding", "positions"),
            (row.codec, row.embedding, row.positions),
            row.because,
            strict=True,
        ):
            print(f"  {name} {chosen}: {reason}")


def schema() -> None:
    """Print the JSON Schema of the YAML file, for editors that complete and check it.

    Example:
        fourm schema > modalities.schema.json
    """
    from fourm_schema.json_schema import json_schema

    show_json(json_schema())
