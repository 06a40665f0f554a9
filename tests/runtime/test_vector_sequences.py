"""Sequences of vectors, such as a text encoder's features: stored, masked, packed and trained with."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fourm_runtime.batch import HIDDEN_RUN, Batch, DenseSequences, Float32, Selection
from fourm_runtime.checkpoints.store import load
from fourm_runtime.cli.app import app
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.sources.opening import read_rows
from fourm_runtime.data.reader import Reader
from fourm_runtime.data.samples import read_samples
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import Component, Keep, Mixture
from fourm_runtime.masking.spans import Rows, mask_spans
from fourm_runtime.packing import pack
from fourm_runtime.pictures.mask_draw import mask_draws
from fourm_runtime.training.metrics import read_metrics
from fourm_schema.allocation import allocate
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from fourm_schema.resolve import resolve

DIM, MOST = 5, 6
YAML = """
version: 1
modalities:
  words: {kind: vector, dim: 5, max_length: 6, shown: [values], mean: 1.0, std: 2.0}
  mood: {kind: vector, dim: 2, ranges: [0, 4], bins: 4}
"""
SCHEMA = parse_schema(YAML)
PLAN = resolve(SCHEMA)


def vectors(number: int) -> Float32 | None:
    """Of a sample: one to six vectors that tell their sample and place; every fourth sample has none."""
    if number % 4 == 3:
        return None
    count = 1 + number % MOST
    return (100 * number + np.arange(count)[:, None] + np.zeros(DIM)).astype(np.float32)


def rows(count: int) -> list[dict[str, object]]:
    return [
        {"id": str(number), "words": vectors(number), "mood": [number % 4, 0.0]} for number in range(count)
    ]


def column(lengths: list[int]) -> DenseSequences:
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    within = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], lengths)
    values = np.repeat((within + 1)[:, None], DIM, axis=1).astype(np.float32)
    return DenseSequences(values, offsets, np.array(lengths) > 0)


def masker(keep: Keep = "random", budget: tuple[int, int] = (MOST, MOST), seed: int = 0) -> Masker:
    alphas = {"words.values": 1.0}
    component = Component(1.0, alphas, {"mood.tokens": 1.0}, {"words.values": keep})
    return Masker(PLAN, Mixture((component,), budget, (2, 2)), seed)


def of_sample(selection: Selection | None, sample: int) -> list[int]:
    found: list[int] = [] if selection is None else selection.ids[selection.samples == sample].tolist()
    return found


@pytest.mark.parametrize("wide", [False, True])
def test_what_is_stored_is_read_back_on_the_scale_of_the_network(wide: bool, tmp_path: Path) -> None:
    """In any order, twice or not at all, whether rows are read in blocks or, where they are large, alone."""
    dim = 4096 if wide else DIM
    schema = parse_schema(YAML.replace("dim: 5", f"dim: {dim}"))
    stored = [
        {**row, "words": None if (given := vectors(number)) is None else given[:, :1].repeat(dim, axis=1)}
        for number, row in enumerate(rows(20))
    ]
    dataset = Dataset.create(tmp_path / "x.lance", schema, stored[:13], rows_per_fragment=7)
    dataset.append(stored[13:])
    wanted = [19, 3, 0, 7, 12, 0, 14]
    with Reader(dataset, resolve(schema), ["words.values"]) as reader:
        found = reader.batch(wanted).columns["words.values"]
        nobody = reader.batch([]).columns["words.values"]

    assert isinstance(found, DenseSequences) and isinstance(nobody, DenseSequences)
    assert found.values.dtype == np.float32 and nobody.offsets.tolist() == [0]
    assert found.present.tolist() == [number % 4 != 3 for number in wanted]
    for place, number in enumerate(wanted):
        own, truth = found.values[found.offsets[place] : found.offsets[place + 1]], vectors(number)
        if truth is None:
            assert not len(own)
        else:
            assert np.array_equal(own, ((truth[:, :1] - 1) / 2).repeat(dim, axis=1))


def test_they_are_filled_in_later_looked_at_and_given_back(tmp_path: Path) -> None:
    """All that a dataset does with a modality: add it, fill it from a file, list it, draw it."""
    bare = parse_schema("version: 1\nmodalities:\n" + YAML.splitlines()[-1])
    dataset = Dataset.create(
        tmp_path / "x.lance", bare, [{"id": row["id"], "mood": row["mood"]} for row in rows(9)]
    )
    dataset.add_modality(SCHEMA)
    lines = []
    for number in range(9):
        given = vectors(number)
        if given is not None:
            np.save(tmp_path / f"{number}.npy", given)
            lines.append({"id": str(number), "words": f"{number}.npy" if number % 2 else given.tolist()})
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = dataset.fill_rows(read_rows(tmp_path / "more.jsonl", SCHEMA))
    samples = read_samples(dataset, [3, 5])
    (values,) = dataset.values("words")

    assert [(one.given, one.absent) for one in report.filled] == [(7, 2)]
    assert samples[0].values["words"] is None
    assert np.array_equal(np.asarray(samples[1].values["words"]), np.asarray(vectors(5)))
    assert len(values) == 7 and np.array_equal(np.asarray(values[-1]), np.asarray(vectors(8)))
    said = ran("data", "show", dataset.path, "--rows", "4", "--to", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "4 of 9 samples" in said
    assert "3 vectors of 5 numbers" in page and "words.values: 3 tokens" in page


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((7, 5)), r"row 0, words: a value is a sequence of 1 to 6 vectors; got 7 of them; cut it"),
        ([], r"words: a value is a sequence of 1 to 6 vectors; got 0 of them; give None"),
        (5.0, r"words: a value is a sequence of 1 to 6 vectors; got float"),
        (np.zeros(5), r"words, vector 0: a value has shape 5; got a single number"),
        (np.zeros((2, 4)), r"words, vector 0: a value has shape 5; got 4"),
        ([[0] * 5, [0, 0, math.nan, 0, 0]], r"words, vector 1 at \[2\]: NaN and infinity stand for no value"),
    ],
)
def test_what_is_no_sequence_of_vectors_is_refused(value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.create(tmp_path / "x.lance", SCHEMA, [{"words": value}])


@given(
    st.lists(st.integers(0, MOST), min_size=1, max_size=8),
    st.sampled_from(["random", "all", "binary"]),
    st.integers(1, MOST),
    st.integers(0, 2**32),
)
def test_masks_keep_some_vectors_in_order_and_show_each_hidden_run_as_one(
    lengths: list[int], keep: Keep, budget: int, seed: int
) -> None:
    """Never more than the budget, positions by rank among what is visible, and nothing is to be predicted."""
    masked = masker(keep, (budget, budget), seed)(
        Batch(np.arange(len(lengths)), {"words.values": column(lengths)}), 0
    )
    shown = masked.inputs.get("words.values")

    assert "words.values" not in masked.targets
    for sample, length in enumerate(lengths):
        ids = of_sample(shown, sample)
        kept = [number for number in ids if number != HIDDEN_RUN]
        assert len(ids) <= budget and kept == sorted(set(kept)) and all(0 <= n < length for n in kept)
        if ids:
            assert shown is not None
            assert shown.positions[shown.samples == sample].tolist() == list(range(len(ids)))
            runs = np.diff([-1, *kept, length]) > 1
            assert ids.count(HIDDEN_RUN) == int(runs.sum())
            places = [place for place, hidden in enumerate(runs) if hidden]
            assert [place for place, number in enumerate(ids) if number == HIDDEN_RUN] == [
                place + before for before, place in enumerate(places)
            ]


def test_they_are_masked_as_a_text_without_an_end_token() -> None:
    """Source: 4M masks features of a text encoder by the same spans; only ids are missing."""
    lengths, size = [1 + number % MOST for number in range(300)], 300
    batch = Batch(np.arange(size), {"words.values": column(lengths)})
    shown = masker(budget=(1, MOST))(batch, 0).inputs["words.values"]
    budgets = masker(budget=(1, MOST)).budgets(batch, 0)
    kept = np.bincount(shown.samples[shown.ids >= 0], minlength=size)
    runs = np.bincount(shown.samples[shown.ids < 0], minlength=size)
    ones = np.ones(size, np.int64)
    text = Rows(
        np.full(sum(lengths), 1000, np.int32),
        np.concatenate(([0], np.cumsum(lengths))),
        np.random.default_rng(0).random(size),
        budgets.inputs[:, PLAN.index("words.values")],
        0 * ones,
        np.arange(size).astype(np.uint64),
        4 * ones,
        200 * ones,
    )
    as_text, _ = mask_spans(text)
    words = np.bincount(as_text.samples[as_text.ids == 1000], minlength=size)
    sentinels = np.bincount(as_text.samples[as_text.ids < 1000], minlength=size)

    error = math.sqrt(kept.var() / size + words.var() / size)
    assert abs(kept.mean() - words.mean()) < 4 * error
    assert abs(runs.mean() - sentinels.mean()) < 4 * math.sqrt(runs.var() / size + sentinels.var() / size)


def test_packing_takes_the_vectors_that_are_shown_and_zeros_for_what_is_hidden() -> None:
    """Sample by sample; where micro-batches split a step, each takes its own."""
    lengths = [6, 0, 3, 5, 1]
    batch = Batch(np.arange(5), {"words.values": column(lengths)})
    masked = masker(seed=2)(batch, 0)
    shown = masked.inputs["words.values"]
    whole, *split = [
        torch.cat(
            [
                part.dense["words.values"].values
                for part in pack(masked, PLAN, allocate(PLAN), capacity=capacity)
            ]
        )
        for capacity in (None, (6, 2))
    ]

    assert HIDDEN_RUN in shown.ids and (shown.ids >= 0).any()
    assert whole[:, 0].tolist() == [0.0 if number == HIDDEN_RUN else number + 1.0 for number in shown.ids]
    assert torch.equal(whole, split[0])


def test_a_picture_of_the_mask_says_what_became_of_each_vector() -> None:
    """A hidden run is drawn as the one vector that stands for it, where it stands."""
    batch = Batch(np.arange(40), {"words.values": column([6] * 40)})
    masks = masker(seed=1)
    shown = masks(batch, 0).inputs["words.values"]
    for sample, draw in enumerate(mask_draws(masks, batch, [0] * 40)):
        stream, ids = draw.streams["words.values"], of_sample(shown, sample)
        assert np.flatnonzero(stream.visible).tolist() == [number for number in ids if number >= 0]
        assert not stream.predicted.any() and stream.input_tokens == len(ids)
        assert [number for _, number in stream.sentinels] == list(range(1, 1 + ids.count(HIDDEN_RUN)))
        assert all(place == 0 or stream.visible[place - 1] for place, _ in stream.sentinels)


def test_a_column_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match=r"words\.values: has at most 6 tokens per sample; got 7"):
        masker()(Batch(np.arange(1), {"words.values": column([MOST + 1])}), 0)
    with pytest.raises(
        DataError, match=r"mood\.tokens: must be a column of kind 'grid'; got 'dense sequences'"
    ):
        masker()(Batch(np.arange(1), {"mood.tokens": column([2])}), 0)


def ran(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    said = " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert done.exit_code == 0, said
    return said


def test_a_run_learns_from_them_resumes_and_is_evaluated(tmp_path: Path) -> None:
    """From YAML to scores: what is predicted follows from the first vector alone."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(64):
        words = rng.standard_normal((1 + number % MOST, DIM))
        words[0] = 6.0 * (number % 4) - 9.0
        samples.append(
            {"id": str(number), "words": words, "mood": [number % 4 + 0.5 * (number % 4 < 3), 2.0]}
        )
    data = tmp_path / "x.lance"
    Dataset.create(data, SCHEMA, samples)
    recipe = {
        "budget": {"input": 7, "target": 2},
        "masks": [{"preset": "from", "stream": "words.values"}],
        "model": {"size": "nano", "dim": 32, "heads": 2, "encoder_depth": 1, "decoder_depth": 1},
        "steps": {"total": 40, "samples_per_step": 32},
        "optimizer": {"lr": 0.01},
        "checkpoint_every": 20,
    }
    (tmp_path / "train.yaml").write_text(json.dumps(recipe))
    ran("data", "encode", data)
    begin = ("train", tmp_path / "train.yaml", "--data", data, "--quiet", "--device", "cpu")
    ran(*begin, "--to", tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000040")
    ran(*begin, "--to", tmp_path / "run", "--resume")
    whole, run = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "run")
    scores = json.loads(
        CliRunner().invoke(app, ["evaluate", str(tmp_path / "whole"), "--data", str(data), "--json"]).stdout
    )
    page = ran("mask", "show", data, "--recipe", tmp_path / "train.yaml", "--to", tmp_path / "mask.html")

    assert whole[-1].loss < 0.25 * whole[0].loss
    assert [step.loss for step in run] == pytest.approx([step.loss for step in whole], rel=1e-6)
    assert (
        scores["streams"]["mood.tokens"]["loss"] < 0.5 * scores["streams"]["mood.tokens"]["baseline_loss"]
    ), scores
    assert "8 masks" in page
    assert load(tmp_path / "whole").weights["tables.dense.words__values.bias"].abs().sum() > 0
