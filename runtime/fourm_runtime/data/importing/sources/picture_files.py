"""Pictures in files -> arrays of cells, as the modality means them: nothing of a colour mode is guessed at.

colours    modality of three channels: modes of 8 bits become red, green and blue; alpha must be opaque
one        modality of one channel: a palette of greys becomes these; numbers of any depth stay as they are
classes    a map: cells stay the numbers that they are, those of a palette too
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageOps, UnidentifiedImageError

from fourm_schema.errors import DataError
from fourm_schema.modality import Categorical, Continuous, Image

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

Array = NDArray[np.generic]

_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of one channel of more than 8 bits, which Pillow cuts off at 255 to make colours of it."""


def decode_picture(data: bytes, name: str, modality: Image, where: str) -> Array:
    """Read a picture of any of the formats that Pillow knows, upright.

    Args:
        data: all bytes of the file.
        name: of the file, for messages.
        modality: what it is.
        where: the place that names the file, for messages.

    Raises:
        DataError: if it is none, or its colour mode does not say what the modality needs.
    """
    try:
        with Pictures.open(io.BytesIO(data)) as picture:
            deep = any(";16" in str(part[-1]) for part in getattr(picture, "tile", ()))
            return _cells(ImageOps.exif_transpose(picture), deep, name, modality, where)
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Pictures.DecompressionBombError,
    ) as error:
        got = "no format that is known" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(where, f"{name} is no picture that can be read", got=got) from None


def _cells(picture: Pictures.Image, deep: bool, name: str, modality: Image, where: str) -> Array:
    """The cells of a picture; `deep` says that its file has 16 bits per channel."""
    cell = modality.cell
    if isinstance(cell, Categorical):
        return np.asarray(picture)
    if modality.channels == 3:
        if picture.mode in _DEEP:
            raise DataError(
                where,
                f"{name} has one channel of more than 8 bits, which are no colours",
                got=f"mode {picture.mode}",
                mend="declare one channel, or write red, green and blue",
            )
        if deep and isinstance(cell, Continuous) and cell.range[1] > 255:
            raise DataError(
                where,
                f"{name} has 16 bits of each colour, of which 8 would be read",
                got=f"range {list(cell.range)}",
                mend="write it as .npy, or declare the range [0, 255]",
            )
        if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
            raise DataError(
                where,
                f"{name} is transparent in places, and what is behind it is not known",
                got=f"mode {picture.mode}",
                mend="put it on a background",
            )
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if modality.channels == 1 and picture.mode == "P":
        colours = np.asarray(picture.convert("RGB"))
        if (colours != colours[..., :1]).any():
            mend = "write greys, or declare three channels"
            raise DataError(
                where, f"{name} has colours, and the modality one channel", got="mode P", mend=mend
            )
        return colours[..., 0]
    return np.asarray(picture)
