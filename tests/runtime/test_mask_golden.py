"""Masks against recordings of 4M's own code: spans exactly, budgets and token counts in distribution."""

import json
import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fourm_runtime.batch import Batch, Column, Dense, Grid, Masked, Selection, Sequences
from fourm_runtime.masking.budgets import Budgets
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import Component, Mixture
from fourm_runtime.masking.spans import Rows, merge, split_spans, target_sequence
from fourm_schema.plan import Plan, Special
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

Int64 = NDArray[np.int64]
SPECIAL = Special(pad=0, unknown=1, start=2, end=3, first_sentinel=4, sentinel_count=200)
TEXTS = ("caption", "color_palette", "det", "human_poses", "metadata", "sam_instance", "t5_caption")
CHUNKED = ("metadata",)
"""4M masks metadata entry by entry, which our streams do not yet know: only its budgets are compared."""

NO_END_TOKEN = ("t5_caption",)
"""Features of a text encoder; 4M masks them as a text without an end token, and never predicts them."""


def recorded_spans(golden: Path, key: str) -> list[dict[str, Any]]:
    files = sorted(golden.glob("transforms*.json"))
    assert files, "the folder holds recordings"
    return [case for file in files for case in json.loads(file.read_text())[key]]


def cut(tokens: list[int], kept: list[bool]) -> tuple[list[int], list[int]]:
    rows = Rows(
        np.array(tokens, np.int32),
        np.array([0, len(tokens)]),
        np.array([0.5]),
        np.array([len(tokens)]),
        np.array([1000]),
        np.zeros(1, np.uint64),
        np.array([SPECIAL.first_sentinel]),
        np.array([SPECIAL.sentinel_count]),
    )
    inputs, targets = split_spans(rows, np.array(kept))
    return inputs.ids.tolist(), target_sequence(targets, 0).tolist()


def test_golden_masking_spans_are_cut_as_recorded(golden: Path) -> None:
    """The same hidden tokens give the same two sequences, and the same sequence when merged."""
    for case in recorded_spans(golden, "span"):
        visible, target = cut(case["sequence"], [not hidden for hidden in case["masked"]])

        assert visible == case["input"]
        assert target == (case["target"] if len(case["target"]) > 1 else [])
        assert merge(np.array(case["input"]), np.array(case["target"]), SPECIAL).tolist() == case["merged"]


def test_golden_masking_of_chunks_is_masking_of_their_tokens(golden: Path) -> None:
    """A hidden chunk is a run of hidden tokens: nothing else is special about chunks."""
    for case in recorded_spans(golden, "chunk_span"):
        kept = [
            not hidden for chunk, hidden in zip(case["chunks"], case["masked"], strict=True) for _ in chunk
        ]
        visible, target = cut([token for chunk in case["chunks"] for token in chunk], kept)

        assert visible == case["input"]
        assert target == (case["target"] if len(case["target"]) > 1 else [])


@attrs.frozen(eq=False)
class Recording:
    """4M's draws over a pool of 20 samples, and ours over the same pool with the same mixture."""

    names: list[str]
    lengths: dict[str, Int64]
    theirs_component: Int64
    theirs_budgets: Int64
    theirs_counts: Int64
    plan: Plan
    budgets: Budgets
    masked: Masked

    def ours(self, name: str, side: str) -> Int64:
        """Tokens per sample."""
        selections = self.masked.inputs if side == "input" else self.masked.targets
        selection = selections.get(f"{name}.pixels") or selections.get(f"{name}.tokens")
        return count(selection, self.masked.size)


def count(selection: Selection | None, size: int) -> Int64:
    samples = np.empty(0, np.int32) if selection is None else selection.samples
    return np.bincount(samples, minlength=size).astype(np.int64)


def make_plan(max_tokens: dict[str, int]) -> Plan:
    modalities: dict[str, object] = {}
    patches = {196: 16, 256: 14, 16: 56}
    for name, length in max_tokens.items():
        if name in TEXTS:
            modalities[name] = {"kind": "text", "vocabulary": "words", "max_tokens": length}
        else:
            cell = {"type": "continuous", "channels": 3, "range": [0, 255]}
            shown = ["pixels"] if name == "rgb" else ["tokens"]
            modalities[name] = {
                "kind": "image",
                "size": 224,
                "patch": patches[length],
                "cell": cell,
                "shown": shown,
            }
    words = {"kind": "wordpiece", "size": 30000}
    return resolve(
        Schema.model_validate({"version": 1, "vocabularies": {"words": words}, "modalities": modalities})
    )


def make_batch(plan: Plan, lengths: dict[str, Int64], size: int) -> Batch:
    present = np.ones(size, np.bool_)
    columns: dict[str, Column] = {}
    for stream in plan.streams:
        if stream.is_dense:
            columns[stream.name] = Dense(np.zeros((size, stream.length, 1), np.float32), present)
        elif stream.layout == "grid":
            columns[stream.name] = Grid(np.zeros((size, stream.length), np.uint8), present)
        else:
            offsets = np.concatenate(([0], np.cumsum(lengths[stream.modality])))
            columns[stream.name] = Sequences(np.full(int(offsets[-1]), 1000, np.uint16), offsets, present)
    return Batch(np.arange(size), columns)


