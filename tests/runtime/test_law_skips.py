"""Laws that a schema leaves nothing for: skipped with the reason, neither broken nor kept."""

import attrs
import pytest
from hypothesis import strategies as st

from fourm_runtime.lawbook.book import cases, hold
from fourm_runtime.lawbook.report import law_report
from fourm_schema.lawbook.article import Draw, article, only_where
from fourm_schema.lawbook.search import Profile, search
from fourm_schema.load import parse_schema

THREE = {"masks", "packing", "the model"}

ONLY = {
    "one token": (
        "{kind: vector, dim: 1, ranges: [0, 1], bins: 2}",
        {"the model"},
        "leaves nothing to predict",
    ),
    "an input": ("{kind: vector, dim: 2, ranges: [0, 1], role: input}", THREE, "no stream is a target"),
    "a target": ("{kind: vector, dim: 2, ranges: [0, 1], role: target}", THREE, "no stream is an input"),
    "shown only": ("{kind: vector, dim: 2, ranges: [0, 1], shown: [values]}", THREE, "no stream is a target"),
    "vectors": ("{kind: vector, dim: 2, max_length: 3, shown: [values]}", {"masks"}, "cannot be masked yet"),
    "a picture": (
        "{kind: image, size: 1, patch: 1, cell: {type: categorical, classes: 2}}",
        {"the model"},
        "nothing",
    ),
    "a record": (
        "{kind: set, max_items: 1, fields: {x: {type: number, range: [0, 1], optional: true}}}",
        set[str](),
        "",
    ),
    "codes": ("{kind: set, max_items: 1, fields: {m: {type: mask, size: 16, tokens: 1}}}", set[str](), ""),
}
"""Schemas of one modality each: what of it cannot be tested, and why."""


@pytest.mark.parametrize(("entry", "untested", "why"), ONLY.values(), ids=ONLY)
def test_a_law_that_nothing_can_try_is_skipped_with_the_reason(
    entry: str, untested: set[str], why: str
) -> None:
    """A schema that has nothing to mask or to predict is sound; what it does not speak of must not fail."""
    outcomes = hold(
        cases(parse_schema(f"version: 1\nmodalities:\n  only: {entry}\n")), Profile.of(examples=2)
    )
    skipped = {each.law: each.not_tested for each in outcomes if each.not_tested}

    assert [(each.law, each.fault) for each in outcomes if each.fault] == []
    assert set(skipped) == untested
    assert all(why in reason for reason in skipped.values())


def test_a_law_whose_examples_are_all_given_up_is_not_kept() -> None:
    """It says why, in the law's words where it has some."""

    @article()
    def is_never_tried(subject: int, draw: Draw) -> None:
        """Nothing is drawn that it speaks of."""
        only_where(draw(st.integers(0, 9)) > 9, "no digit is above 9")

    outcome = search(is_never_tried, 0, "digits", 3)

    assert (outcome.kept, outcome.fault, outcome.not_tested) == (False, "", "no digit is above 9")
    assert "skipped" in law_report([], [attrs.evolve(outcome, law="json-schema-accepts")])
