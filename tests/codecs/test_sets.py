"""Sets of records as tokens: what is kept, what is refused and how it is said, what damage costs."""

import json
import math
import pickle  # noqa: TID251  (what a worker process does with a codec)
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.build import build_codec
from fourm_codecs.plain import from_json, to_json
from fourm_codecs.sets import SetCodec
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_schema import strategies
from fourm_schema.errors import CodecError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.set_fields import BoxField
from tests.codecs.drawn_sets import WORDS, sets
from tests.codecs.signs import FAR, NEAR, SIGNS, codec_of, fields

# Order, scales, conventions


def test_an_empty_set_is_its_end_token() -> None:
    codec = codec_of(SIGNS)
    tokens = codec.encode([[], []])

    assert tokens.ids.tolist() == [codec.automaton.special.end] * 2
    assert tokens.chunks() == [[1], [1]]
    assert codec.decode(tokens) == [[], []]


def test_items_are_chunks_in_order_of_their_distance_to_the_origin() -> None:
    """Box, class, a marker for the absent score, four tokens of text; then all of the far one."""
    codec = codec_of(SIGNS)
    tokens = codec.encode([[FAR, NEAR]])
    (near, far), (first, second) = codec.decode(tokens)[0], (NEAR, FAR)

    assert tokens.chunks() == [[4 + 1 + 1 + 4, 4 + 1 + 1 + 1, 1]]
    assert (near["label"], near["score"], near["says"]) == (first["label"], None, "a red cat")
    assert (far["label"], far["score"], far["says"]) == (second["label"], 0.875, "")
    assert near["box"] == pytest.approx([0.05, 0.15, 0.25, 0.95])
    assert far["box"] == pytest.approx([0.55, 0.55, 0.55, 0.55])


def test_larger_boxes_come_first_and_items_without_one_last() -> None:
    entry = fields(
        box={"type": "box", "bins": 10, "optional": True}, label={"type": "category", "classes": 4}
    )
    codec = codec_of(entry, order="area")
    value = [{"label": k, "box": box} for k, box in enumerate([None, [0, 0, 0.1, 1], [0, 0, 1, 1]])]

    assert [record["label"] for record in codec.decode(codec.encode([value]))[0]] == [2, 1, 0]


def test_a_random_order_is_drawn_from_the_given_generator_only() -> None:
    """Without one, equal sets have equal ids, in whatever order their records come."""
    codec = codec_of(fields(label={"type": "category", "classes": 9}), order="random")
    value = [{"label": k} for k in (7, 1, 5, 3)]
    fixed = codec.encode([value])
    drawn = {tuple(codec.encode([value], rng=np.random.default_rng(k)).ids.tolist()) for k in range(9)}

    assert fixed.same(codec.encode([value[::-1]]))
    assert [record["label"] for record in codec.decode(fixed)[0]] == [1, 3, 5, 7]
    assert len(drawn) > 3
    assert codec.encode([value], rng=np.random.default_rng(1)).same(
        codec.encode([value], rng=np.random.default_rng(1))
    )


def test_the_ends_of_a_scale_are_in_its_first_and_last_bin() -> None:
    """Linear, logarithmic, given borders, and angles that close."""
    codec = codec_of(
        fields(
            linear={"type": "number", "range": [-1, 1], "bins": 4},
            log={"type": "number", "range": [1, 10_000], "bins": 4, "scale": "log"},
            edges={"type": "number", "edges": [0, 1, 10]},
            turn={"type": "angle", "bins": 4},
            radian={"type": "angle", "bins": 4, "unit": "radian"},
        )
    )
    low = {"linear": -1, "log": 1, "edges": 0, "turn": -44.9, "radian": 7 * math.pi / 4 + 0.01}
    high = {"linear": 1, "log": 1e4, "edges": 10, "turn": 359 + 720, "radian": -math.pi / 2}
    first, last = codec.decode(codec.encode([[low, high]]))[0]

    assert first == {"linear": -0.75, "log": pytest.approx(10**0.5), "edges": 0.5, "turn": 0.0, "radian": 0.0}
    assert last == {
        "linear": 0.75,
        "log": pytest.approx(10**3.5),
        "edges": 5.5,
        "turn": 0.0,
        "radian": pytest.approx(3 * math.pi / 2),
    }


@pytest.mark.parametrize(
    ("convention", "box"),
    [
        ("xyxy", [0.2, 0.4, 0.6, 1.0]),
        ("xywh", [0.2, 0.4, 0.4, 0.6]),
        ("cxcywh", [0.4, 0.7, 0.4, 0.6]),
    ],
)
def test_a_box_has_the_same_tokens_in_every_convention(convention: str, box: list[float]) -> None:
    """What is stored is the box, not the habit of its file."""
    codec = codec_of(fields(box={"type": "box", "bins": 100, "convention": convention}))
    plain = codec_of(fields(box={"type": "box", "bins": 100}))
    tokens = codec.encode([[{"box": box}]])

    # A corner on the border of two bins may round into either.
    assert np.abs(tokens.ids.astype(int) - plain.encode([[{"box": [0.2, 0.4, 0.6, 1]}]]).ids).max() <= 1
    assert codec.decode(tokens)[0][0]["box"] == pytest.approx(box, abs=0.02)


