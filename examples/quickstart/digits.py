"""The handwritten digits that ship inside scikit-learn, as aligned samples of four modalities.

1,797 images of 8 x 8 cells, 17 grey levels (0 to 16), from the UCI repository's "Optical Recognition of
Handwritten Digits" (Alpaydin and Kaynak 1998). Each becomes the image, a class map of its strokes, a
vector of measurements and a few captions that name the digit.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CAPTIONS = ("the digit {}", "a handwritten {}", "this is a {}", "someone wrote {} by hand")
BACKGROUND, CONTOUR, INK = 0, 1, 2
INK_FROM = 8

Image = NDArray[np.uint8]
Row = dict[str, object]


def load_splits(held_out: int = 360, seed: int = 0) -> tuple[list[Row], list[Row], NDArray[np.int64]]:
    """All digits, split once, with the same share of every digit on both sides.

    Returns:
        Training rows, held-out rows, and the held-out digits (0 to 9).
    """
    cells, names = load_digits(return_X_y=True)
    images, labels = np.asarray(cells, np.uint8).reshape(-1, 8, 8), np.asarray(names, np.int64)
    places = np.arange(len(images))
    train, held = train_test_split(places, test_size=held_out, stratify=labels, random_state=seed)
    rows = [sample(f"digit-{place:04d}", images[place], int(labels[place])) for place in places]
    return [rows[place] for place in train], [rows[place] for place in held], labels[held]


def sample(name: str, image: Image, digit: int) -> Row:
    """One digit with all its modalities, as raw values in the schema's units."""
    return {
        "id": name,
        "digit": image,
        "strokes": stroke_map(image),
        "shape": measure(image),
        "caption": [caption.format(WORDS[digit]) for caption in CAPTIONS],
    }


def stroke_map(image: Image) -> NDArray[np.uint8]:
    """Cells at least half inked are ink; lighter cells that share an edge with ink are its contour."""
    ink = image >= INK_FROM
    ring = np.pad(ink, 1)
    beside = ring[:-2, 1:-1] | ring[2:, 1:-1] | ring[1:-1, :-2] | ring[1:-1, 2:]
    return np.where(ink, INK, np.where(beside, CONTOUR, BACKGROUND)).astype(np.uint8)


def measure(image: Image) -> NDArray[np.float32]:
    """Ink, centre, spread and slant of a digit.

    Returns:
        ink: mean grey level over the darkest one, 0 to 1; centre_row, centre_column: centre of mass, in
        cells; height, width: standard deviation of the mass, in cells; slant: covariance of row and
        column over the variance of rows (columns that the stroke moves per row).
    """
    mass = image.astype(np.float64) / image.sum()
    row, column = np.mgrid[0:8, 0:8]
    centre_row, centre_column = (mass * row).sum(), (mass * column).sum()
    row_variance = (mass * (row - centre_row) ** 2).sum()
    column_variance = (mass * (column - centre_column) ** 2).sum()
    covariance = (mass * (row - centre_row) * (column - centre_column)).sum()
    slant = covariance / max(row_variance, 1e-6)
    spread = np.sqrt([row_variance, column_variance])
    return np.array([image.mean() / 16, centre_row, centre_column, *spread, slant], dtype=np.float32)


def digit_in(caption: str) -> int | None:
    """The digit that a caption names; None if it names none or several."""
    named = [digit for digit, word in enumerate(WORDS) if word in caption.lower().split()]
    return named[0] if len(named) == 1 else None


def list_of_texts(value: object) -> list[str]:
    """The captions of a row."""
    assert isinstance(value, list), "a row holds all its captions"
    return [str(text) for text in value]


def train_judge(rows: list[Row], seed: int = 0) -> SVC:
    """A classifier of real training images; it judges the images that a model draws."""
    images = np.stack([np.asarray(row["digit"]).reshape(-1) for row in rows])
    names = [digit_in(caption) for row in rows for caption in list_of_texts(row["caption"])[:1]]
    # pyright takes SVC's parameters to be strings, from its docstring
    return SVC(gamma=0.001, C=10.0, random_state=seed).fit(images, names)  # pyright: ignore[reportArgumentType]