def replay(stats_file: Path) -> Recording:
    stats = json.loads(stats_file.read_text())
    draws = load_file(stats_file.with_name(stats_file.name.replace(".stats.json", ".draws.safetensors")))
    size = stats["draws"]
    short = {name: name.removesuffix("@224") for name in stats["modality_order"]}
    plan = make_plan({short[name]: length for name, length in stats["max_tokens"].items()})
    pool = {
        name: np.array([sum(n) if isinstance(n, list) else n for n in found]) + (name not in NO_END_TOKEN)
        for name, found in stats["sequence_lengths_without_eos"].items()
    }
    lengths = {name: np.resize(found, size) for name, found in pool.items()}
    alphas = {plan.stream(short[name]).name: found for name, found in stats["alphas"].items()}
    components = tuple(
        Component(
            weight,
            {name: found["input_alphas"][index] for name, found in alphas.items()},
            {name: found["target_alphas"][index] for name, found in alphas.items()},
            {name: found["keep"][index] for name, found in alphas.items() if "keep" in found},
        )
        for index, weight in enumerate(
            stats["sampling_weights"] or [1.0] * len(stats["mixture_component_counts"])
        )
    )
    mixture = Mixture(components, tuple(stats["input_tokens_range"]), tuple(stats["target_tokens_range"]))
    masker = Masker(plan, mixture, seed=0)
    batch = make_batch(plan, lengths, size)
    return Recording(
        [short[name] for name in stats["modality_order"]],
        lengths,
        draws["component"].astype(np.int64),
        draws["budgets"].astype(np.int64),
        draws["counts"].astype(np.int64),
        plan,
        masker.budgets(batch, 0),
        masker(batch, 0),
    )


@pytest.fixture(
    scope="module",
    params=["masking_mod7_in128-128_out128-128_seed2", "masking_mod21_in256-256_out256-256_seed0"],
)
def recording(request: pytest.FixtureRequest, golden: Path) -> Recording:
    path = golden / f"{request.param}.stats.json"
    if not path.exists():
        pytest.skip(f"no {path.name} in this golden folder")
    return replay(path)


def distance(ours: Int64, theirs: Int64) -> float:
    """Two-sample Kolmogorov-Smirnov distance, scaled; above 2.2 at most once in 8,000 honest pairs."""
    values = np.union1d(ours, theirs)
    left = np.searchsorted(np.sort(ours), values, side="right") / len(ours)
    right = np.searchsorted(np.sort(theirs), values, side="right") / len(theirs)
    scale = math.sqrt(len(ours) * len(theirs) / (len(ours) + len(theirs)))
    return float(np.abs(left - right).max() * scale)


def test_golden_masking_budgets_agree_in_distribution(recording: Recording) -> None:
    """For every modality, over all components and within each of them."""
    for index, name in enumerate(recording.names):
        stream = recording.plan.index(name)
        # We cut a text's input budget to the text, 4M to the longest text: the same tokens are visible.
        room = recording.lengths.get(name, np.int64(10_000))
        theirs_input = np.minimum(recording.theirs_budgets[:, index, 0], room)
        ours_input = recording.budgets.inputs[:, stream]
        theirs_target, ours_target = (
            recording.theirs_budgets[:, index, 1],
            recording.budgets.targets[:, stream],
        )

        assert distance(ours_input, theirs_input) < 2.2, name
        assert distance(ours_target, theirs_target) < 2.2, name
        for component in range(int(recording.theirs_component.max()) + 1):
            mine = recording.budgets.components == component
            other = recording.theirs_component == component
            assert distance(ours_input[mine], theirs_input[other]) < 2.2, (name, component)
            assert distance(ours_target[mine], theirs_target[other]) < 2.2, (name, component)


def test_golden_masking_components_are_drawn_as_often(recording: Recording) -> None:
    """The mixture's weights."""
    assert distance(recording.budgets.components, recording.theirs_component) < 2.2


def test_golden_masking_token_counts_agree_in_distribution(recording: Recording) -> None:
    """What is visible and what is predicted in the end, after span masking and cutting."""
    for index, name in enumerate(recording.names):
        if name in CHUNKED:
            continue
        theirs = recording.theirs_counts[:, index]
        assert distance(recording.ours(name, "input"), theirs[:, 0]) < 2.2, name
        if name in NO_END_TOKEN:
            continue
        # 4M counts the ids of a target sequence; the first of them is read, not predicted.
        predicted = np.maximum(theirs[:, 1] - 1, 0) if name in TEXTS else theirs[:, 1]
        assert distance(recording.ours(name, "target"), predicted) < 2.2, name
