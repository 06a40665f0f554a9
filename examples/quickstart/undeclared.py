"""Further measurements of a digit, which the quickstart's schema does not declare.

They are kept beside its datasets, for whoever adds a modality to it later (examples/add_modality).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from measures import DARKEST, INK_FROM, Image, label_holes

FLAT, RIGHT, DOWN, LEFT, UP = range(5)
STEEP_FROM = 24
"""Sobel's filter weighs eight cells: a border between paper and full ink comes to 64."""

QUARTERS = ("thin", "plain", "bold")
QUARTER_BORDERS = (0.27, 0.35)
"""Mean ink of a quarter of the image where thin ends and bold begins: about thirds of all quarters."""

Run = dict[str, float]


def edge_map(image: Image) -> NDArray[np.uint8]:
    """Where the image gets darker, and to which side: a class per cell.

    Returns:
        (8, 8) FLAT where the ink hardly changes, else the side of the four on which there is more ink.
    """
    ink = image.astype(np.float64)
    down, right = ndimage.sobel(ink, 0, mode="constant"), ndimage.sobel(ink, 1, mode="constant")
    sideways = np.where(right > 0, RIGHT, LEFT)
    upright = np.where(down > 0, DOWN, UP)
    side = np.where(np.abs(right) >= np.abs(down), sideways, upright)
    return np.where(np.hypot(down, right) < STEEP_FROM, FLAT, side).astype(np.uint8)


def profile(image: Image) -> NDArray[np.float32]:
    """The ink of each column, in wholly black cells."""
    return np.asarray(image.sum(axis=0) / DARKEST, np.float32)


def runs(image: Image) -> list[Run]:
    """The runs of ink in each row, from the top, and from the left within a row.

    Returns:
        for each run its row, its first and last column, and its mass in wholly black cells.
    """
    found: list[Run] = []
    ink = np.pad(image >= INK_FROM, ((0, 0), (1, 1))).astype(np.int8)
    for row, turns in enumerate(np.diff(ink, axis=1)):
        firsts, stops = np.flatnonzero(turns == 1).tolist(), np.flatnonzero(turns == -1).tolist()
        for first, stop in zip(firsts, stops, strict=True):
            mass = float(image[row, first:stop].sum() / DARKEST)
            found.append({"row": row, "first": first, "last": stop - 1, "mass": mass})
    return found


def note(image: Image) -> str:
    """How much ink the quarters have, the upper two on the lower two, and the rings that surround paper.

    Its words are words of the captions, or can be spelled in pieces of them: the vocabulary is trained.
    """
    means = image.reshape(2, 4, 2, 4).mean(axis=(1, 3)).reshape(-1) / DARKEST
    weights = [QUARTERS[int(place)] for place in np.searchsorted(QUARTER_BORDERS, means)]
    upper_left, upper_right, lower_left, lower_right = weights
    holes = len(ndimage.find_objects(label_holes(image)))
    rings = ("no ring", "a ring")[holes] if holes < 2 else " on ".join(["ring"] * holes)
    return f"{upper_left} {upper_right} on {lower_left} {lower_right}, {rings}"


def write_undeclared(folder: Path, splits: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Write a file of these measurements for each split, as `fourm data fill` reads them.

    Args:
        folder: where to write `<split>.jsonl`.
        splits: name -> samples, each with its `id` and image, `digit`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        lines = [json.dumps(_measured(str(row["id"]), np.asarray(row["digit"]))) for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def _measured(name: str, image: Image) -> dict[str, object]:
    return {
        "id": name,
        "edges": edge_map(image).tolist(),
        "profile": profile(image).tolist(),
        "rows": runs(image),
        "note": note(image),
    }
