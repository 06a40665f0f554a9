"""What a set refuses, and how it is said: every fault of a batch at once, with value, item and field."""

import math
import pickle  # noqa: TID251  (how an error comes back from a worker process)
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from fourm_codecs.set_faults import RecordFaults
from fourm_codecs.sets import SetCodec
from fourm_schema.errors import CodecError
from tests.codecs.signs import FAR, NEAR, SIGNS, codec_of, fields


def message(codec: SetCodec, *values: object) -> str:
    with pytest.raises(CodecError) as caught:
        codec.encode(values)
    return str(caught.value)


def test_every_fault_of_every_record_is_named() -> None:
    """One run of an import tells all there is to mend: a sound value, then one with all that can be wrong."""
    wrong = [
        {"box": [-1, 0, 2, 1], "label": "stopp", "score": "high", "lable": "stop"},
        {"box": [0.5, 1, 0.1, 0], "label": None, "says": "a red cat asleep"},
        ["no", "record"],
        {"box": [0, 0, 1], "label": "stop", "score": math.nan, "says": 7},
        {"box": [0, None, math.inf, "1"], "label": 2, "score": 1.5},
    ]

    said = Path(__file__).with_name("messages").joinpath("signs.txt").read_text(encoding="utf-8")
    assert message(codec_of(SIGNS), [NEAR], wrong) + "\n" == said


def test_with_one_fault_there_is_no_list() -> None:
    with pytest.raises(CodecError) as caught:
        codec_of(SIGNS).encode([[NEAR], [FAR, {**FAR, "score": 2}]])

    assert str(caught.value) == (
        "signs, value 1, item 1, field 'score': lies in [0, 1] share; got 2; "
        "rescale it, or set `out_of_range: clip` to bound it"
    )


def test_the_faults_are_there_one_by_one() -> None:
    """A program, or a request of several values, says of its own where each is; also out of a worker."""
    with pytest.raises(RecordFaults) as caught:
        codec_of(SIGNS).encode([[{}]] * 30)
    again = pickle.loads(pickle.dumps(caught.value))

    assert len(again.faults) == 60 and str(again) == str(caught.value)
    assert str(again.faults[-1]) == (
        "signs, value 29, item 0, field 'label': is missing; give it, or declare `optional: true`"
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "signs, value 0: an absent value has no tokens; leave it out of the batch"),
        ("x", "signs, value 0: is a list of records {field: value}; got str"),
        (
            NEAR,
            "signs, value 0: is a list of records {field: value}; got dict; "
            "encode takes a batch: put a single value in a list",
        ),
    ],
)
def test_what_is_no_set_is_told_what_is(value: object, said: str) -> None:
    assert message(codec_of(SIGNS), value) == said


def test_a_batch_is_not_one_value() -> None:
    with pytest.raises(CodecError, match=r"^signs: encode takes a batch; got one value; put it in a list$"):
        codec_of(SIGNS).encode(cast("list[object]", NEAR))


def test_a_flood_of_faults_is_cut() -> None:
    said = message(codec_of(SIGNS), *[[{}]] * 30)

    assert said.startswith("signs has 60 faults:\n  signs, value 0, item 0, field 'box': is missing")
    assert said.endswith("\n  and 40 more")
    assert len(said.splitlines()) == 22


@pytest.mark.parametrize(
    ("declared", "value", "said"),
    [
        ({"type": "category", "classes": 3}, 3, "is a class number from 0 to 2; got 3"),
        ({"type": "category", "classes": 3}, True, "is a class number from 0 to 2; got True"),
        ({"type": "category", "classes": ["a", "b"]}, 0, "is the name of a class; got 0; known: a, b"),
        (
            {"type": "category", "classes": "coco80"},
            "dgo",
            "is none of the classes; got 'dgo'; did you mean 'dog'? known: person, bicycle, car, motorcycle, "
            "airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign and 68 more",
        ),
        ({"type": "point"}, [[0], 1], "at [0]: is a finite number; got [0]"),
        ({"type": "point"}, np.zeros((2, 1)), "is a list of 2 numbers; got [[0.0], [0.0]]"),
        ({"type": "vector", "dim": 2}, "ab", "is a list of 2 numbers; got 'ab'"),
        ({"type": "angle"}, math.inf, "is a finite number; got inf"),
        ({"type": "number", "range": [0, 1]}, True, "is a finite number; got True"),
        ({"type": "number", "range": [0, 1]}, 10**400, "is a finite number; got 1" + "0" * 56 + "..."),
        (
            {"type": "number", "range": [0, 1], "unit": "m"},
            -1,
            "lies in [0, 1] m; got -1; rescale it, or set `out_of_range: clip` to bound it",
        ),
        (
            {"type": "box", "convention": "xywh"},
            [0.5, 0.5, 0.1, -0.25],
            "its height is 0 or more; got -0.25; this field's boxes are xywh",
        ),
    ],
)
def test_a_field_says_what_it_can_hold(declared: dict[str, object], value: object, said: str) -> None:
    place = " " if said.startswith("at [") else ": "

    assert message(codec_of(fields(x=declared)), [{"x": value}]) == (
        f"signs, value 0, item 0, field 'x'{place}{said}"
    )


def test_clipping_moves_numbers_cuts_texts_and_drops_the_last_items() -> None:
    """But an unknown class has no nearest one, and a box that is inside out no right way round."""
    codec = codec_of(SIGNS, out_of_range="clip")
    value = [NEAR, FAR, {**FAR, "box": [0.4, 0.4, 7, 0.5], "score": -3, "says": "a red cat asleep"}, FAR]
    back = codec.decode(codec.encode([value]))[0]

    assert len(back) == 3
    assert back[1]["box"] == pytest.approx([0.45, 0.45, 0.95, 0.55])
    assert (back[1]["score"], back[1]["says"]) == (0.125, "a red cat")
    assert "is none of the classes" in message(codec, [{**NEAR, "label": "x"}])
    assert "x0 is at most x1" in message(codec, [{**NEAR, "box": [1, 0, 0, 1]}])
