"""Measures of predicted values: right on examples worked out by hand, and best for the truth itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_runtime.scores import score_values, usual_value
from fourm_schema import strategies
from fourm_schema.errors import RequestError
from fourm_schema.load import parse_schema
from fourm_schema.modality import Modality, Set
from tests.codecs.drawn_sets import sets

SCHEMA = parse_schema(
    """
version: 1
vocabularies:
  words: {kind: wordpiece, size: 200}
modalities:
  depth: {kind: image, size: 2, patch: 1, cell: {type: continuous, range: [0, 8], levels: 9, unit: metre}}
  land: {kind: image, size: 2, patch: 1, cell: {type: categorical, classes: [sea, wood, town], ignore: town}}
  normals: {kind: image, size: 2, patch: 1, cell: {type: direction}}
  features: {kind: image, size: 2, patch: 1, cell: {type: features, channels: 2}}
  pose: {kind: vector, dim: 2, names: [x, y], ranges: [[0, 1], [0, 10]], bins: 10}
  embedding: {kind: vector, dim: 2, shown: [values], role: input}
  caption: {kind: text, vocabulary: words, max_tokens: 8}
  facts:
    kind: set
    max_items: 1
    fields:
      size: {type: number, range: [0, 10], bins: 5}
      ratio: {type: number, range: [1, 100], scale: log, bins: 2, optional: true}
      grade: {type: number, edges: [0, 1, 10]}
      turn: {type: angle, bins: 36}
      place: {type: point, bins: 10}
      sort: {type: category, classes: [a, b]}
  things:
    kind: set
    max_items: 5
    fields:
      box: {type: box, bins: 10, convention: xywh}
      label: {type: category, classes: [cat, dog]}
  marks:
    kind: set
    max_items: 5
    fields:
      at: {type: point, bins: 10}
