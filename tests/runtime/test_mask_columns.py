"""What a mask does with the columns it is given: absent, empty, dense, of another kind or a wrong size."""

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from fourm_runtime.batch import Batch, Column, Dense, Grid, Sequences
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import BudgetEntry, Component, From, Mixture, expand
from fourm_schema.errors import DataError, PlanError
from tests.runtime.mask_samples import PLAN, digest, make_batch, make_mixture


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
