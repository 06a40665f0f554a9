"""What a model of the digits can do, in figures: each beside what its codec allows and what a guess gets."""

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from digits import WORDS, Row, digit_in, plain_caption
from fourm_codecs.base import Codec
from fourm_codecs.sets import SetCodec
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.generation.request import Target
from fourm_runtime.generation.values import Generated
from fourm_runtime.scores import Score, score_values, usual_value
from measures import Image

DRAWN_PER_DIGIT = 20
GUIDANCE, TEMPERATURE = 2.0, 0.5
THUMB_STEPS, DIGIT_STEPS = 8, 12
AT_A_TIME = 120

Made = dict[str, Generated]


@attrs.frozen
class Line:
    """One row of the table.

    Attributes:
        given, predicted: what the model saw, and what it was asked for.
        measure: of what was predicted.
        model: the figure.
        bound: the same figure of encoding the truth and decoding it again, or of real images.
        guess: the figure of the best guess that sees nothing.
    """

    given: str
    predicted: str
    measure: str
    model: str
    bound: str
    guess: str


@attrs.frozen(eq=False)
class Predictions:
    """What the model makes of held-out digits.

    Attributes:
        of_images: of each held-out sample, every other modality, from its pixels.
        enlarged: of each held-out sample, the image, from its thumb.
        drawn: (digit, draw) -> an image, from a caption.
        lines: the figures.
        valid, sets: how many generated sets and records there are, and how many of them are valid.
    """

    of_images: list[Made]
    enlarged: list[Made]
    drawn: list[list[Image]]
    lines: tuple[Line, ...]
    valid: int
    sets: int


def predict(
    model: AnyToAny, rows: Sequence[Row], digits: NDArray[np.int64], judge: SVC, seed: int
) -> Predictions:
    """Predict each modality of held-out digits from another one, and measure what comes out.

    Args:
        model: the trained model.
        rows: held-out samples, raw values.
        digits: their digits, 0 to 9.
        judge: tells the digit of an image; trained on real training images.
        seed: of everything that is sampled.
    """
    others = [name for name in model.schema.modalities if name != "digit"]
    seen = [{"digit": row["digit"]} for row in rows]
    made = model.generate(
        seen, others, temperature=0.0, steps=1, chain=False, seed=seed, batch_size=AT_A_TIME
    )
    enlarged = model.generate(
        [{"thumb": row["thumb"]} for row in rows], ["digit"],
        temperature=0.0, steps=4, seed=seed, batch_size=AT_A_TIME,
    )  # fmt: skip
    drawn = draw_digits(model, seed)
    lines = [line for name in others for line in _compare(model, name, made, rows)]
    lines += _named(model, made, rows, digits)
    lines += [_enlarged(model, enlarged, rows), _drawn(drawn, rows, digits, judge)]
    checked = [*made, *_sampled(model, seen, seed)]
    outcomes = [is_valid(codec, sample[name]) for name, codec in _set_codecs(model) for sample in checked]
    return Predictions(made, enlarged, drawn, tuple(lines), sum(outcomes), len(outcomes))


def _compare(model: AnyToAny, name: str, made: Sequence[Made], rows: Sequence[Row]) -> list[Line]:
    """The measures that a modality's type calls for."""
    entry, codec = model.schema.modalities[name], model.codecs[name]
    true = [row[name] for row in rows]
    usual = usual_value(entry, true)
    scores = (
        score_values(entry, values, true)
        for values in ([one[name].value for one in made], kept_by(codec, true), [usual] * len(true))
    )
    return [
        Line("image", name, model_score.measure, str(model_score), str(bound), str(guess))
        for model_score, bound, guess in zip(*scores, strict=True)
    ]


def kept_by(codec: Codec, values: Sequence[object]) -> list[object]:
    """What a codec keeps of values: the best that a model can predict. Of texts, of the first one."""
    first = [value[0] if isinstance(value, list) and isinstance(value[0], str) else value for value in values]
    return [*codec.decode(codec.encode(first))]


