"""What computations on pictures share: which entries they take, and the numbers they work on.

Shapes: H rows, W columns, C channels.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from skimage.color import rgb2gray

from fourm_schema.errors import DataError
from fourm_schema.modality import Continuous, Image, Modality

Floats = NDArray[np.float64]

RESAMPLING = Picture.Resampling.BOX


def picture_reader(source: Modality, what: str) -> Callable[[object], Floats]:
    """Reads a value of the source as (H, W, C) in [0, 1].

    Raises:
        DataError: if the source is no image of numbers.
    """
    if not isinstance(source, Image) or not isinstance(source.cell, Continuous):
        got = f"{source.cell.type} cells" if isinstance(source, Image) else f"a {source.kind}"
        raise DataError(f"derive by {what}", "is computed from an image of numbers", got=got)
    low, high = source.cell.range
    shape = (source.height, source.width, source.channels)

    def read(value: object) -> Floats:
        return np.clip((np.asarray(value, np.float64).reshape(shape) - low) / (high - low), 0.0, 1.0)

    return read


def colours_reader(source: Modality, what: str) -> Callable[[object], Floats]:
    """Reads a value of the source as (H, W, 3) in [0, 1].

    Raises:
        DataError: if the source is no image with three channels.
    """
    read = picture_reader(source, what)
    if isinstance(source, Image) and source.channels != 3:
        raise DataError(
            f"derive by {what}", "is computed from an image with three channels", got=str(source.channels)
        )
    return read


def grey(picture_HWC: Floats) -> Floats:
    """Luminance (H, W) of a picture: of three channels by their weights in Rec. 709, otherwise their mean."""
    if picture_HWC.shape[-1] == 3:
        return np.asarray(rgb2gray(picture_HWC), np.float64)
    mean_HW: Floats = picture_HWC.mean(axis=-1)
    return mean_HW


def resized(picture_HWC: Floats, size: tuple[int, int]) -> Floats:
    """The picture at another size (height, width), each new place the mean of what it covers."""
    if picture_HWC.shape[:2] == size:
        return picture_HWC
    channels = [
        np.asarray(
            Picture.fromarray(channel.astype(np.float32)).resize((size[1], size[0]), RESAMPLING), np.float64
        )
        for channel in np.moveaxis(picture_HWC, -1, 0)
    ]
    return np.stack(channels, axis=-1)
