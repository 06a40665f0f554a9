"""From a YAML of modalities to a trained any-to-any model, on handwritten digits, in a few minutes.

    python examples/quickstart/quickstart.py [--to runs/quickstart] [a.b=c ...]

Reads modalities.yaml (what the data is) and train.yaml (how to train); `a.b=c` overrides the latter.
Writes datasets, checkpoints and a picture of drawn digits below --to, and prints what the model can do
with digits it has never seen.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table

from digits import load_splits, train_judge
from evaluation import Evaluation, evaluate_directions
from fourm_codecs.base import StoredCodec
from fourm_codecs.build import build_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.training.recipe import load_recipe
from fourm_runtime.training.trainer import train
from fourm_schema import FourmError, Schema, load_schema, resolve
from fourm_schema.errors import DataError
from pictures import draw_sheet

HERE = Path(__file__).parent
SCHEMA = HERE.parents[1] / "modalities.yaml"
RECIPE = HERE / "train.yaml"


def train_codecs(schema: Schema, data: Dataset) -> dict[str, StoredCodec]:
    """The codec of every modality; only the words have something to learn from the data."""
    words = resolve(schema).vocabularies[0]
    vocabulary = WordVocabulary.train(data.texts("caption"), words.name, words.size, words.special)
    return {name: build_codec(schema, name, {words.name: vocabulary}) for name in schema.modalities}


def run(to: Path, overrides: list[str], console: Console) -> Evaluation:
    """The whole path: declare, store, encode, train, generate, judge."""
    schema, recipe = load_schema(SCHEMA), load_recipe(RECIPE, overrides)
    make_room(to)
    train_rows, held_rows, held_digits = load_splits(seed=recipe.seed)

    console.rule("store the digits, encode them into tokens")
    data = Dataset.create(to / "train.lance", schema, train_rows)
    held = Dataset.create(to / "held-out.lance", schema, held_rows)
    codecs = train_codecs(schema, data)
    for dataset in (data, held):
        dataset.encode(codecs)
    console.print(f"{data.rows} digits to train on, {held.rows} held out")

    console.rule("train by multimodal masked modelling")
    trained = train(recipe, schema, data, to / "run", codecs=codecs, held_out=held)

    console.rule("predict what held-out digits do not show")
    model = AnyToAny.from_pretrained(trained.checkpoint)
    found = evaluate_directions(model, held_rows, held_digits, train_judge(train_rows), seed=recipe.seed)
    draw_sheet(found.drawn, to / "drawn.png")
    return found


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


def show(found: Evaluation, console: Console) -> None:
    """Print the table."""
    table = Table("given", "predicted", "measure", "model", "to compare with", title="held-out digits")
    for line in found.lines:
        table.add_row(line.given, line.predicted, line.measure, line.value, f"{line.other} ({line.what})")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("runs/quickstart"), help="folder to write to")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="over train.yaml")
    asked = parser.parse_args()
    console, start = Console(stderr=asked.json), time.monotonic()
    try:
        found = run(asked.to, asked.overrides, console)
    except FourmError as error:
        parser.exit(2, f"{error}\n")
    show(found, console)
    if asked.json:
        print(json.dumps([attrs.asdict(line) for line in found.lines], indent=2))
    console.print(f"{time.monotonic() - start:.0f} s; drawn digits: {asked.to / 'drawn.png'}")


if __name__ == "__main__":
    main()
