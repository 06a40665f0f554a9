"""Recordings of 4M's masking, and our draws over the same pool of samples with the same mixture."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fourm_runtime.batch import Batch, Column, Dense, DenseSequences, Grid, Selection, Sequences
from fourm_runtime.masking.draws import derive, name_word, sample_keys, uniforms
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import Component, Mixture
from fourm_runtime.masking.spans import Rows, mask_spans
from fourm_schema.plan import Plan, Special
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

Int64 = NDArray[np.int64]
SPECIAL = Special(pad=0, unknown=1, start=2, end=3, first_sentinel=4, sentinel_count=200)

VECTORS = ("t5_caption",)
"""Sequences of vectors: 4M masks them as a text without an end token, and never predicts them. It gives them
a share of the targets all the same; here a text that is never shown, `<name>_share`, takes that share."""

REPEATS = 2
"""Our draws per recorded one. More would not help: most of the noise is then the recording's."""


@attrs.frozen(eq=False)
class Draws:
    """N draws over S modalities: (N,) components, and (N, S) budgets and tokens."""

    components: Int64
    input_budgets: Int64
    target_budgets: Int64
    inputs: Int64
    targets: Int64


@attrs.frozen(eq=False)
class Recording:
    """What 4M drew over a pool of 20 samples, and what we draw.

    Attributes:
        file: name of the recording.
        names: its modalities, in order.
        sequences: sequence -> lengths of the chunks of each sample, end token included; a token that
            belongs to no chunk is one. Samples take turns.
        plan, mixture: the same modalities and concentrations, as ours.
        theirs, ours: the draws; ours are `REPEATS` times as many.
    """

    file: str
    names: list[str]
    sequences: Mapping[str, list[list[int]]]
    plan: Plan
    mixture: Mixture
    theirs: Draws
    ours: Draws

    @property
    def weights(self) -> NDArray[np.float64]:
        """(C,) shares of the components."""
        weights = np.array([component.weight for component in self.mixture.components])
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares

    def lengths(self, name: str) -> Int64:
        """(N,) tokens of a sequence in each recorded draw."""
        return np.resize([sum(chunks) for chunks in self.sequences[name]], len(self.theirs.components))

    def masked_again(self, name: str) -> tuple[Int64, Int64]:
        """Mask a sequence under the budgets and components that 4M drew.

        Returns:
            (N,) visible and (N,) predicted tokens.
        """
        index, size = self.names.index(name), len(self.theirs.components)
        keys = derive(sample_keys(0, 0, np.arange(size)), name_word(name))
        points = uniforms(keys, np.uint64(0))
        schemes = np.array(
            [component.keep[self.plan.stream(name).name] for component in self.mixture.components]
        )
        scheme = schemes[self.theirs.components]
        column = _column(self.sequences[name], size)
        rows = Rows(
            column.ids.astype(np.int32),
            column.offsets,
            np.select([scheme == "all", scheme == "binary"], [1.0, points < 0.5], points),
            self.theirs.input_budgets[:, index],
            self.theirs.target_budgets[:, index],
            keys,
            np.full(size, SPECIAL.first_sentinel),
            np.full(size, SPECIAL.sentinel_count),
            column.chunk_lengths,
        )
        visible, predicted = mask_spans(rows)
        return _count(visible, size), _count(predicted, size)


def recordings(golden: Path) -> list[Recording]:
    """Read every recording of masks in the folder, whatever it is called."""
    return [_read(path) for path in sorted(golden.glob("masking_*.stats.json"))]


def _read(file: Path) -> Recording:
    stats = json.loads(file.read_text().replace("@", "_"))
    names: list[str] = stats["modality_order"]
    sequences = {
        name: [_chunks(name, found, stats["max_tokens"][name]) for found in samples]
        for name, samples in stats["sequence_lengths_without_eos"].items()
    }
    plan = _plan(stats["max_tokens"], stats["alphas"], sequences)
    mixture = _mixture(stats, plan)
    draws = load_file(file.with_name(file.name.replace(".stats.json", ".draws.safetensors")))
    budgets, counts = draws["budgets"].astype(np.int64), draws["counts"].astype(np.int64)
    for index, name in enumerate(names):
        if name in sequences:
            # 4M counts the ids of a target sequence; the first of them is read, not predicted.
            counts[:, index, 1] = np.maximum(counts[:, index, 1] - 1, 0)
    theirs = Draws(
        draws["component"].astype(np.int64), budgets[..., 0], budgets[..., 1], counts[..., 0], counts[..., 1]
    )
    ours = _draw(plan, mixture, names, sequences, stats["draws"])
    return Recording(file.name, names, sequences, plan, mixture, theirs, ours)


def _chunks(name: str, found: int | list[int], most: int) -> list[int]:
    """Chunks of one sample as 4M masks them: the end token added, then cut to the longest allowed."""
    chunks = [1] * found if isinstance(found, int) else list(found)
    if name not in VECTORS:
        chunks.append(1)
    return [length for length, end in zip(chunks, np.cumsum(chunks).tolist(), strict=True) if end <= most]


