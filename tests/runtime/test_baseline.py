"""The baseline of evaluation: what the position alone tells, counted over what a user would count."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.batch import Grid, Int32, Selection, Sequences
from fourm_runtime.training.baseline import Baseline

TOKENS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=60)


def selection(positions: list[int], ids: list[int]) -> Selection:
    def column(values: list[int]) -> Int32:
        return np.array(values, dtype=np.int32)

    return Selection(column([0] * len(ids)), column(positions), column(ids))


@given(TOKENS)
def test_for_a_sequence_it_is_the_entropy_of_targets_given_their_rank(
    drawn: list[tuple[int, int]],
) -> None:
    """Written out position by position, id by id."""
    baseline = Baseline()
    nothing = Sequences(np.zeros(0, np.uint8), np.zeros(2, np.int64), np.ones(1, np.bool_))
    for position, identity in drawn:
        baseline.add(selection([position], [identity]), nothing)
    expected = 0.0
    for position in {position for position, _ in drawn}:
        here = [identity for at, identity in drawn if at == position]
        expected -= sum(math.log(here.count(identity) / len(here)) for identity in here)

    assert baseline.loss() == pytest.approx(expected / len(drawn))


def test_for_a_grid_it_counts_the_cells_that_were_not_asked_too() -> None:
    """One asked cell per position says nothing of frequencies: its own would be 1, and its loss 0."""
    ids = np.array([[1, 5], [1, 6], [2, 7], [9, 9]], dtype=np.uint8)
    column = Grid(ids, np.array([True, True, True, False]))
    baseline = Baseline()
    baseline.add(selection([0, 1], [1, 6]), column)

    assert baseline.loss() == pytest.approx(-(math.log(2 / 3) + math.log(1 / 3)) / 2)
