"""A sheet of drawn digits, for people who would rather look than read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from digits import Image

ZOOM, GAP = 4, 2


def draw_sheet(rows: Sequence[Sequence[Image]], path: Path) -> None:
    """Write images as a PNG: one row of the sheet per row, dark ink on white.

    Args:
        rows: 8 x 8 images with ink from 0 to 16, as many in each row.
        path: where to write.
    """
    tiles = np.array([[np.pad(image, GAP) for image in row] for row in rows])
    height = tiles.shape[2]
    sheet = tiles.transpose(0, 2, 1, 3).reshape(len(rows) * height, -1)
    grey = (255 - sheet.astype(np.uint16) * 255 // 16).astype(np.uint8)
    size = (grey.shape[1] * ZOOM, grey.shape[0] * ZOOM)
    Pillow.fromarray(grey).resize(size, Pillow.Resampling.NEAREST).save(path)
