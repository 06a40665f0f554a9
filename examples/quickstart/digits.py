"""The handwritten digits that ship inside scikit-learn, as aligned samples of eight modalities.

1,797 images of 8 x 8 cells, 17 grey levels (0 to 16), from the UCI repository's "Optical Recognition of
Handwritten Digits" (Alpaydin and Kaynak 1998). What else a sample has is measured on its image (measures.py)
and put into words.
"""

import re

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from measures import DARKEST, Image, facts, half_size, moments, parts, stroke_map

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WEIGHTS, LEANS = ("thin", "plain", "bold"), ("leaning left", "upright", "leaning right")
PLAIN = ("the digit {digit}", "a handwritten {digit}")
"""Captions that say only which digit it is."""

CAPTIONS = (
    *PLAIN,
    "a {weight} {digit}, {lean}",
    "{lean}, {weight}: {digit}",
)
PENS = (0.4, 2.5)
"""Powers that a digit's grey levels are raised to: below 1 its pen is broader, above 1 finer."""

INK_BORDERS, SLANT_BORDERS = (0.29, 0.32), (-5.0, 1.0)
"""Where thin ends and bold begins (mean ink), and left and right (degrees): about thirds of all digits."""

OTHER_PEN = "-pen"

Row = dict[str, object]


def load_splits(held_out: int = 360, seed: int = 0) -> tuple[list[Row], list[Row], NDArray[np.int64]]:
    """All digits, split once, with the same share of every digit on both sides.

    Returns:
        Training rows, held-out rows, and the held-out digits (0 to 9). Each training digit is there twice,
        the second time as another pen might have written it; `is_real` tells them apart.
    """
    cells, names = load_digits(return_X_y=True)
    images, labels = np.asarray(cells, np.uint8).reshape(-1, 8, 8), np.asarray(names, np.int64)
    places = np.arange(len(images))
    train, held = train_test_split(places, test_size=held_out, stratify=labels, random_state=seed)
    rows = [sample(f"digit-{place:04d}", images[place], int(labels[place])) for place in places]
    rng = np.random.default_rng(seed)
    for_training = [rows[place] for place in train]
    for place in train:
        image = with_pen(images[place], float(np.exp(rng.uniform(*np.log(PENS)))))
        for_training.append(sample(f"digit-{place:04d}{OTHER_PEN}", image, int(labels[place])))
    return for_training, [rows[place] for place in held], labels[held]


def with_pen(image: Image, power: float) -> Image:
    """A digit with its grey levels raised to a power; paper stays paper, and black stays black."""
    return np.rint(DARKEST * (image / DARKEST) ** power).astype(np.uint8)


def is_real(row: Row) -> bool:
    """Whether a sample is as the data set has it."""
    return not str(row["id"]).endswith(OTHER_PEN)


def sample(name: str, image: Image, digit: int) -> Row:
    """One digit with all its modalities, as raw values in the schema's units."""
    return {
        "id": name,
        "digit": image,
        "codes": image,
        "thumb": half_size(image),
        "strokes": stroke_map(image),
        "moments": moments(image),
        "facts": facts(image),
        "parts": parts(image),
        "caption": captions(image, digit),
    }


def captions(image: Image, digit: int) -> list[str]:
    """Four ways to say what an image shows; two of them also say how it is written."""
    measured = facts(image)
    weight = WEIGHTS[int(np.searchsorted(INK_BORDERS, measured["ink"]))]
    lean = LEANS[int(np.searchsorted(SLANT_BORDERS, measured["slant"]))]
    return [caption.format(digit=WORDS[digit], weight=weight, lean=lean) for caption in CAPTIONS]


def plain_caption(digit: int, draw: int) -> str:
    """A caption that says only which digit it is, in one wording after the other."""
    return PLAIN[draw % len(PLAIN)].format(digit=WORDS[digit])


def digit_in(caption: str) -> int | None:
    """The digit that a caption names; None if it names none or several."""
    said = re.findall(r"\w+", caption.lower())
    named = [digit for digit, word in enumerate(WORDS) if word in said]
    return named[0] if len(named) == 1 else None


def list_of_texts(value: object) -> list[str]:
    """The captions of a row."""
    assert isinstance(value, list), "a row holds all its captions"
    return [str(text) for text in value]


def train_judge(rows: list[Row], seed: int = 0) -> SVC:
    """A classifier of real training images; it judges the images that a model draws."""
    real = [row for row in rows if is_real(row)]
    images = np.stack([np.asarray(row["digit"]).reshape(-1) for row in real])
    names = [digit_in(caption) for row in real for caption in list_of_texts(row["caption"])[:1]]
    # pyright takes SVC's parameters to be strings, from its docstring
    return SVC(gamma=0.001, C=10.0, random_state=seed).fit(images, names)  # pyright: ignore[reportArgumentType]
