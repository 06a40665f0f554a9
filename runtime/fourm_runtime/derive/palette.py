"""The main colours of a picture, those that cover most first."""

import numpy as np
from PIL import Image as Picture

from fourm_runtime.derive.pictures import colours_reader
from fourm_runtime.derive.registry import Compute
from fourm_schema.errors import DataError
from fourm_schema.modality import Modality, Set
from fourm_schema.set_fields import AnyField, VectorField

MANY_COLOURS = 4096
COARSE = 0xF8
"""Median cut slows down with the number of colours: of more than so many, only the upper five bits of each
channel say which colours belong together, which takes a twentieth of the time and finds palettes as good."""


def palette(source: Modality, target: Modality) -> Compute:
    """As many colours as the set may hold, fewer where the picture has fewer.

    Median cut (Heckbert 1982) tells which cells belong together; a colour is the mean of its cells.

    Raises:
        DataError: if the source is no image with three channels, or the records are not one vector of three.
    """
    read = colours_reader(source, "palette")
    fields = list(target.fields.items()) if isinstance(target, Set) else []
    if len(fields) != 1 or not isinstance(fields[0][1], VectorField) or fields[0][1].dim != 3:
        got = ", ".join(f"{name}: {_shown(field)}" for name, field in fields) or f"a {target.kind}"
        raise DataError("derive by palette", "gives records of one vector of three numbers", got=got)
    assert isinstance(target, Set), "only sets have fields"
    (name, field), most = fields[0], min(target.max_items, 256)
    assert isinstance(field, VectorField), "checked above"
    low, high = field.range

    def compute(value: object) -> object:
        levels = np.rint(read(value) * 255).astype(np.uint8)
        picture = Picture.fromarray(levels)
        if picture.getcolors(MANY_COLOURS) is None:
            picture = Picture.fromarray(levels & COARSE)
        places = np.asarray(picture.quantize(most, method=Picture.Quantize.MEDIANCUT)).reshape(-1)
        covered = np.bincount(places)
        main = [int(place) for place in np.argsort(-covered, kind="stable") if covered[place]]
        channels = levels.reshape(-1, 3).T
        sums = np.stack([np.bincount(places, weights=channel) for channel in channels], axis=-1)
        return [{name: (low + sums[place] / covered[place] / 255 * (high - low)).tolist()} for place in main]

    return compute


def _shown(field: AnyField) -> str:
    return f"vector of {field.dim}" if isinstance(field, VectorField) else field.type
