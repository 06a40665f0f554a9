"""Encoding sets field by field: the same ids as record by record, and the same refusals."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fourm_codecs.set_columns import encode_columns
from fourm_codecs.sets import BLOCK_RECORDS, COLUMNS_FROM, SetCodec
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set
from fourm_schema.strategies import values as values_of
from tests.codecs.drawn_sets import sets
from tests.codecs.signs import codec_of


def columns(codec: SetCodec, values: Sequence[object], rng: np.random.Generator | None = None) -> object:
    return encode_columns(values, codec.entry, codec.automaton, codec._forms, codec._order, rng)


def has_text(entry: Set) -> bool:
    return any(field.type == "text" for field in entry.fields.values())


@given(st.data())
def test_many_sets_have_the_ids_that_each_has_alone(data: st.DataObject) -> None:
    """Whatever the fields, orders and conventions; shuffled sets draw the same numbers."""
    entry = data.draw(sets().filter(lambda entry: not has_text(entry)))
    value = values_of(entry)
    values = data.draw(st.lists(value, min_size=COLUMNS_FROM, max_size=COLUMNS_FROM + 2))
    codec, shuffled = codec_of(entry), data.draw(st.booleans())
    one, other = (np.random.default_rng(7) if shuffled else None for _ in range(2))

    alone = [codec.encode([value], rng=other) for value in values]
    together = codec.encode(values, rng=one)

    assert together.ids.dtype == alone[0].ids.dtype
    assert [row.tolist() for row in together.rows()] == [batch.ids.tolist() for batch in alone]
    assert together.chunks() == [cast("list[list[int]]", batch.chunks())[0] for batch in alone]


@given(st.data())
def test_values_within_their_declaration_are_encoded_in_columns(data: st.DataObject) -> None:
    """Columns are the usual way: nothing that a schema admits makes them step aside, but a set too long."""
    entry = data.draw(sets().filter(lambda entry: not has_text(entry)))
    values = data.draw(st.lists(values_of(entry), max_size=3))
    assume(all(len(cast("list[object]", value)) <= entry.max_items for value in values))

    assert columns(codec_of(entry), values) is not None


BOXES = Set.model_validate(
    {
        "kind": "set",
        "max_items": 2,
        "fields": {
            "box": {"type": "box", "bins": 10},
            "label": {"type": "category", "classes": ["cat", "dog"]},
            "score": {"type": "number", "range": [0, 1], "bins": 4, "optional": True},
        },
    }
)
GOOD = {"box": [0.1, 0.2, 0.3, 0.4], "label": "cat"}


@pytest.mark.parametrize(
    "wrong",
    [
        "no list",
        None,
        [GOOD] * 3,
        [[GOOD]],
        [{**GOOD, "box": None}],
        [{"label": "cat"}],
        [{**GOOD, "colour": 1}],
        [{**GOOD, "label": "cow"}],
        [{**GOOD, "label": 0}],
        [{**GOOD, "label": None}],
        [{**GOOD, "score": True}],
        [{**GOOD, "score": float("nan")}],
        [{**GOOD, "score": 10**400}],
        [{**GOOD, "score": "0.5"}],
        [{**GOOD, "score": 1.5}],
        [{**GOOD, "box": [0.3, 0.2, 0.1, 0.4]}],
        [{**GOOD, "box": [0.1, 0.2, 0.3]}],
        [{**GOOD, "box": [0.1, 0.2, 0.3, True]}],
        [{**GOOD, "box": [0.1, 0.2, 0.3, float("inf")]}],
        [{**GOOD, "box": "0.1, 0.2, 0.3, 0.4"}],
    ],
)
def test_what_is_refused_alone_is_refused_with_the_same_words_among_many(wrong: object) -> None:
    """The columns step aside, and the message names the value's place."""
    codec = codec_of(BOXES)
    many = [[GOOD]] * COLUMNS_FROM + [wrong]

    assert columns(codec, many) is None
    with pytest.raises(CodecError) as alone:
        codec.encode([wrong])
    with pytest.raises(CodecError) as among:
        codec.encode(many)
    assert str(among.value) == str(alone.value).replace("value 0", f"value {COLUMNS_FROM}")


def test_arrays_and_tuples_are_as_good_as_lists() -> None:
    """Values come from files, from NumPy and from typed records alike."""
    codec = codec_of(BOXES)
    box = [0.1, 0.2, 0.3, 0.4]
    forms: list[object] = [
        [GOOD],
        (GOOD,),
        [{**GOOD, "box": np.asarray(box)}],
        [{**GOOD, "box": tuple(box)}],
        [{**GOOD, "score": None}],
        [{"label": "cat", "box": [np.float64(x) for x in box]}],
    ] * 2

    rows = {tuple(row.tolist()) for row in codec.encode(forms).rows()}

    assert len(rows) == 1


def test_one_long_set_does_not_change_how_others_are_written() -> None:
    """Blocks are encoded on their own: that which holds it item by item, the rest in columns."""
    codec = codec_of(BOXES.model_copy(update={"out_of_range": "clip"}))
    other = {**GOOD, "label": "dog"}
    values = [[GOOD], [other]] * (BLOCK_RECORDS // 2) + [[GOOD, other, other]]

    rows = codec.encode(values).rows()

    assert len(rows) == len(values)
    assert [row.tolist() for row in rows[-3:]] == [
        codec.encode([value]).ids.tolist() for value in values[-3:]
    ]
    assert rows[0].tolist() == rows[-3].tolist()


def test_faults_of_distant_values_are_told_together() -> None:
    """Each by the number of its value, though they lie in different blocks."""
    values: list[list[object]] = [[GOOD]] * BLOCK_RECORDS
    values[1], values[-1] = [{**GOOD, "label": "cow"}], [None]

    with pytest.raises(CodecError) as caught:
        codec_of(BOXES).encode(values)

    assert [fault.where for fault in caught.value.faults] == [
        "signs, value 1, item 0, field 'label'",
        f"signs, value {BLOCK_RECORDS - 1}, item 0",
    ]
