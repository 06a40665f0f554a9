"""Masks against recordings of 4M's own code: spans exactly, budgets and token counts in distribution."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from fourm_runtime.masking.spans import Rows, merge, split_spans, target_sequence
from tests.runtime.recorded_masks import SPECIAL, Int64, Recording, recordings

KS_LIMIT = 1.9495
"""Scaled Kolmogorov-Smirnov distance; honest pairs exceed it once in 1,000, or less where values repeat."""


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


@pytest.fixture(scope="module")
def recorded(golden: Path) -> list[Recording]:
    found = recordings(golden)
    assert found, "the folder holds recordings"
    return found


def distance(ours: Int64, theirs: Int64) -> float:
    """Two-sample Kolmogorov-Smirnov distance, scaled."""
    values = np.union1d(ours, theirs)
    left = np.searchsorted(np.sort(ours), values, side="right") / len(ours)
    right = np.searchsorted(np.sort(theirs), values, side="right") / len(theirs)
    scale = math.sqrt(len(ours) * len(theirs) / (len(ours) + len(theirs)))
    return float(np.abs(left - right).max() * scale)


def same_frequencies(ours: Int64, theirs: Int64) -> float:
    """p-value of the two-sample chi-square test of homogeneity, for values without an order."""
    kinds = int(max(ours.max(), theirs.max())) + 1
    table = np.stack([np.bincount(ours, minlength=kinds), np.bincount(theirs, minlength=kinds)])
    table = table[:, table.any(axis=0)].astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = ((table - expected) ** 2 / expected).sum()
    half = torch.tensor([(table.shape[1] - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def mean(recording: Recording, components: Int64, values: Int64) -> tuple[float, float]:
    """Mean and its variance, each component counted by its weight and not by how often it came up."""
    parts = [values[components == number] for number in range(len(recording.weights))]
    means = sum(w * part.mean() for w, part in zip(recording.weights, parts, strict=True))
    variance = sum(w**2 * part.var() / len(part) for w, part in zip(recording.weights, parts, strict=True))
    return float(means), float(variance)


def deviation(recording: Recording, ours: Int64, theirs: Int64) -> tuple[float, float]:
    """How far our mean is from theirs, and the standard error of that, both as parts of theirs."""
    mine, my_variance = mean(recording, recording.ours.components, ours)
    other, variance = mean(recording, recording.theirs.components, theirs)
    return mine / other - 1, math.sqrt(my_variance + variance) / other


def counts(recording: Recording) -> Iterator[tuple[str, Int64, Int64]]:
    """Every column of tokens to compare: what it is, ours, theirs."""
    for index, name in enumerate(recording.names):
        yield f"{name} shown", recording.ours.inputs[:, index], recording.theirs.inputs[:, index]
        if recording.theirs.targets[:, index].any():
            yield f"{name} predicted", recording.ours.targets[:, index], recording.theirs.targets[:, index]


def test_golden_masking_components_are_drawn_as_often(recorded: list[Recording]) -> None:
    """The mixture's weights."""
    for recording in recorded:
        assert same_frequencies(recording.ours.components, recording.theirs.components) > 0.001, (
            recording.file
        )


def test_golden_masking_budgets_agree_in_distribution(recorded: list[Recording]) -> None:
    """For every modality, over all components and within each of them."""
    for recording in recorded:
        ours, theirs = recording.ours, recording.theirs
        for index, name in enumerate(recording.names):
            theirs_input = theirs.input_budgets[:, index]
            if name in recording.sequences:
                # We cut a text's input budget to the text, 4M to the longest text: the same is visible.
                theirs_input = np.minimum(theirs_input, recording.lengths(name))
            pairs = {
                "input": (ours.input_budgets[:, index], theirs_input),
                "target": (ours.target_budgets[:, index], theirs.target_budgets[:, index]),
            }
            for side, (mine, other) in pairs.items():
                assert distance(mine, other) < KS_LIMIT, (recording.file, name, side)
                for component in range(len(recording.weights)):
                    within = distance(
                        mine[ours.components == component], other[theirs.components == component]
                    )
                    assert within < KS_LIMIT, (recording.file, name, side, component)


def test_golden_masking_token_counts_agree_in_distribution(recorded: list[Recording]) -> None:
    """What is visible and what is predicted in the end, after masking of spans or chunks, and cutting."""
    for recording in recorded:
        distances = {what: distance(ours, theirs) for what, ours, theirs in counts(recording)}
        worst = max(distances, key=distances.__getitem__)
        print(f"{recording.file}: largest distance {distances[worst]:.2f} ({worst})")
        assert distances[worst] < KS_LIMIT, (recording.file, worst)


def test_golden_masking_shows_and_predicts_as_many_tokens(recorded: list[Recording]) -> None:
    """Each mean is within 2 % of the recorded one, or within 4 standard errors where a recording cannot tell
    2 %: its own mean of an image's tokens is uncertain by 1.6 to 3.5 %, however often we draw. The mean of
    all tokens together is known to 0.4 %, and is within 2 % without exception."""
    for recording in recorded:
        found = {what: deviation(recording, ours, theirs) for what, ours, theirs in counts(recording)}
        worst = max(found, key=lambda what: abs(found[what][0]))
        off, error = found[worst]
        print(f"{recording.file}: largest deviation {off:.2%} +- {error:.2%} ({worst})")
        for what, (off, error) in found.items():
            assert abs(off) <= max(0.02, 4 * error), (recording.file, what, off, error)

        predicted = recording.theirs.targets.any(axis=0)
        shown = deviation(recording, recording.ours.inputs.sum(axis=1), recording.theirs.inputs.sum(axis=1))
        targets = recording.ours.targets[:, predicted].sum(axis=1), recording.theirs.targets.sum(axis=1)
        for off, error in (shown, deviation(recording, *targets)):
            assert error < 0.005
            assert abs(off) <= 0.02, (recording.file, off)


def test_golden_masking_of_sequences_agrees_under_the_recorded_budgets(recorded: list[Recording]) -> None:
    """Given the budgets that 4M drew, only spans and cutting are left to chance, and 2 % can be told:
    every sequence shows and predicts as much, whole or in chunks."""
    for recording in recorded:
        found: dict[str, float] = {}
        for name in recording.sequences:
            index = recording.names.index(name)
            visible, predicted = recording.masked_again(name)
            found[f"{name} shown"] = visible.mean() / recording.theirs.inputs[:, index].mean() - 1
            if recording.theirs.targets[:, index].any():
                found[f"{name} predicted"] = predicted.mean() / recording.theirs.targets[:, index].mean() - 1
        worst = max(found, key=lambda what: abs(found[what]))
        print(f"{recording.file}: largest deviation of a sequence {found[worst]:.2%} ({worst})")
        assert abs(found[worst]) <= 0.02, (recording.file, worst, found[worst])


def test_golden_masking_knows_chunks(recorded: list[Recording]) -> None:
    """The comparison can tell chunks from tokens: what hides metadata word by word is found out."""
    for recording in recorded:
        for name, samples in recording.sequences.items():
            if all(length == 1 for chunks in samples for length in chunks):
                continue
            words = {**recording.sequences, name: [[1] * sum(chunks) for chunks in samples]}
            shown, _ = attrs.evolve(recording, sequences=words).masked_again(name)
            theirs = recording.theirs.inputs[:, recording.names.index(name)]

            assert distance(shown, theirs) > KS_LIMIT, (recording.file, name)
