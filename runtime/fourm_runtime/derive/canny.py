"""Edges (Canny 1986) of a picture, by scikit-image."""

import numpy as np
from skimage.feature import canny as edges_of

from fourm_runtime.derive.pictures import grey, picture_reader, resized
from fourm_runtime.derive.registry import Compute
from fourm_schema.errors import DataError
from fourm_schema.modality import Continuous, Image, Modality

SIGMA = 1.0
"""Width of the blur before gradients are taken, in cells; scikit-image's default."""


def canny(source: Modality, target: Modality) -> Compute:
    """Edges: the top of the target's range on an edge, its bottom elsewhere.

    Raises:
        DataError: if the source is no image of numbers, or the target no image of one.
    """
    read = picture_reader(source, "canny")
    if not isinstance(target, Image) or not isinstance(target.cell, Continuous) or target.channels != 1:
        raise DataError("derive by canny", "gives an image of one number a cell", got=f"a {target.kind}")
    size, (low, high) = target.size, target.cell.range

    def compute(value: object) -> object:
        brightness = grey(resized(read(value), size))
        edges = edges_of(brightness, sigma=SIGMA)  # type: ignore[no-untyped-call]  # scikit-image types little
        return np.where(edges, high, low).astype(np.float32)

    return compute
