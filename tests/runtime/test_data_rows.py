"""What a raw value may be: each refusal names the row, the modality, what was found, and the mend."""

import copy
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image as Pictures

from fourm_runtime.data.raw_values import check_value
from fourm_runtime.data.rows import Checker, LocatedRow, RowsError
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema

SCHEMA = parse_schema(
    """
    version: 1
    vocabularies: {words: {kind: wordpiece, size: 300}}
    modalities:
      digit: {kind: image, size: 2, patch: 1, cell: {type: continuous, range: [0, 16], levels: 17}}
      clipped:
        kind: image
        size: 2
        patch: 1
        cell: {type: continuous, range: [0, 16], levels: 17}
        out_of_range: clip
      photo: {kind: image, size: [2, 3], patch: 1, cell: {type: continuous, channels: 3, range: [0, 255]}}
      normals: {kind: image, size: 2, patch: 1, cell: {type: direction}}
      land: {kind: image, size: 2, patch: 1, cell: {type: categorical, classes: [sea, shore]}}
      dino: {kind: image, size: 1, patch: 1, cell: {type: features, channels: 3}}
      weather: {kind: vector, dim: 2, ranges: [[-40, 60], [0, 0.1]], names: [heat, rain]}
      caption: {kind: text, vocabulary: words, max_tokens: 16, views: 2}
      title: {kind: text, vocabulary: words, max_tokens: 16}
      boxes:
        kind: set
        max_items: 2
        fields: {box: {type: box}, label: {type: category, classes: [cat, dog], optional: true}}
    """
)


