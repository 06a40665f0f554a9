"""Sets are generated under their grammar: whatever the model says, what comes out is a set of the schema."""

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_codecs.base import Record, TokenBatch
from fourm_codecs.lawbook.set_validity import record_faults
from fourm_codecs.sets import SetCodec
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.batch import Int32
from fourm_runtime.generation.combine import Produced
from fourm_runtime.generation.plan import compile_request
from fourm_runtime.generation.request import Prefix, Request, Target
from fourm_runtime.generation.run import Job, run_jobs
from fourm_runtime.generation.samples import Tokens
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.errors import RequestError
from fourm_schema.modality import Set
from tests.codecs.drawn_sets import FIELDS, WORDS, sets
from tests.runtime import drawn_generations
from tests.runtime.drawn_generations import has_texts, model_of, schema_of, some_set

STREAM = "s0.tokens"


def codec_of(entry: Set) -> SetCodec:
    return SetCodec("s0", entry, WORDS if has_texts(entry) else None)


def generate(
    model: AnyToAnyTransformer,
    codec: SetCodec,
    count: int,
    temperature: float = 1.0,
    prefix: Int32 | None = None,
    guidance: float = 1.0,
) -> list[Produced]:
    inputs = {"shape": 1, "s0": None if prefix is None else Prefix("...")}
    target = Target("s0", temperature=temperature, guidance=guidance)
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


def test_a_thousand_sets_of_a_hundred_drawn_schemas_are_valid() -> None:
    """Whatever is declared, given and asked for, at any temperature, with any filter and guidance, in however
    little room. Random weights are the worst model there can be, and a million degrees make any id likely."""
    tally = drawn_generations.generate(1000)

    assert tally.invalid == []
    assert (tally.sets, tally.schemas) == (1000, 100)
    assert set(tally.types) == set(FIELDS)
    assert (set(tally.orders), set(tally.policies)) == (
        {"given", "random", "distance_to_origin", "area"},
        {"error", "clip"},
    )
    assert min(tally.with_items_given, tally.short_of_room, tally.guided, tally.full, tally.empty) > 100


@settings(max_examples=8)
@given(sets(), st.integers(0, 2**31), st.sampled_from([0.0, 1.0, 50.0]))
def test_every_generated_set_is_whole_and_within_its_length(
    entry: Set, seed: int, temperature: float
) -> None:
    """A schema alone, which Hypothesis makes small where one fails."""
    model, codec = model_of(schema_of([entry]), seed), codec_of(entry)
    for made in generate(model, codec, 8, temperature):
        check(codec, made, model.plan.stream(STREAM).length)


@settings(max_examples=8)
@given(sets(), st.integers(0, 2**31))
def test_given_items_stay_and_leave_room_for_only_the_rest(entry: Set, seed: int) -> None:
    """A set in part: its items stand in the result as they were given, and count against `max_items`."""
    model, codec = model_of(schema_of([entry]), seed), codec_of(entry)
    prefix = some_set(codec.automaton, np.random.default_rng(seed))[:-1]
    for made in generate(model, codec, 4, 50.0, prefix):
        check(codec, made, model.plan.stream(STREAM).length)
        (reading,) = codec.decode_with_report(TokenBatch.of([made.ids], codec.vocab_size))
        items = [made.ids[slice(*span)].tolist() for span in reading.spans]
        chunks = codec.automaton.chunk_lengths([*prefix.tolist(), codec.automaton.special.end])
        assert chunks is not None
        for item in np.split(prefix, np.cumsum(chunks[:-2])) if len(prefix) else []:
            items.remove(item.tolist())
        assert (made.confidence == 1.0).sum() >= len(prefix)


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
    model, codec = model_of(schema_of([FULL]), 0), codec_of(FULL)
    drawn = (some_set(codec.automaton, np.random.default_rng(seed))[:-1] for seed in range(1000))
    prefix = next(ids for ids in drawn if len(ids) == 15)
    for made in generate(model, codec, 3, 50.0, prefix):
        assert made.ids.tolist() == [*prefix.tolist(), codec.automaton.special.end]
        assert made.confidence[-1] == 1.0


SORTED = FULL.model_copy(update={"order": "distance_to_origin"})


