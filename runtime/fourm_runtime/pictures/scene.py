"""Where the items of a set lie: boxes, masks and points, drawn on a picture of the sample.

Every axis of a box or point field spans its declared range, from the left edge to the right one and from the
upper edge to the lower one: coordinates are shares of the picture, whatever unit they have. A mask fills the
box of its item, or the whole picture where the item has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.pictures.colours import Bytes, class_colours, hex_colour
from fourm_runtime.pictures.page import Png, Svg
from fourm_runtime.pictures.raster import png_of
from fourm_runtime.pictures.skeleton import bones_of
from fourm_runtime.pictures.svg import drawing, element, label
from fourm_schema.modality import Set
from fourm_schema.set_fields import BoxField, CategoryField, MaskField, PointField

MOST_NAMED = 8
"""Items whose names stand in the scene; of more, only the numbers, which lead to the table."""

SIDE_PX = 240
"""Longer side of the scene."""

TINT = 130
"""How much a mask hides of the picture, of 255."""

Item: TypeAlias = Mapping[str, object]
Corners: TypeAlias = tuple[float, float, float, float]


def has_scene(entry: Set) -> bool:
    """Whether items of a set lie anywhere."""
    return any(isinstance(field, BoxField | PointField | MaskField) for field in entry.fields.values())


def scene(entry: Set, items: Sequence[Item], name: str, backdrop: Png | None) -> Svg:
    """Draw where the items of a set lie.

    Args:
        entry: the set; it has boxes, points or masks.
        items: its records.
        name: the modality's.
        backdrop: the picture that they are drawn on; a frame where there is none.
    """
    shape = (backdrop.width, backdrop.height) if backdrop else (1, 1)
    width, height = (SIDE_PX * side / max(shape) for side in shape)
    parts = [element("rect", width=width, height=height, fill="none", stroke="currentColor", opacity=0.4)]
    if backdrop is not None:
        how = {"style": "image-rendering: pixelated"} if backdrop.pixelated else {}
        parts = [element("image", href=backdrop.url, width=width, height=height, **how)]
    looks = [_look(entry, number, item) for number, item in enumerate(items)]
    for item, (colour, _) in zip(items, looks, strict=True):
        for corners, mask in _masks(entry, item):
            parts.append(_tinted(_scaled(corners, width, height), mask, colour))
    bones = bones_of([name for name, field in entry.fields.items() if isinstance(field, PointField)])
    for number, (item, (colour, said)) in enumerate(zip(items, looks, strict=True)):
        shown = hex_colour(colour)
        words = f"{number + 1}{said}" if len(items) <= MOST_NAMED else str(number + 1)
        points = {name: _scaled(place, width, height) for name, place in _points(entry, item)}
        for one, other in bones:
            if one in points and other in points:
                parts += _bone(points[one], points[other], shown)
        for place in points.values():
            dot = element(
                "circle", cx=place[0], cy=place[1], r=2.5 if bones else 4, fill=shown, stroke="white"
            )
            parts.append(dot)
        boxes = [_scaled(corners, width, height) for _, corners in _boxes(entry, item)]
        for corners in boxes:
            parts += _outlined(corners, shown)
        spots = boxes or ([_upmost(list(points.values()))] if points else [])
        if not spots and len(items) > 1:
            spots = [_scaled(corners, width, height) for corners, _ in _masks(entry, item)]
        for corners in spots[:1]:
            parts.append(_named(corners, words, bool(boxes), (width, height)))
    count = f"{len(items)} {'record' if len(items) == 1 else 'records'}"
    return Svg(drawing(width, height, *parts), f"{name or 'set'}: where {count} lie", round(width))


def _look(entry: Set, number: int, item: Item) -> tuple[Bytes, str]:
    """Colour and name of an item: those of its first category, else a colour of its own."""
    for name, field in entry.fields.items():
        if isinstance(field, CategoryField):
            value = item.get(name)
            if value is None or str(value) not in field.names:
                continue
            return class_colours(field.names.index(str(value))), f" {value}"
    return class_colours(number), ""


def _scaled(corners: Corners, width: float, height: float) -> Corners:
    left, top, right, bottom = corners
    return left * width, top * height, right * width, bottom * height


def _outlined(corners: Corners, colour: str) -> Iterator[Element]:
    left, top, right, bottom = corners
    if left == right and top == bottom:
        yield element("circle", cx=left, cy=top, r=4, fill=colour, stroke="white")
        return
    for stroke, line in (("black", 3.5), (colour, 2)):
        yield element(
            "rect", x=left, y=top, width=right - left, height=bottom - top, fill="none", stroke=stroke,
            stroke_width=line,
        )  # fmt: skip


def _named(corners: Corners, said: str, is_box: bool, room: tuple[float, float]) -> Element:
    """Words beside the upper left corner of a box, or above a point; they stay in the picture."""
    left, top, *_ = corners
    x, y = (left + 4, top + 13) if is_box else (left, top - 6)
    # Six units a letter, about: what begins near the right edge ends at it.
    end = {} if x + 6 * len(said) <= room[0] else {"anchor": "end"}
    x = min(max(x, 2.0), room[0] - 2) if not end else room[0] - 2
    # The outline keeps the words readable on any picture.
    return label(
        x, min(max(y, 11.0), room[1] - 3), said, 12, **end, fill="white", stroke="black", stroke_width=3,
        paint_order="stroke",
    )  # fmt: skip


def _bone(one: Corners, other: Corners, colour: str) -> Iterator[Element]:
    for stroke, line in (("black", 4), (colour, 2.2)):
        yield element(
            "line", x1=one[0], y1=one[1], x2=other[0], y2=other[1], stroke=stroke, stroke_width=line,
            stroke_linecap="round",
        )  # fmt: skip


def _tinted(corners: Corners, mask: NDArray[np.bool_], colour: Bytes) -> Element:
    left, top, right, bottom = corners
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = (*colour.tolist(), TINT)
    picture = png_of(pixels, "")
    # Cells of a mask need not be square: they take the shape of its box.
    return element(
        "image", href=picture.url, x=left, y=top, width=max(right - left, 0.5), height=max(bottom - top, 0.5),
        preserveAspectRatio="none",
    )  # fmt: skip


def _upmost(places: Sequence[Corners]) -> Corners:
    return min(places, key=lambda place: place[1])


def _boxes(entry: Set, item: Item) -> Iterator[tuple[str, Corners]]:
    """Left, top, right and bottom of an item's boxes, as shares of the picture."""
    for name, field in entry.fields.items():
        if isinstance(field, BoxField) and (numbers := _numbers(item.get(name), 4)) is not None:
            low, high = field.range
            left, top, right, bottom = ((side - low) / (high - low) for side in field.corners(numbers))
            yield name, (left, top, right, bottom)


def _points(entry: Set, item: Item) -> Iterator[tuple[str, Corners]]:
    """Places of an item's points, as boxes without extent."""
    for name, field in entry.fields.items():
        if isinstance(field, PointField) and (numbers := _numbers(item.get(name), 2)) is not None:
            low, high = field.range
            x, y = ((number - low) / (high - low) for number in numbers)
            yield name, (x, y, x, y)


def _masks(entry: Set, item: Item) -> Iterator[tuple[Corners, NDArray[np.bool_]]]:
    """Masks of an item, and what each fills."""
    first = next((corners for _, corners in _boxes(entry, item)), (0.0, 0.0, 1.0, 1.0))
    for name, field in entry.fields.items():
        if isinstance(field, MaskField) and item.get(name) is not None:
            try:
                mask = np.asarray(item[name], np.float64) > 0
            except (TypeError, ValueError):
                continue
            if mask.ndim == 2 and mask.size:
                yield first, mask


def _numbers(value: object, count: int) -> list[float] | None:
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != count:
        return None
    numbers = [float(number) for number in value]
    return numbers if np.isfinite(numbers).all() else None
