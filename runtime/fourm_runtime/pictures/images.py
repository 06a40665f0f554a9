"""Images of a schema, drawn by what their cells hold.

    continuous, 1 channel     grey; with a unit it is a quantity, and has the colours of the ramp
    continuous, 3 channels    red, green, blue
    continuous, others        two: red and blue; more: first three principal components
    direction                 x, y, z of the unit vector as red, green, blue
    categorical               a colour for each class
    features                  first three principal components

Shapes: H rows, W columns, K channels.
"""

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.values import read_stack, show
from fourm_runtime.pictures.colours import NEUTRAL, Bytes, class_colours, hex_colour, ramp
from fourm_runtime.pictures.page import Block, Figure, Legend, Png, Stack
from fourm_runtime.pictures.raster import Float64, png_of, principal, shares, to_bytes
from fourm_schema.errors import CodecError
from fourm_schema.modality import Categorical, Continuous, Direction, Image

MOST_CLASSES = 12
"""Classes that a legend names; the others are counted."""


_AXES = [("to the side (x)", "#ff8080"), ("up or down (y)", "#80ff80"), ("towards you (z)", "#8080ff")]
"""What a unit vector along each axis looks like."""


def draw_image(entry: Image, value: object, name: str) -> Block:
    """An image with what one needs to read it: the names of its classes, the scale of its quantity.

    Raises:
        CodecError: if the value is no image of the entry's shape and classes.
    """
    picture = picture_of(entry, value, name)
    cell = entry.cell
    if isinstance(cell, Categorical):
        return Stack([Figure(picture), _legend(cell, _classes(cell, value, entry, name))])
    if isinstance(cell, Continuous) and cell.unit and entry.channels == 1:
        low, high = (show(end) for end in cell.range)
        scale = png_of(np.repeat(ramp()[None, ::4], 4, axis=0), "colours of the scale", least_side=1)
        return Stack([Figure(picture), Figure(scale, f"{low} to {high} {cell.unit}")])
    if isinstance(cell, Direction):
        return Stack([Figure(picture), Legend(_AXES)])
    if _takes_components(entry):
        return Figure(picture, f"three principal components of {entry.channels} channels")
    return Figure(picture)


def picture_of(entry: Image, value: object, name: str = "") -> Png:
    """The picture of an image modality alone, e.g. for a gallery or to draw boxes on.

    Args:
        entry: what the schema says of it.
        value: an array, a PIL picture or nested lists.
        name: the modality's; errors and the picture's description name it.

    Raises:
        CodecError: if the value is no image of the entry's shape and classes.
    """
    cell = entry.cell
    size = f"{entry.height} by {entry.width} cells"
    alt = f"{name}: {cell.type} image of {size}" if name else f"{cell.type} image of {size}"
    if isinstance(cell, Categorical):
        return png_of(_class_pixels(cell, _classes(cell, value, entry, name)), alt, smooth=False)
    cells_HWK = _numbers(entry, value, name)
    if isinstance(cell, Direction):
        return png_of(to_bytes(shares(cells_HWK, -1.0, 1.0)), alt)
    if _takes_components(entry) or not isinstance(cell, Continuous):
        return png_of(to_bytes(principal(cells_HWK)), alt)
    share_HWK = shares(cells_HWK, *cell.range)
    if entry.channels == 1:
        grey = to_bytes(share_HWK[..., 0])
        return png_of(ramp()[grey] if cell.unit else grey, alt)
    if entry.channels == 2:
        share_HWK = np.stack([share_HWK[..., 0], np.zeros(entry.size), share_HWK[..., 1]], axis=-1)
    return png_of(to_bytes(share_HWK), alt)


def _takes_components(entry: Image) -> bool:
    return entry.channels > 3 or (not isinstance(entry.cell, Continuous | Direction) and entry.channels != 1)


def _numbers(entry: Image, value: object, name: str) -> Float64:
    """(H, W, K), infinite numbers moved to the ends of what a float holds."""
    stack: Float64 = read_stack([value], name or "image", (*entry.size, entry.channels))
    cells_HWK: Float64 = np.nan_to_num(stack[0])
    return cells_HWK


def _classes(cell: Categorical, value: object, entry: Image, name: str) -> NDArray[np.int64]:
    """(H, W) class numbers.

    Raises:
        CodecError: if one is no class.
    """
    numbers = _numbers(entry, value, name)[..., 0]
    wrong = (numbers < 0) | (numbers >= cell.class_count) | (numbers != np.round(numbers))
    if wrong.any():
        place = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise CodecError(
            f"{name or 'image'} at {list(place)}",
            f"classes are whole numbers in [0, {cell.class_count - 1}]",
            got=show(float(numbers[place])),
        )
    return numbers.astype(np.int64)


def _ignored(cell: Categorical) -> int | None:
    if isinstance(cell.ignore, str):
        return cell.class_names.index(cell.ignore)
    return cell.ignore


def _class_pixels(cell: Categorical, classes: NDArray[np.int64]) -> Bytes:
    pixels = class_colours(classes)
    pixels[classes == _ignored(cell)] = NEUTRAL
    return pixels


def _legend(cell: Categorical, classes: NDArray[np.int64]) -> Legend:
    """The classes that occur, the commonest first."""
    found, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    names = cell.class_names
    colours = _class_pixels(cell, found)
    entries = [
        (f"{names[found[k]]} {_percent(float(counts[k]) / classes.size)}", hex_colour(colours[k]))
        for k in order.tolist()
    ]
    if len(found) > MOST_CLASSES:
        entries.append((f"{len(found) - MOST_CLASSES} more", "transparent"))
    return Legend(entries)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "<1%"