def check(name: str, value: object) -> object:
    return check_value(SCHEMA.modalities[name], value, name)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("digit", [[1, 2], [3]], "digit: a value is 2x2 numbers; got lists of unequal lengths"),
        ("digit", "a.png", "digit: a value is 2x2 numbers; got str"),
        ("digit", 3, "digit: a value has shape 2x2; got a single number; resize it, or change the schema"),
        (
            "digit",
            [[1, 2], [3, 17]],
            "digit at [1, 1]: values lie in [0, 16]; got 17; "
            "rescale it, or set `out_of_range: clip` to bound it",
        ),
        (
            "digit",
            [[1, 2], [3.5, 1]],
            "digit at [1, 0]: values lie on 17 levels of [0, 16]; got 3.5; "
            "round it, or set `out_of_range: clip` to snap it",
        ),
        (
            "clipped",
            [[np.nan, 2], [3, 1]],
            "clipped at [0, 0]: NaN and infinity stand for no value; got nan; "
            "give None for an absent value, or fill it in",
        ),
        ("photo", np.zeros((3, 2, 3)), "photo: a value has shape 2x3x3; got 3x2x3; put the channels last"),
        (
            "normals",
            np.full((2, 2, 3), 2),
            "normals at [0, 0, 0]: the numbers of a unit vector lie in [-1, 1]; got 2; "
            "normalise each cell to length 1",
        ),
        (
            "land",
            [[0, 1], [2, 1]],
            "land at [1, 0]: classes are whole numbers in [0, 1]; got 2; "
            "declare the class in the schema, or map it to one that is",
        ),
        (
            "dino",
            [[[1e5, 0, 0]]],
            "dino at [0, 0, 0]: features are stored as float16, within 65504; got 100000",
        ),
        (
            "weather",
            [20, 0.2],
            "weather.rain: values lie in [0, 0.1]; got 0.2; "
            "rescale it, or set `out_of_range: clip` to bound it",
        ),
        ("caption", 7, "caption: a text is a string, or a list of alternative strings; got int"),
        (
            "caption",
            ["a", None],
            "caption: a text is a string, or a list of alternative strings; got a list of NoneType, str",
        ),
        ("caption", [], "caption: a text has 1 to 2 alternatives; got 0 strings"),
        (
            "caption",
            ["a", "b", "c"],
            "caption: a text has 1 to 2 alternatives; got 3 strings; set `views: 3` in the schema",
        ),
        ("title", ["a", "b"], "title: a text is one string; got 2 strings; set `views: 2` in the schema"),
        ("boxes", {"box": 1}, "boxes: a set is a list of records {field: value}; got dict"),
        (
            "boxes",
            [{"box": [0, 0, 1, 1]}] * 3,
            "boxes: a set has at most 2 records; got 3; raise max_items, or set `out_of_range: clip` to keep "
            "the first",
        ),
        (
            "boxes",
            [{"bax": 1}],
            "boxes[0].bax: is no field of this set; did you mean 'box'? known: box, label",
        ),
        ("boxes", [{"label": "cat"}], "boxes[0].box: is missing; give it, or declare `optional: true`"),
        (
            "boxes",
            [{"box": [0, 0, 1, 1], "label": "cow"}],
            "boxes[0].label: is none of the classes; got 'cow'; known: cat, dog",
        ),
        ("boxes", [{"box": {1, 2}}], "boxes: a record holds numbers, texts and lists of them; got set"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_the_message_says_why(
    name: str, value: object, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        check(name, value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("digit", [[0, 16], [True, 3.0]], np.array([[0, 16], [1, 3]], np.uint8)),
        ("digit", np.zeros((2, 2, 1)), np.zeros((2, 2), np.uint8)),
        ("clipped", [[-3, 99], [3.4, 3.6]], np.array([[0, 16], [3, 4]], np.uint8)),
        ("photo", Pictures.new("RGB", (3, 2), (1, 2, 3)), np.full((2, 3, 3), [1, 2, 3], np.float32)),
        ("land", [[0, 1], [0, 1]], np.array([[0, 1], [0, 1]], np.uint8)),
        ("weather", np.array([20, 0.1], np.float32), np.array([20, 0.1], np.float32)),
        ("dino", [[[1, 2, 3]]], np.array([[[1, 2, 3]]], np.float16)),
        ("caption", "one", ["one"]),
        ("caption", ("one", "two"), ["one", "two"]),
        ("boxes", [], "[]"),
        ("boxes", [{"box": np.zeros(4)}], '[{"box": [0.0, 0.0, 0.0, 0.0]}]'),
    ],
)
def test_values_are_stored_in_the_type_of_their_column(name: str, value: object, stored: object) -> None:
    """Pictures, lists and arrays are equally good; so are float32 numbers at an end that is not exact."""
    found = check(name, value)

    if isinstance(stored, np.ndarray):
        assert isinstance(found, np.ndarray)
        assert found.dtype == stored.dtype
        assert np.array_equal(found, stored)
    else:
        assert found == stored


def faults_of(*rows: Mapping[str, object]) -> list[str]:
    checker = Checker(SCHEMA)
    assert list(checker.batches(rows)) == []
    return [str(fault) for fault in checker.faults]


def test_rows_are_checked_as_a_whole() -> None:
    known = ", ".join(SCHEMA.modalities)
    assert faults_of(
        {"titel": "a", "digit": [[0, 0], [0, 0]]}, {"id": 7, "title": None}, {"title": 1, "dino": 1}
    ) == [
        "row 0, titel: is no modality of this schema; did you mean 'title'? "
        f"known: {', '.join(sorted(SCHEMA.modalities))}",
        f"row 1 (id '7'): gives no modality at all; give at least one of: {known}",
        "row 2, dino: a value has shape 1x1x3; got a single number; resize it, or change the schema",
        "row 2, title: a text is a string, or a list of alternative strings; got int",
    ]
    assert faults_of(LocatedRow({"title": 1}, place="a.jsonl line 3")) == [
        "a.jsonl line 3, title: a text is a string, or a list of alternative strings; got int"
    ]
    not_a_row: Mapping[str, object] = "title"  # type: ignore[assignment]  # what a user may pass
    assert faults_of(not_a_row) == ["row 0: a row is a mapping {modality: value}; got str"]


def test_reading_ends_at_the_twentieth_fault() -> None:
    """A file of a million rows that all lack a channel needs no million lines."""
    checker = Checker(SCHEMA)
    rows = iter([{"title": 1}] * 50)
    assert list(checker.batches(rows)) == []
    with pytest.raises(
        RowsError, match=r"photos: at least 20 values cannot be stored; nothing was stored"
    ) as caught:
        checker.raise_faults("photos")
    assert len(list(rows)) == 30
    assert str(copy.copy(caught.value)) == str(caught.value)
