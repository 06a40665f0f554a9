"""Sets of which a part is given: whoever goes on under the grammar ends with a set that holds the part."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.set_part import SetPart, read_part
from fourm_codecs.sets import SetCodec
from fourm_schema import strategies
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set
from tests.codecs.drawn_sets import WORDS, sets

PETS = Set.model_validate(
    {
        "kind": "set",
        "max_items": 2,
        "fields": {
            "box": {"type": "box", "bins": 10},
            "label": {"type": "category", "classes": ["cat", "dog"]},
            "age": {"type": "number", "range": [0, 20], "bins": 20, "optional": True},
            "name": {"type": "text", "vocabulary": "words", "max_tokens": 4},
        },
    }
)
CAT = {"box": [0.0, 0.0, 0.5, 0.5], "label": "cat", "age": None, "name": "red"}


def codec_of(entry: Set) -> SetCodec:
    return SetCodec("pets", entry, WORDS)


def go_on(codec: SetCodec, part: SetPart, budget: int, rng: np.random.Generator) -> list[int]:
    """Draw the rest of a set, each allowed id as likely as any other."""
    state, ids = codec.automaton.start, list[int]()
    for identity in part.ids:
        state = codec.automaton.step(state, identity) or state
        ids.append(identity)
    while not codec.automaton.is_final(state):
        allowed = np.flatnonzero(part.allowed(codec.automaton, state, budget - len(ids)))
        ids.append(int(rng.choice(allowed)))
        following = codec.automaton.step(state, ids[-1])
        assert following is not None, "only what the grammar admits is allowed"
        state = following
    return ids


@settings(max_examples=80)
@given(st.data(), st.integers(0, 2**31))
def test_the_rest_of_a_set_holds_what_was_given_and_fits(data: st.DataObject, seed: int) -> None:
    """Whole items stand as they are; the begun one keeps its fields, in whatever order they were named."""
    entry = data.draw(sets())
    required = [name for name, field in entry.fields.items() if not field.optional]
    assume(required)
    codec = codec_of(entry)
    records = data.draw(strategies.values(entry))
    assert isinstance(records, list)
    records = records[: entry.max_items]
    assume(records)
    left_out = data.draw(st.sets(st.sampled_from(list(entry.fields))) | st.just(set(entry.fields)))
    left_out.add(data.draw(st.sampled_from(required)))
    begun = {name: value for name, value in records[-1].items() if name not in left_out}

    part = read_part(codec, [*records[:-1], begun])
    ids = go_on(codec, part, entry.max_tokens, np.random.default_rng(seed))

    assert len(ids) <= entry.max_tokens
    chunks = codec.automaton.chunk_lengths(ids)
    assert chunks is not None and len(chunks) - 1 >= len(records)
    assert ids[: len(part.ids)] == codec.encode([records[:-1]]).ids.tolist()[:-1]
    start = len(part.ids)
    (reading,) = codec.decode(
        TokenBatch.of([[*ids[start : start + chunks[len(records) - 1]], ids[-1]]], codec.vocab_size)
    )
    found = codec.fields(reading[0], "item", [], in_part=True)
    assert part.begun is not None and part.begun.keys() == begun.keys()
    assert {name: found[name] for name in part.begun} == part.begun


def test_a_tight_budget_leaves_room_for_a_long_text_that_is_given() -> None:
    """The grammar reckons with an empty text; the given one is longer, so all else must be short."""
    codec = codec_of(PETS)
    part = read_part(codec, [{"name": "a red cat"}])
    shortest = 4 + 1 + 1 + len((part.begun or {})["name"]) + 1
    ids = go_on(codec, part, shortest, np.random.default_rng(0))

    assert len(ids) == shortest
    (records,) = codec.decode(TokenBatch.of([ids], codec.vocab_size))
    assert [record["name"] for record in records] == ["a red cat"]


def test_a_record_that_lacks_nothing_required_is_whole() -> None:
    """A field that may be absent is absent when it is left out, as everywhere else."""
    codec = codec_of(PETS)
    whole = {name: value for name, value in CAT.items() if name != "age"}
    part = read_part(codec, [whole])

    assert part == read_part(codec, [CAT])
    assert (part.items, part.begun) == (1, None)
    assert read_part(codec, []) == SetPart(())


def test_a_record_without_fields_asks_for_one_more_item() -> None:
    """Nothing is known of it but that it is there."""
    codec = codec_of(PETS)
    for seed in range(20):
        ids = go_on(codec, read_part(codec, [{}]), PETS.max_tokens, np.random.default_rng(seed))
        assert len(codec.decode(TokenBatch.of([ids], codec.vocab_size))[0]) >= 1


def test_none_in_a_begun_record_says_absent() -> None:
    """What is named is given, an absence too."""
    part = read_part(codec_of(PETS), [{"label": "dog", "age": None}])
    assert set(part.begun or {}) == {"label", "age"}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"label": "cow"}], "pets, value 0, item 0, field 'label': "),
        ([{"labl": "cat"}], "pets, value 0, item 0, field 'labl': is not declared; did you mean 'label'?"),
        ([CAT, CAT, {"label": "cat"}], "pets, value 0: has at most 2 items; got 3, the last one begun"),
        ([{"box": [0, 0, 9, 9]}, {"label": None}], "pets has "),
        (["cat"], "pets, value 0, item 0: is a record {field: value}; got str"),
        ("cat", "pets, value 0: is a list of records {field: value}; got str"),
    ],
)
def test_what_cannot_be_given_is_refused(records: object, message: str) -> None:
    """The same words as for whole records, the begun one's place included."""
    with pytest.raises(CodecError) as caught:
        read_part(codec_of(PETS), records)
    assert str(caught.value).startswith(message)


def test_faults_of_whole_and_begun_records_come_together() -> None:
    with pytest.raises(CodecError) as caught:
        read_part(codec_of(PETS), [{**CAT, "label": "cow"}, {"age": 99}])
    assert [fault.where for fault in caught.value.faults] == [
        "pets, value 0, item 0, field 'label'",
        "pets, value 0, item 1, field 'age'",
    ]
