"""Rows per second of encoding many values at once, against a plain loop over them.

    python bench/encoding.py [--rows 10000] [--pairs 5] [--json]

10,000 box sets, metadata records, palettes and captions, declared as in the modalities.yaml of the root. The
loop is written as one would write it first: value by value, record by record, field by field, with the same
checks (a finite number of the range, a known class, corners in order), the same order of records and the
same ids, which is asserted. Captions have nothing to vectorise but the tokenizer's own work: their loop calls
the codec with one at a time. Both sides alternate in one process; the ratio is the median over pairs. The
last column is decoding, compared with nothing. Exit status 1 if a numeric one is less than 5 times as fast.
"""

import argparse
import json
import math
import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

os.environ.setdefault("RAYON_NUM_THREADS", "1")

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "codecs", "runtime")]

from fourm_codecs.base import StoredCodec  # noqa: E402 - path set above
from fourm_codecs.build import build_codec  # noqa: E402 - path set above
from fourm_codecs.sets import SetCodec  # noqa: E402 - path set above
from fourm_codecs.vocabulary import WordVocabulary  # noqa: E402 - path set above
from fourm_schema.load import load_schema  # noqa: E402 - path set above
from fourm_schema.modality import Set  # noqa: E402 - path set above
from fourm_schema.resolve import resolve  # noqa: E402 - path set above
from fourm_schema.schema import Schema  # noqa: E402 - path set above
from fourm_schema.set_fields import (  # noqa: E402 - path set above
    BoxField,
    CategoryField,
    NumberField,
    VectorField,
)
from pairs import interleave  # noqa: E402 - path set above

PROMISED = 5.0
NUMERIC = ("boxes", "metadata", "palette")
WORDS = (
    "a",
    "two",
    "red",
    "green",
    "cat",
    "dog",
    "horse",
    "runs",
    "sleeps",
    "under",
    "the",
    "tree",
    "street",
)

Record = dict[str, object]


def declared() -> Schema:
    """The four modalities of the root file."""
    whole = load_schema(ROOT / "modalities.yaml")
    names = (*NUMERIC, "caption")
    return Schema(
        version=1,
        vocabularies=whole.vocabularies,
        modalities={
            name: whole.modalities[name].model_copy(update={"derive": None, "label": None}) for name in names
        },
    )


def draw(schema: Schema, name: str, rows: int, rng: np.random.Generator) -> list[object]:
    """Values of a modality, as a file would give them: plain lists, dicts and floats."""
    entry = schema.modalities[name]
    if not isinstance(entry, Set):
        return [" ".join(rng.choice(WORDS, rng.integers(5, 15))) for _ in range(rows)]
    counts = rng.integers(1, min(entry.max_items, 15) + 1, rows)
    return [[_record(entry, rng) for _ in range(count)] for count in counts.tolist()]


def _record(entry: Set, rng: np.random.Generator) -> Record:
    record: Record = {}
    for name, field in entry.fields.items():
        if field.optional and rng.random() < 0.3:
            continue
        match field:
            case BoxField():
                low, high = np.sort(rng.random((2, 2)), axis=0).tolist()
                record[name] = [*low, *high]
            case CategoryField():
                record[name] = field.names[rng.integers(len(field.names))]
            case VectorField():
                record[name] = rng.uniform(*field.range, field.dim).tolist()
            case NumberField():
                low_end, high_end = (
                    field.range or (field.edges or (0.0, 1.0))[:: len(field.edges or (0, 1)) - 1]
                )
                record[name] = float(rng.uniform(low_end, high_end))
    return record