def _named(
    model: AnyToAny, made: Sequence[Made], rows: Sequence[Row], digits: NDArray[np.int64]
) -> list[Line]:
    named = [digit_in(str(one["caption"].value)) for one in made]
    texts = kept_by(model.codecs["caption"], [row["caption"] for row in rows])
    kept = [digit_in(str(text)) for text in texts]
    right, bound = (share(np.array(found) == digits) for found in (named, kept))
    return [Line("image", "caption", "names the right digit", right, bound, commonest_share(digits))]


def _enlarged(model: AnyToAny, made: Sequence[Made], rows: Sequence[Row]) -> Line:
    """Super-resolution, beside repeating each cell."""
    entry, true = model.schema.modalities["digit"], [row["digit"] for row in rows]
    repeated = [np.kron(np.asarray(row["thumb"]), np.ones((2, 2))) for row in rows]
    kept = kept_by(model.codecs["digit"], true)
    scores: list[Score] = []
    for values in ([one["digit"].value for one in made], kept, repeated):
        scores += score_values(entry, values, true)
    return Line("thumb", "image", scores[0].measure, *map(str, scores))


def _drawn(
    drawn: Sequence[Sequence[Image]], rows: Sequence[Row], digits: NDArray[np.int64], judge: SVC
) -> Line:
    flat = np.stack([image.reshape(-1) for draws in drawn for image in draws])
    real = np.stack([np.asarray(row["digit"]).reshape(-1) for row in rows])
    asked = np.repeat(np.arange(len(WORDS)), DRAWN_PER_DIGIT)
    right, bound = share(judge.predict(flat) == asked), share(judge.predict(real) == digits)
    return Line("caption", "image", "judged to be the right digit", right, bound, commonest_share(asked))


def draw_digits(model: AnyToAny, seed: int) -> list[list[Image]]:
    """Draw every digit from captions that name it, in all wordings that say nothing else."""
    asked: list[dict[str, object]] = [
        {"caption": plain_caption(digit, draw)}
        for digit in range(len(WORDS))
        for draw in range(DRAWN_PER_DIGIT)
    ]
    made = model.generate(asked, drawing(GUIDANCE), seed=seed, batch_size=AT_A_TIME)
    images = [image_of(one["digit"]) for one in made]
    return [images[start : start + DRAWN_PER_DIGIT] for start in range(0, len(images), DRAWN_PER_DIGIT)]


def drawing(guidance: float) -> list[Target]:
    """How a digit is drawn: what it measures first, then at half its size, then as it is."""
    return [
        Target("facts", temperature=TEMPERATURE),
        Target("thumb", scheme="roar", steps=THUMB_STEPS, guidance=guidance, temperature=TEMPERATURE),
        Target("digit", scheme="roar", steps=DIGIT_STEPS, guidance=guidance, temperature=TEMPERATURE),
    ]


def image_of(made: Generated) -> Image:
    """A generated digit, 8 x 8 levels."""
    return np.asarray(made.value).reshape(8, 8).astype(np.uint8)


def _sampled(model: AnyToAny, seen: Sequence[dict[str, object]], seed: int) -> list[Made]:
    """Sets and records drawn at temperature 1, where the unlikely happens too."""
    names = [name for name, _ in _set_codecs(model)]
    return model.generate(seen, names, chain=False, seed=seed, batch_size=AT_A_TIME)


def _set_codecs(model: AnyToAny) -> list[tuple[str, SetCodec]]:
    return [(name, codec) for name, codec in model.codecs.items() if isinstance(codec, SetCodec)]


def is_valid(codec: SetCodec, made: Generated) -> bool:
    """Whether a generated set is whole under its grammar, and a value that the schema admits."""
    whole = codec.automaton.chunk_lengths(made.tokens.tolist()) is not None
    return whole and codec.encode([made.value]).ids.tolist() == made.tokens.tolist()


def commonest_share(digits: NDArray[np.int64]) -> str:
    """How often the best guess that sees nothing is right: it always says the commonest digit."""
    return share(digits == np.bincount(digits).argmax())


def share(hits: NDArray[np.bool_] | bool) -> str:
    """Percentage of True.

    >>> share(np.array([True, False]))
    '50.0 %'
    """
    return f"{100 * float(np.mean(hits)):.1f} %"
