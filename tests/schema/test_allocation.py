"""Rows of the tables: given once, never moved."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fourm_schema.allocation import Allocation, Span, allocate, position_key
from fourm_schema.errors import PlanError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.schema.schema_samples import schema_of, schemas

WIND = "kind: vector, dim: 2, ranges: [0, 1], bins: 10"
MAP = "kind: image, size: 4, patch: 1, cell: {type: categorical, classes: 3}"
SAID = "kind: text, vocabulary: words, max_tokens: 6"


def rows_of(allocation: Allocation) -> dict[str, tuple[int, int]]:
    """Every named range of rows, whatever its table."""
    tables = {
        "token": allocation.tokens,
        "fixed": allocation.fixed_positions,
        "learned": allocation.learned_positions,
        "stream": {name: Span(row, 1) for name, row in allocation.streams.items()},
    }
    return {
        f"{table}:{name}": (span.start, span.stop)
        for table, spans in tables.items()
        for name, span in spans.items()
    }


@given(schemas(), schemas())
def test_rows_never_move_and_never_overlap(before: Schema, after: Schema) -> None:
    """A trained row stays the row of what it was trained for, whatever is added or removed later."""
    first = allocate(resolve(before))
    try:
        second = allocate(resolve(after), first)
    except PlanError:
        assume(False)  # the same name with another size: refused, which the last test pins

    kept, grown = rows_of(first), rows_of(second)
    assert {name: grown[name] for name in kept} == kept
    for table in ("token", "fixed", "learned", "stream"):
        spans = sorted(span for name, span in grown.items() if name.startswith(table))
        assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))


@given(schemas(), st.integers(0, 3))
def test_allocating_again_changes_nothing(schema: Schema, times: int) -> None:
    """A run that resumes finds its rows."""
    allocation = allocate(resolve(schema))
    for _ in range(times):
        assert allocate(resolve(schema), allocation) == allocation


def test_a_modality_that_is_removed_leaves_a_hole() -> None:
    """Its rows are not given to another, and are its own again when it comes back."""
    both = allocate(resolve(schema_of(wind=WIND, land=MAP)))
    without = allocate(resolve(schema_of(land=MAP)), both)
    later = allocate(resolve(schema_of(said=SAID, land=MAP)), without)

    assert without == both
    assert later.tokens == {**both.tokens, "words": Span(both.token_rows, 128)}
    assert later.streams == {"wind.tokens": 1, "land.tokens": 2, "said.tokens": 3}


def test_row_zero_belongs_to_nothing() -> None:
    """It is the content of a dense token, of the null token and of the tail that fills a batch."""
    allocation = allocate(resolve(schema_of(wind=WIND, land=MAP, said=SAID)))
    starts = [span.start for span in (*allocation.tokens.values(), *allocation.fixed_positions.values())]

    assert min(starts) == 1 == min(allocation.streams.values())
    assert allocation.token_rows == 1 + 10 + 3 + 128
    assert allocation.learned_positions == {"wind.tokens": Span(0, 2)}


def test_positions_of_one_shape_are_shared_and_learned_ones_lie_behind_them() -> None:
    """Fixed and learned rows are one index: fixed first."""
    plan = resolve(schema_of(land=MAP, water=MAP, wind=WIND))
    allocation = allocate(plan)

    assert allocation.fixed_positions == {"sincos-2d:4x4": Span(1, 16)}
    assert position_key(plan.stream("land")) == position_key(plan.stream("water"))
    assert allocation.position_offset(plan.stream("wind")) == allocation.fixed_position_rows == 17


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            WIND,
            WIND.replace("bins: 10", "bins: 12"),
            "wind.tokens: already has 10 trained rows and cannot have 12",
        ),
        (WIND, WIND.replace("dim: 2", "dim: 3"), "wind.tokens: already has 2 trained rows and cannot have 3"),
    ],
)
def test_a_size_that_changes_is_refused(before: str, after: str, told: str) -> None:
    """Rows cannot be inserted between others: the changed modality is a new one."""
    allocation = allocate(resolve(schema_of(wind=before)))

    with pytest.raises(PlanError) as caught:
        allocate(resolve(schema_of(wind=after)), allocation)

    assert str(caught.value) == f"{told}; rows are append-only: declare the changed modality under a new name"