def _plan(max_tokens: dict[str, int], alphas: dict[str, Any], sequences: Mapping[str, object]) -> Plan:
    modalities: dict[str, object] = {}
    for name, length in max_tokens.items():
        if name in VECTORS:
            modalities[name] = {"kind": "vector", "dim": 1, "max_length": length, "shown": ["values"]}
            share = {"kind": "text", "vocabulary": "words", "max_tokens": length, "role": "target"}
            modalities[f"{name}_share"] = share
            continue
        if name in sequences:
            modalities[name] = {"kind": "text", "vocabulary": "words", "max_tokens": length}
            continue
        cell = {"type": "continuous", "channels": 1, "range": [0, 255]}
        shown = ["tokens"] if any(alphas[name]["target_alphas"]) else ["pixels"]
        size = math.isqrt(length)
        modalities[name] = {"kind": "image", "size": size, "patch": 1, "cell": cell, "shown": shown}
    words = {"kind": "wordpiece", "size": 30000}
    return resolve(
        Schema.model_validate({"version": 1, "vocabularies": {"words": words}, "modalities": modalities})
    )


def _mixture(stats: dict[str, Any], plan: Plan) -> Mixture:
    alphas = {plan.stream(name).name: found for name, found in stats["alphas"].items()}
    weights = stats["sampling_weights"] or [1.0] * len(stats["mixture_component_counts"])
    components = tuple(
        Component(
            weight,
            {name: found["input_alphas"][index] for name, found in alphas.items()},
            {_asked(plan, name): found["target_alphas"][index] for name, found in stats["alphas"].items()},
            {name: found["keep"][index] for name, found in alphas.items() if "keep" in found},
        )
        for index, weight in enumerate(weights)
    )
    return Mixture(components, tuple(stats["input_tokens_range"]), tuple(stats["target_tokens_range"]))


def _asked(plan: Plan, name: str) -> str:
    """The stream that takes a modality's share of the targets."""
    return plan.stream(f"{name}_share" if name in VECTORS else name).name


def _draw(
    plan: Plan, mixture: Mixture, names: list[str], sequences: Mapping[str, list[list[int]]], size: int
) -> Draws:
    present = np.ones(size, np.bool_)
    columns: dict[str, Column] = {}
    for stream in plan.streams:
        if stream.modality in VECTORS:
            column = _column(sequences[stream.modality], size)
            numbers = np.zeros((len(column.ids), 1), np.float32)
            columns[stream.name] = DenseSequences(numbers, column.offsets, present)
        elif stream.is_dense:
            columns[stream.name] = Dense(np.zeros((size, stream.length, 1), np.float32), present)
        elif stream.layout == "grid":
            columns[stream.name] = Grid(np.zeros((size, stream.length), np.uint8), present)
        elif stream.modality in sequences:
            columns[stream.name] = _column(sequences[stream.modality], size)
        else:
            columns[stream.name] = Sequences(np.full(size, 1000), np.arange(size + 1), present)
    masker, batch = Masker(plan, mixture, seed=0), Batch(np.arange(size), columns)
    streams = [plan.stream(name) for name in names]
    shown = [plan.index(name) for name in names]
    asked = [plan.index(_asked(plan, name)) for name in names]
    repeats: list[Draws] = []
    for epoch in range(REPEATS):
        budgets, masked = masker.budgets(batch, epoch), masker(batch, epoch)
        inputs, targets = (
            np.stack([_count(side.get(stream.name), size) for stream in streams], axis=1)
            for side in (masked.inputs, masked.targets)
        )
        repeats.append(
            Draws(budgets.components, budgets.inputs[:, shown], budgets.targets[:, asked], inputs, targets)
        )
    return Draws(
        np.concatenate([draws.components for draws in repeats]),
        np.concatenate([draws.input_budgets for draws in repeats]),
        np.concatenate([draws.target_budgets for draws in repeats]),
        np.concatenate([draws.inputs for draws in repeats]),
        np.concatenate([draws.targets for draws in repeats]),
    )


def _column(samples: list[list[int]], size: int) -> Sequences:
    """A column of `size` sequences that takes the samples in turn, with chunks where there are any."""
    turns, rest = divmod(size, len(samples))
    offsets = np.concatenate(([0], np.cumsum(np.resize([sum(chunks) for chunks in samples], size))))
    some = sum(samples[:rest], list[int]())
    chunks = np.concatenate((np.tile(sum(samples, list[int]()), turns), np.array(some, np.int64)))
    return Sequences(
        np.full(int(offsets[-1]), 1000, np.uint16),
        offsets,
        np.ones(size, np.bool_),
        chunks if np.any(chunks > 1) else None,
    )


def _count(selection: Selection | None, size: int) -> Int64:
    samples = np.empty(0, np.int32) if selection is None else selection.samples
    return np.bincount(samples, minlength=size).astype(np.int64)
