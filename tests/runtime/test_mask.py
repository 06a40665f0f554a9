"""The masker end to end: what it selects is there, is not selected twice, and depends on nothing else."""

import attrs
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.batch import Batch, Column, Grid, Selection, Sequences
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import Component, Mixture
from fourm_runtime.masking.spans import is_sentinel, merge, target_sequence
from tests.forks import forks
from tests.runtime.mask_samples import (
    INPUT_BUDGET,
    PLAN,
    TARGET_BUDGET,
    digest_of_some,
    make_batch,
    make_mixture,
    view,
)

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


def test_another_process_draws_the_same_masks() -> None:
    """No salted hash, no state of a process and no clock takes part."""
    with forks().Pool(1) as processes:
        there = processes.apply(digest_of_some)

    assert there == digest_of_some()


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
