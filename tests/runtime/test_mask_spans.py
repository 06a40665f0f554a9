"""Span masking: nothing is lost, budgets hold, and the shortcuts keep the law of the plain procedure."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fourm_runtime.batch import Selection
from fourm_runtime.masking.draws import derive, name_word, sample_keys
from fourm_runtime.masking.spans import (
    Rows,
    draw_kept,
    is_sentinel,
    mask_spans,
    merge,
    split_spans,
    target_sequence,
)
from fourm_schema.plan import Special

Bools = NDArray[np.bool_]
FIRST_WORD = 204
ALL = Special(pad=0, unknown=1, start=2, end=3, first_sentinel=4, sentinel_count=200)


def make_rows(
    sequences: list[list[int]],
    keep: list[float] | float = 0.5,
    inputs: list[int] | int = 1000,
    targets: list[int] | int = 1000,
    sentinels: int = 200,
    seed: int = 0,
) -> Rows:
    count = len(sequences)
    offsets = np.concatenate(([0], np.cumsum([len(sequence) for sequence in sequences]))).astype(np.int64)
    return Rows(
        np.array([token for sequence in sequences for token in sequence], np.int32),
        offsets,
        np.broadcast_to(np.asarray(keep, np.float64), count).copy(),
        np.broadcast_to(np.asarray(inputs, np.int64), count).copy(),
        np.broadcast_to(np.asarray(targets, np.int64), count).copy(),
        derive(sample_keys(seed, 0, np.arange(count)), name_word("test")),
        np.full(count, ALL.first_sentinel),
        np.full(count, sentinels),
    )


def visible_of(selection: Selection, row: int) -> list[int]:
    found: list[int] = selection.ids[selection.samples == row].tolist()
    return found


def predicted_of(selection: Selection, row: int) -> list[int]:
    found: list[int] = target_sequence(selection, row).tolist()
    return found


def walk(tokens: list[int], kept: list[bool]) -> tuple[list[int], list[int]]:
    """The definition, token by token (4M's span masking)."""
    visible: list[int] = []
    target: list[int] = []
    sentinel = ALL.first_sentinel
    for place, token in enumerate(tokens):
        if kept[place]:
            visible.append(token)
            continue
        if place == 0 or kept[place - 1]:
            sentinel += 1
            visible.append(sentinel)
            target.append(sentinel)
        target.append(token)
    return visible, [*target, sentinel + 1]


SEQUENCES = st.lists(
    st.lists(st.integers(FIRST_WORD, FIRST_WORD + 50) | st.just(ALL.end), max_size=24), min_size=1, max_size=6
)


@given(SEQUENCES, st.data())
def test_cutting_is_what_a_walk_over_the_tokens_gives(
    sequences: list[list[int]], data: st.DataObject
) -> None:
    """The vectorised cut over all rows at once equals the definition, row by row."""
    flags = [data.draw(st.lists(st.booleans(), min_size=len(s), max_size=len(s))) for s in sequences]
    kept = np.array([flag for row in flags for flag in row], np.bool_)
    inputs, targets = split_spans(make_rows(sequences), kept)

    for row, (tokens, flag) in enumerate(zip(sequences, flags, strict=True)):
        visible, target = walk(tokens, flag)
        assert visible_of(inputs, row) == visible
        assert predicted_of(targets, row) == (target if len(target) > 1 else [])


@given(SEQUENCES, st.floats(0, 1), st.integers(1, 30), st.integers(3, 200), st.integers(0, 2**32))
def test_what_is_masked_can_be_put_together_again(
    sequences: list[list[int]], keep: float, budget: int, sentinels: int, seed: int
) -> None:
    """Every token is either visible or predicted, at its place, however few sentinels there are."""
    rows = make_rows(sequences, keep, budget, sentinels=sentinels, seed=seed)
    inputs, targets = mask_spans(rows)
    special = Special(0, 1, 2, 3, ALL.first_sentinel, sentinels)

    for row, tokens in enumerate(sequences):
        visible, target = visible_of(inputs, row), predicted_of(targets, row)
        assert len(visible) <= budget
        assert merge(np.array(visible), np.array(target), special).tolist() == tokens
    used = np.concatenate((inputs.ids, targets.ids))
    assert used.max(initial=0) < max(ALL.first_sentinel + sentinels, FIRST_WORD + 51)
    assert not ((used >= ALL.first_sentinel + sentinels) & (used < FIRST_WORD)).any()


@given(SEQUENCES, st.integers(0, 2**32))
def test_a_row_without_input_budget_is_hidden_whole_and_can_be_put_together_again(
    sequences: list[list[int]], seed: int
) -> None:
    """Nothing is visible, not even [S_1]: the stream is simply absent from the encoder."""
    inputs, targets = mask_spans(make_rows(sequences, 1.0, 0, seed=seed))

    assert inputs.size == 0
    for row, tokens in enumerate(sequences):
        expected = [ALL.first_sentinel + 1, *tokens, ALL.first_sentinel + 2] if tokens else []
        assert predicted_of(targets, row) == expected


@given(SEQUENCES, st.floats(0, 1), st.integers(0, 30), st.integers(0, 12), st.integers(0, 2**32))
def test_a_long_target_is_cut_to_a_window_that_opens_with_a_sentinel(
    sequences: list[list[int]], keep: float, budget: int, target_budget: int, seed: int
) -> None:
    """The decoder must know which hidden run it is asked for; and the window is part of the whole target."""
    cut = mask_spans(make_rows(sequences, keep, budget, target_budget, seed=seed))
    whole = mask_spans(make_rows(sequences, keep, budget, 1000, seed=seed))

    assert cut[0].ids.tolist() == whole[0].ids.tolist()
    for row in range(len(sequences)):
        target, everything = predicted_of(cut[1], row), predicted_of(whole[1], row)
        assert len(target) <= max(target_budget, 0)
        if len(everything) <= target_budget:
            assert target == everything
        elif target:
            start = everything.index(target[0])
            assert bool(is_sentinel(np.array(target[:1]), ALL)[0])
            assert everything[start : start + len(target)] == target
            reaches_end = start + len(target) == len(everything)
            assert len(target) == target_budget or reaches_end


def test_ranks_and_previous_ids_are_those_of_the_sequence() -> None:
    """Positions are ranks among what is there; the decoder reads each id before it predicts the next."""
    rows = make_rows([[301, 302, 303, 304, 305]])
    inputs, targets = split_spans(rows, np.array([True, False, False, True, False]))

    assert inputs.ids.tolist() == [301, 5, 304, 6]
    assert inputs.positions.tolist() == [0, 1, 2, 3]
    assert targets.previous is not None
    assert targets.previous.tolist() == [5, 302, 303, 6, 305]
    assert targets.ids.tolist() == [302, 303, 6, 305, 7]
    assert targets.positions.tolist() == [0, 1, 2, 3, 4]


def test_a_row_that_keeps_everything_has_nothing_to_predict() -> None:
    """Its target would be one closing sentinel, with nothing before it to predict it from."""
    inputs, targets = mask_spans(make_rows([[301, 302, 3]], 1.0))

    assert inputs.ids.tolist() == [301, 302, 3]
    assert targets.size == 0


def test_when_sentinels_run_out_the_last_run_reaches_to_the_end() -> None:
    """4M fails with a KeyError at its 200th run; we hide more instead, and lose nothing."""
    sequence = list(range(300, 309))
    kept = np.array([place % 2 == 1 for place in range(9)])
    inputs, targets = split_spans(make_rows([sequence], sentinels=4), kept)

    assert inputs.ids.tolist() == [5, 301, 6]
    assert predicted_of(targets, 0) == [5, 300, 6, *range(302, 309), 7]


def distance(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
    """Two-sample Kolmogorov-Smirnov distance, scaled; above 1.95 at most once in 1,000 honest pairs."""
    values = np.union1d(ours, theirs)
    left = np.searchsorted(np.sort(ours), values, side="right") / len(ours)
    right = np.searchsorted(np.sort(theirs), values, side="right") / len(theirs)
    scale = math.sqrt(len(ours) * len(theirs) / (len(ours) + len(theirs)))
    return float(np.abs(left - right).max() * scale)


def plain_kept(length: int, keep: float, budget: int, rng: np.random.Generator) -> list[bool]:
    """4M's procedure: one coin per token; while too much is visible, a smaller chance and all coins anew."""
    while True:
        kept: list[bool] = (rng.random(length) <= keep).tolist()
        if len(walk([FIRST_WORD] * length, kept)[0]) <= budget:
            return kept
        keep *= 0.9


@pytest.mark.parametrize(
    ("length", "keep", "budget"), [(30, 0.6, 30), (30, 1.0, 8), (50, 0.9, 1), (12, 0.3, 5), (40, 0.7, 25)]
)
def test_drawing_run_lengths_keeps_the_law_of_one_coin_per_token(
    length: int, keep: float, budget: int
) -> None:
    """Geometric gaps, several tries at once and early refusal must change the speed only."""
    count, plain_count = 20_000, 3000
    rng = np.random.default_rng(11)
    rows = make_rows([[FIRST_WORD] * length] * count, keep, budget)
    ours = draw_kept(rows).reshape(count, length)
    theirs = np.array([plain_kept(length, keep, budget, rng) for _ in range(plain_count)])
    runs = [(~kept & np.c_[np.ones(len(kept), bool), kept[:, :-1]]).sum(axis=1) for kept in (ours, theirs)]

    assert distance(ours.sum(axis=1), theirs.sum(axis=1)) < 1.95
    assert distance(runs[0], runs[1]) < 1.95
    error = math.sqrt(0.25 / count + 0.25 / plain_count)
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < 4.5 * error
    both = [(kept[:, 1:] & kept[:, :-1]).mean(axis=0) for kept in (ours, theirs)]
    assert np.abs(both[0] - both[1]).max() < 4.5 * error


def test_the_window_of_a_long_target_starts_at_every_run_that_leaves_enough() -> None:
    """4M picks the start evenly; a start whose rest is too short gives way to the earliest that fits."""
    sequence, kept = list(range(300, 312)), np.array([place % 3 == 2 for place in range(12)])
    count = 6000
    rows = make_rows([sequence] * count, targets=5)
    _, targets = split_spans(rows, np.tile(kept, count))
    starts = np.array([predicted_of(targets, row)[0] for row in range(count)]) - ALL.first_sentinel
    found = np.bincount(starts, minlength=5) / count

    # The target is S1 2 S2 2 S3 2 S4 2 S5: from S4 only 4 ids are left, and S4 is the first that fits 5.
    np.testing.assert_allclose(found[1:], 0.25, atol=4.5 * math.sqrt(0.25 * 0.75 / count))


class TestMerge:
    """The inverse of masking, used by generation on what a model produced: it must take anything."""

    def test_a_sentinel_that_the_target_lacks_vanishes(self) -> None:
        assert merge(np.array([300, 5, 301, 6]), np.array([5, 400, 6]), ALL).tolist() == [300, 400, 301]

    def test_what_answers_no_visible_sentinel_is_dropped(self) -> None:
        assert merge(np.array([300, 5]), np.array([5, 400, 9, 500]), ALL).tolist() == [300, 400]

    def test_what_stands_before_the_first_sentinel_is_dropped(self) -> None:
        assert merge(np.array([5]), np.array([777, 5, 400]), ALL).tolist() == [400]

    def test_nothing_gives_nothing(self) -> None:
        empty = np.empty(0, np.int64)

        assert merge(empty, empty, ALL).tolist() == []
        assert merge(empty, np.array([5, 300]), ALL).tolist() == []

    def test_words_beside_the_sentinels_stay_words(self) -> None:
        """Ids just below and just above the sentinels are not sentinels."""
        assert merge(np.array([3, 204, 5]), np.array([5, 203 + 1, 3]), ALL).tolist() == [3, 204, 204, 3]


def test_the_chance_shrinks_until_the_budget_holds() -> None:
    """Even `all` with room for one id ends: the row shows one sentinel, or its only token."""
    for length in (1, 2, 290):
        inputs, _ = mask_spans(make_rows([[FIRST_WORD] * length] * 50, 1.0, 1))

        assert np.bincount(inputs.samples, minlength=50).tolist() == [1] * 50


def test_equal_rows_are_masked_apart_and_alike_on_every_call() -> None:
    """The key decides, not the place: row 3 alone is masked as row 3 among others."""
    sequences = [list(range(300, 330))] * 8
    rows = make_rows(sequences, 0.5, 12, 9)
    whole = mask_spans(rows)
    alone = mask_spans(
        Rows(
            rows.ids[90:120],
            np.array([0, 30]),
            rows.keep[3:4],
            rows.input_budget[3:4],
            rows.target_budget[3:4],
            rows.keys[3:4],
            rows.first_sentinel[3:4],
            rows.sentinel_count[3:4],
        )
    )

    assert visible_of(alone[0], 0) == visible_of(whole[0], 3)
    assert predicted_of(alone[1], 0) == predicted_of(whole[1], 3)
    assert len({tuple(visible_of(whole[0], row)) for row in range(8)}) == 8
