"""What a schema can say so that models made elsewhere fit it: rows, positions, ids and names of their own."""

import pytest

from fourm_schema.allocation import allocate, position_key
from fourm_schema.errors import PlanError, SchemaError
from fourm_schema.load import dump_schema, parse_schema
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

WORDS = "vocabularies: {words: {kind: wordpiece, size: 300, sentinels: 200%s}}"


def schema_of(entries: str, rows: str = "") -> Schema:
    return parse_schema(f"version: 1\n{WORDS % rows}\nmodalities:\n{entries}\n")


def plan_of(entries: str, rows: str = "") -> Plan:
    return resolve(schema_of(entries, rows))


TEXTS = (
    "  caption: {kind: text, vocabulary: words, max_tokens: 20, position_rows: 64, target_positions: 18}\n"
    "  title: {kind: text, vocabulary: words, max_tokens: 8, position_rows: 64}"
)


def test_texts_share_their_words_and_rows_unless_told_otherwise() -> None:
    """A vocabulary with `rows: own` is one set of words and as many tables as texts."""
    shared, own = allocate(plan_of(TEXTS)), allocate(plan_of(TEXTS, ", rows: own"))

    assert {name: span.size for name, span in shared.tokens.items()} == {"words": 300}
    assert {name: span.size for name, span in own.tokens.items()} == {
        "caption.tokens": 300,
        "title.tokens": 300,
    }
    plan = plan_of(TEXTS, ", rows: own")
    assert plan.special(plan.stream("caption")).sentinel_count == 200


def test_texts_of_other_lengths_can_share_a_position_table() -> None:
    plan = plan_of(TEXTS)

    assert [position_key(stream) for stream in plan.streams] == ["sincos-1d:64", "sincos-1d:64"]
    assert plan.stream("caption").target_ranks == 18
    assert plan.stream("title").target_ranks == 64


def test_a_sequence_of_vectors_is_a_dense_stream_without_a_grid() -> None:
    plan = plan_of(
        f"{TEXTS}\n  words_of: {{kind: vector, dim: 12, max_length: 7, position_rows: 64, shown: [values]}}"
    )
    stream = plan.stream("words_of")

    assert (stream.layout, stream.length, stream.grid, stream.dense_dim) == ("sequence", 7, None, 12)
    assert (stream.role, position_key(stream)) == ("input", "sincos-1d:64")


def test_ids_made_elsewhere_have_the_sizes_the_file_gives() -> None:
    plan = plan_of(
        f"{TEXTS}\n"
        "  depth: {kind: image, size: 32, patch: 8, cell: {type: continuous, range: [0, 1]}, codec: ids,"
        " vocab_size: 77}\n"
        "  feature: {kind: vector, dim: 768, codec: ids, vocab_size: 99, tokens: 8}"
    )

    depth, feature = plan.stream("depth"), plan.stream("feature")
    assert (depth.codec, depth.vocab_size, depth.grid, depth.positions) == ("ids", 77, (4, 4), "sincos-2d")
    assert (feature.vocab_size, feature.grid, feature.positions) == (99, (8,), "learned-1d")


def test_a_stream_and_its_modality_go_by_their_aliases() -> None:
    plan = plan_of(
        "  caption: {kind: text, vocabulary: words, max_tokens: 20, aliases: [web_text, 'text@1']}"
    )

    assert plan.stream("text@1") == plan.stream("web_text") == plan.stream("caption")
    assert [stream.name for stream in plan.of_modality("text@1")] == ["caption.tokens"]
    with pytest.raises(PlanError, match="is no stream or modality"):
        plan.stream("text@2")


def test_such_a_schema_survives_being_written() -> None:
    schema = schema_of(TEXTS, ", rows: own")

    assert parse_schema(dump_schema(schema)) == schema


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "kind: text, vocabulary: words, max_tokens: 20, position_rows: 19",
            r"modalities\.a\.position_rows: must be 20 or more, as max_tokens is; got 19",
        ),
        (
            "kind: text, vocabulary: words, max_tokens: 20, target_positions: 43",
            r"modalities\.a\.target_positions: must be at most 42, the rows of its position table; got 43",
        ),
        (
            "kind: vector, dim: 4, max_length: 7",
            r"modalities\.a\.max_length: must be shown as values where it is a sequence; "
            r"got 'left out'; write shown: \[values\]",
        ),
        (
            "kind: vector, dim: 4, shown: [values], position_rows: 9",
            r"modalities\.a\.position_rows: does nothing where there is one vector; write max_length: N",
        ),
        (
            "kind: vector, dim: 4, ranges: [0, 1], tokens: 9",
            r"modalities\.a\.tokens: does nothing: the codec 'bins' has one token per number; remove it",
        ),
        (
            "kind: image, size: 8, patch: 4, cell: {type: continuous, range: [0, 1]}, codec: ids,"
            " vocab_size: 9, shown: [pixels, tokens]",
            r"modalities\.a\.shown: cannot show pixels beside ids: a value is one or the other",
        ),
        (
            "kind: vector, dim: 700, codec: ids",
            r"modalities\.a\.vocab_size: must say how many token ids 'ids' has; write vocab_size: N",
        ),
        (
            "kind: image, size: 8, patch: 4, cell: {type: continuous, channels: 3, range: [0, 1]},"
            " shown: [pixels], mean: [1, 2]",
            r"modalities\.a\.mean: must be one for each of the 3 channels, or one for all; got 2",
        ),
        (
            "kind: image, size: 8, patch: 4, cell: {type: continuous, range: [0, 1]},"
            " shown: [pixels], std: 0",
            r"modalities\.a\.std: must be above 0; got 0",
        ),
    ],
)
def test_each_rule_says_what_is_wrong(entry: str, message: str) -> None:
    words = "  caption: {kind: text, vocabulary: words, max_tokens: 8}\n"
    with pytest.raises(SchemaError, match=message):
        schema_of(f"{words}  a: {{{entry}}}")
