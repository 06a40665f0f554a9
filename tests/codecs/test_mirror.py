"""Mirroring left and right: twice is not at all, and what a modality admits stays what it admits."""

import math
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fourm_codecs.mirror import mirrored, mirrored_sample
from fourm_codecs.set_codes import learned_fields, raw_values
from fourm_codecs.set_values import form_of
from fourm_schema.errors import CodecError, SchemaError
from fourm_schema.load import parse_schema
from fourm_schema.modality import Modality, Set
from fourm_schema.schema import Schema
from fourm_schema.strategies import values as values_of
from tests.codecs.drawn_sets import WORDS, sets

ENTRY: TypeAdapter[Modality] = TypeAdapter(Modality)


def entry_of(**declared: object) -> Modality:
    return ENTRY.validate_python(declared)


def people(**changes: object) -> Set:
    """A set of people: arms in pairs, seen from the left or the right."""
    found = entry_of(
        kind="set",
        max_items=2,
        mirror=[["left_arm", "right_arm"], ["left", "right"], ["0", "2"]],
        fields={
            "left_arm": {"type": "point", "range": [0, 10], "optional": True},
            "right_arm": {"type": "point", "range": [0, 10], "optional": True},
            "side": {"type": "category", "classes": ["left", "front", "right"], "optional": True},
            "lane": {"type": "category", "classes": 3, "optional": True},
            "gaze": {"type": "angle", "optional": True},
            "tilt": {"type": "angle", "unit": "radian", "optional": True},
            "box": {"type": "box", "range": [0, 10], "optional": True, **changes},
            "outline": {"type": "mask", "size": 2, "tokens": 4, "optional": True},
            "size": {"type": "number", "range": [0, 1], "optional": True},
        },
    )
    assert isinstance(found, Set)
    return found


