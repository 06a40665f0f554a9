"""What can be measured on the image of a digit: every modality of the quickstart but its caption."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BACKGROUND, CONTOUR, INK = 0, 1, 2
DARKEST = 16
INK_FROM, DARK_FROM, PAPER_BELOW = 8, 12, 6
HOLES = ("none", "one", "two", "more")

Image = NDArray[np.uint8]


class Facts(TypedDict):
    """Measurements of a digit: mean ink (0 to 1), slant in degrees, extents in cells, holes by name."""

    ink: float
    slant: float
    width: float
    height: float
    holes: str


class Part(TypedDict):
    """A connected piece of dark ink, or a hole: its borders (x0, y0, x1, y1) in cells, and its mass."""

    kind: str
    box: list[float]
    mass: float


def half_size(image: Image) -> Image:
    """Each 2 x 2 cells as their mean, rounded to a level."""
    means = np.asarray(image.reshape(4, 2, 4, 2).mean(axis=(1, 3)), np.float64)
    return np.rint(means).astype(np.uint8)


def stroke_map(image: Image) -> NDArray[np.uint8]:
    """Cells at least half inked are ink; lighter cells that share an edge with ink are its contour."""
    ink = image >= INK_FROM
    beside = ndimage.binary_dilation(ink)
    return np.where(ink, INK, np.where(beside, CONTOUR, BACKGROUND)).astype(np.uint8)


def moments(image: Image) -> NDArray[np.float32]:
    """Where the ink lies, how far it spreads and to which side it has a tail.

    Returns:
        centre_row, centre_column: centre of mass, in cells; spread_row, spread_column: standard deviation of
        the mass, in cells; skew_row, skew_column: its third central moment over the cube of that.
    """
    mass = image.astype(np.float64) / image.sum()
    along = (mass.sum(axis=1), mass.sum(axis=0))
    cells = np.arange(len(image))
    centre = [float(share @ cells) for share in along]
    spread = [
        float(share @ (cells - middle) ** 2) ** 0.5 for share, middle in zip(along, centre, strict=True)
    ]
    skew = [
        float(share @ (cells - middle) ** 3) / max(width, 1e-3) ** 3
        for share, middle, width in zip(along, centre, spread, strict=True)
    ]
    return np.array([*centre, *spread, *skew], dtype=np.float32)


def facts(image: Image) -> Facts:
    """What a person would note of a digit."""
    mass = image.astype(np.float64) / image.sum()
    row, column = np.mgrid[0 : len(image), 0 : len(image)]
    off_row, off_column = row - (mass * row).sum(), column - (mass * column).sum()
    # Leaning right is to have its top, which has the low rows, on the right.
    sideways = -(mass * off_row * off_column).sum() / max((mass * off_row**2).sum(), 1e-6)
    return {
        "ink": float(image.mean() / DARKEST),
        "slant": float(np.degrees(np.arctan(sideways))),
        "width": extent(mass.sum(axis=0)),
        "height": extent(mass.sum(axis=1)),
        "holes": HOLES[min(len(ndimage.find_objects(label_holes(image))), len(HOLES) - 1)],
    }


def extent(share: NDArray[np.float64]) -> float:
    """Cells between the places where a twentieth and all but a twentieth of the mass have been passed."""
    passed = np.concatenate([[0.0], np.cumsum(share)])
    low, high = np.interp([0.05, 0.95], passed, np.arange(len(passed)))
    return float(high - low)


def parts(image: Image) -> list[Part]:
    """The connected pieces of dark ink (cells that touch, corners included), and the holes.

    The mass of a piece is its ink in wholly black cells, that of a hole its cells.
    """
    pieces = label_pieces(image >= DARK_FROM, np.ones((3, 3)))
    holes = label_holes(image)
    black = image / DARKEST
    return [
        *(_part("ink", where, float(black[pieces == n + 1].sum())) for n, where in _found(pieces)),
        *(_part("hole", where, float((holes == n + 1).sum())) for n, where in _found(holes)),
    ]


def label_pieces(cells: NDArray[np.bool_], touching: NDArray[np.float64] | None = None) -> NDArray[np.int32]:
    """Connected cells: those of the k-th piece hold k, all others 0.

    Args:
        cells: which are taken.
        touching: which neighbours count as connected; None takes those that share an edge.
    """
    labels = np.zeros(cells.shape, np.int32)
    ndimage.label(cells, structure=touching, output=labels)
    return labels


def label_holes(image: Image) -> NDArray[np.int32]:
    """Paper that ink surrounds: cells of the k-th hole hold k, all others 0."""
    paper = label_pieces(np.pad(image < PAPER_BELOW, 1, constant_values=True))
    inside = paper[1:-1, 1:-1]
    return np.where(inside == paper[0, 0], 0, np.maximum(inside - 1, 0)).astype(np.int32)


def _found(labels: NDArray[np.int32]) -> list[tuple[int, tuple[slice, slice]]]:
    return [(n, where) for n, where in enumerate(ndimage.find_objects(labels)) if where is not None]


def _part(kind: str, where: tuple[slice, slice], mass: float) -> Part:
    rows, columns = where
    borders = (columns.start, rows.start, columns.stop, rows.stop)
    return {"kind": kind, "box": [float(border) for border in borders], "mass": mass}
