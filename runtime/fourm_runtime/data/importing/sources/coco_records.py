"""An annotation of COCO as a record of a set: each field takes what its type says.

| field | takes |
|---|---|
| box | `bbox`, in the range and convention of the field |
| category, text | the name of the category |
| mask | `segmentation`, cut out along the box (or the whole picture, where the set has no box) |
| point | the keypoint of the field's name; none where it was not labelled |
| number | the key of the field's name, e.g. `area`, `score` |
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from fourm_runtime.data.importing.sources.coco_masks import Box, small_mask
from fourm_schema.errors import DataError
from fourm_schema.modality import Set
from fourm_schema.set_fields import (
    AnyField,
    BoxField,
    CategoryField,
    MaskField,
    NumberField,
    PointField,
    TextField,
)


@attrs.frozen
class Category:
    """A class of objects.

    Attributes:
        name: what it is called.
        place: its place among all, in the order of their numbers.
        keypoints: names of its points.
    """

    name: str
    place: int
    keypoints: tuple[str, ...] = ()


def wants_points(entry: Set) -> bool:
    """Whether a set is one of keypoints."""
    return any(isinstance(field, PointField) for field in entry.fields.values())


def declares(entry: Set, category: Category) -> bool:
    """Whether all fields of a set that are categories have this one."""
    return all(
        isinstance(field.classes, int) or category.name in field.names
        for field in entry.fields.values()
        if isinstance(field, CategoryField)
    )


def lacked_classes(
    entry: Set, categories: Mapping[int, Category], counts: Mapping[tuple[int, bool], int]
) -> Counter[str]:
    """Names of the classes that a set does not declare -> objects of them, crowds not among these.

    Args:
        entry: the declared set.
        categories: by number.
        counts: (number of the category, whether it is a crowd) -> annotations.
    """
    lacked = {number: c.name for number, c in categories.items() if not declares(entry, c)}
    found = Counter[str]()
    for (number, crowd), count in sorted(counts.items()):
        if not crowd and number in lacked:
            found[lacked[number]] += count
    return found


def record_of_annotation(
    entry: Set,
    annotation: Mapping[str, object],
    category: Category,
    picture: tuple[int, int],
    where: str,
) -> dict[str, object]:
    """Make a record of an annotation.

    Args:
        entry: the declared set.
        annotation: as COCO writes it, in pixels.
        category: its class.
        picture: (height, width).
        where: the annotation, for messages.

    Raises:
        DataError: if it lacks what a field needs, or that is damaged.
    """
    boxed = any(isinstance(field, BoxField) for field in entry.fields.values())
    corners = _corners(annotation, picture, where)
    whole = (0.0, 0.0, float(picture[1]), float(picture[0]))
    record: dict[str, object] = {}
    for name, field in entry.fields.items():
        match field:
            case BoxField():
                record[name] = field.of_corners(
                    [_scaled(v, field, picture, i) for i, v in enumerate(corners)]
                )
            case CategoryField():
                record[name] = category.place if isinstance(field.classes, int) else category.name
            case TextField():
                record[name] = category.name
            case MaskField():
                shape = annotation.get("segmentation")
                cut = small_mask(shape, corners if boxed else whole, picture, field.size, where)
                record[name] = cut.tolist()
            case PointField():
                record[name] = _point(name, field, annotation, category, picture)
            case NumberField():
                record[name] = annotation.get(name)
            case _:
                if not field.optional:
                    raise DataError(f"{where}, {name}", f"COCO has nothing for a field of type {field.type}")
    return {name: value for name, value in record.items() if value is not None}


def _corners(annotation: Mapping[str, object], picture: tuple[int, int], where: str) -> Box:
    """The box, as far as it lies in the picture."""
    box = annotation.get("bbox")
    if not isinstance(box, Sequence) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        raise DataError(where, "an annotation has a bbox [x, y, width, height]", got=str(box)[:60])
    x, y, w, h = (float(v) for v in box)
    x0, x1 = (min(max(v, 0.0), float(picture[1])) for v in (x, x + w))
    y0, y1 = (min(max(v, 0.0), float(picture[0])) for v in (y, y + h))
    return x0, y0, x1, y1


def _scaled(value: float, field: AnyField, picture: tuple[int, int], axis: int) -> float:
    """A coordinate in pixels, in the range of a field; axes alternate x and y."""
    assert isinstance(field, BoxField | PointField), "only these have coordinates"
    low, high = field.range
    return low + value / picture[1 - axis % 2] * (high - low)


def _point(
    name: str,
    field: PointField,
    annotation: Mapping[str, object],
    category: Category,
    picture: tuple[int, int],
) -> list[float] | None:
    numbers = annotation.get("keypoints")
    if name not in category.keypoints or not isinstance(numbers, Sequence):
        return None
    place = 3 * category.keypoints.index(name)
    x, y, seen = numbers[place : place + 3]
    if not seen:
        return None
    height, width = picture
    inside = (min(max(float(x), 0.0), float(width)), min(max(float(y), 0.0), float(height)))
    return [_scaled(value, field, picture, axis) for axis, value in enumerate(inside)]
