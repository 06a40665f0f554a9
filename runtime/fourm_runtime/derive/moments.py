"""Where the brightness of a picture lies: its centre, how far it spreads, and to which side it has a tail.

Shapes: L cells along an axis.
"""

import numpy as np

from fourm_runtime.derive.pictures import Floats, grey, picture_reader
from fourm_runtime.derive.registry import Compute
from fourm_schema.errors import DataError
from fourm_schema.modality import Modality, Vector

NUMBERS = 6


def moments(source: Modality, target: Modality) -> Compute:
    """centre_row, centre_column, spread_row, spread_column (cells), skew_row, skew_column.

    The spread is the standard deviation of the mass, the skew its third central moment over the cube of that;
    both 0 where there is no spread. A picture without any brightness has none: its value is absent.

    Raises:
        DataError: if the source is no image of numbers, or the target no vector of six.
    """
    read = picture_reader(source, "moments")
    if not isinstance(target, Vector) or target.dim != NUMBERS:
        got = f"dim {target.dim}" if isinstance(target, Vector) else f"a {target.kind}"
        raise DataError("derive by moments", f"gives a vector of {NUMBERS} numbers", got=got)

    def compute(value: object) -> object:
        brightness = grey(read(value))
        total = brightness.sum()
        if not total > 0:
            return None
        along = [_along(brightness.sum(axis=axis) / total) for axis in (1, 0)]
        return np.array([*zip(*along, strict=True)], np.float64).reshape(-1)

    return compute


def _along(share_L: Floats) -> tuple[float, float, float]:
    cells = np.arange(len(share_L))
    centre = float(share_L @ cells)
    spread = float(share_L @ (cells - centre) ** 2) ** 0.5
    third = float(share_L @ (cells - centre) ** 3)
    return centre, spread, third / spread**3 if spread > 0 else 0.0
