"""The value of a modality when the picture it belongs to is mirrored left and right.

| value | mirrored |
|---|---|
| image | its columns turned round; the x of a direction changes its sign |
| box, point | x becomes low + high - x, in the range of the field |
| angle | half a turn minus the angle: it is taken as measured from the x axis |
| mask | its columns turned round |
| class, or field of a record | that with which the schema pairs it under `mirror` |
| anything else: vectors, numbers, texts, ids | as it is |

Mirroring twice gives the value again, up to the rounding of a float; what the modality admits is mirrored to
what it admits.

Shapes: H rows, W columns.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from fourm_codecs.base import Array
from fourm_codecs.set_faults import raise_faults
from fourm_codecs.set_values import number_of, numbers_of
from fourm_schema.errors import CodecError, Fault
from fourm_schema.modality import Direction, Image, Modality, Set
from fourm_schema.schema import Schema
from fourm_schema.set_fields import AngleField, AnyField, BoxField, CategoryField, MaskField, PointField

HALF_TURN = {"degree": 180.0, "radian": np.pi}


def mirrored_sample(schema: Schema, sample: Mapping[str, object]) -> dict[str, object]:
    """Mirror a whole sample: everything in it, or nothing, so that its modalities still fit each other.

    Args:
        schema: the declaration.
        sample: modality -> value, or None where it has none; left as it is. It may lack modalities, and what
            else it has is kept.

    Returns:
        The mirrored sample. What is derived from a picture is mirrored by its own entry, which for numbers is
        not at all: leave out what depends on left and right, as `moments` does, and compute it anew.

    Raises:
        CodecError: naming every modality whose value does not fit its entry, or is given as ids, which do not
            say what those of its mirror image are.

    >>> eyes = {"left": {"type": "point"}, "right": {"type": "point"}}
    >>> face = {"kind": "set", "max_items": 1, "fields": eyes, "mirror": [["left", "right"]]}
    >>> schema = Schema.model_validate({"version": 1, "modalities": {"face": face}})
    >>> mirrored_sample(schema, {"id": "7", "face": [{"left": [0.25, 0.5], "right": [0.5, 0.5]}]})
    {'id': '7', 'face': [{'left': [0.5, 0.5], 'right': [0.75, 0.5]}]}
    """
    found, faults = dict(sample), list[Fault]()
    for name, entry in schema.modalities.items():
        value = sample.get(name)
        if value is None:
            continue
        if entry.codec == "ids" and entry.kind in ("image", "set"):
            mend = "leave it out, or store the ids of mirrored samples too"
            faults.append(Fault(name, "is given as ids, which cannot be mirrored", mend=mend))
        else:
            try:
                found[name] = mirrored(entry, value, name)
            except CodecError as error:
                faults += error.faults
    raise_faults("sample", faults)
    return found


def mirrored(entry: Modality, value: object, modality: str = "") -> object:
    """Mirror a value, which is left as it is.

    Args:
        entry: the declared modality.
        value: one that it holds.
        modality: its name, for errors.

    Returns:
        An array (H, W, ...) for an image; for a set its records in the order they are given, or one record
        for one; any other value itself.

    Raises:
        CodecError: if an image has another size, or a record or one of its fields another form.

    >>> mirrored(Image.model_validate({"kind": "image", "size": [1, 3], "patch": 1, "cell": {
    ...     "type": "continuous", "range": [0, 9]}}), [[1, 2, 3]]).tolist()
    [[3, 2, 1]]
    """
    if entry.codec == "ids":
        return value
    if isinstance(entry, Image):
        return _image(entry, value, modality or "image")
    return _set(entry, value, modality or "set") if isinstance(entry, Set) else value


def _image(entry: Image, value: object, where: str) -> Array:
    image = np.asarray(value)
    if image.shape[:2] != entry.size:
        got = "x".join(map(str, image.shape)) or "a single number"
        raise CodecError(where, f"has {entry.height} rows and {entry.width} columns", got=got)
    turned = image[:, ::-1].copy()
    if isinstance(entry.cell, Direction):
        turned[..., 0] = -turned[..., 0]
    return turned


def _set(entry: Set, value: object, where: str) -> object:
    if isinstance(value, Mapping):
        return _record(entry, value, where)
    if not isinstance(value, list | tuple | np.ndarray):
        raise CodecError(where, "is a list of records {field: value}", got=type(value).__name__)
    return [
        _record(entry, record, f"{where}, item {number}")
        for number, record in enumerate(cast("Sequence[object]", value))
    ]


def _record(entry: Set, record: object, where: str) -> dict[str, object]:
    if not isinstance(record, Mapping):
        raise CodecError(where, "is a record {field: value}", got=type(record).__name__)
    others = {name: other for pair in entry.mirror for name, other in (pair, pair[::-1])}
    found: dict[str, object] = {}
    for name, value in record.items():
        if name not in entry.fields:
            raise CodecError(f"{where}, field {name!r}", "is not declared")
        field = entry.fields[name]
        other = others[name] if others.get(name) in entry.fields else name
        found[other] = None if value is None else _field(field, value, others, f"{where}, field {name!r}")
    # The fields of a record stand where they stood.
    return {name: found[name] for name in (*(name for name in record if name in found), *found)}


def _field(field: AnyField, value: object, others: Mapping[str, str], where: str) -> object:
    match field:
        case PointField():
            x, y = numbers_of(value, 2, where)
            return [_across(field.range, x), y]
        case BoxField():
            x, y, w, h = numbers_of(value, 4, where)
            match field.convention:
                case "xyxy":
                    return [_across(field.range, w), y, _across(field.range, x), h]
                case "xywh":
                    return [_across(field.range, x + w), y, w, h]
                case "cxcywh":
                    return [_across(field.range, x), y, w, h]
        case AngleField():
            return HALF_TURN[field.unit] - number_of(value, where)
        case CategoryField():
            other = others.get(str(value))
            if other is None or other not in field.names:
                return value
            return int(other) if isinstance(field.classes, int) else other
        case MaskField():
            mask = np.asarray(value)
            if mask.shape != (field.size, field.size):
                got = " x ".join(map(str, mask.shape)) or "a single number"
                raise CodecError(where, f"is a mask of {field.size} x {field.size} cells", got=got)
            turned = mask[:, ::-1].copy()
            return turned if isinstance(value, np.ndarray) else turned.tolist()
    return value


def _across(ends: tuple[float, float], x: float) -> float:
    """The other side of a range; of a number within it, a number within it, in spite of rounding."""
    low, high = ends
    other = low + (high - x)
    return min(max(other, low), high) if low <= x <= high else other
