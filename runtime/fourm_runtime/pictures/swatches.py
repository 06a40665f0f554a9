"""Sets of colours, as patches of these colours."""

from collections.abc import Mapping, Sequence

import numpy as np

from fourm_runtime.pictures.colours import hex_colour
from fourm_runtime.pictures.page import Svg
from fourm_runtime.pictures.svg import drawing, element
from fourm_schema.modality import Set
from fourm_schema.set_fields import NumberField, VectorField

WIDTH, HEIGHT = 240.0, 40.0

_NAMES = {"color", "colour", "rgb"}
_CHANNELS = (("red", "green", "blue"), ("r", "g", "b"))


def colours_of(entry: Set, items: Sequence[Mapping[str, object]]) -> list[str]:
    """The colours that items are; none where the set is no palette.

    A palette has a field of three numbers that is called a colour, or one each for red, green and blue.
    """
    for name, field in entry.fields.items():
        if isinstance(field, VectorField) and field.dim == 3 and name in _NAMES:
            return _colours([item.get(name) for item in items], field.range)
    for names in _CHANNELS:
        fields = [entry.fields.get(name) for name in names]
        ends = {field.range for field in fields if isinstance(field, NumberField) and field.range}
        if None not in fields and len(ends) == 1:
            return _colours([[item.get(name) for name in names] for item in items], ends.pop())
    return []


def draw_swatches(colours: Sequence[str], name: str) -> Svg:
    """Patches side by side."""
    wide = WIDTH / len(colours)
    patches = [
        element("rect", x=number * wide, y=0, width=wide, height=HEIGHT, fill=colour)
        for number, colour in enumerate(colours)
    ]
    return Svg(drawing(WIDTH, HEIGHT, *patches), f"{name or 'palette'}: {', '.join(colours)}", int(WIDTH))


def _colours(values: Sequence[object], ends: tuple[float, float]) -> list[str]:
    found = []
    for value in values:
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            return []
        if numbers.shape != (3,) or not np.isfinite(numbers).all():
            return []
        share = np.clip((numbers - ends[0]) / (ends[1] - ends[0]), 0, 1)
        found.append(hex_colour(np.rint(255 * share).astype(np.uint8)))
    return found
