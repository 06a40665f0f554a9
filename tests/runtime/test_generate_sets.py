"""Sets are generated under their grammar: whatever the model says, what comes out is a set of the schema."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.grammar import Automaton
from fourm_codecs.sets import SetCodec
from fourm_runtime.assemble import assemble
from fourm_runtime.batch import Int32
from fourm_runtime.generation.plan import compile_request
from fourm_runtime.generation.request import Prefix, Request, Target
from fourm_runtime.generation.run import Job, Produced, run_jobs
from fourm_runtime.generation.samples import Tokens
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.architecture import Architecture
from fourm_schema.modality import Set
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.codecs.drawn_sets import WORDS, sets

STREAM = "things.tokens"


def schema_of(entry: Set) -> Schema:
    words = {"words": {"kind": "wordpiece", "size": WORDS.size}}
    return Schema.model_validate(
        {
            "version": 1,
            "vocabularies": words if has_texts(entry) else {},
            "modalities": {
                "things": entry.model_dump(by_alias=True, exclude_unset=True),
                "shape": {"kind": "vector", "dim": 2, "ranges": [0, 1], "bins": 8},
            },
        }
    )


def model_of(schema: Schema, seed: int) -> AnyToAnyTransformer:
    """Random weights, large enough that the scores differ much from id to id."""
    small = Architecture(dim=16, heads=2, encoder_depth=1, decoder_depth=1)
    model = assemble(resolve(schema), small, seed=seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("tables."):
                parameter.mul_(20)
    return model


def codec_of(entry: Set) -> SetCodec:
    return SetCodec("things", entry, WORDS if has_texts(entry) else None)


def has_texts(entry: Set) -> bool:
    return any(field.type == "text" for field in entry.fields.values())


def some_set(grammar: Automaton, rng: np.random.Generator) -> Int32:
    """Ids of a set that the grammar admits, each step drawn evenly."""
    state, ids = grammar.start, list[int]()
    while not grammar.is_final(state):
        ids.append(int(rng.choice(np.flatnonzero(grammar.allowed(state, 1000)))))
        following = grammar.step(state, ids[-1])
        assert following is not None
        state = following
    return np.array(ids, np.int32)


def generate(
    model: AnyToAnyTransformer,
    codec: SetCodec,
    count: int,
    temperature: float = 1.0,
    prefix: Int32 | None = None,
    guidance: float = 1.0,
) -> list[Produced]:
    inputs = {"shape": 1, "things": None if prefix is None else Prefix("...")}
    target = Target("things", temperature=temperature, guidance=guidance)
    plan = compile_request(model.plan, Request(inputs, (target,)))
    shows = [{"shape.tokens": Tokens.whole(np.array([i % 8, i // 8 % 8], np.int32))} for i in range(count)]
    given = {} if prefix is None else {STREAM: prefix}
    jobs = [Job(plan, shown, given, seed=1, index=i) for i, shown in enumerate(shows)]
    return [made[STREAM] for made in run_jobs(model, jobs, sets={STREAM: codec})]


def check(codec: SetCodec, made: Produced, length: int) -> None:
    """Require one whole set of the grammar, whose records the codec takes back."""
    chunks = codec.automaton.chunk_lengths(made.ids.tolist())
    assert chunks is not None, "the grammar admits it"
    assert len(made.ids) == len(made.confidence) <= length
    assert len(chunks) - 1 <= codec.entry.max_items
    (records,) = codec.decode(TokenBatch.of([made.ids], codec.vocab_size))
    assert len(records) == len(chunks) - 1
    codec.encode([records])


@settings(max_examples=30)
@given(sets(), st.integers(0, 2**31), st.sampled_from([0.0, 1.0, 50.0]))
def test_every_generated_set_is_whole_and_within_its_length(
    entry: Set, seed: int, temperature: float
) -> None:
    """Valid by construction: random weights are the worst model there can be, and 50 makes any id likely."""
    model, codec = model_of(schema_of(entry), seed), codec_of(entry)
    for made in generate(model, codec, 8, temperature):
        check(codec, made, model.plan.stream(STREAM).length)


@settings(max_examples=20)
@given(sets(), st.integers(0, 2**31))
def test_given_items_stay_and_leave_room_for_only_the_rest(entry: Set, seed: int) -> None:
    """A set in part: its items stand in the result as they were given, and count against `max_items`."""
    model, codec = model_of(schema_of(entry), seed), codec_of(entry)
    prefix = some_set(codec.automaton, np.random.default_rng(seed))[:-1]
    for made in generate(model, codec, 4, 50.0, prefix):
        check(codec, made, model.plan.stream(STREAM).length)
        assert made.ids[: len(prefix)].tolist() == prefix.tolist()
        assert made.confidence[: len(prefix)].tolist() == [1.0] * len(prefix)
        assert (made.confidence[len(prefix) :] > 0).all()


FULL = Set.model_validate(
    {
        "kind": "set",
        "max_items": 3,
        "fields": {
            "box": {"type": "box", "bins": 10},
            "label": {"type": "category", "classes": ["cat", "dog"], "optional": True},
        },
    }
)


def test_a_full_set_can_only_end() -> None:
    """As many items given as there may be: the one token that is left is the end."""
    model, codec = model_of(schema_of(FULL), 0), codec_of(FULL)
    drawn = (some_set(codec.automaton, np.random.default_rng(seed))[:-1] for seed in range(1000))
    prefix = next(ids for ids in drawn if len(ids) == 15)
    for made in generate(model, codec, 3, 50.0, prefix):
        assert made.ids.tolist() == [*prefix.tolist(), codec.automaton.special.end]
        assert made.confidence[-1] == 1.0


def test_sets_of_a_batch_differ_and_each_is_drawn_alone() -> None:
    """Rows in different states of the grammar share a step; neither touches the other's draw."""
    model, codec = model_of(schema_of(FULL), 3), codec_of(FULL)
    together = generate(model, codec, 12, 5.0)
    shorter = generate(model, codec, 5, 5.0)

    assert len({made.ids.tobytes() for made in together}) > 6
    assert len({len(made.ids) for made in together}) > 1
    assert [made.ids.tolist() for made in together[:5]] == [made.ids.tolist() for made in shorter]


def test_guidance_is_no_way_around_the_grammar() -> None:
    """The scores of two passes are summed before the grammar speaks."""
    model, codec = model_of(schema_of(FULL), 5), codec_of(FULL)
    for made in generate(model, codec, 6, guidance=7.0):
        check(codec, made, model.plan.stream(STREAM).length)


def test_a_set_without_a_grammar_is_our_mistake() -> None:
    model = model_of(schema_of(FULL), 0)
    plan = compile_request(model.plan, Request({}, (Target("things"),)))
    with pytest.raises(AssertionError, match="under its grammar"):
        run_jobs(model, [Job(plan, {})])
