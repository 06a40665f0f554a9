"""The automaton of a set: what may come next, and that what is begun can be finished."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import Parts
from fourm_codecs.grammar import NATIVE, Automaton, State
from fourm_codecs.sets import SetCodec
from fourm_schema.errors import CodecError, PlanError, SchemaError
from fourm_schema.load import parse_schema
from fourm_schema.modality import Set
from fourm_schema.resolve import resolve
from fourm_schema.set_layout import set_layout
from tests.codecs.drawn_sets import PIECES, sets

BOXES = """\
version: 1
modalities:
  boxes:
    kind: set
    max_items: 2
    fields:
      box: {type: box, bins: 10}
      label: {type: category, classes: [cat, dog], optional: true}
"""


def automaton_of(entry: Set) -> Automaton:
    return Automaton.of_entry("things", entry, PIECES)


def walk(automaton: Automaton, state: State, budget: int, rng: np.random.Generator) -> list[int]:
    """Any of the allowed ids, until the set is accepted or the budget is spent."""
    ids: list[int] = []
    while budget and not automaton.is_final(state):
        choices = np.flatnonzero(automaton.allowed(state, budget))
        ids.append(int(rng.choice(choices)))
        following = automaton.step(state, ids[-1])
        assert following is not None, "an allowed id can be taken"
        state, budget = following, budget - 1
    assert automaton.is_final(state)
    return ids


@given(sets(), st.integers(0, 2**32 - 1))
def test_what_is_begun_can_be_finished(entry: Set, seed: int) -> None:
    """From any state whose distance fits the budget, the allowed ids lead to acceptance within it."""
    automaton, rng = automaton_of(entry), np.random.default_rng(seed)
    for budget in (1, 2, entry.tokens_per_item + 1, entry.max_tokens):
        ids = walk(automaton, automaton.start, budget, rng)

    # And so from states on the way, with exactly as much as each needs.
    state: State | None = automaton.start
    for place, identity in enumerate(ids):
        assert state is not None
        if place < 10:
            assert len(walk(automaton, state, automaton.distance(state), rng)) == automaton.distance(state)
        state = automaton.step(state, identity)


@given(sets(), st.integers(0, 2**32 - 1))
def test_allowed_ids_are_those_after_which_the_rest_still_fits(entry: Set, seed: int) -> None:
    """The mask, the step and the distance are three views of one grammar."""
    automaton, rng = automaton_of(entry), np.random.default_rng(seed)
    state = automaton.start
    for _ in range(6):
        following = [automaton.step(state, identity) for identity in range(automaton.vocab_size)]
        for budget in (automaton.distance(state) - 1, automaton.distance(state), 100):
            fits = [s is not None and 1 + automaton.distance(s) <= budget for s in following]
            assert automaton.allowed(state, budget).tolist() == fits
        reached = [s for s in following if s is not None]
        assert automaton.distance(state) == (1 + min(map(automaton.distance, reached)) if reached else 0)
        if not reached:
            break
        state = reached[int(rng.integers(len(reached)))]


@given(sets(), st.integers(0, 2**32 - 1))
def test_no_sequence_outgrows_its_stream(entry: Set, seed: int) -> None:
    """With room to spare the grammar itself ends a set within the length that the plan reserves."""
    ids = walk(automaton_of(entry), automaton_of(entry).start, 10_000, np.random.default_rng(seed))

    assert len(ids) <= entry.max_tokens


@given(sets(), st.integers(0, 2**32 - 1))
def test_chunks_are_the_items_and_the_end(entry: Set, seed: int) -> None:
    """Spans start and end at chunk borders, so that each opens in a known state."""
    automaton = automaton_of(entry)
    ids = walk(automaton, automaton.start, entry.max_tokens, np.random.default_rng(seed))
    lengths = automaton.chunk_lengths(ids)

    assert lengths is not None and sum(lengths) == len(ids) and lengths[-1] == 1
    assert len(lengths) <= entry.max_items + 1
    assert automaton.chunk_lengths(ids[:-1]) is None
    assert automaton.chunk_lengths([*ids, ids[-1]]) is None


@given(sets())
def test_the_layout_gives_every_id_one_meaning(entry: Set) -> None:
    """Ranges lie end to end after the special ids; nothing is left over."""
    layout = set_layout("things", entry, PIECES)
    place = layout.special.size
    for found in (*layout.ranges, layout.pieces):
        assert found.start == place
        place = found.stop

    assert place == layout.size == automaton_of(entry).vocab_size
    assert len({found.name for found in layout.ranges}) == len(layout.ranges)


def test_the_plan_counts_the_ids_of_a_set_and_its_sentinels() -> None:
    """Ten places per axis, a marker and two classes; sentinels for two items and the end, not for tokens."""
    plan = resolve(parse_schema(BOXES))
    stream = plan.stream("boxes")
    special = plan.special(stream)

    assert (stream.vocabulary, stream.length) == ("boxes.tokens", 2 * 5 + 1)
    assert special.sentinel_count == 2 + 2
    assert stream.vocab_size == special.size + 10 + 10 + 1 + 2
    assert automaton_of(boxes()).vocab_size == stream.vocab_size


def test_two_sets_and_a_text_each_write_in_their_own_ids() -> None:
    """Adding a set appends rows: what the others' ids mean does not change."""
    text = """\
version: 1
vocabularies: {words: {kind: wordpiece, size: 100}}
modalities:
  caption: {kind: text, vocabulary: words, max_tokens: 8}
  signs: {kind: set, max_items: 3, fields: {says: {type: text, vocabulary: words, max_tokens: 4}}}
"""
    plan = resolve(parse_schema(text))
    more = resolve(parse_schema(text + "  rows: {kind: set, max_items: 3, fields: {x: {type: angle}}}\n"))
    words, signs = plan.vocabularies

    assert [vocabulary.name for vocabulary in plan.vocabularies] == ["words", "signs.tokens"]
    assert (words.kind, words.size, words.special.sentinel_count) == ("wordpiece", 100, 4 + 2)
    assert (signs.kind, signs.size) == ("grammar", signs.special.size + 1 + 100 - words.special.size)
    assert more.vocabularies[:2] == plan.vocabularies and more.streams[:2] == plan.streams


