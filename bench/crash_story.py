"""What the victims of `crash.py` do, and how what they leave is judged.

A story is a list of steps that follows from its seed: an import, then appends, encodings, modalities added
and filled, compactions and clean-ups. Each step may be repeated: a run that was killed starts from the first.
Every value follows from its sample's name: what a dataset holds can be checked without a second copy of it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import attrs
import numpy as np

from fourm_codecs.base import StoredCodec
from fourm_codecs.build import build_codec
from fourm_runtime.data import store
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.importer import ImportSettings, import_source
from fourm_runtime.data.importing.journal import folder_of, is_unfinished
from fourm_runtime.data.importing.sources.opening import open_rows
from fourm_runtime.data.location import Location
from fourm_schema.load import parse_schema
from fourm_schema.schema import Schema

ROWS_PER_FRAGMENT = 60
DECLARED = """
version: 1
modalities:
  digit: {kind: image, size: 4, patch: 1, cell: {type: continuous, channels: 1, range: [0, 16], levels: 17}}
  shape: {kind: vector, dim: 3, ranges: [0, 1], bins: 32}
"""

Kind = Literal["import", "append", "encode", "add", "compact", "clean"]

ADDING: tuple[Kind, ...] = ("import", "append")
LATER: tuple[Kind, ...] = (
    "append", "append", "append", "encode", "encode", "compact", "compact", "add", "clean",
)  # fmt: skip
"""What a story goes on with; each as often as it stands here."""


@attrs.frozen
class Step:
    """One thing that a story does.

    Attributes:
        number: its place in the story.
        kind: what it does.
        rows: samples that it adds; of an added modality, its number.
    """

    number: int
    kind: Kind
    rows: int = 0

    @property
    def names(self) -> list[str]:
        """The samples that it adds."""
        return [f"s{self.number}-{row}" for row in range(self.rows)] if self.kind in ADDING else []


def story(seed: int) -> list[Step]:
    """The steps of a seed."""
    rng = np.random.default_rng(seed)
    steps, added = [Step(0, "import", int(rng.integers(100, 400)))], 0
    for number in range(1, 11):
        kind = LATER[int(rng.integers(len(LATER)))]
        if kind == "add":
            added += 1
            steps.append(Step(number, kind, added))
        else:
            steps.append(Step(number, kind, int(rng.integers(20, 120)) if kind == "append" else 0))
    return [*steps, Step(11, "encode"), Step(12, "compact")]


def schema_of(added: int) -> Schema:
    """The schema with so many modalities added."""
    more = "".join(
        f"  m{n}: {{kind: vector, dim: 1, ranges: [0, 1], bins: 16}}\n" for n in range(1, added + 1)
    )
    return parse_schema(DECLARED + more)


def value(name: str, modality: str) -> object:
    """The value of a sample; some have none."""
    numbers = np.frombuffer(hashlib.sha256(f"{name} {modality}".encode()).digest(), np.uint8)
    if numbers[-1] % 5 == 0 and modality != "digit":
        return None
    if modality == "digit":
        return (numbers[:16] % 17).reshape(4, 4).tolist()
    return [float(np.float32(number) / 256) for number in numbers[: 3 if modality == "shape" else 1]]


def act(path: Path, step: Step) -> None:
    """Do one step, whether or not it was done before, in part or wholly."""
    if step.kind == "import":
        # A victim may die between the commit and the end of its journal: then the same import ends it.
        if not store.exists(path) or is_unfinished(folder_of(Location.of(path))):
            settings = ImportSettings(rows_per_fragment=ROWS_PER_FRAGMENT)
            import_source(path, schema_of(0), open_rows(_source(path, step), schema_of(0)), settings)
        return
    dataset = Dataset.open(path)
    if step.kind == "append":
        added = len(dataset.schema.modalities) - 2
        dataset.append(_rows(step.names, added), ROWS_PER_FRAGMENT, once=f"step {step.number}")
    elif step.kind == "encode":
        dataset.encode(codecs_of(dataset.schema))
    elif step.kind == "compact":
        dataset.compact(rows_per_fragment=4 * ROWS_PER_FRAGMENT)
    elif step.kind == "clean":
        dataset.clean_up(timedelta(0))
    else:
        name = f"m{step.rows}"
        if name not in dataset.schema.modalities:
            dataset.add_modality(schema_of(step.rows))
        if name in dataset.unfilled:
            dataset.fill(name, lambda ids: [value(each, name) for each in ids])


def codecs_of(schema: Schema) -> dict[str, StoredCodec]:
    """The codec of each modality."""
    return {name: build_codec(schema, name) for name in schema.modalities}


def _source(path: Path, step: Step) -> Path:
    """The file that is imported, written by the first victim."""
    file = path.with_suffix(".jsonl")
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text("".join(f"{json.dumps(row)}\n" for row in _rows(step.names, 0)))
        os.replace(part, file)
    return file


def _rows(names: list[str], added: int) -> Iterator[dict[str, object]]:
    modalities = ["digit", "shape", *(f"m{number}" for number in range(1, added + 1))]
    for name in names:
        yield {"id": name, **{modality: value(name, modality) for modality in modalities}}


def act_all(path: Path, seed: int, tell: Callable[[str], object]) -> None:
    """A victim's life: every step in turn, each announced and reported."""
    for step in story(seed):
        tell(f"begin {step.number}")
        act(path, step)
        tell(f"done {step.number}")


