"""Numbers that describe a picture, as fields of a record.

Source: the image statistics of 4M-21 (Bachmann et al. 2024, appendix on metadata), in its ranges.
"""

from collections.abc import Callable

import numpy as np

from fourm_runtime.derive.pictures import Floats, colours_reader, grey
from fourm_runtime.derive.registry import Compute
from fourm_schema.errors import DataError
from fourm_schema.modality import Modality, Set


def _brightness(picture_HW3: Floats, grey_HW: Floats) -> float:
    """Mean of the grey levels, 0 to 255."""
    return float(grey_HW.mean()) * 255


def _contrast(picture_HW3: Floats, grey_HW: Floats) -> float:
    """Standard deviation of the grey levels, 0 to 127.5."""
    return float(grey_HW.std()) * 255


def _saturation(picture_HW3: Floats, grey_HW: Floats) -> float:
    """Mean saturation of the cells in HSV, 0 to 255: how much of the largest channel the smallest lacks."""
    red, green, blue = np.moveaxis(picture_HW3, -1, 0)
    most = np.maximum(np.maximum(red, green), blue)
    lacking = most - np.minimum(np.minimum(red, green), blue)
    # Black has none.
    return float((lacking / np.where(most > 0, most, 1)).mean()) * 255


def _entropy(picture_HW3: Floats, grey_HW: Floats) -> float:
    """Shannon entropy of the 256 grey levels, in bits."""
    counts = np.bincount(np.rint(grey_HW * 255).astype(np.uint8).reshape(-1))
    shares = counts[counts > 0] / grey_HW.size
    return float(-(shares * np.log2(shares)).sum())


def _colorfulness(picture_HW3: Floats, grey_HW: Floats) -> float:
    """Hasler and Suesstrunk 2003, equation M3: spread and mean of the opponent colours, levels 0 to 255."""
    red, green, blue = np.moveaxis(picture_HW3 * 255, -1, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


MEASURES: dict[str, Callable[[Floats, Floats], float]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "entropy": _entropy,
    "colorfulness": _colorfulness,
}


def metadata(source: Modality, target: Modality) -> Compute:
    """A record of those fields of the target that can be measured on a picture; all others must be optional.

    Raises:
        DataError: if the source is no image with three channels, the target no set, or none of its fields can
            be measured, or one that cannot has to be there.
    """
    read = colours_reader(source, "metadata")
    if not isinstance(target, Set):
        raise DataError("derive by metadata", "gives records", got=f"a {target.kind}")
    measured = [name for name in target.fields if name in MEASURES]
    needed = [name for name, field in target.fields.items() if name not in MEASURES and not field.optional]
    if needed or not measured:
        raise DataError(
            "derive by metadata",
            f"measures {', '.join(MEASURES)}",
            got=f"{', '.join(needed or target.fields)} to be measured",
            mend="declare other fields with optional: true",
        )

    def compute(value: object) -> object:
        picture = read(value)
        brightness = grey(picture)
        return [{name: MEASURES[name](picture, brightness) for name in measured}]

    return compute
