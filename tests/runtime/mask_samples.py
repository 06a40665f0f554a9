"""Batches of every kind of column, a mixture over them, and what a mask says of one sample."""

import hashlib
from collections.abc import Sequence

import numpy as np

from fourm_runtime.batch import Batch, Column, Dense, Grid, Masked, Selection, Sequences
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import AllToAll, Biased, BudgetEntry, From, MaskEntry, Mixture, expand
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

GREY = {"type": "continuous", "channels": 1, "range": [0, 16], "levels": 17}
INPUT_BUDGET = (8, 40)
TARGET_BUDGET = (16, 32)


def make_plan() -> Plan:
    modalities = {
        "digit": {"kind": "image", "size": 6, "patch": 1, "cell": GREY, "shown": ["pixels", "tokens"]},
        "ink": {"kind": "image", "size": 4, "patch": 1, "cell": GREY},
        "shape": {"kind": "vector", "dim": 6, "ranges": [0, 1], "bins": 32},
        "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 16},
        "title": {"kind": "text", "vocabulary": "words", "max_tokens": 5},
    }
    words = {"kind": "wordpiece", "size": 256}
    declared = {"version": 1, "vocabularies": {"words": words}, "modalities": modalities}
    return resolve(Schema.model_validate(declared))


PLAN = make_plan()


def make_mixture() -> Mixture:
    masks: list[MaskEntry] = [
        AllToAll(preset="all_to_all", alpha=[0.01, 1.0, 10.0], weight=3),
        From(preset="from", stream="digit.pixels"),
        Biased(preset="biased", stream="caption"),
    ]
    return expand(masks, BudgetEntry(input=INPUT_BUDGET, target=TARGET_BUDGET), PLAN)


def make_batch(ids: Sequence[int], lacking: float = 0.2) -> Batch:
    """Samples whose content depends on their ids alone, so that any batch of them can be compared."""
    made = [np.random.default_rng(abs(sample) + 1) for sample in ids]
    columns: dict[str, Column] = {}
    for stream in PLAN.streams:
        present = np.array([rng.random() >= lacking for rng in made], np.bool_)
        shape = (len(made), stream.length)
        if stream.is_dense:
            values = np.stack([rng.random((stream.length, 1), np.float32) for rng in made])
            columns[stream.name] = Dense(values, present)
        elif stream.layout == "grid":
            rows = [rng.integers(0, stream.vocab_size, stream.length, dtype=np.uint8) for rng in made]
            columns[stream.name] = Grid(np.stack(rows).reshape(shape), present)
        else:
            rows = [rng.integers(20, 256, rng.integers(0, stream.length + 1), dtype=np.uint8) for rng in made]
            rows = [row if here else row[:0] for row, here in zip(rows, present, strict=True)]
            offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
            columns[stream.name] = Sequences(np.concatenate(rows), offsets, present)
    return Batch(np.array(ids, np.int64), columns)


def of_sample(selection: Selection, sample: int) -> tuple[list[int], ...]:
    chosen = selection.samples == sample
    previous = [] if selection.previous is None else selection.previous[chosen].tolist()
    return selection.positions[chosen].tolist(), selection.ids[chosen].tolist(), previous


def view(masked: Masked, sample: int) -> dict[str, tuple[list[int], ...]]:
    """All that a mask says about one sample."""
    sides = {"input": masked.inputs, "target": masked.targets}
    found = {
        f"{side} {name}": of_sample(selection, sample)
        for side, selections in sides.items()
        for name, selection in selections.items()
    }
    return {name: tokens for name, tokens in found.items() if tokens[0]}


def digest_of_some() -> str:
    """All that a mask says about twenty samples."""
    return digest(Masker(PLAN, make_mixture(), 3)(make_batch(range(20)), 1))


def digest(masked: Masked) -> str:
    found = hashlib.sha256()
    for side in (masked.inputs, masked.targets):
        for name, selection in side.items():
            found.update(name.encode())
            for part in (selection.samples, selection.positions, selection.ids, selection.previous):
                found.update(b"" if part is None else np.ascontiguousarray(part, "<i4").tobytes())
    return found.hexdigest()
