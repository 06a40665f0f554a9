"""Typed use of what users import: mypy --strict and pyright must accept every line. Never run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourm_codecs import Codec, TokenBatch, build_codec, load_codec, save_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.sources.opening import read_rows
from fourm_runtime.data.samples import read_samples
from fourm_runtime.pictures.curves import Series, line_chart
from fourm_runtime.pictures.page import Figure, Gallery, GalleryRow, Page, Section, Table, Tile, write_page
from fourm_runtime.pictures.values import draw_value
from fourm_runtime.training.evaluate import evaluate_checkpoint
from fourm_runtime.training.recipe import Recipe, load_recipe
from fourm_runtime.training.trainer import train
from fourm_schema import Plan, Schema, SchemaError, Stream, allocate, load_schema, parse_schema, resolve
from fourm_schema.errors import Fault


def declare(path: Path) -> Plan:
    schema: Schema = load_schema(path, ("modalities.shape.bins=64",))
    plan: Plan = resolve(schema)
    stream: Stream = plan.stream("digit")
    rows: int = allocate(plan).token_rows
    assert rows > stream.vocab_size
    return plan


def faults(text: str) -> tuple[Fault, ...]:
    try:
        parse_schema(text)
    except SchemaError as error:
        return error.faults
    return ()


def encode(schema: Schema, words: WordVocabulary, folder: Path) -> list[str]:
    codec = build_codec(schema, "caption", {"words": words})
    save_codec(codec, folder)
    loaded: Codec = load_codec(folder)
    tokens: TokenBatch = loaded.encode(["a small seven"])
    return [str(value) for value in loaded.decode(tokens)]


def store(schema: Schema, file: Path, folder: Path) -> Mapping[str, int]:
    dataset = Dataset.create(folder, schema, read_rows(file, schema))
    dataset.encode({"shape": build_codec(schema, "shape")})
    return dataset.status().present


def learn(folder: Path, samples: Dataset) -> float:
    recipe: Recipe = load_recipe(folder / "train.yaml", ("steps.total=10",))
    run = train(recipe, samples.schema, samples, folder / "run")
    return evaluate_checkpoint(run.run, samples.path).loss


def report(samples: Dataset, losses: list[float], file: Path) -> None:
    entry = samples.schema.modalities["digit"]
    tiles = [
        Tile(draw_value(entry, each.values["digit"], "digit"), each.name)
        for each in read_samples(samples, [0, 1])
    ]
    chart = line_chart([Series("loss", range(len(losses)), losses)], "loss by step", x_label="step")
    table = Table(["steps", "loss", "note"], [[len(losses), losses[-1], None]])
    sections = [Section("Digits", [Gallery([GalleryRow(tiles)])]), Section("Loss", [Figure(chart), table])]
    write_page(Page("A run", sections), file)


def predict(run: Path) -> tuple[str, float]:
    model = AnyToAny.from_pretrained(run)
    (answer,) = model.generate({"digit": np.zeros((8, 8))}, ["caption", "shape"], temperature=0.5, seed=1)
    made = answer["caption"]
    features: NDArray[np.float32] = model.embed([{"digit": np.zeros((8, 8))}])
    assert features.shape == (1, model.encoder().dim)
    return str(made.value), float(made.confidence.mean())