def plain_loop(codec: SetCodec) -> Callable[[Sequence[object]], list[int]]:
    """A function that encodes sets one number at a time."""
    entry, layout = codec.entry, {p.name: p for p in codec.automaton.productions}
    edges = {
        name: scale.edges for name, form in codec._forms.items() if (scale := getattr(form, "scale", None))
    }
    end = codec.automaton.special.end
    starts = {name: [slot.range.start for slot in getattr(p, "slots", ())] for name, p in layout.items()}
    classes = {
        name: {label: place for place, label in enumerate(field.names)}
        for name, field in entry.fields.items()
        if isinstance(field, CategoryField)
    }

    def number(name: str, value: object) -> int:
        borders = edges[name]
        if type(value) is not float or not math.isfinite(value):
            raise ValueError(f"{name}: {value!r} is no finite number")
        if not borders[0] <= value <= borders[-1]:
            raise ValueError(f"{name}: {value!r} is out of range")
        return min(bisect_right(borders, value) - 1, len(borders) - 2)

    def encode(values: Sequence[object]) -> list[int]:
        ids: list[int] = []
        for value in values:
            items: list[tuple[float, list[int]]] = []
            for record in cast("list[Record]", value):
                for name in record:
                    if name not in entry.fields:
                        raise ValueError(f"{name} is not declared")
                item: list[int] = []
                key = 0.0
                for name, field in entry.fields.items():
                    given = record.get(name)
                    if given is None:
                        absent = layout[name].absent
                        if absent is None:
                            raise ValueError(f"{name} is missing")
                        item.append(absent)
                    elif isinstance(field, CategoryField):
                        item.append(starts[name][0] + classes[name][str(given)])
                    elif isinstance(field, NumberField):
                        item.append(starts[name][0] + number(name, given))
                    else:
                        numbers = cast("list[float]", given)
                        if len(numbers) != len(starts[name]):
                            raise ValueError(f"{name} has {len(numbers)} numbers")
                        box = isinstance(field, BoxField)
                        if box and (numbers[0] > numbers[2] or numbers[1] > numbers[3]):
                            raise ValueError(f"{name}: corners out of order")
                        places = [number(name, each) for each in numbers]
                        item += [start + place for start, place in zip(starts[name], places, strict=True)]
                        if box and entry.order == "distance_to_origin":
                            borders = edges[name]
                            x, y = (borders[p] + (borders[p + 1] - borders[p]) / 2 for p in places[:2])
                            key = x * x + y * y
                items.append((key, item))
            if entry.order != "given":
                items.sort()
            for _, item in items:
                ids += item
            ids.append(end)
        return ids

    return encode


def one_by_one(codec: StoredCodec) -> Callable[[Sequence[object]], list[int]]:
    """A function that calls the codec with one value at a time."""
    return lambda values: [identity for value in values for identity in codec.encode([value]).ids.tolist()]


def measure(codec: StoredCodec, values: list[object], pairs: int) -> dict[str, float]:
    """Seconds of both sides, in turn."""
    loop = plain_loop(codec) if isinstance(codec, SetCodec) else one_by_one(codec)
    ids = codec.encode(values).ids.tolist()
    assert ids == loop(values), "both sides write the same ids"
    times = interleave({"loop": lambda: loop(values), "ours": lambda: codec.encode(values)}, pairs)
    tokens = codec.encode(values)
    reading = interleave({"ours": lambda: codec.decode(tokens)}, pairs)
    return {
        "rows_per_s": len(values) / times.cpu("ours"),
        "decoded_rows_per_s": len(values) / reading.cpu("ours"),
        "loop_rows_per_s": len(values) / times.cpu("loop"),
        "tokens": len(ids),
        "ratio": times.ratio,
        "low": times.low,
        "high": times.high,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="values of each modality (default 10,000)")
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    schema, rng = declared(), np.random.default_rng(0)
    texts = cast("list[str]", draw(schema, "caption", 1000, rng))
    words = resolve(schema).vocabularies[0]
    vocabulary = WordVocabulary.train(texts, words.name, words.size, words.special)
    found = {}
    for name in schema.modalities:
        codec = build_codec(schema, name, {words.name: vocabulary})
        found[name] = measure(codec, draw(schema, name, arguments.rows, rng), arguments.pairs)
    if arguments.json:
        print(json.dumps({name: {k: round(v, 2) for k, v in one.items()} for name, one in found.items()}))
    else:
        print("              rows/s     plain loop   ratio (range)         decoded")
        for name, one in found.items():
            print(
                f"{name:10} {one['rows_per_s']:9,.0f}  {one['loop_rows_per_s']:13,.0f}   "
                f"{one['ratio']:5.1f} ({one['low']:4.1f} to {one['high']:4.1f})"
                f"   {one['decoded_rows_per_s']:11,.0f}"
            )
    return int(any(found[name]["ratio"] < PROMISED for name in NUMERIC))


if __name__ == "__main__":
    sys.exit(main())
