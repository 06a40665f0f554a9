"""Arrays of bytes -> PNG, and the ways in which numbers become bytes.

Shapes: H rows, W columns, K channels.
"""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from fourm_runtime.pictures.colours import Bytes
from fourm_runtime.pictures.page import Png

Float64 = NDArray[np.float64]

LEAST_SIDE_PX = 128
MOST_SIDE_PX = 512

_FITTED_CELLS = 4096


def png_of(pixels: Bytes, alt: str, least_side: int = LEAST_SIDE_PX, smooth: bool = True) -> Png:
    """A picture of bytes.

    Args:
        pixels: (H, W) grey, (H, W, 3) red, green and blue, or (H, W, 4) with how much each hides.
        alt: what it shows.
        least_side: a smaller picture is shown enlarged, each pixel as a square, until its longer side is so
            many CSS pixels; the file keeps its size.
        smooth: a picture of more than 512 pixels is made smaller by averaging; else pixels are left out.

    Returns:
        the picture.
    """
    assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3) and pixels.size, "pixels are bytes"
    picture = Pictures.fromarray(np.ascontiguousarray(pixels))
    longest = max(picture.size)
    if longest > MOST_SIDE_PX:
        share = MOST_SIDE_PX / longest
        size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
        picture = picture.resize(size, Pictures.Resampling.BOX if smooth else Pictures.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, format="PNG")
    zoom = max(1, math.ceil(least_side / max(picture.size)))
    return Png(file.getvalue(), alt, picture.width * zoom, picture.height * zoom, pixelated=zoom > 1)


def shares(numbers: Float64, low: float, high: float) -> Float64:
    """Where numbers lie between two ends, 0 to 1; those outside are moved to the nearer end."""
    # Halves, since the width of a range of two large numbers need not be a float.
    width = high / 2 - low / 2
    if width <= 0:
        return np.full(numbers.shape, 0.5)
    return np.clip((numbers / 2 - low / 2) / width, 0.0, 1.0)


def to_bytes(share: Float64) -> Bytes:
    """0 to 1 as 0 to 255."""
    return np.rint(255 * share).astype(np.uint8)


def principal(cells_HWK: Float64) -> Float64:
    """The first three principal components of the cells, each stretched to 0..1; 0.5 where there are fewer.

    They are fitted to at most 4,096 cells, evenly spread. A component points where its largest weight is
    positive, so that the same cells have the same colours.

    Args:
        cells_HWK: finite numbers.

    Returns:
        (H, W, 3).
    """
    height, width, channels = cells_HWK.shape
    cells = cells_HWK.reshape(-1, channels) / max(float(np.abs(cells_HWK).max()), np.finfo(np.float64).tiny)
    fitted = cells[:: math.ceil(len(cells) / _FITTED_CELLS)]
    centre = fitted.mean(axis=0)
    _, sizes, axes = np.linalg.svd(fitted - centre, full_matrices=False)
    axes = axes[:3][sizes[:3] > 1e-9]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    found = (cells - centre) @ (axes * np.sign(largest)).T
    colours = np.full((len(cells), 3), 0.5)
    for k, component in enumerate(found.T):
        colours[:, k] = shares(component, float(component.min()), float(component.max()))
    return colours.reshape(height, width, 3)
