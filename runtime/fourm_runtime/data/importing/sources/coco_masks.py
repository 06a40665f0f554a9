"""Shapes of objects as COCO writes them: polygons, run lengths, and run lengths packed into text.

Runs go down the columns, and the first run is of zeros (Lin et al. 2014, arXiv 1405.0312, and the format page
of COCO). Packed: each count, from the third on less the count two before it, in groups of five bits, lowest
first; bit 32 says that more follow, and the sign is that of the last group.

Shapes: H rows, W columns, of the picture; S cells, the side of a small mask.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageDraw

from fourm_schema.errors import DataError

Bools = NDArray[np.bool_]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""

_FINER = 4


def small_mask(shape: object, box: Box, picture: tuple[int, int], size: int, where: str) -> NDArray[np.uint8]:
    """Cut an object's shape out along a box, at a small size.

    Args:
        shape: the `segmentation` of an annotation: polygons, or {"size", "counts"}.
        box: what is cut out.
        picture: (H, W).
        size: S.
        where: the annotation, for messages.

    Returns:
        (S, S) 1 where at least half of a cell is covered.

    Raises:
        DataError: if the shape is none.
    """
    if isinstance(shape, Mapping):
        mask = decode_runs(shape, where)
        if mask.shape != picture:
            got = f"{mask.shape[0]} x {mask.shape[1]} for a picture of {picture[0]} x {picture[1]}"
            raise DataError(where, "has a mask of the picture's size", got=got)
        full = Pictures.fromarray(mask.astype(np.float32))
        clipped = _inside(box, picture)
        covered = np.asarray(full.resize((size, size), Pictures.Resampling.BOX, box=clipped))
    else:
        covered = _covered_by_polygons(shape, box, size, where)
    return (covered >= 0.5).astype(np.uint8)


def decode_runs(runs: Mapping[object, object], where: str) -> Bools:
    """The mask of run lengths, plain or packed.

    Returns:
        (H, W) of bools.

    Raises:
        DataError: if they do not cover the picture.
    """
    counts, size = runs.get("counts"), runs.get("size")
    if not isinstance(size, Sequence) or len(size) != 2:
        raise DataError(where, "run lengths have a size [height, width]", got=str(size)[:60])
    height, width = int(size[0]), int(size[1])
    if isinstance(counts, str | bytes):
        lengths = unpack_counts(counts.encode() if isinstance(counts, str) else counts, where)
    elif isinstance(counts, Sequence):
        lengths = [int(cast("int", count)) for count in counts]
    else:
        raise DataError(where, "run lengths are numbers or text", got=type(counts).__name__)
    if min(lengths, default=0) < 0 or sum(lengths) != height * width:
        raise DataError(
            where,
            f"run lengths cover {height} x {width} cells",
            got=f"{sum(lengths):,} in {len(lengths)} runs",
        )
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def unpack_counts(text: bytes, where: str) -> list[int]:
    """Run lengths that were packed into text.

    >>> unpack_counts(b"52203", "here")
    [5, 2, 2, 2, 5]

    Raises:
        DataError: if the text is cut off or holds other characters.
    """
    counts: list[int] = []
    value = shift = 0
    for sign in text:
        group = sign - 48
        if not 0 <= group < 64 or shift > 60:
            raise DataError(where, "run lengths are packed into the characters 0 to o", got=repr(text[:40]))
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise DataError(where, "packed run lengths are cut off", got=repr(text[-20:]))
    return counts


def _covered_by_polygons(shape: object, box: Box, size: int, where: str) -> NDArray[np.float64]:
    x0, y0, x1, y1 = box
    fine = size * _FINER
    canvas = Pictures.new("1", (fine, fine))
    draw = ImageDraw.Draw(canvas)
    scale = np.array([fine / max(x1 - x0, 1e-9), fine / max(y1 - y0, 1e-9)])
    if not isinstance(shape, Sequence) or not shape:
        raise DataError(where, "a shape is a list of polygons, or run lengths", got=str(shape)[:60])
    for polygon in shape:
        try:
            points = np.asarray(polygon, np.float64).reshape(-1, 2)
        except (ValueError, TypeError):
            points = np.zeros((0, 2))
        if len(points) < 2 or not np.isfinite(points).all():
            raise DataError(where, "a polygon is a list x, y, x, y, ...", got=str(polygon)[:60])
        corners = (points - (x0, y0)) * scale
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=1)
    blocks = np.asarray(canvas, np.float64).reshape(size, _FINER, size, _FINER)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float64)


def _inside(box: Box, picture: tuple[int, int]) -> Box:
    """The box as far as it lies in the picture, at least a sliver of it."""
    height, width = picture
    x0, x1 = (min(max(x, 0.0), float(width)) for x in (box[0], box[2]))
    y0, y1 = (min(max(y, 0.0), float(height)) for y in (box[1], box[3]))
    x0, y0 = min(x0, width - 1e-3), min(y0, height - 1e-3)
    return x0, y0, max(x1, x0 + 1e-3), max(y1, y0 + 1e-3)
