"""How near predicted values are to the true ones, by a measure that follows from the modality's type.

| type | measure |
|---|---|
| image of numbers | mean absolute error of a cell, in the modality's unit |
| image of directions | mean angle between the vectors, in degrees |
| class map | share of cells with the right class, ignored ones left out |
| feature map | mean cosine similarity of a cell |
| vector | mean absolute error, in bins where it has bins |
| record (a set of at most one) | mean absolute error of its numbers, in bins; share of right classes |
| set | F1 of its items: same classes, and boxes that overlap by half |
| mask of a record, or of paired items | mean intersection over union |
| long vector of a record, or of paired items | mean cosine similarity |
| text | share that equals one of the true texts, letter case aside |
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.score_codes import is_mask, likeness_of_fields
from fourm_runtime.score_sets import (
    Record,
    field_errors,
    first_records,
    is_counted,
    listed,
    matched,
    usual_field,
)
from fourm_schema.errors import RequestError
from fourm_schema.modality import Categorical, Continuous, Direction, Image, Modality, Set, Text, Vector

Values = Sequence[object]
Float64 = NDArray[np.float64]


@attrs.frozen
class Score:
    """One figure.

    Attributes:
        measure: what it measures.
        value: the figure, a mean over the samples.
        unit: of the figure; empty for shares and similarities.
        higher_is_better: which way is good.
        fields: field -> its own figure, where the value is a mean over fields.
    """

    measure: str
    value: float
    unit: str = ""
    higher_is_better: bool = False
    fields: Mapping[str, float] = attrs.field(factory=dict)

    def __str__(self) -> str:
        """The figure as people read it.

        >>> print(Score(RIGHT_CELLS, 0.5, higher_is_better=True), Score(ERROR, 0.25, "bins"))
        50.0 % 0.25 bins
        """
        if self.measure in SHARES:
            return f"{100 * self.value:.1f} %"
        return f"{self.value:.2f} {self.unit}".strip()


RIGHT_CELLS, RIGHT_CLASSES, RIGHT_ITEMS = "right cells", "right classes", "right items (F1)"
EXACT, ERROR, ANGLE, COSINE = "exactly right", "mean absolute error", "mean angle", "cosine similarity"
MASKS = "overlap of masks (IoU)"
SHARES = (RIGHT_CELLS, RIGHT_CLASSES, RIGHT_ITEMS, EXACT, MASKS)


def score_values(entry: Modality, predicted: Values, true: Values) -> tuple[Score, ...]:
    """Measure predicted values of one modality.

    Args:
        entry: the modality.
        predicted: N values in the schema's units, as codecs decode them.
        true: the N values that should have come; of a text, each may be a list of right texts.

    Returns:
        One score; of a record, one for its numbers and one for its classes, as far as it has them; of records
        and sets, one more for masks and one for long vectors.

    Raises:
        RequestError: if there are no values, or not as many of both.
    """
    if not len(predicted) or len(predicted) != len(true):
        raise RequestError(
            "scores", "need as many predicted as true values, and one at least",
            got=f"{len(predicted)} and {len(true)}",
        )  # fmt: skip
    match entry:
        case Image():
            return (_image(entry, _stack(predicted), _stack(true)),)
        case Vector():
            return (_vector(entry, _stack(predicted), _stack(true)),)
        case Set(max_items=1):
            return _records(entry, predicted, true)
        case Set():
            return _items(entry, predicted, true)
        case Text():
            right = [
                str(guess).casefold() in _texts(truth) for guess, truth in zip(predicted, true, strict=True)
            ]
            return (Score(EXACT, float(np.mean(right)), higher_is_better=True),)


def usual_value(entry: Modality, values: Values) -> object:
    """The best guess of who sees nothing: median numbers and commonest classes, cell by cell and field by
    field; of sets of several items and of texts, the commonest value.

    Args:
        entry: the modality.
        values: what it is like, one at least.
    """
    match entry:
        case Image(cell=Categorical()):
            stack = _stack(values).astype(np.int64)
            return np.apply_along_axis(lambda column: np.bincount(column).argmax(), 0, stack)
        case Image(cell=Direction()):
            return _stack(values).mean(axis=0)
        case Image() | Vector():
            return np.median(_stack(values), axis=0)
        case Set(max_items=1):
            records = [record for value in values for record in listed(value)]
            return [{name: usual_field(name, field, records) for name, field in entry.fields.items()}]
        case Set():
            return _commonest([listed(value) for value in values])
        case Text():
            return _commonest([text for value in values for text in _texts(value)])


def _stack(values: Values) -> Float64:
    return np.stack([np.asarray(value, np.float64) for value in values])


def _image(entry: Image, predicted: Float64, true: Float64) -> Score:
    match entry.cell:
        case Categorical() as cell:
            ignored = cell.ignore if not isinstance(cell.ignore, str) else cell.class_names.index(cell.ignore)
            right = (predicted == true)[np.ones(true.shape, np.bool_) if ignored is None else true != ignored]
            share = float(right.mean()) if right.size else 1.0
            return Score(RIGHT_CELLS, share, higher_is_better=True)
        case Continuous() as cell:
            return Score(ERROR, float(np.abs(predicted - true).mean()), cell.unit or "")
        case Direction():
            degrees = np.degrees(np.arccos(np.clip(_cosine(predicted, true), -1, 1)))
            return Score(ANGLE, float(degrees.mean()), "degrees")
        case _:
            return Score(COSINE, float(_cosine(predicted, true).mean()), higher_is_better=True)


def _cosine(predicted: Float64, true: Float64) -> Float64:
    lengths = np.linalg.norm(predicted, axis=-1) * np.linalg.norm(true, axis=-1)
    return np.asarray((predicted * true).sum(axis=-1) / np.maximum(lengths, 1e-12), np.float64)


def _vector(entry: Vector, predicted: Float64, true: Float64) -> Score:
    error_D = np.abs(predicted - true).reshape(-1, entry.dim).mean(axis=0)
    if entry.range_of_each is None:
        return Score(ERROR, float(error_D.mean()))
    error_D = error_D / (np.ptp(np.array(entry.range_of_each), axis=1) / entry.bins)
    names = entry.names or tuple(map(str, range(entry.dim)))
    return Score(ERROR, float(error_D.mean()), "bins", fields=dict(zip(names, error_D.tolist(), strict=True)))


def _records(entry: Set, predicted: Values, true: Values) -> tuple[Score, ...]:
    errors = field_errors(entry, predicted, true)
    numbers = {name: error for name, error in errors.items() if is_counted(entry.fields[name])}
    classes = {name: 1 - error for name, error in errors.items() if name not in numbers}
    scores = []
    if numbers:
        scores.append(Score(ERROR, float(np.mean([*numbers.values()])), "bins", fields=numbers))
    coded = _codes(entry, first_records(predicted, true))
    if classes or not (numbers or coded):
        share = float(np.mean([*classes.values()])) if classes else 1.0
        scores.append(Score(RIGHT_CLASSES, share, higher_is_better=True, fields=classes))
    return (*scores, *coded)


def _items(entry: Set, predicted: Values, true: Values) -> tuple[Score, ...]:
    pairs, guessed, there = matched(entry, predicted, true)
    share = 2 * len(pairs) / (guessed + there) if guessed + there else 1.0
    return (Score(RIGHT_ITEMS, share, higher_is_better=True), *_codes(entry, pairs))


def _codes(entry: Set, pairs: Sequence[tuple[Record, Record]]) -> list[Score]:
    """How alike masks are, and how alike long vectors, as far as there are any."""
    found = likeness_of_fields(entry, pairs)
    masks = {name: alike for name, alike in found.items() if is_mask(entry.fields[name])}
    vectors = {name: alike for name, alike in found.items() if name not in masks}
    return [
        Score(measure, float(np.mean([*fields.values()])), higher_is_better=True, fields=fields)
        for measure, fields in ((MASKS, masks), (COSINE, vectors))
        if fields
    ]


def _texts(value: object) -> list[str]:
    """The texts that are right, without letter case."""
    texts = [value] if isinstance(value, str) else value
    assert isinstance(texts, list | tuple), "a text, or several that mean the same"
    return [str(text).casefold() for text in texts]


def _commonest(values: Sequence[object]) -> object:
    """The value that occurs most often; the first of those that occur equally often."""
    (written, _), *_ = Counter(map(repr, values)).most_common(1)
    return next(value for value in values if repr(value) == written)
