"""What a model of the digits can do, in figures: each beside something to compare it with."""

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from digits import CAPTIONS, WORDS, Image, Row, digit_in
from fourm_runtime.any_to_any import AnyToAny
from fourm_schema.modality import Vector

DRAWN_PER_DIGIT = 20
GUIDANCE = 2.0


@attrs.frozen
class Line:
    """One row of the table: a figure and what it is to be compared with."""

    given: str
    predicted: str
    measure: str
    value: str
    other: str
    what: str


@attrs.frozen(eq=False)
class Evaluation:
    """The table, and the digits that were drawn from captions: (digit, draw) -> 8 x 8 image."""

    lines: tuple[Line, ...]
    drawn: list[list[Image]]


def evaluate_directions(
    model: AnyToAny, rows: Sequence[Row], digits: NDArray[np.int64], judge: SVC, seed: int
) -> Evaluation:
    """Predict each modality of held-out digits from another one, and judge what comes out.

    Args:
        model: the trained model.
        rows: held-out samples, raw values.
        digits: their digits, 0 to 9.
        judge: tells the digit of an image; trained on real training images.
        seed: of everything that is sampled.
    """
    pictures: list[dict[str, object]] = [{"digit": row["digit"]} for row in rows]
    told = model.generate(pictures, ["caption"], temperature=0.0, seed=seed, batch_size=128)
    seen = model.generate(
        pictures, ["strokes", "shape"], temperature=0.0, steps=1, chain=False, seed=seed, batch_size=128
    )
    drawn = draw_digits(model, seed)

    named = [digit_in(str(out["caption"].value)) for out in told]
    maps = np.stack([np.asarray(out["strokes"].value) for out in seen])
    true_maps = np.stack([np.asarray(row["strokes"]) for row in rows])
    shapes = np.stack([np.asarray(out["shape"].value) for out in seen])
    true_shapes = np.stack([np.asarray(row["shape"]) for row in rows])
    images = np.stack([np.asarray(row["digit"]).reshape(-1) for row in rows])
    flat = np.stack([image.reshape(-1) for draws in drawn for image in draws])
    asked = np.repeat(np.arange(10), DRAWN_PER_DIGIT)
    shape = model.schema.modalities["shape"]
    assert isinstance(shape, Vector) and shape.range_of_each, "modalities.yaml declares its ranges"
    bin_width = np.ptp(np.array(shape.range_of_each), axis=1) / shape.bins
    usual = np.abs(true_shapes - np.median(true_shapes, axis=0)) / bin_width
    commonest = np.bincount(true_maps.reshape(-1)).argmax()
    lines = (
        Line("image", "caption", "names the right digit", share(named == digits), "10.0 %", "chance"),
        Line(
            "caption",
            "image",
            "judged to be the right digit",
            share(judge.predict(flat) == asked),
            share(judge.predict(images) == digits),
            "the judge on real images",
        ),
        Line(
            "image",
            "strokes",
            "right cells",
            share(maps == true_maps),
            share(true_maps == commonest),
            "commonest class",
        ),
        Line(
            "image",
            "shape",
            "mean absolute error",
            f"{(np.abs(shapes - true_shapes) / bin_width).mean():.2f} bins",
            f"{usual.mean():.2f} bins",
            "always the median",
        ),
    )
    return Evaluation(lines, drawn)


def draw_digits(model: AnyToAny, seed: int) -> list[list[Image]]:
    """Draw every digit from captions, in all their wordings."""
    asked: list[dict[str, object]] = [
        {"caption": CAPTIONS[draw % len(CAPTIONS)].format(word)}
        for word in WORDS
        for draw in range(DRAWN_PER_DIGIT)
    ]
    made = model.generate(
        asked, ["digit"], scheme="roar", steps=16, guidance=GUIDANCE, seed=seed, batch_size=100
    )
    images = [np.asarray(out["digit"].value).reshape(8, 8).astype(np.uint8) for out in made]
    return [images[start : start + DRAWN_PER_DIGIT] for start in range(0, len(images), DRAWN_PER_DIGIT)]


def share(hits: NDArray[np.bool_] | bool) -> str:
    """Percentage of True.

    >>> share(np.array([True, False]))
    '50.0 %'
    """
    return f"{100 * float(np.mean(hits)):.1f} %"