def test_a_record_may_be_given_as_one_dict() -> None:
    """`max_items: 1` is metadata; it comes back as a list, which can also be empty."""
    codec = codec_of(fields(width={"type": "number", "range": [0, 4], "bins": 4}), max_items=1)

    assert codec.encode([{"width": 3.5}, [{"width": 3.5}]]).rows()[0].tolist() == (
        codec.encode([[{"width": 3.5}]]).ids.tolist()
    )
    assert codec.decode(codec.encode([{"width": 3.5}, []])) == [[{"width": 3.5}], []]


# Files and plain values


def schema() -> Schema:
    return Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": WORDS.size}},
            "modalities": {"signs": SIGNS},
        }
    )


def test_a_schema_builds_the_codec_and_the_plan_counts_its_ids() -> None:
    codec = build_codec(schema(), "signs", {"words": WORDS})
    stream = resolve(schema()).stream("signs")

    assert isinstance(codec, SetCodec)
    assert (stream.vocab_size, stream.codec) == (codec.vocab_size, codec.name)
    with pytest.raises(CodecError, match=r"^signs, field 'says': its vocabulary 'words' is not trained yet"):
        build_codec(schema(), "signs")


def test_a_stored_codec_reads_the_same_ids(tmp_path: Path) -> None:
    codec = codec_of(SIGNS)
    save_codec(codec, tmp_path)
    loaded = load_codec(tmp_path)

    assert loaded.encode([[NEAR, FAR]]).same(codec.encode([[NEAR, FAR]]))
    assert codec_hash(loaded) == codec_hash(codec)


def test_a_codec_travels_to_a_worker() -> None:
    """Encoding a dataset is done by several processes."""
    codec = codec_of(SIGNS)
    assert codec.encode([[NEAR]]), "its caches are filled"

    assert pickle.loads(pickle.dumps(codec)).encode([[FAR]]).same(codec.encode([[FAR]]))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"description": "seen"}, True),
        ({"classes": ["hot dog", "stop", "猫"]}, False),
        ({"optional": True, "classes": ["stop", "hot dog"]}, False),
    ],
)
def test_the_hash_of_a_codec_follows_what_its_ids_mean(change: dict[str, object], same: bool) -> None:
    """Two classes that change places leave every size as it was."""
    declared = cast("dict[str, dict[str, object]]", SIGNS["fields"])
    other = codec_of(SIGNS, fields={**declared, "label": {**declared["label"], **change}})

    assert (codec_hash(other) == codec_hash(codec_of(SIGNS))) == same


@given(st.data())
def test_values_travel_as_json(data: st.DataObject) -> None:
    """Requests and answers are JSON; a set read from its own JSON has the same tokens."""
    entry = data.draw(sets())
    codec = codec_of(entry)
    value = codec.decode(codec.encode([data.draw(strategies.values(entry))]))[0]
    content = json.loads(json.dumps(to_json(value)))

    assert codec.encode([from_json("signs", entry, content)]).same(codec.encode([value]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"x": 1}, "signs: a value is a list of records; got dict"),
        ([1], "signs, item 0: is a record {field: value}; got int"),
        (
            [{"x": {}}],
            "signs, item 0, field 'x': is a number, a string, numbers or the rows of a mask; got {}",
        ),
        (
            [{"x": ["a"]}],
            "signs, item 0, field 'x': is a number, a string, numbers or the rows of a mask; got ['a']",
        ),
    ],
)
def test_json_of_another_form_is_refused(content: object, said: str) -> None:
    entry = codec_of(SIGNS).entry
    with pytest.raises(CodecError) as caught:
        from_json("signs", entry, json.loads(json.dumps(content)))

    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("convention", "raw", "corners"),
    [
        ("xyxy", [-0.5, 0.25, 0.5, 3.0], [0.05, 0.25, 0.55, 0.95]),
        ("xywh", [-0.5, 0.25, 1.0, 2.75], [0.05, 0.25, 0.55, 0.95]),
        ("cxcywh", [0.0, 1.625, 1.0, 2.75], [0.05, 0.25, 0.55, 0.95]),
        ("xywh", [2.0, 2.0, 1.0, 1.0], [0.95, 0.95, 0.95, 0.95]),
    ],
)
def test_a_box_partly_outside_is_clipped_at_the_border(
    convention: str, raw: list[float], corners: list[float]
) -> None:
    """Its corners are: the part inside keeps its place, where a size clipped by itself would not."""
    field = BoxField.model_validate({"type": "box", "bins": 10, "convention": convention})
    codec = codec_of(fields(box=field.model_dump()), out_of_range="clip")
    back = codec.decode(codec.encode([[{"box": raw}]]))[0][0]["box"]

    assert field.corners(np.asarray(back, np.float64).tolist()) == pytest.approx(corners)
    assert codec.law.check([{"box": raw}], [{"box": back}]) == []
