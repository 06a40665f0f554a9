"""What the cells of some images hold, seen one image at a time, from picture files or from arrays.

Shapes: h rows, w columns, c channels of one image.
"""

import warnings
from collections import Counter
from pathlib import Path

import attrs
import numpy as np
from PIL import Image as Pictures
from PIL import ImageOps

from fourm_runtime.scan.arrays import Array, first_line
from fourm_schema.errors import DataError

MOST_CELLS = 20_000_000
"""Numbers of one modality that are read; of further images only the size is looked at."""

MOST_VALUES = 4096
_THINNED = 256
_TURNED = (5, 6, 7, 8)
_SINGLE = ("1", "L", "P", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_LOSSY = ("JPEG", "MPO", "WEBP")


@attrs.define
class Cells:
    """What was seen of the images of one modality.

    Attributes:
        sizes: (h, w) -> images.
        channels: channels -> images.
        images: of which the cells were read.
        low, high: of all numbers.
        is_whole, is_byte: all numbers are whole; all images are of 8 bits.
        is_exact: no image was stored with loss.
        palettes: images whose cells number colours of a palette.
        first: arrays with their channels first.
        holes: images with NaN or infinity.
        distinct: most different values, or colours, in one image.
        values: the different values of one-channel images; None if they are too many, or not whole.
        alike: sum over images of the share of cells that equal their right neighbour.
        units: images whose cells are three numbers of length one.
        left: cells that may still be read.
    """

    sizes: Counter[tuple[int, int]] = attrs.field(factory=Counter)
    channels: Counter[int] = attrs.field(factory=Counter)
    images: int = 0
    low: float = np.inf
    high: float = -np.inf
    is_whole: bool = True
    is_byte: bool = True
    is_exact: bool = True
    palettes: int = 0
    first: int = 0
    holes: int = 0
    distinct: int = 0
    values: set[float] | None = attrs.field(factory=set)
    alike: float = 0.0
    units: int = 0
    left: int = MOST_CELLS

    def add_file(self, file: Path) -> None:
        """Look at a picture as `fourm data import` would read it.

        Raises:
            DataError: if it cannot be read.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Pictures.open(file) as picture:
                    is_single, height, width = picture.mode in _SINGLE, picture.height, picture.width
                    if picture.getexif().get(0x0112) in _TURNED:
                        height, width = width, height
                    is_palette, is_lossy = picture.mode == "P", picture.format in _LOSSY
                    array = None
                    if self.left > 0:
                        upright = ImageOps.exif_transpose(picture)
                        array = np.asarray(upright if is_single else upright.convert("RGB"))
        # Decoders of strange files raise whatever they stumble over.
        except Exception as error:
            what = first_line(error).replace(str(file), file.name)
            raise DataError(file.name, f"is no picture that can be read: {what}") from None
        self.palettes += is_palette
        self.is_exact &= not is_lossy
        if array is None:
            self.sizes[height, width] += 1
            self.channels[1 if is_single else 3] += 1
        else:
            self.add(array)

    def add(self, array: Array) -> None:
        """Look at an image of numbers, (h, w) or (h, w, c); channels that stand first are put last.

        Raises:
            DataError: if it has no cells, or another number of axes.
        """
        if array.ndim not in (2, 3) or not array.size:
            raise DataError("an array", f"of shape {'x'.join(map(str, array.shape))} is no image")
        if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] > 4 and array.shape[1] > 4:
            array = np.moveaxis(array, 0, 2)
            self.first += 1
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        channels = array.shape[2] if array.ndim == 3 else 1
        self.sizes[array.shape[0], array.shape[1]] += 1
        self.channels[channels] += 1
        if self.left > 0:
            self.left -= array.size
            self.images += 1
            with np.errstate(over="ignore", invalid="ignore"):
                self._look(np.asarray(array), channels)

    def _look(self, array: Array, channels: int) -> None:
        numbers = array.reshape(-1)
        self.is_byte &= array.dtype == np.uint8
        if array.dtype.kind == "f":
            numbers = numbers[np.isfinite(numbers)]
            self.holes += len(numbers) < array.size
            self.is_whole &= bool((numbers == np.trunc(numbers.astype(np.float64))).all())
        if len(numbers):
            self.low = min(self.low, float(numbers.min()))
            self.high = max(self.high, float(numbers.max()))
        if channels == 1 and self.is_whole:
            found = np.unique(numbers).tolist()
            self.distinct = max(self.distinct, len(found))
            if self.values is not None:
                self.values.update(map(float, found))
            along = 1 if array.shape[1] > 1 else 0
            pairs = np.diff(array.astype(np.float32), axis=along) == 0
            self.alike += float(pairs.mean()) if pairs.size else 0.0
        if not self.is_whole or (self.values is not None and len(self.values) > MOST_VALUES):
            self.values = None
        if channels == 3 and self.is_exact:
            thin = array[:: max(1, array.shape[0] // _THINNED), :: max(1, array.shape[1] // _THINNED)]
            colours = thin.reshape(-1, 3).astype(np.float64)
            self.units += float((np.abs(np.linalg.norm(colours, axis=1) - 1) < 0.02).mean()) > 0.95
            self.distinct = max(self.distinct, len(np.unique(colours @ np.array([1, 256, 65_536]))))