def judge(path: Path, seed: int, done: int, seen: set[int]) -> list[str]:
    """What is wrong with a dataset.

    Args:
        path: where it lies.
        seed: of its story.
        done: the last step that was reported as done; -1 if none was.
        seen: versions that were read before, and need not be read again; this call adds to them.

    Returns:
        the faults, one line each; empty if all is well.
    """
    if not store.exists(path):
        return [] if done < 0 else ["the dataset is gone"]
    faults = []
    for version in store.open_version(path).versions():
        number = int(version["version"])
        if number in seen:
            continue
        try:
            old = Dataset.open(path, number)
            if old.arrow.to_table().num_rows != old.rows:
                faults.append(f"version {number} has not all its rows")
            seen.add(number)
        except Exception as error:
            faults.append(f"version {number} cannot be read: {error}")
    try:
        return faults + _judge_latest(path, seed, done)
    except Exception as error:
        return [*faults, f"the latest version cannot be read: {error}"]


def _judge_latest(path: Path, seed: int, done: int) -> list[str]:
    dataset = Dataset.open(path)
    table = dataset.arrow.to_table()
    names, faults = table["id"].to_pylist(), list[str]()
    given = set(names)
    for fault, count in (
        ("rows are there twice", len(names) - len(given)),
        ("numbers are given twice", len(names) - len(set(table["sample"].to_pylist()))),
    ):
        if count:
            faults.append(f"{count} {fault}")
    for step in story(seed):
        wanted = set(step.names)
        found = given & wanted
        given -= wanted
        if (found and found != wanted) or (step.number <= done and not found and wanted):
            faults.append(f"step {step.number} left {len(found)} of {len(wanted)} rows")
    if given:
        faults.append(f"{len(given)} rows come from nowhere")
    codecs, unfilled = codecs_of(dataset.schema), dataset.unfilled
    streams = dataset.status(codecs).streams
    whole = {status.stream for status in streams if status.state == "encoded"}
    for status in streams:
        if status.state == "stale":
            faults.append(f"{status.stream} is stale: {status.why}")
    for name, codec in codecs.items():
        values = [value(each, name) for each in names]
        column = f"{name}__tokens"
        tokens = table[column].to_pylist() if column in table.column_names else [None] * len(names)
        encoded = f"{name}.tokens" in whole
        there = [index for index, each in enumerate(values) if each is not None]
        expected = codec.encode([values[index] for index in there]).ids.reshape(len(there), -1).tolist()
        stored = table[name].to_pylist()
        for index, ids in zip(there, expected, strict=True):
            flat = np.asarray(values[index], np.float32).reshape(-1)
            if stored[index] is None and name in unfilled:
                continue
            if stored[index] is None or not np.array_equal(np.asarray(stored[index], np.float32), flat):
                faults.append(f"{names[index]} has another {name}")
            elif tokens[index] is None and encoded:
                faults.append(f"{names[index]} passes for encoded in {name}, and has no ids")
            elif tokens[index] is not None and tokens[index] != ids:
                faults.append(f"{names[index]} has ids of another value in {name}")
        absent = set(range(len(names))) - set(there)
        if any(stored[index] is not None or tokens[index] is not None for index in absent):
            faults.append(f"{name} has values that nobody gave")
    return faults
