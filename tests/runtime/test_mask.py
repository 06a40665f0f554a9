"""The masker end to end: what it selects is there, is not selected twice, and depends on nothing else."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fourm_runtime.batch import Batch, Column, Dense, Grid, Masked, Selection, Sequences
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import (
    AllToAll,
    Biased,
    BudgetEntry,
    Component,
    From,
    MaskEntry,
    Mixture,
    expand,
)
from fourm_runtime.masking.spans import is_sentinel, merge, target_sequence
from fourm_schema.errors import DataError, PlanError
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


SAMPLES = st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=12, unique=True)


@given(SAMPLES, st.integers(0, 2**32), st.integers(0, 5))
def test_grids_show_and_predict_different_cells_and_say_what_stands_there(
    ids: list[int], seed: int, epoch: int
) -> None:
    """A visible target would be copied, not predicted."""
    batch = make_batch(ids)
    masked = Masker(PLAN, make_mixture(), seed)(batch, epoch)
    empty = Selection(*(np.empty(0, np.int32) for _ in range(3)))

    for stream in PLAN.streams:
        column = batch.columns[stream.name]
        if isinstance(column, Sequences):
            continue
        sides = masked.inputs.get(stream.name, empty), masked.targets.get(stream.name, empty)
        cells = [side.samples.astype(np.int64) * stream.length + side.positions for side in sides]
        assert len(np.unique(np.concatenate(cells))) == sum(side.size for side in sides)
        for side, flat in zip(sides, cells, strict=True):
            assert (np.diff(flat) > 0).all(), "samples in order, cells increasing"
            assert column.present[side.samples].all()
            assert (side.positions < stream.length).all()
            expected = (
                column.ids[side.samples, side.positions] if isinstance(column, Grid) else side.positions
            )
            assert side.ids.tolist() == expected.tolist()


@given(SAMPLES, st.integers(0, 2**32))
def test_no_sample_exceeds_its_budgets(ids: list[int], seed: int) -> None:
    """Packing reserves room for budgets: one token more would not fit."""
    batch = make_batch(ids)
    masker = Masker(PLAN, make_mixture(), seed)
    masked, budgets = masker(batch, 0), masker.budgets(batch, 0)

    for side, given_out, totals, most in (
        (masked.inputs, budgets.inputs, budgets.input_totals, INPUT_BUDGET[1]),
        (masked.targets, budgets.targets, budgets.target_totals, TARGET_BUDGET[1]),
    ):
        used = np.zeros((batch.size, len(PLAN.streams)), np.int64)
        for name, selection in side.items():
            assert selection.size > 0
            used[:, PLAN.index(name)] = np.bincount(selection.samples, minlength=batch.size)
        assert (used <= given_out).all()
        assert (used <= [stream.length for stream in PLAN.streams]).all()
        assert (used.sum(axis=1) <= totals).all()
        assert (totals <= most).all()


@given(SAMPLES, st.integers(0, 2**32))
def test_sequences_are_split_without_loss(ids: list[int], seed: int) -> None:
    """Visible and predicted parts make the sequence again, wherever the target was not cut."""
    batch = make_batch(ids)
    masker = Masker(PLAN, make_mixture(), seed)
    masked, budgets = masker(batch, 0), masker.budgets(batch, 0)

    for stream in PLAN.streams:
        column = batch.columns[stream.name]
        if not isinstance(column, Sequences) or stream.name not in masked.targets:
            continue
        special = PLAN.special(stream)
        for sample in range(batch.size):
            tokens = column.ids[column.offsets[sample] : column.offsets[sample + 1]].tolist()
            if not tokens:
                continue
            target = target_sequence(masked.targets[stream.name], sample)
            shown = masked.inputs.get(stream.name)
            visible = np.array([special.first_sentinel + 1])
            if shown is not None and np.any(shown.samples == sample):
                visible = shown.ids[shown.samples == sample]
            runs = int(is_sentinel(visible, special).sum())
            whole = len(tokens) - (len(visible) - runs) + runs + 1
            if 1 < whole <= budgets.targets[sample, PLAN.index(stream.name)]:
                assert len(target) == whole
                assert merge(visible, target, special).tolist() == tokens


@given(st.permutations(range(10)), st.integers(1, 9))
def test_a_mask_depends_on_the_sample_and_not_on_its_batch(order: list[int], cut: int) -> None:
    """Else a run could not resume at another batch size, nor go on with another number of ranks."""
    masker = Masker(PLAN, make_mixture(), seed=3)
    whole = masker(make_batch(range(10)), 1)
    parts = [masker(make_batch(part), 1) for part in (order[:cut], order[cut:])]
    apart = [view(part, place) for part in parts for place in range(part.size)]

    assert apart == [view(whole, sample) for sample in order]


def test_epochs_may_differ_within_a_batch() -> None:
    """A step that crosses the end of an epoch holds samples of both."""
    masker = Masker(PLAN, make_mixture(), seed=3)
    batch = make_batch([4, 4, 5])
    mixed = masker(batch, np.array([0, 1, 1]))

    assert view(mixed, 0) == view(masker(batch, 0), 0)
    assert view(mixed, 1) == view(masker(batch, 1), 1)
    assert view(mixed, 0) != view(mixed, 1)


def test_seed_epoch_and_sample_id_each_change_the_mask() -> None:
    """Seen again, a sample is masked anew."""
    batch = make_batch([9])
    again = attrs.evolve(batch, sample_ids=np.array([10]))
    masker = Masker(PLAN, make_mixture(), seed=0)
    views = [
        view(masker(batch, 0), 0),
        view(masker(batch, 1), 0),
        view(masker(again, 0), 0),
        view(Masker(PLAN, make_mixture(), seed=1)(batch, 0), 0),
    ]

    assert all(views[left] != views[right] for left in range(4) for right in range(left))


def digest(masked: Masked) -> str:
    found = hashlib.sha256()
    for side in (masked.inputs, masked.targets):
        for name, selection in side.items():
            found.update(name.encode())
            for part in (selection.samples, selection.positions, selection.ids, selection.previous):
                found.update(b"" if part is None else np.ascontiguousarray(part, "<i4").tobytes())
    return found.hexdigest()


def test_another_process_draws_the_same_masks() -> None:
    """No salted hash, no state of a process and no clock takes part."""
    code = (
        "import importlib.util, sys\n"
        f"sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        f"spec = importlib.util.spec_from_file_location('other', {str(Path(__file__))!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "masker = module.Masker(module.PLAN, module.make_mixture(), 3)\n"
        "print(module.digest(masker(module.make_batch(range(20)), 1)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == digest(Masker(PLAN, make_mixture(), 3)(make_batch(range(20)), 1)), (
        done.stderr
    )


PUBLISHED: list[dict[str, tuple[list[int], ...]]] = [
    {
        "input caption.tokens": ([0, 1, 2, 3, 4, 5], [100, 101, 102, 5, 106, 6], []),
        "input ink.tokens": ([8, 15], [8, 15], []),
        "target caption.tokens": ([0, 1], [107, 108], [6, 107]),
        "target ink.tokens": ([0, 1, 3, 5, 10], [0, 1, 3, 5, 10], []),
    },
    {
        "input caption.tokens": ([0], [5], []),
        "input ink.tokens": ([0, 1, 2, 4, 5, 6, 15], [16, 17, 18, 20, 21, 22, 31], []),
        "target caption.tokens": ([0], [112], [5]),
        "target ink.tokens": ([3, 8, 10, 11, 12, 13], [19, 24, 26, 27, 28, 29], []),
    },
    {
        "input caption.tokens": ([0], [5], []),
        "input ink.tokens": ([0, 6, 7, 8, 14], [32, 38, 39, 40, 46], []),
        "target caption.tokens": (
            [0, 1, 2, 3, 4, 5, 6],
            [120, 121, 122, 123, 124, 125, 126],
            [5, 120, 121, 122, 123, 124, 125],
        ),
    },
]


def test_published_masks() -> None:
    """Part of the format: when these change, no run from before can be resumed."""
    components = (
        Component(
            1.0, {"ink.tokens": 1.0, "caption.tokens": 1.0}, {"ink.tokens": 0.5, "caption.tokens": 0.5}
        ),
    )
    masker = Masker(PLAN, Mixture(components, (8, 8), (8, 8)), seed=0)
    columns: dict[str, Column] = {
        "ink.tokens": Grid(np.arange(48, dtype=np.uint8).reshape(3, 16), np.ones(3, np.bool_)),
        "caption.tokens": Sequences(
            np.arange(100, 127), np.array([0, 12, 20, 27], np.int64), np.ones(3, np.bool_)
        ),
    }
    masked = masker(Batch(np.array([0, 1, 2]), columns), epoch=0)

    assert [view(masked, sample) for sample in range(3)] == PUBLISHED


class TestAbsence:
    """What a sample lacks is neither shown nor predicted, and nothing fails."""

    def test_a_batch_without_columns_selects_nothing(self) -> None:
        masked = Masker(PLAN, make_mixture(), 0)(Batch(np.arange(3), {}), 0)

        assert (masked.size, dict(masked.inputs), dict(masked.targets), dict(masked.dense)) == (3, {}, {}, {})

    def test_an_empty_batch_is_masked_to_nothing(self) -> None:
        """The last slice of a rank may be empty."""
        masked = Masker(PLAN, make_mixture(), 0)(Batch(np.empty(0, np.int64), {}), 0)

        assert (masked.size, dict(masked.inputs), dict(masked.targets)) == (0, {}, {})

    def test_empty_texts_are_neither_shown_nor_predicted(self) -> None:
        """A sequence of no tokens has no run to hide; even its end token is missing."""
        offsets = np.zeros(5, np.int64)
        column = Sequences(np.empty(0, np.uint8), offsets, np.ones(4, np.bool_))
        masked = Masker(PLAN, make_mixture(), 0)(Batch(np.arange(4), {"caption.tokens": column}), 0)

        assert (dict(masked.inputs), dict(masked.targets)) == ({}, {})

    def test_columns_that_the_plan_does_not_know_are_ignored(self) -> None:
        """A data set may hold more than a run uses."""
        batch = make_batch(range(4))
        more = attrs.evolve(batch, columns={**batch.columns, "other.tokens": batch.columns["ink.tokens"]})
        masker = Masker(PLAN, make_mixture(), 0)

        assert digest(masker(batch, 0)) == digest(masker(more, 0))


def test_dense_values_travel_with_what_points_into_them() -> None:
    """Only streams that show something bring their numbers."""
    batch = make_batch(range(6), lacking=0.0)
    column = batch.columns["digit.pixels"]
    whole = expand([From(preset="from", stream="digit.pixels")], BudgetEntry(input=36, target=8), PLAN)
    none = expand([From(preset="from", stream="caption")], BudgetEntry(input=36, target=8), PLAN)
    masked = Masker(PLAN, whole, 0)(batch, 0)

    assert isinstance(column, Dense)
    assert masked.dense["digit.pixels"] is column.values
    assert masked.inputs["digit.pixels"].positions.tolist() == list(range(36)) * 6
    assert dict(Masker(PLAN, none, 0)(batch, 0).dense) == {}


def test_selections_are_int32_whatever_the_columns_hold() -> None:
    """Columns are as small as their vocabulary; packing adds table offsets, which need room."""
    masked = Masker(PLAN, make_mixture(), 0)(make_batch(range(30)), 0)

    for selection in (*masked.inputs.values(), *masked.targets.values()):
        assert {selection.samples.dtype, selection.positions.dtype, selection.ids.dtype} == {
            np.dtype("int32")
        }
    assert list(masked.inputs) == [stream.name for stream in PLAN.inputs]
    assert list(masked.targets) == [stream.name for stream in PLAN.targets]


def grid_of(length: int) -> Grid:
    return Grid(np.zeros((2, length), np.uint8), np.ones(2, np.bool_))


LONG: NDArray[np.uint8] = np.zeros(17, np.uint8)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        (
            "ink.tokens",
            grid_of(15),
            r"ink\.tokens: has 16 tokens per sample; got 15; encode the column 'ink__tokens'",
        ),
        (
            "ink.tokens",
            Dense(np.zeros((2, 16, 1), np.float32), np.ones(2, np.bool_)),
            r"ink\.tokens: must be a column of kind 'grid'; got 'dense'",
        ),
        (
            "caption.tokens",
            Sequences(LONG, np.array([0, 17, 17]), np.ones(2, np.bool_)),
            r"caption\.tokens: has at most 16 tokens per sample; got 17",
        ),
        (
            "shape.tokens",
            Grid(np.zeros((3, 6), np.uint8), np.ones(3, np.bool_)),
            r"shape\.tokens: must have 2 samples, as the batch has; got 3",
        ),
    ],
)
def test_columns_that_do_not_fit_their_stream_are_refused(name: str, column: Column, message: str) -> None:
    """A table would otherwise be read past its end, or one stream's ids in another's rows."""
    with pytest.raises(DataError, match=message):
        Masker(PLAN, make_mixture(), 0)(Batch(np.arange(2), {name: column}), 0)


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (
            Component(1.0, {"digit.pixels": 1.0}, {"digit.pixels": 1.0}),
            r"components\[0\]\.target_alphas: cannot be predicted; got 'digit\.pixels' with role 'input'",
        ),
        (
            Component(1.0, {"digits": 1.0}, {"ink.tokens": 1.0}),
            r"components\[0\]\.input_alphas: is no stream .* got 'digits'; did you mean 'digit",
        ),
    ],
)
def test_mixtures_that_do_not_fit_the_plan_are_refused(component: Component, message: str) -> None:
    """Mixtures may be built in Python too, past the recipe's checks."""
    with pytest.raises(PlanError, match=message):
        Masker(PLAN, Mixture((component,), (8, 8), (8, 8)), 0)


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(PlanError, match="mixture: has no component"):
        Masker(PLAN, Mixture((), (8, 8), (8, 8)), 0)


def test_a_vocabulary_without_room_for_a_span_is_refused() -> None:
    """S_0 opens nothing, one opens a run, one ends the target."""
    few = attrs.evolve(
        PLAN,
        vocabularies=tuple(
            attrs.evolve(vocabulary, special=attrs.evolve(vocabulary.special, sentinel_count=2))
            for vocabulary in PLAN.vocabularies
        ),
    )

    with pytest.raises(PlanError, match=r"vocabularies\.words\.sentinels: must be at least 3 .* got 2"):
        Masker(few, make_mixture(), 0)
