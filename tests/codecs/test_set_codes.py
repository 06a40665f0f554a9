"""Fields of sets in learned codes: masks and long vectors, under the same grammar as all others."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_codecs.base import Parts, TokenBatch
from fourm_codecs.build import build_codec
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.lawbook.set_validity import record_faults
from fourm_codecs.plain import from_json, to_json
from fourm_codecs.set_columns import encode_columns
from fourm_codecs.sets import SetCodec
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_codecs.untrained import untrained
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set
from fourm_schema.schema import Schema
from fourm_schema.strategies import values as values_of
from tests.codecs.drawn_sets import WORDS
from tests.codecs.signs import fields
from tests.codecs.test_set_damage import KINDS, ROWS, assert_covered, read

MASK: dict[str, object] = {"type": "mask", "size": 8, "tokens": 4, "vocab_size": 40}
POSE: dict[str, object] = {"type": "vector", "dim": 12, "range": [-1, 1], "tokens": 3, "vocab_size": 16}
THINGS: dict[str, object] = {
    "kind": "set",
    "max_items": 3,
    "order": "area",
    "fields": {
        "outline": {**MASK, "optional": True},
        "box": {"type": "box", "bins": 10},
        "pose": POSE,
        "says": {"type": "text", "vocabulary": "words", "max_tokens": 4, "optional": True},
    },
}


def coded(entry: dict[str, object] | Set, seed: int = 0, **changes: object) -> SetCodec:
    """The codec of a set with drawn weights in those of its fields."""
    declared = entry if isinstance(entry, Set) else Set.model_validate({**entry, **changes})
    codec = untrained("things", declared, seed=seed, vocabulary=WORDS)
    assert isinstance(codec, SetCodec)
    return codec


CODEC = coded(THINGS)
VALUES = values_of(CODEC.entry)


def thing(rng: np.random.Generator, **changes: object) -> dict[str, object]:
    ends = np.sort(rng.random((2, 2)), axis=0)
    mask, pose = rng.random((8, 8)) > 0.5, rng.uniform(-1, 1, 12)
    return {"outline": mask, "box": [*ends[0], *ends[1]], "pose": pose, "says": "a red cat"} | changes


def things(count: int, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    return [thing(rng) for _ in range(count)]


@settings(max_examples=15)
@given(st.lists(VALUES, min_size=1, max_size=2))
def test_a_set_with_learned_fields_keeps_its_law(values: list[object]) -> None:
    """Whatever is exact or bounded in it stays so; the rest has its shape and range."""
    assert violations(CODEC, values) == []


def test_each_field_has_its_own_ids_and_comes_back_as_plain_lists() -> None:
    """Records are JSON: no array is in them."""
    tokens = CODEC.encode([things(2)])
    (back,) = CODEC.decode(tokens)
    (chunks,) = tokens.chunks() or [[]]
    again = from_json("things", CODEC.entry, to_json(back))

    assert chunks == [4 + 4 + 3 + 4, 4 + 4 + 3 + 4, 1]
    assert record_faults(CODEC.entry, back, WORDS) == []
    assert again == back
    assert CODEC.encode([again]).same(CODEC.encode([back]))


def test_what_two_fields_are_written_in_does_not_depend_on_the_other() -> None:
    """The ids of a field are those of its codec, moved to its range."""
    (one,) = things(1)
    own = CODEC.codecs["outline"].encode([np.asarray(one["outline"], np.uint8)]).ids
    ids = CODEC.encode([[one]]).ids
    start = CODEC.automaton.special.size + 1  # after the marker of an absent outline

    assert ids[:4].tolist() == (own.astype(np.int64) + start).tolist()


@pytest.mark.parametrize("form", [lambda mask: mask.tolist(), lambda mask: mask.astype(np.float32), np.array])
def test_a_mask_may_be_an_array_or_lists_of_0_and_1_or_truth_values(form: object) -> None:
    (one,) = things(1)
    mask = np.asarray(one["outline"])
    written = {**one, "outline": cast("type[list[object]]", form)(mask)}

    assert CODEC.encode([[written]]).same(CODEC.encode([[one]]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"outline": np.zeros((4, 8))},
            "'outline': is a mask of 8 x 8 cells, each 0 or 1; got 4 x 8; scale it",
        ),
        (
            {"outline": [[1], [0, 1]]},
            "'outline': is a mask of 8 x 8 cells, each 0 or 1; got lists of unequal",
        ),
        ({"outline": "x"}, "'outline': is a mask of 8 x 8 cells, each 0 or 1; got str of <U1"),
        ({"outline": np.eye(8) * 255}, "'outline' at [0, 0]: is 0 or 1; got 255; write mask > threshold"),
        ({"outline": np.full((8, 8), np.nan)}, "'outline' at [0, 0]: is 0 or 1; got nan"),
        ({"pose": [0.0] * 11}, "'pose': is a list of 12 numbers; got 11"),
        ({"pose": [0.0] * 11 + [1.5]}, "'pose' at [11]: lies in [-1, 1]; got 1.5; rescale it"),
    ],
)
def test_a_learned_field_says_what_it_can_hold(changed: dict[str, object], said: str) -> None:
    with pytest.raises(CodecError) as caught:
        CODEC.encode([things(1), [{**things(1)[0], **changed}]])

    assert str(caught.value).startswith(f"things, value 1, item 0, field {said}")


def test_a_vector_is_clipped_where_the_schema_says_so() -> None:
    codec = coded(THINGS, out_of_range="clip")
    (one,) = things(1)
    far, near = ([[{**one, "pose": [end] * 12}]] for end in (7.0, 1.0))

    assert codec.encode(far).same(codec.encode(near))


@pytest.mark.parametrize("order", ["area", "distance_to_origin", "random"])
@pytest.mark.parametrize("columns", [True, False])
def test_ids_do_not_depend_on_the_batch_nor_on_the_order_of_records(order: str, columns: bool) -> None:
    """Many sets are encoded field by field (unless a field is a text), and few item by item."""
    same_box = [{**one, "box": [0.1, 0.1, 0.5, 0.5]} for one in things(3)]
    values = [*(things(k % 4, seed=k) for k in range(9)), same_box, same_box[::-1]]
    values.append([{**same_box[0], "outline": None}, *same_box[1:]])
    codec = coded(THINGS, order=order)
    if columns:
        values = [[{n: v for n, v in one.items() if n != "says"} for one in value] for value in values]
        left = {name: field for name, field in codec.entry.fields.items() if name != "says"}
        codec = coded(codec.entry.model_copy(update={"fields": left}))
    found = encode_columns(values, codec.entry, codec.automaton, codec._forms, codec._order, None)
    rows = [row.tolist() for row in codec.encode(values).rows()]

    assert (found is not None) == columns
    assert rows == [codec.encode([value]).ids.tolist() for value in values]
    assert rows[9] == rows[10] != rows[11]


def test_decoded_items_with_equal_boxes_stay_as_they_were_written() -> None:
    """Their learned codes cannot decide: encoded again they may be others."""
    same_box = [{**one, "box": [0.1, 0.1, 0.5, 0.5]} for one in things(3)]
    ids = CODEC.encode([same_box]).ids.tolist()
    items, end = [ids[:15], ids[15:30], ids[30:45]], ids[-1:]
    alone = CODEC.decode(TokenBatch.of([[*item, *end] for item in items], CODEC.vocab_size))

    for turned in itertools.permutations(range(3)):
        row = [identity for k in turned for identity in items[k]]
        (back,) = CODEC.decode(TokenBatch.of([[*row, *end]], CODEC.vocab_size))
        assert back == [alone[k][0] for k in turned]


LEARNED_SETS = [
    THINGS,
    {**THINGS, "order": "distance_to_origin", "out_of_range": "clip"},
    {**fields(outline=MASK), "order": "random"},
    fields(pose={**POSE, "optional": True}, label={"type": "category", "classes": 3}, outline=MASK),
]


@settings(max_examples=4, deadline=None)
@given(st.sampled_from(LEARNED_SETS), st.integers(0, 2**32 - 1))
def test_rows_of_any_ids_are_read_and_accounted_for(entry: dict[str, object], seed: int) -> None:
    """As for sets without learned fields: any codes have a mask and a vector."""
    codec, rng = coded(entry, seed=seed % 3), np.random.default_rng(seed)
    rows = [KINDS[number % len(KINDS)](codec, rng) for number in range(ROWS // 5)]
    readings = read(codec, rows)
    again = codec.encode([reading.records for reading in readings])

    for row, reading in zip(rows, readings, strict=True):
        assert record_faults(codec.entry, reading.records, WORDS) == []
        assert_covered(codec, row, reading)
    assert all(reading.damage == () for reading in codec.decode_with_report(again))


def test_a_set_with_learned_fields_is_saved_and_loaded(tmp_path: Path) -> None:
    save_codec(CODEC, tmp_path)
    loaded = load_codec(tmp_path)
    values = [things(2), things(3, seed=1)]

    assert isinstance(loaded, SetCodec) and loaded.name == "grammar-codes"
    assert loaded.law.describe() == CODEC.law.describe()
    assert loaded.encode(values).same(CODEC.encode(values))
    assert codec_hash(loaded) == codec_hash(CODEC) != codec_hash(coded(THINGS, seed=1))
    assert {name.split(".")[1] for name in loaded.parts.tensors if name != "grammar"} == {"outline", "pose"}


def test_a_set_whose_fields_are_not_trained_says_how_to_train_them() -> None:
    schema = Schema.model_validate(
        {"version": 1, "modalities": {"things": fields(box={"type": "box"}, outline=MASK)}}
    )
    with pytest.raises(CodecError) as caught:
        build_codec(schema, "things")

    assert str(caught.value) == (
        "things, field 'outline': its codec 'vit-class-fsq' is not trained yet; "
        "train it: fourm codec train things --data FILE.lance --to codecs/"
    )


def test_a_damaged_codec_of_a_field_is_refused_by_its_name() -> None:
    parts = CODEC.parts
    tensors = {name: tensor for name, tensor in parts.tensors.items() if "pose.decoder" not in name}
    with pytest.raises(CodecError, match=r"^things\.pose: its weights are not those"):
        SetCodec.from_entry("things", CODEC.entry, attrs.evolve(parts, tensors=tensors))
    with pytest.raises(CodecError, match=r"^things\.outline: its settings lack"):
        SetCodec.from_entry("things", CODEC.entry, Parts(parts.vocabulary, parts.tensors))


def test_the_law_names_what_is_learned_apart_from_what_is_exact() -> None:
    said = CODEC.law.describe()
    only = coded(fields(outline=MASK))

    assert not CODEC.law.keeps_ids
    assert said.startswith(
        "decoding gives back the records, sorted by area, off by at most half a bin: box 0.05 per corner; "
        "says as encoded; outline in learned codes: "
    )
    assert "; pose in learned codes: " in said
    assert only.law.describe().startswith("decoding gives back the records; outline in learned codes: ")


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (
            {"outline": [[0] * 8] * 7},
            "item 0, field 'outline': came back as other than 8 x 8 cells, each",
        ),
        ({"pose": [2.0] * 12}, "item 0, field 'pose': came back as other than 12 numbers from -1 to 1"),
        ({"box": [0.0, 0.0, 0.1, 0.1]}, "item 0, field 'box': "),
    ],
)
def test_the_law_sees_another_shape_or_range(changed: dict[str, object], fault: str) -> None:
    value: Sequence[dict[str, object]] = things(1)
    back = [{**CODEC.decode(CODEC.encode([value]))[0][0], **changed}]
    faults = CODEC.law.check(value, back)

    assert len(faults) == 1 and faults[0].startswith(fault)