def test_a_generated_set_stands_in_the_order_of_its_schema_given_items_too() -> None:
    """Those that are given are drawn first, so that the rest can see them; value, ids, confidences and what
    later targets see are sorted, as all that the model was trained on."""
    schema = schema_of([SORTED])
    model, codec = model_of(schema, 1), codec_of(SORTED)
    whole = AnyToAny(schema, model, {"s0": codec})
    far = {"box": [0.85, 0.85, 0.95, 0.95], "label": "cat"}
    moved = 0
    for sample in whole.generate([{"s0": Prefix([far])}] * 20, ["s0", "shape"], temperature=5.0):
        made = sample["s0"]
        value = cast("list[Record]", made.value)
        (reading,) = codec.decode_with_report(TokenBatch.of([made.tokens], codec.vocab_size))
        assert record_faults(SORTED, value, WORDS) == []
        assert reading.records == value and reading.damage == ()
        assert [span.start for span in reading.spans] == sorted(span.start for span in reading.spans)
        assert codec.encode([value]).ids.tolist() == made.tokens.tolist()
        sure = [float(made.confidence[slice(*span)].min()) for span in reading.spans]
        places = [place for place, record in enumerate(value) if record["box"] == pytest.approx(far["box"])]
        assert sure[places[0]] == 1.0
        moved += sure[0] < 1.0
        again = whole.generate({"s0": value}, ["shape"], temperature=0.0)[0]["shape"]
        chained = whole.generate({"s0": Prefix(value)}, ["s0", "shape"], temperature=0.0)[0]["shape"]
        if len(value) == SORTED.max_items:
            assert again.tokens.tolist() == chained.tokens.tolist()
    assert moved > 10


def test_an_item_that_is_begun_is_completed_as_it_was_begun() -> None:
    """Of each set one item has the fields that were given, whatever else the model draws."""
    schema = schema_of([SORTED])
    model, codec = model_of(schema, 1), codec_of(SORTED)
    whole = AnyToAny(schema, model, {"s0": codec})
    far, dog = {"box": [0.85, 0.85, 0.95, 0.95], "label": "cat"}, {"label": "dog"}
    boxes = set()
    for sample in whole.generate([{"s0": Prefix([far, dog])}] * 20, ["s0"], temperature=5.0):
        value = cast("list[Record]", sample["s0"].value)
        assert record_faults(SORTED, value, WORDS) == []
        assert far["box"] in [pytest.approx(record["box"]) for record in value]
        dogs = [record for record in value if record["label"] == "dog"]
        assert dogs
        boxes.add(str(dogs[0]["box"]))
    assert len(boxes) > 5


def test_a_fault_of_a_begun_item_names_the_request() -> None:
    """The place is that of the request; nothing is computed."""
    schema = schema_of([SORTED])
    whole = AnyToAny(schema, model_of(schema, 1), {"s0": codec_of(SORTED)})
    with pytest.raises(RequestError) as caught:
        whole.generate({"s0": Prefix([{"label": "dgo"}])}, ["s0"])
    (fault,) = caught.value.faults
    assert fault.where == "request 0, inputs.s0, item 0, field 'label'"
    assert "did you mean 'dog'?" in fault.mend


def test_no_unknown_word_is_generated() -> None:
    """It stands for any word that has no pieces: a text that holds it says nothing."""
    entry = Set.model_validate(
        {
            "kind": "set",
            "max_items": 4,
            "fields": {"says": {"type": "text", "vocabulary": "words", "max_tokens": 6}},
        }
    )
    model, codec = model_of(schema_of([entry]), 0), codec_of(entry)
    made = generate(model, codec, 60, 1e6)

    assert not any((one.ids == codec.automaton.special.unknown).any() for one in made)


def test_scores_that_are_no_numbers_are_refused() -> None:
    """Weights that training has blown up, or a guidance that no float32 can bear: said, not drawn from."""
    model, codec = model_of(schema_of([FULL]), 5), codec_of(FULL)
    with pytest.raises(RequestError) as caught:
        generate(model, codec, 2, guidance=1e39)
    with torch.no_grad():
        model.tables.mask_token.fill_(torch.nan)
        model.decoder_norm.weight.fill_(torch.nan)
    with pytest.raises(RequestError) as broken:
        generate(model, codec, 2)

    assert str(broken.value) == str(caught.value)
    assert str(caught.value) == (
        "targets.s0.tokens: the model's scores are not finite; lower `guidance`; "
        "if there is none, take an earlier checkpoint: these weights are broken"
    )


def test_sets_of_a_batch_differ_and_each_is_drawn_alone() -> None:
    """Rows in different states of the grammar share a step; neither touches the other's draw."""
    model, codec = model_of(schema_of([FULL]), 3), codec_of(FULL)
    together = generate(model, codec, 12, 5.0)
    shorter = generate(model, codec, 5, 5.0)

    assert len({made.ids.tobytes() for made in together}) > 6
    assert len({len(made.ids) for made in together}) > 1
    assert [made.ids.tolist() for made in together[:5]] == [made.ids.tolist() for made in shorter]


def test_guidance_is_no_way_around_the_grammar() -> None:
    """The scores of two passes are summed before the grammar speaks."""
    model, codec = model_of(schema_of([FULL]), 5), codec_of(FULL)
    for made in generate(model, codec, 6, guidance=7.0):
        check(codec, made, model.plan.stream(STREAM).length)


def test_a_set_without_a_grammar_is_our_mistake() -> None:
    model = model_of(schema_of([FULL]), 0)
    plan = compile_request(model.plan, Request({}, (Target("s0"),)))
    with pytest.raises(AssertionError, match="under its grammar"):
        run_jobs(model, [Job(plan, {})])
