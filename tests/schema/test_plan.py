"""Plans: what streams hold, how they are found, and that they travel."""

import json
import pickle  # noqa: TID251  (what a worker process does with a plan)
from pathlib import Path

import cattrs
import pytest
from hypothesis import given

from fourm_schema.allocation import Allocation, allocate
from fourm_schema.errors import PlanError
from fourm_schema.load import load_schema, parse_schema
from fourm_schema.plan import Plan, Special
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.schema.schema_samples import DIGITS, EVERYTHING, schema_of, schemas


def test_the_digits_resolve_to_five_streams() -> None:
    """The quickstart's plan, number by number."""
    plan = resolve(parse_schema(DIGITS))
    pixels, tokens, strokes, shape, caption = plan.streams

    assert plan.names == ["digit.pixels", "digit.tokens", "strokes.tokens", "shape.tokens", "caption.tokens"]
    assert (pixels.grid, pixels.length, pixels.dense_dim, pixels.vocab_size) == ((4, 4), 16, 4, 0)
    assert (pixels.role, pixels.column, pixels.vocabulary) == ("input", "digit", None)
    assert (tokens.grid, tokens.length, tokens.dense_dim, tokens.vocab_size) == ((8, 8), 64, None, 17)
    assert (tokens.role, tokens.column, tokens.vocabulary) == ("both", "digit__tokens", "digit.tokens")
    assert (strokes.vocab_size, shape.grid, shape.length, shape.vocab_size) == (3, (6,), 6, 32)
    assert (caption.layout, caption.grid, caption.length, caption.views) == ("sequence", None, 16, 4)
    assert (caption.vocabulary, caption.vocab_size) == ("words", 128)
    assert plan.special(caption) == Special(0, 1, 2, 3, first_sentinel=4, sentinel_count=10)


def test_the_shipped_file_is_a_plan_with_as_many_tokens_as_4m_21(root: Path) -> None:
    """It is the first file a user copies."""
    plan = resolve(load_schema(root / "modalities.yaml"))
    wanted = {"rgb": 196, "clip": 196, "dinov2": 256, "dinov2_global": 16, "caption": 256}
    # Items of a box and 16 codes of a mask; of a box, 8 codes of a pose, and 22 bins; then the end token.
    wanted |= {"instances": 14 * (4 + 16) + 1, "poses": 7 * (4 + 8 + 9 + 3 + 10) + 1}

    assert {name: plan.stream(name).length for name in wanted} == wanted


def test_a_dense_vector_is_one_token_of_all_its_numbers() -> None:
    stream = resolve(schema_of(gyro="kind: vector, dim: 3, shown: [values]")).stream("gyro")

    assert (stream.name, stream.grid, stream.length, stream.dense_dim) == ("gyro.values", (1,), 1, 3)
    assert (stream.role, stream.column) == ("input", "gyro")


def test_sentinels_follow_the_longest_text_unless_the_file_counts_them() -> None:
    """Every other token masked makes half as many spans as tokens: none may lack its sentinel."""
    two = schema_of(
        short="kind: text, vocabulary: words, max_tokens: 5",
        long="kind: text, vocabulary: words, max_tokens: 9",
    )
    fixed = parse_schema(DIGITS.replace("size: 128", "size: 128, sentinels: 20"))

    assert resolve(two).vocabularies[0].special.sentinel_count == (9 + 1) // 2 + 2
    assert resolve(fixed).vocabularies[0].special.sentinel_count == 20


def test_a_modality_s_name_stands_for_its_token_stream_and_an_unknown_name_for_nothing() -> None:
    """Requests name modalities; a slip is answered with the names there are."""
    plan = resolve(parse_schema(DIGITS))

    assert plan.stream("digit").name == "digit.tokens"
    assert plan.stream("digit.pixels").name == "digit.pixels"
    with pytest.raises(PlanError) as caught:
        plan.stream("digit.pixel")
    assert str(caught.value) == (
        "digit.pixel: is no stream or modality of this schema; did you mean 'digit.pixels'? "
        "known: caption.tokens, digit.pixels, digit.tokens, shape.tokens, strokes.tokens"
    )
    with pytest.raises(PlanError, match=r"shape.tokens: has no special ids; only sequence streams do"):
        plan.special(plan.stream("shape"))


def test_an_entry_is_found_by_its_name_and_its_aliases() -> None:
    """Imported checkpoints call modalities by other names."""
    schema = parse_schema(EVERYTHING)

    assert schema.modality("rgb@224") is schema.modality("rgb")
    with pytest.raises(PlanError, match=r"rbg: is no modality of this schema; did you mean 'rgb'"):
        schema.modality("rbg")


@given(schemas())
def test_plans_and_allocations_travel_as_json_and_between_processes(schema: Schema) -> None:
    """Checkpoints hold them as plain dicts; workers get them pickled. Both come back equal."""
    plan = resolve(schema)
    allocation = allocate(plan)
    for value in (plan, allocation):
        told = json.loads(json.dumps(cattrs.unstructure(value)))

        assert cattrs.structure(told, Plan if isinstance(value, Plan) else Allocation) == value
        assert pickle.loads(pickle.dumps(value)) == value


@given(schemas())
def test_every_stream_s_numbers_agree_with_each_other(schema: Schema) -> None:
    """A grid's length is its cells; dense streams have numbers and no ids, token streams the reverse."""
    for stream in resolve(schema).streams:
        rows, *columns = stream.grid or (0,)
        assert stream.length == rows * (columns[0] if columns else 1) > 0
        assert stream.is_dense == (stream.vocabulary is None) == (stream.vocab_size == 0)
        assert stream.can_be_input or stream.can_be_target
