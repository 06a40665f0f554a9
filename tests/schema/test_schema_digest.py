"""Hashes and dumps: what means the same has one hash, and what is written loads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_schema.digest import entry_hash, schema_hash
from fourm_schema.load import dump_schema, parse_schema
from fourm_schema.schema import Schema
from fourm_schema.yaml_reader import read_tree
from fourm_schema.yaml_writer import write_yaml
from tests.schema.schema_samples import DIGITS, EVERYTHING, schema_of, schemas

PINNED = "309f476bb10e78d36073650a759ecb773a4bdf55ebb77e745059a68f8097cb41"
VALID = st.characters(exclude_categories=["Cs"])
WIND = "kind: vector, dim: 2, ranges: [0, 1]"


@given(schemas())
def test_a_schema_written_out_loads_back_equal(schema: Schema) -> None:
    """Checkpoints and datasets hold schemas as YAML: names like `yes`, `1e5` or `a: b` must survive."""
    again = parse_schema(dump_schema(schema))

    assert again == schema
    assert schema_hash(again) == schema_hash(schema)
    assert dump_schema(again) == dump_schema(schema)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(VALID, max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(VALID, max_size=6), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: {"a": value})
)
def test_any_plain_value_is_read_as_it_was_written(data: dict[str, object]) -> None:
    """The writer is ours, so its quoting is checked on every text a file can hold."""
    tree = read_tree(write_yaml(data))

    assert not tree.faults
    assert tree.data == data


@pytest.mark.parametrize("text", [DIGITS, EVERYTHING])
def test_hand_written_schemas_load_back_equal(text: str) -> None:
    schema = parse_schema(text)

    assert parse_schema(dump_schema(schema)) == schema


@given(schemas())
def test_the_order_of_keys_has_no_meaning_but_that_of_modalities_has(schema: Schema) -> None:
    """Modalities are streams in their order; an entry is a bag of keys."""
    told = schema.model_dump(mode="json", by_alias=True, exclude_unset=True)
    turned = {
        **told,
        "modalities": {name: dict(reversed(entry.items())) for name, entry in told["modalities"].items()},
    }
    other = {**told, "modalities": dict(reversed(told["modalities"].items()))}

    assert schema_hash(Schema.model_validate(dict(reversed(turned.items())))) == schema_hash(schema)
    if len(schema.modalities) > 1:
        assert schema_hash(Schema.model_validate(other)) != schema_hash(schema)


@pytest.mark.parametrize(
    "same",
    [
        "kind: vector, dim: 2, ranges: [[0, 1]]",
        "kind: vector, dim: 2, ranges: [0.0, 1.0], bins: 256, role: both",
        "kind: vector, dim: 2, ranges: [0, 1], description: speed and direction",
    ],
)
def test_spelling_a_default_out_or_describing_it_changes_no_hash(same: str) -> None:
    assert schema_hash(schema_of(wind=same)) == schema_hash(schema_of(wind=WIND))


@pytest.mark.parametrize("other", [", bins: 255", ", loss_weight: 2", ", names: [a, b]", ", role: input"])
def test_whatever_else_changes_changes_the_hash(other: str) -> None:
    assert schema_hash(schema_of(wind=WIND + other)) != schema_hash(schema_of(wind=WIND))


@pytest.mark.parametrize(
    "other", [", loss_weight: 2", ", role: input", ", positions: sincos-1d", ", aliases: [x]"]
)
def test_stored_tokens_stay_fresh_while_only_their_use_changes(other: str) -> None:
    """Encoding a dataset anew because a loss got another weight would be waste."""
    assert entry_hash(schema_of(wind=WIND + other).modalities["wind"]) == entry_hash(
        schema_of(wind=WIND).modalities["wind"]
    )


def test_stored_tokens_are_stale_when_their_meaning_changes() -> None:
    text = schema_of(a="kind: text, vocabulary: words, max_tokens: 8")
    larger = parse_schema(dump_schema(text).replace("128", "129"))

    assert entry_hash(schema_of(a=WIND + ", bins: 9").modalities["a"]) != entry_hash(
        schema_of(a=WIND).modalities["a"]
    )
    assert entry_hash(text.modalities["a"], text.vocabularies["words"]) != entry_hash(
        larger.modalities["a"], larger.vocabularies["words"]
    )


def test_the_hash_is_pinned() -> None:
    """A hash that changes between releases would call every stored dataset stale."""
    assert schema_hash(schema_of(wind=WIND)) == PINNED


def test_the_order_of_a_record_s_fields_has_meaning() -> None:
    """It is the order of its tokens."""
    one = schema_of(a="kind: set, max_items: 1, fields: {x: {type: angle}, y: {type: box}}")
    two = schema_of(a="kind: set, max_items: 1, fields: {y: {type: box}, x: {type: angle}}")

    assert schema_hash(one) != schema_hash(two)
