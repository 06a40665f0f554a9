"""Laws of the declaration notice what they are there for; values drawn from an entry are what it declares."""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fourm_schema import allocation
from fourm_schema.json_schema import json_schema
from fourm_schema.lawbook.article import Broken, Draw, article, require
from fourm_schema.lawbook.json_schema_faults import json_schema_faults
from fourm_schema.lawbook.schema_laws import ENTRY_LAWS, SCHEMA_LAWS, DeclaredModality
from fourm_schema.lawbook.search import FAST, FAST_LARGE, LARGE, NOTHING_DRAWN, THOROUGH, Profile, search
from fourm_schema.modality import Modality, Set, Vector
from fourm_schema.plan import Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.strategies import values
from fourm_schema.strategies_extremes import extremes
from tests.schema.schema_samples import schemas


@settings(max_examples=10)
@given(schemas(), st.data())
def test_every_schema_keeps_the_laws_of_schemas(schema: Schema, data: st.DataObject) -> None:
    for law in SCHEMA_LAWS:
        law.check(schema, data.draw)
    declared = [DeclaredModality(schema, name) for name in schema.modalities]
    for each in ENTRY_LAWS:
        for modality in declared:
            each.check(modality, data.draw)


WIND = {"kind": "vector", "dim": 2, "ranges": [0, 1], "bins": 5}
SCHEMA = Schema.model_validate(
    {"version": 1, "modalities": {"wind": WIND, "sun": {**WIND, "description": "of a day"}}}
)


OTHER = "version: 1\nmodalities: {wind: {kind: vector, dim: 2, ranges: [0, 1], bins: 6}}"


def _overlapping(spans: dict[str, allocation.Span], name: str, size: int, first: int) -> None:
    spans[name] = allocation.Span(first, size)


def _by_name(spans: dict[str, allocation.Span], name: str, size: int, first: int) -> None:
    """Rows in the order of names: whatever is added moves what comes after it."""
    spans[name] = allocation.Span(first, size)
    start = first
    for each in sorted(spans):
        spans[each] = allocation.Span(start, spans[each].size)
        start += spans[each].size


