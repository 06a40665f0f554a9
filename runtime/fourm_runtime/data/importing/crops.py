"""Cutting a window out of a sample: every modality follows the picture as its type says.

| value | in a window |
|---|---|
| image of numbers, features | the window at the size of the entry, bilinear, on its levels |
| image of directions | the same, and made unit vectors again |
| class map | the window at the size of the entry, the nearest cell's class |
| box | in shares of the window, cut where it leaves it; its record goes where nothing of it is left |
| point | in shares of the window; outside it is none, and the record goes if the field may not be missing |
| mask | cut as its box was (as the window, in a set without boxes); its record goes if none is left |
| anything else: vectors, texts, other fields | as it is |

Then it may be mirrored, as `fourm_codecs.mirror` says. Windows are in shares of the picture, so modalities of
other resolutions line up.

Shapes: H rows, W columns, C channels.
"""

from collections.abc import Mapping
from typing import cast

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from fourm_codecs.mirror import mirrored
from fourm_codecs.set_values import numbers_of
from fourm_schema.errors import CodecError, DataError
from fourm_schema.modality import Categorical, Continuous, Direction, Image, Modality, Set
from fourm_schema.schema import Schema
from fourm_schema.set_fields import BoxField, MaskField, PointField

Array = NDArray[np.generic]
Corners = tuple[float, float, float, float]


@attrs.frozen
class Window:
    """A part of a picture, in shares of its width and height.

    Attributes:
        x0: left side.
        y0: upper side.
        x1: right side.
        y1: lower side.
    """

    x0: float = 0.0
    y0: float = 0.0
    x1: float = 1.0
    y1: float = 1.0

    def __attrs_post_init__(self) -> None:
        assert 0 <= self.x0 < self.x1 <= 1 and 0 <= self.y0 < self.y1 <= 1, "a window lies in its picture"

    @property
    def is_whole(self) -> bool:
        """Whether it is the picture."""
        return (self.x0, self.y0, self.x1, self.y1) == (0.0, 0.0, 1.0, 1.0)

    def within(self, outer: "Window") -> "Window":
        """This window of that window, as a window of the picture.

        >>> Window(0.5, 0, 1, 1).within(Window(0, 0, 0.5, 0.5))
        Window(x0=0.25, y0=0.0, x1=0.5, y1=0.5)
        """
        width, height = outer.x1 - outer.x0, outer.y1 - outer.y0
        return Window(
            outer.x0 + self.x0 * width,
            outer.y0 + self.y0 * height,
            min(outer.x0 + self.x1 * width, outer.x1),
            min(outer.y0 + self.y1 * height, outer.y1),
        )


def crop(
    sample: Mapping[str, object], schema: Schema, window: Window, flip: bool = False, where: str = "sample"
) -> dict[str, object]:
    """Cut a window out of every modality of a sample; what was given is left as it is.

    Args:
        sample: modality -> value, images of any size; keys that are no modality stay.
        schema: what they are.
        window: which part.
        flip: mirror it left and right afterwards.
        where: the sample, for messages.

    Returns:
        the same keys, images at the size of their entries.

    Raises:
        DataError: if a value is not of the form that its modality has, or is given as token ids.

    >>> from fourm_schema.load import parse_schema
    >>> schema = parse_schema("{version: 1, modalities: {a: {kind: image, size: 2, patch: 1, "
    ...                       "cell: {type: categorical, classes: 9}}}}")
    >>> crop({"a": [[1, 2], [3, 4]]}, schema, Window(0, 0, 0.5, 1))["a"].tolist()
    [[1, 1], [3, 3]]
    """
    result = dict(sample)
    for name, value in sample.items():
        entry = schema.modalities.get(name)
        if entry is None or value is None or not isinstance(entry, Image | Set):
            continue
        place = f"{where}, {name}"
        try:
            cut = _cut(entry, value, window, flip, place)
            result[name] = mirrored(entry, cut, place) if flip else cut
        except CodecError as error:
            fault = error.faults[0]
            raise DataError(fault.where, fault.what, fault.got, fault.mend) from None
    return result


def picture_size(sample: Mapping[str, object], schema: Schema) -> tuple[int, int] | None:
    """Rows and columns of a sample's largest image; None if it has none."""
    sizes = [
        np.asarray(value).shape[:2]
        for name, value in sample.items()
        if value is not None
        and isinstance(entry := schema.modalities.get(name), Image)
        and entry.codec != "ids"
    ]
    whole = [(int(size[0]), int(size[1])) for size in sizes if len(size) == 2 and min(size) > 0]
    return max(whole, key=lambda size: size[0] * size[1]) if whole else None


def _cut(entry: Modality, value: object, window: Window, flip: bool, where: str) -> object:
    if isinstance(entry, Image):
        if entry.codec == "ids":
            if window.is_whole and not flip:
                return value
            raise DataError(where, "is given as token ids, which cannot be cropped or mirrored")
        return _image(entry, value, window, where)
    assert isinstance(entry, Set), "others are as they are"
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(record, Mapping) for record in value):
        raise DataError(where, "a set is a list of records {field: value}", got=type(value).__name__)
    if window.is_whole:
        return [dict(record) for record in value]
    cut = [_record(entry, record, window, f"{where}[{number}]") for number, record in enumerate(value)]
    return [record for record in cut if record is not None]