def alike(one: object, other: object) -> bool:
    """Whether two values are the same up to the rounding of a float."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list) and any(isinstance(item, dict) for item in one):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, str) or one is None:
        return one == other
    return np.allclose(np.asarray(one, np.float64), np.asarray(other, np.float64), rtol=1e-12, atol=1e-9)


IMAGES: list[dict[str, object]] = [
    {"size": [2, 3], "cell": {"type": "direction"}},
    {"size": [2, 3], "cell": {"type": "continuous", "channels": 3, "range": [0, 255]}},
    {"size": [3, 2], "cell": {"type": "categorical", "classes": 4}},
    {"size": 2, "cell": {"type": "features", "channels": 2}},
]


@given(st.data())
def test_mirroring_an_image_twice_gives_it_again(data: st.DataObject) -> None:
    """Exactly: columns change places, and a sign twice."""
    entry = entry_of(kind="image", patch=1, **data.draw(st.sampled_from(IMAGES)))
    value = np.asarray(data.draw(values_of(entry)))
    once = mirrored(entry, value)

    assert np.array_equal(
        cast("np.ndarray[tuple[int, ...], np.dtype[np.generic]]", mirrored(entry, once)), value
    )


def assert_admitted(entry: Set, value: object) -> None:
    """Each field of each record can be read."""
    clip, learned = entry.out_of_range == "clip", learned_fields(entry)
    for record in cast("list[dict[str, object]]", value):
        for name, field in entry.fields.items():
            if record.get(name) is None:
                assert field.optional
            elif name in learned:
                raw_values(name, learned[name], clip, "x").read(record[name], "x")
            else:
                form_of(name, field, WORDS, clip, "x").read(record[name], "x")


@given(st.data())
def test_mirroring_records_twice_gives_them_again_and_each_is_admitted(data: st.DataObject) -> None:
    """Whatever the fields, ranges and conventions; up to rounding, as x is counted from the other end."""
    conventions = st.sampled_from(["xyxy", "xywh", "cxcywh"])
    entry = data.draw(st.one_of(sets(), conventions.map(lambda name: people(convention=name))))
    value = data.draw(values_of(entry))
    once = mirrored(entry, value)

    assert_admitted(entry, once)
    assert alike(mirrored(entry, once), value)


def test_each_field_is_mirrored_as_its_type_says() -> None:
    """A right arm is where the left one was, and is a left arm now."""
    person = {
        "left_arm": [1.0, 4.0],
        "right_arm": [8.0, 5.0],
        "side": "left",
        "lane": 2,
        "gaze": 30.0,
        "tilt": 0.0,
        "box": [1.0, 2.0, 9.0, 3.0],
        "outline": [[1, 0], [1, 1]],
        "size": 0.25,
    }

    assert mirrored(people(), [person]) == [
        {
            "left_arm": [2.0, 5.0],
            "right_arm": [9.0, 4.0],
            "side": "right",
            "lane": 0,
            "gaze": 150.0,
            "tilt": math.pi,
            "box": [1.0, 2.0, 9.0, 3.0],
            "outline": [[0, 1], [1, 1]],
            "size": 0.25,
        }
    ]
    assert mirrored(people(), {"left_arm": [1.0, 4.0], "side": "front"}) == {
        "right_arm": [9.0, 4.0],
        "side": "front",
    }


@pytest.mark.parametrize(
    ("convention", "box", "turned"),
    [
        ("xyxy", [1, 2, 4, 3], [6, 2, 9, 3]),
        ("xywh", [1, 2, 3, 1], [6, 2, 3, 1]),
        ("cxcywh", [2.5, 2, 3, 1], [7.5, 2, 3, 1]),
    ],
)
def test_a_box_keeps_its_size_in_every_convention(
    convention: str, box: list[float], turned: list[float]
) -> None:
    """And its first corner comes first."""
    assert mirrored(people(convention=convention), [{"box": box}]) == [{"box": turned}]


PLAIN: dict[str, Modality] = {
    "numbers": entry_of(kind="vector", dim=2, ranges=[0, 1]),
    "words": entry_of(kind="text", vocabulary="words", max_tokens=9),
}


@given(st.data())
def test_a_sample_is_mirrored_as_each_of_its_values_is_and_twice_is_not_at_all(data: st.DataObject) -> None:
    """Whatever it lacks it still lacks, and what is no modality, its id, stays."""
    image = entry_of(kind="image", patch=1, **data.draw(st.sampled_from(IMAGES)))
    entries: dict[str, Modality] = {"image": image, "people": people(), **PLAIN}
    schema = Schema.model_construct(version=1, modalities=entries)
    drawn = {
        "image": values_of(image).map(np.asarray),
        "people": values_of(entries["people"]),
        "numbers": st.just([0.25, 0.5]),
        "words": st.just("to the left"),
    }
    sample = data.draw(st.fixed_dictionaries({"id": st.just("7")}, optional=drawn))
    sample |= data.draw(st.dictionaries(st.sampled_from(sorted(drawn)), st.none()))
    once = mirrored_sample(schema, sample)

    assert list(once) == list(sample) and once["id"] == "7"
    for name in sample.keys() & entries.keys():
        lacks = sample[name] is None
        assert once[name] is None if lacks else alike(once[name], mirrored(entries[name], sample[name]))
        assert lacks or alike(mirrored_sample(schema, once)[name], sample[name])


def test_all_that_cannot_be_mirrored_of_a_sample_is_told_at_once() -> None:
    """Half a mirrored sample would be a wrong one: nothing comes back."""
    ids = entry_of(kind="image", size=2, patch=1, codec="ids", vocab_size=4, cell={"type": "direction"})
    entries = {"tokens": ids, "people": people()}
    schema = Schema.model_construct(version=1, modalities=entries)

    with pytest.raises(CodecError) as caught:
        mirrored_sample(schema, {"tokens": [[0, 1], [2, 3]], "people": [{"box": [1]}]})

    assert str(caught.value).splitlines() == [
        "sample has 2 faults:",
        "  tokens: is given as ids, which cannot be mirrored; "
        "leave it out, or store the ids of mirrored samples too",
        "  people, item 0, field 'box': is a list of 4 numbers; got 1",
    ]
    assert mirrored_sample(schema, {"tokens": None, "people": []}) == {"tokens": None, "people": []}


def test_what_has_no_left_and_right_stays_as_it_is() -> None:
    vector, text = np.arange(3.0), "to the left"

    assert mirrored(entry_of(kind="vector", dim=3), vector) is vector
    assert mirrored(entry_of(kind="text", vocabulary="words", max_tokens=9), text) is text


def test_what_is_no_value_is_refused_with_its_place() -> None:
    with pytest.raises(CodecError, match=r"^people, item 1, field 'box': is a list of 4 numbers; got 1$"):
        mirrored(people(), [{}, {"box": [1]}], "people")
    with pytest.raises(CodecError, match=r"^people, item 0, field 'outline': is a mask of 2 x 2 cells"):
        mirrored(people(), [{"outline": [[1, 0]]}], "people")
    with pytest.raises(CodecError, match=r"^photo: has 2 rows and 3 columns; got 3x2$"):
        mirrored(entry_of(kind="image", patch=1, **IMAGES[0]), np.zeros((3, 2)), "photo")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (
            "[[a, b]]",
            'mirror.0: must pair two fields of one form, or two classes of one field; got ["a", "b"]',
        ),
        (
            "[[u, x]]",
            'mirror.0: must pair two fields of one form, or two classes of one field; got ["u", "x"]',
        ),
        ("[[a, c], [d, a]]", "mirror.1.1: 'a' is in two pairs; keep one of them"),
    ],
)
def test_what_changes_places_must_fit_there(pairs: str, said: str) -> None:
    """Otherwise a mirrored record would be none of its set."""
    fields = "a: {type: point}, b: {type: point, bins: 9}, c: {type: point}, d: {type: point}"
    classes = "e: {type: category, classes: [u, v]}, f: {type: category, classes: [x, y]}"
    entry = f"kind: set, max_items: 1, fields: {{{fields}, {classes}}}, mirror: {pairs}"
    with pytest.raises(SchemaError) as caught:
        parse_schema(f"version: 1\nmodalities: {{s: {{{entry}}}}}\n")

    assert said in str(caught.value)
    assert len(caught.value.faults) == 1
