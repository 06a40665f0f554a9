"""A picture at another size, e.g. the small one that super-resolution starts from."""

import numpy as np

from fourm_runtime.derive.pictures import picture_reader, resized
from fourm_runtime.derive.registry import Compute
from fourm_schema.errors import DataError
from fourm_schema.modality import Continuous, Image, Modality


def resize(source: Modality, target: Modality) -> Compute:
    """The source at the target's size, in its range and on its levels.

    Raises:
        DataError: if one of the two is no image of numbers, or they have not as many channels.
    """
    read = picture_reader(source, "resize")
    if not isinstance(target, Image) or not isinstance(target.cell, Continuous):
        raise DataError("derive by resize", "gives an image of numbers", got=f"a {target.kind}")
    if isinstance(source, Image) and source.channels != target.channels:
        got = f"{source.channels} and {target.channels}"
        raise DataError("derive by resize", "keeps the number of channels", got=got)
    size, levels, (low, high) = target.size, target.cell.levels, target.cell.range

    def compute(value: object) -> object:
        shares = resized(read(value), size)
        if levels is not None:
            shares = np.rint(shares * (levels - 1)) / (levels - 1)
        picture = (low + shares * (high - low)).astype(np.float32)
        return picture if picture.shape[-1] > 1 else picture[..., 0]

    return compute
