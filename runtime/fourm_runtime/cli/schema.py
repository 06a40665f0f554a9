"""Verbs that read a schema: validate, explain, plan, schema. None of them loads torch."""

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


def plan(
    file: SchemaFile,
    overrides: Overrides = None,
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="NAME", help="Size of the model: nano, tiny, small, base, large, xlarge."
        ),
    ] = "tiny",
    visible: Annotated[
        int, typer.Option("--input", metavar="N", min=0, help="Visible tokens per sample, at most.")
    ] = 256,
    wanted: Annotated[
        int, typer.Option("--target", metavar="N", min=0, help="Predicted tokens per sample, at most.")
    ] = 256,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=1, help="Samples that a device holds at once.")
    ] = 1,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Keep activations in 2 bytes; weights and optimizer stay at 4.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count what a model would cost: parameters of each part, FLOPs per sample, bytes while training.

    Parameters are exact. FLOPs are those of matrix products, two per multiply-add, for a sample that has
    every modality and fills both budgets. Bytes are for one device without sharding.

    Example:
        fourm plan modalities.yaml --size small --samples 32
    """
    import attrs

    from fourm_schema.allocation import allocate
    from fourm_schema.architecture import architecture
    from fourm_schema.cost import cost, sample_tokens
    from fourm_schema.load import load_schema
    from fourm_schema.resolve import resolve

    streams, shape = resolve(load_schema(file, overrides or ())), architecture(size)
    found = cost(
        streams,
        allocate(streams),
        shape,
        sample_tokens(streams, shape, visible, wanted),
        activations="bfloat16" if bf16 else "float32",
    )
    memory = attrs.evolve(found.memory, activations=found.memory.activations * samples)
    tokens = {"input": sum(found.tokens.encoder), "target": sum(found.tokens.decoder)}
    if as_json:
        show_json(
            {
                "size": size,
                "samples": samples,
                "tokens_per_sample": tokens,
                "parameters": found.parameters,
                "forward_flops_per_sample": found.forward_flops,
                "train_flops_per_sample": found.train_flops,
                "parts": [attrs.asdict(part) for part in found.parts],
                "bytes": {**attrs.asdict(memory), "total": memory.total},
            }
        )
        return
    rows = [(part.name, part.parameters, part.forward_flops, part.train_flops) for part in found.parts]
    rows.append(("all", found.parameters, found.forward_flops, found.train_flops))
    show_table(
        f"{file}, size {size}: {tokens['input']} + {tokens['target']} tokens per sample",
        ("part", "parameters", "forward FLOPs", "training FLOPs"),
        rows,
    )
    print()
    show_table(
        f"bytes while training, {samples} {'sample' if samples == 1 else 'samples'} at once",
        ("weights", "gradients", "optimizer", "activations", "all"),
        [(memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.total)],
    )


def schema() -> None:
    """Print the JSON Schema of the YAML file, for editors that complete and check it.

    Example:
        fourm schema > modalities.schema.json
    """
    from fourm_schema.json_schema import json_schema

    show_json(json_schema())