def _image(entry: Image, value: object, window: Window, where: str) -> Array:
    try:
        image = np.asarray(value)
    except ValueError:
        raise DataError(where, "an image is rows of numbers", got="lists of unequal lengths") from None
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    wanted = 2 if entry.channels == 1 else 3
    if image.dtype.kind not in "biuf" or image.ndim != wanted or not image.size:
        got = f"{'x'.join(map(str, image.shape)) or 'a single value'} of {image.dtype}"
        raise DataError(where, f"an image has {wanted} axes of numbers", got=got)
    if image.shape[2:] not in ((), (entry.channels,)):
        raise DataError(where, f"an image has {entry.channels} channels", got=str(image.shape[2]))
    rows, columns = image.shape[:2]
    box = (window.x0 * columns, window.y0 * rows, window.x1 * columns, window.y1 * rows)
    if image.shape[:2] == entry.size and window.is_whole:
        return image
    if isinstance(entry.cell, Categorical):
        return _nearest(image, box, entry.size)
    if image.dtype == np.uint8 and image.shape[2:] in ((), (3,)):
        return _bilinear(image, box, entry.size)
    found = np.stack(
        [_bilinear(channel, box, entry.size) for channel in np.moveaxis(np.atleast_3d(image), -1, 0)], axis=-1
    )
    if isinstance(entry.cell, Direction):
        length = np.linalg.norm(found, axis=-1, keepdims=True)
        found = np.divide(found, length, out=found, where=length > 0)
    return _on_levels(entry, found if entry.channels > 1 else found[..., 0])


def _bilinear(image: Array, box: Corners, size: tuple[int, int]) -> Array:
    whole = image if image.dtype == np.uint8 else image.astype(np.float32)
    drawn = Pictures.fromarray(whole).resize((size[1], size[0]), Pictures.Resampling.BILINEAR, box=box)
    return np.asarray(drawn)


def _nearest(image: Array, box: Corners, size: tuple[int, int]) -> Array:
    """The cell in which the centre of each new one lies."""
    places = []
    for count, first, last, most in (
        (size[0], box[1], box[3], image.shape[0]),
        (size[1], box[0], box[2], image.shape[1]),
    ):
        centres = first + (np.arange(count) + 0.5) * (last - first) / count
        places.append(np.clip(np.floor(centres).astype(np.int64), 0, most - 1))
    return image[np.ix_(*places)]


def _on_levels(entry: Image, image: Array) -> Array:
    cell = entry.cell
    if not isinstance(cell, Continuous) or cell.levels is None:
        return image
    low, high = cell.range
    step = (high - low) / (cell.levels - 1)
    return low + np.round((image.astype(np.float64) - low) / step) * step


def _record(entry: Set, record: Mapping[str, object], window: Window, where: str) -> dict[str, object] | None:
    """The record in the window; None if nothing of it lies there."""
    kept = dict(record)
    boxes: list[Window] = []
    for name, field in entry.fields.items():
        value = record.get(name)
        if value is None:
            continue
        place = f"{where}.{name}"
        if isinstance(field, BoxField):
            low, high = field.range
            numbers = field.corners(numbers_of(value, 4, place))
            before = cast("Corners", tuple((number - low) / (high - low) for number in numbers))
            after = _cut_box(before, window)
            if after is None:
                return None
            boxes.append(_share(before, after, window))
            kept[name] = field.of_corners([low + number * (high - low) for number in after])
        elif isinstance(field, PointField):
            low, high = field.range
            x, y = ((number - low) / (high - low) for number in numbers_of(value, 2, place))
            if not (window.x0 <= x <= window.x1 and window.y0 <= y <= window.y1):
                if not field.optional:
                    return None
                del kept[name]
                continue
            inside = (x - window.x0) / (window.x1 - window.x0), (y - window.y0) / (window.y1 - window.y0)
            kept[name] = [low + min(max(share, 0.0), 1.0) * (high - low) for share in inside]
    for name, field in entry.fields.items():
        if isinstance(field, MaskField) and record.get(name) is not None:
            mask = _mask(field, record[name], boxes[0] if boxes else window, f"{where}.{name}")
            if not mask.any():
                return None
            kept[name] = mask.tolist()
    return kept


def _cut_box(box: Corners, window: Window) -> Corners | None:
    """A box in shares of the picture, in shares of the window; None if none of its area is there."""
    width, height = window.x1 - window.x0, window.y1 - window.y0
    x0, x1 = (min(max((x - window.x0) / width, 0.0), 1.0) for x in (box[0], box[2]))
    y0, y1 = (min(max((y - window.y0) / height, 0.0), 1.0) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _share(before: Corners, after: Corners, window: Window) -> Window:
    """Which part of the box that was is the box that is."""
    width, height = before[2] - before[0], before[3] - before[1]
    sides = [
        (window.x0 + after[0] * (window.x1 - window.x0) - before[0]) / width,
        (window.y0 + after[1] * (window.y1 - window.y0) - before[1]) / height,
        (window.x0 + after[2] * (window.x1 - window.x0) - before[0]) / width,
        (window.y0 + after[3] * (window.y1 - window.y0) - before[1]) / height,
    ]
    # Rounding must neither move a box that was not cut, nor leave the mask.
    x0, y0, x1, y1 = (min(max(round(side, 9), 0.0), 1.0) for side in sides)
    return Window(min(x0, 1 - 1e-9), min(y0, 1 - 1e-9), max(x1, 1e-9), max(y1, 1e-9))


def _mask(field: MaskField, value: object, part: Window, where: str) -> NDArray[np.uint8]:
    mask = np.asarray(value)
    if mask.shape != (field.size, field.size) or mask.dtype.kind not in "biuf":
        got = "x".join(map(str, mask.shape)) or "a single value"
        raise DataError(where, f"is a mask of {field.size}x{field.size} cells", got=got)
    if part.is_whole:
        return (mask > 0).astype(np.uint8)
    box = tuple(side * field.size for side in (part.x0, part.y0, part.x1, part.y1))
    found = _bilinear((mask > 0).astype(np.float32), cast("Corners", box), (field.size, field.size))
    return np.where(found.astype(np.float32) >= 0.5, 1, 0).astype(np.uint8)