def test_a_second_corner_is_never_before_the_first() -> None:
    """What a generator writes is a box, whatever its model believes."""
    automaton = automaton_of(boxes())
    x, y = (set_layout("boxes", boxes(), 0).range(name) for name in ("box.x", "box.y"))
    state: State | None = automaton.start
    for identity in (x.start + 6, y.start + 2):
        assert state is not None
        state = automaton.step(state, identity)
    assert state is not None

    assert np.flatnonzero(automaton.allowed(state, 99)).tolist() == list(range(x.start + 6, x.stop))
    assert automaton.step(state, x.start + 5) is None
    assert (automaton.distance(state), automaton.is_final(state)) == (2 + 1 + 1, False)


def test_an_item_that_no_longer_fits_is_not_begun() -> None:
    """An item needs five tokens and the end one: with five left, only the end may come."""
    automaton = automaton_of(boxes())

    assert np.flatnonzero(automaton.allowed(automaton.start, 5)).tolist() == [automaton.special.end]
    assert automaton.allowed(automaton.start, 6).sum() == 1 + 10
    assert not automaton.allowed(automaton.start, 0).any()


def test_masks_are_shared_and_cannot_be_written_to() -> None:
    """A generator asks for the same few masks at every step."""
    automaton = automaton_of(boxes())
    mask = automaton.allowed(automaton.start, 50)

    assert automaton.allowed(State(1, 0, 0), 60) is mask
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = True


def test_states_are_plain_and_hashable() -> None:
    """Generators keep one per row and compare them."""
    automaton = automaton_of(boxes())

    assert {automaton.start, State(0, 0, 0)} == {State(items=0, field=0, place=0, memory=())}
    assert NATIVE.name == "native"


def test_only_sets_have_a_grammar() -> None:
    schema = parse_schema("version: 1\nmodalities: {v: {kind: vector, dim: 2, ranges: [0, 1]}}")
    with pytest.raises(CodecError) as caught:
        SetCodec.from_entry("v", schema.modalities["v"], Parts())

    assert str(caught.value) == "v: a grammar is for sets; got kind 'vector'"


def test_texts_of_one_set_share_a_vocabulary() -> None:
    """Ids of pieces mean one thing each. A file is told where; an entry built in Python which."""
    text = """\
version: 1
vocabularies: {en: {kind: wordpiece, size: 100}, fr: {kind: wordpiece, size: 100}}
modalities:
  signs:
    kind: set
    max_items: 3
    fields:
      says: {type: text, vocabulary: en, max_tokens: 4}
      dit: {type: text, vocabulary: fr, max_tokens: 4}
"""
    with pytest.raises(SchemaError) as caught:
        parse_schema(text)
    assert [str(fault) for fault in caught.value.faults] == [
        "line 9, column 37: modalities.signs.fields.dit.vocabulary: must be that of says: "
        "the texts of one set write in one vocabulary; got 'fr'; write en"
    ]

    says = {"type": "text", "max_tokens": 4}
    fields = {"says": {**says, "vocabulary": "en"}, "dit": {**says, "vocabulary": "fr"}}
    entry = Set.model_validate({"kind": "set", "max_items": 3, "fields": fields})
    with pytest.raises(PlanError) as refused:
        set_layout("signs", entry)
    assert str(refused.value) == (
        "modalities.signs.fields: the texts of one set write in one vocabulary; got says: en, dit: fr; "
        "name the same vocabulary in each"
    )


def test_a_vocabulary_is_used_by_the_texts_of_sets_not_by_sets() -> None:
    """Numbers and classes need no words: a vocabulary that only they could use is left over."""
    words = "vocabularies: {words: {kind: wordpiece, size: 100}}\n"

    with pytest.raises(SchemaError, match=r"vocabularies\.words: is used by no modality"):
        parse_schema(BOXES + words)


def boxes() -> Set:
    entry = parse_schema(BOXES).modalities["boxes"]
    assert isinstance(entry, Set)
    return entry
