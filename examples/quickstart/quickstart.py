"""From a YAML of modalities to a trained any-to-any model, on handwritten digits, in a few minutes.

    python examples/quickstart/quickstart.py [--to runs/quickstart] [a.b=c ...]

Reads modalities.yaml (what the data is) and train.yaml (how to train); `a.b=c` overrides the latter.
Writes datasets, codecs, checkpoints and a page, report.html, below --to, and prints what the model can do
with digits it has never seen.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table

from digits import load_splits, train_judge
from evaluation import predict
from fourm_codecs.base import StoredCodec
from fourm_codecs.build import build_codec
from fourm_codecs.fit import FitRecipe, fit
from fourm_codecs.store import save_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.cli.progress import bars
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.training.metrics import read_metrics
from fourm_runtime.training.recipe import load_recipe
from fourm_runtime.training.trainer import train
from fourm_schema import FourmError, Schema, load_schema, resolve
from fourm_schema.errors import DataError
from report import HEADERS, STEERING_HEADERS, Report, rows_of, steering_rows, write_report
from steering import steer
from undeclared import write_undeclared

HERE = Path(__file__).parent
SCHEMA = HERE / "modalities.yaml"
RECIPE = HERE / "train.yaml"
CODES_FIT = FitRecipe(steps=1_000)


def train_codecs(schema: Schema, data: Dataset, to: Path, fit_recipe: FitRecipe) -> dict[str, StoredCodec]:
    """The codec of every modality: one that is learned, one with words to learn, and the others."""
    words = resolve(schema).vocabularies[0]
    vocabulary = WordVocabulary.train(data.texts("caption"), words.name, words.size, words.special)
    with bars() as move:
        fitted = fit(
            "codes", schema.modalities["codes"], lambda: data.values("codes"), to / "codes", fit_recipe,
            progress=move,
        )  # fmt: skip
    others = [name for name in schema.modalities if name != "codes"]
    codecs: dict[str, StoredCodec] = {
        name: build_codec(schema, name, {words.name: vocabulary}) for name in others
    }
    codecs["codes"] = fitted.codec
    for name, codec in codecs.items():
        save_codec(codec, to / name)
    return codecs


def run(to: Path, overrides: list[str], fit_recipe: FitRecipe, console: Console) -> Report:
    """The whole path: declare, store, encode, train, generate, judge."""
    schema, recipe = load_schema(SCHEMA), load_recipe(RECIPE, overrides)
    make_room(to)
    train_rows, held_rows, held_digits = load_splits(seed=recipe.seed)
    seconds: dict[str, float] = {}

    with stage("store the digits, train codecs, encode into tokens", seconds, console):
        data = Dataset.create(to / "train.lance", schema, train_rows)
        held = Dataset.create(to / "held-out.lance", schema, held_rows)
        write_undeclared(to / "more", {"train": train_rows, "held-out": held_rows})
        codecs = train_codecs(schema, data, to / "codecs", fit_recipe)
        for dataset in (data, held):
            dataset.encode(codecs)
        console.print(f"{data.rows} digits to train on, {held.rows} held out")

    with stage("train by multimodal masked modelling", seconds, console):
        # On a CPU, two single-threaded processes are faster than two threads.
        processes = min(2, os.cpu_count() or 1)
        trained = train(
            recipe, schema, data, to / "run", codecs=codecs, held_out=held, device="cpu", processes=processes
        )

    with stage("predict what held-out digits do not show", seconds, console):
        model, judge = AnyToAny.from_pretrained(trained.checkpoint), train_judge(train_rows)
        found = predict(model, held_rows, held_digits, judge, recipe.seed)
        steered = steer(model, train_rows, judge, recipe.seed)

    metrics = read_metrics(trained.run)
    report = Report(schema, recipe, held, held_rows, model.codecs, metrics, found, steered, seconds)
    write_report(report, to / "report.html")
    return report


@contextmanager
def stage(name: str, seconds: dict[str, float], console: Console) -> Iterator[None]:
    """Say what begins, and note how long it took."""
    console.rule(name)
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def make_room(to: Path) -> None:
    """Remove what an earlier quickstart left in a folder.

    Raises:
        DataError: if the folder holds anything else.
    """
    if to.is_dir() and any(to.iterdir()) and not (to / "train.lance").is_dir():
        raise DataError(
            str(to), "holds something else than an earlier quickstart", mend="choose another --to"
        )
    shutil.rmtree(to, ignore_errors=True)


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    for title, headers, rows in (
        ("held-out digits", HEADERS, rows_of(report.predictions.lines)),
        ("caption and an amount of ink -> image", STEERING_HEADERS, steering_rows(report.steered)),
    ):
        table = Table(*headers, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(f"{report.predictions.valid} of {report.predictions.sets} sets and records are valid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("runs/quickstart"), help="folder to write to")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--codec-steps", type=int, default=CODES_FIT.steps, help="steps of the learned codec's fit"
    )
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="over train.yaml")
    asked = parser.parse_args()
    console, start = Console(stderr=asked.json), time.monotonic()
    try:
        fit_recipe = attrs.evolve(CODES_FIT, steps=asked.codec_steps)
        report = run(asked.to, asked.overrides, fit_recipe, console)
    except FourmError as error:
        parser.exit(2, f"{error}\n")
    show(report, console)
    if asked.json:
        print(json.dumps(as_json(report), indent=2))
    console.print(f"{time.monotonic() - start:.0f} s; look at {asked.to / 'report.html'}")


def as_json(report: Report) -> dict[str, object]:
    """The figures."""
    steered = [
        {"guidance": one.guidance, "rank_correlation": one.correlation, "right_digits": one.right}
        for one in report.steered
    ]
    return {
        "lines": [attrs.asdict(line) for line in report.predictions.lines],
        "steering": steered,
        "valid": [report.predictions.valid, report.predictions.sets],
        "seconds": report.seconds,
    }


if __name__ == "__main__":
    main()