@pytest.mark.parametrize(
    ("law", "place", "fault", "said"),
    [
        (
            "rows-are-disjoint",
            "allocation._append",
            _overlapping,
            "tokens: wind.tokens has rows 1 to 5, sun.tokens begins at 1",
        ),
        ("rows-never-move", "allocation._append", _by_name, "when a"),
        (
            "yaml-reads-back",
            "lawbook.schema_laws.dump_schema",
            lambda schema: OTHER,
            "what is read back differs: wind comes back as Vector(",
        ),
        ("descriptions-mean-nothing", "lawbook.schema_laws.schema_hash", str, "a description of"),
    ],
)
def test_a_planted_fault_is_told(
    law: str, place: str, fault: Callable[..., object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A law that misses these is no law."""
    (found,) = [each for each in SCHEMA_LAWS if each.id == law]
    assert search(found, SCHEMA, "schema", 20).kept
    monkeypatch.setattr(f"fourm_schema.{place}", fault)

    assert search(found, SCHEMA, "schema", 20).fault.startswith(said)


def test_a_choice_without_a_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(schema: Schema) -> Any:
        plan = resolve(schema)
        quiet: list[Stream] = [attrs.evolve(each, because=("", "a", "b")) for each in plan.streams]
        return attrs.evolve(plan, streams=tuple(quiet))

    monkeypatch.setattr("fourm_schema.lawbook.schema_laws.resolve", silent)
    (law,) = [each for each in ENTRY_LAWS if each.id == "every-choice-has-a-reason"]
    outcome = search(law, DeclaredModality(SCHEMA, "wind"), "wind", 1)

    assert outcome.fault == "wind.tokens does not say why it has its codec"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "$.version is 2, not 1"),
        ({"modality": {}}, "$.modality is unknown"),
        ({"modalities": {"Wind": WIND}}, "$.modalities.Wind is unknown"),
        ({"modalities": {}}, "$.modalities is {}: minProperties 1"),
        ({"vocabularies": {"words": {"kind": "wordpiece"}}}, "$.vocabularies.words.size is missing"),
        (
            {"vocabularies": {"words": {"kind": "wordpiece", "size": "9"}}},
            "$.vocabularies.words.size is no integer",
        ),
    ],
)
def test_what_an_editor_would_underline_is_told(change: dict[str, object], said: str) -> None:
    """The law that the exported JSON Schema accepts a file is worth what its reading of the schema is."""
    file = {"version": 1, "modalities": {"wind": WIND}}

    assert json_schema_faults(file, json_schema()) == []
    assert json_schema_faults({**file, **change}, json_schema()) == [said]


class TestTheSearch:
    def test_gives_the_smallest_value_that_it_finds(self) -> None:
        @article()
        def sums_are_small(subject: None, draw: Draw) -> None:
            """Sums are small."""
            numbers = draw(st.lists(st.integers(0, 100)))
            require(sum(numbers) < 70, lambda: f"{numbers}")

        outcome = search(sums_are_small, None, "numbers", 200)

        assert (outcome.law, outcome.statement, outcome.fault) == (
            "sums-are-small",
            "Sums are small.",
            "[70]",
        )

    def test_draws_the_same_for_a_law_and_subject_whatever_else_is_drawn(self) -> None:
        """A report can be repeated for one modality alone."""
        drawn: list[int] = []

        @article()
        def any_number(subject: None, draw: Draw) -> None:
            """Any number."""
            drawn.append(draw(st.integers()))

        for name in ("a", "a", "b"):
            search(any_number, None, name, 9, seed=4)

        assert drawn[:9] == drawn[9:18] != drawn[18:]

    def test_a_law_for_which_nothing_can_be_drawn_is_not_kept(self) -> None:
        """No example is no success."""

        @article()
        def impossible(subject: None, draw: Draw) -> None:
            """Nothing satisfies this."""
            assume(False)

        outcome = search(impossible, None, "x", 5)
        assert (outcome.kept, outcome.not_tested) == (False, NOTHING_DRAWN)

    def test_a_strategy_that_is_none_is_told_and_not_raised(self) -> None:
        @article()
        def wrong(subject: None, draw: Draw) -> None:
            """Draws from an empty range."""
            draw(st.integers(2, 1))

        assert "Cannot have max_value=1 < min_value=2" in search(wrong, None, "x", 5).fault

    def test_has_profiles(self) -> None:
        assert [Profile().examples(n) for n in (1, LARGE)] == [FAST, FAST_LARGE]
        assert Profile.of(thorough=True).examples(LARGE) == THOROUGH >= 200
        assert Profile.of(thorough=True, examples=7).examples(LARGE) == 7

    def test_a_broken_law_is_an_assertion_of_pytest(self) -> None:
        with pytest.raises(AssertionError, match="no"):
            require(False, "no")
        assert issubclass(Broken, AssertionError)


NUMBERS = {"type": "continuous", "channels": 3, "range": (0, 255)}
SHOWN: list[dict[str, object]] = [
    {"kind": "image", "size": (30, 40), "patch": 2, "cell": NUMBERS},
    {"kind": "image", "size": (30, 40), "patch": 2, "cell": {"type": "direction"}},
    {"kind": "image", "size": 5, "patch": 1, "cell": {"type": "features", "channels": 7}},
    {"kind": "vector", "dim": 300},
    {"kind": "vector", "dim": 3, "max_length": 5, "shown": ("values",)},
    {"kind": "text", "vocabulary": "words", "max_tokens": 9, "codec": "ids"},
    {"kind": "vector", "dim": 70, "codec": "ids", "vocab_size": 10, "tokens": 5},
    {
        "kind": "set",
        "max_items": 2,
        "fields": {"shape": {"type": "mask", "size": 6}, "v": {"type": "vector", "dim": 40}},
    },
]


@pytest.mark.parametrize("declared", SHOWN, ids=range(len(SHOWN)))
@settings(max_examples=15)
@given(data=st.data())
def test_values_of_every_kind_of_entry_are_drawn(declared: dict[str, object], data: st.DataObject) -> None:
    """From the entry alone, in its shape and its range, however large it is."""
    entry: Modality = TypeAdapter(Modality).validate_python(declared)
    for value in (data.draw(values(entry)), data.draw(st.sampled_from(extremes(entry)))):
        if isinstance(entry, Set):
            assert isinstance(value, list) and len(value) <= 2
            assert all(record["shape"].shape == (6, 6) and len(record["v"]) == 40 for record in value)
            continue
        array = np.asarray(value, np.float64)
        assert np.isfinite(array).all()
        if isinstance(entry, Vector) and entry.max_length:
            assert array.shape[1:] == (3,) and len(array) <= 5
        if declared.get("cell") == {"type": "direction"}:
            assert np.allclose(np.linalg.norm(array, axis=-1), 1)