"""
)
FACTS = {"size": 4.0, "ratio": 10.0, "grade": 0.5, "turn": 355.0, "place": [0.5, 0.5], "sort": "a"}


def entry(name: str) -> Modality:
    return SCHEMA.modalities[name]


def scores(name: str, predicted: object, true: object) -> list[str]:
    """What is printed of one sample."""
    return [f"{score.measure}: {score}" for score in score_values(entry(name), [predicted], [true])]


@pytest.mark.parametrize(
    ("name", "predicted", "true", "expected"),
    [
        ("depth", [[0, 0], [0, 2]], [[1, 0], [0, 0]], ["mean absolute error: 0.75 metre"]),
        ("land", [[0, 1], [1, 0]], [[0, 0], [1, 2]], ["right cells: 66.7 %"]),
        ("land", [[0, 1], [1, 0]], [[2, 2], [2, 2]], ["right cells: 100.0 %"]),
        ("normals", [[[1, 0, 0]]], [[[0, 1, 0]]], ["mean angle: 90.00 degrees"]),
        ("features", [[[1, 0], [2, 0]]], [[[1, 0], [0, 1]]], ["cosine similarity: 0.50"]),
        ("pose", [0.1, 5.0], [0.0, 8.0], ["mean absolute error: 2.00 bins"]),
        ("embedding", [0.0, 1.0], [0.5, 1.0], ["mean absolute error: 0.25"]),
        ("caption", "A cat", ["a dog", "a cat"], ["exactly right: 100.0 %"]),
        ("caption", "a cat", "a dog", ["exactly right: 0.0 %"]),
    ],
)
def test_each_type_has_its_measure(name: str, predicted: object, true: object, expected: list[str]) -> None:
    """Figures that a reader can work out; neither ignored classes count nor letter case.

    Where every cell is ignored, nothing is wrong.
    """
    arrays = [value if name == "caption" else np.array(value) for value in (predicted, true)]
    assert scores(name, *arrays) == expected


def test_a_record_is_measured_field_by_field_in_bins() -> None:
    """Bins of equal width, of equal ratio, of given borders, and on a circle each count as one."""
    guess = {"size": 6.0, "ratio": 100.0, "grade": 5.5, "turn": 15.0, "place": [0.6, 0.7], "sort": "b"}
    numbers, classes = score_values(entry("facts"), [[guess]], [[FACTS]])

    assert numbers.fields == pytest.approx({"size": 1, "ratio": 1, "grade": 1, "turn": 2, "place": 1.5})
    assert numbers.value == pytest.approx(1.3)
    assert (classes.value, classes.fields) == (0.0, {"sort": 0.0})


def test_a_missing_record_is_all_wrong_and_an_absent_field_asks_for_nothing() -> None:
    """An empty answer must not look better than a poor one."""
    numbers, classes = score_values(entry("facts"), [[]], [[FACTS | {"ratio": None}]])

    assert numbers.fields == {"size": 5, "grade": 2, "turn": 36, "place": 10}
    assert classes.value == 0.0


def test_values_that_only_clipping_admits_are_measured_as_far_as_a_record_can_hold_them() -> None:
    """A second record and a number below every bin of a logarithm are in no prediction: they are not NaN."""
    true = [[FACTS | {"ratio": 0.0}, FACTS | {"size": 9.0}]]
    clipped = entry("facts").model_copy(update={"out_of_range": "clip"})
    numbers, classes = score_values(clipped, [[FACTS]], true)

    assert numbers.fields == pytest.approx({"size": 0, "ratio": 1, "grade": 0, "turn": 0, "place": 0})
    assert classes.value == 1.0


def test_items_of_a_set_pair_by_class_and_overlap_each_once() -> None:
    """Two of three guesses are right, the doubled one only once; one true item is missed."""
    cat, near = {"box": [0.1, 0.1, 0.4, 0.4], "label": "cat"}, {"box": [0.1, 0.1, 0.4, 0.5], "label": "cat"}
    dog, missed = {"box": [0.5, 0.5, 0.2, 0.2], "label": "dog"}, {"box": [0.8, 0, 0.1, 0.1], "label": "dog"}

    assert scores("things", [near, near, dog], [cat, dog, missed]) == ["right items (F1): 66.7 %"]
    assert scores("things", [cat | {"label": "dog"}], [cat]) == ["right items (F1): 0.0 %"]
    assert scores("things", [], []) == ["right items (F1): 100.0 %"]
    assert scores("marks", [{"at": [0.5, 0.5]}], [{"at": [0.59, 0.59]}]) == ["right items (F1): 100.0 %"]
    assert scores("marks", [{"at": [0.5, 0.5]}], [{"at": [0.65, 0.65]}]) == ["right items (F1): 0.0 %"]


@settings(max_examples=60)
@given(st.data())
def test_the_truth_has_the_best_score(data: st.DataObject) -> None:
    """Of every type: no error, every class, item and text right."""
    names = ["depth", "land", "pose", "caption", "facts", "things", "marks"]
    modality = data.draw(st.one_of(st.sampled_from(names).map(entry), sets()))
    values = data.draw(st.lists(strategies.values(modality), min_size=1, max_size=3))
    for score in score_values(modality, values, values):
        best = 1.0 if score.higher_is_better else 0.0
        assert score.value == pytest.approx(best, abs=1e-9), score


def test_the_usual_value_is_the_median_or_the_commonest() -> None:
    """What a model has to beat."""
    assert usual_value(entry("caption"), [["a cat", "a dog"], "a dog"]) == "a dog"
    records = [[FACTS], [FACTS | {"size": 9.0, "sort": "b"}], [FACTS | {"size": 5.0, "ratio": None}]]
    assert usual_value(entry("facts"), records) == [FACTS | {"size": 5.0}]
    assert usual_value(entry("things"), [[], [], [{"box": [0, 0, 1, 1], "label": "cat"}]]) == []
    np.testing.assert_array_equal(
        np.asarray(usual_value(entry("land"), [[[0, 1], [1, 2]], [[0, 1], [1, 0]], [[1, 1], [0, 0]]])),
        [[0, 1], [1, 0]],
    )
    assert np.asarray(usual_value(entry("pose"), [[0.0, 1.0], [0.5, 3.0], [0.9, 2.0]])).tolist() == [0.5, 2.0]


def test_the_usual_value_can_be_scored() -> None:
    """It is the column that a table shows beside the model's."""
    entries: list[tuple[Modality, list[object]]] = [
        (entry("facts"), [[FACTS], [FACTS | {"sort": "b"}]]),
        (entry("pose"), [np.array([0.1, 2.0]), np.array([0.2, 3.0])]),
        (entry("things"), [[{"box": [0, 0, 1, 1], "label": "cat"}], []]),
    ]
    for modality, true in entries:
        guess = [usual_value(modality, true)] * len(true)
        assert all(np.isfinite(score.value) for score in score_values(modality, guess, true))


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(RequestError) as caught:
        score_values(entry("caption"), ["a"], [])
    assert str(caught.value) == "scores: need as many predicted as true values, and one at least; got 1 and 0"


def test_a_record_with_no_field_given_has_nothing_wrong() -> None:
    """An empty true record leaves no field to be wrong about."""
    modality = entry("facts")
    assert isinstance(modality, Set)
    (score,) = score_values(modality, [[]], [[]])
    assert score.value == 1.0
