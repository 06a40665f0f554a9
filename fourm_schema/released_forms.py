"""The records that 4M writes as texts: five forms, told apart by the names of their fields.

A set with `dialect: {name: 4m, ...}` is one of them. Its fields say what the numbers mean; how each becomes a
word is fixed, since released models have learned it so.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import TypeAdapter

from fourm_schema.set_fields import AnyField, BoxField, NumberField, PointField, VectorField

FormName = Literal["detections", "metadata", "palette", "poses", "instances"]
Declared = dict[str, object]

COORDINATES = 1000
"""Numbers that each of the words v0=..., v1=..., v2=... and v3=... can say."""

CODES = 1024
"""Codes of 4M's tokenizers of poses and of masks."""


def _number(low: float, high: float, bins: int) -> Declared:
    return {"type": "number", "range": [low, high], "bins": bins, "optional": True}


def _vector(dim: int, low: float, high: float, bins: int) -> Declared:
    return {"type": "vector", "dim": dim, "range": [low, high], "bins": bins}


_COUNT = _number(-0.5, 999.5, COORDINATES)
_SIZE = _number(0, 32_000, COORDINATES)
_BOX: Declared = {"type": "box", "bins": COORDINATES}

FORMS: Mapping[FormName, Mapping[str, Declared]] = {
    "detections": {"box": _BOX, "label": {"type": "category", "classes": "coco80"}},
    # In the order of their numbers in the text.
    "metadata": {
        "original_width": _SIZE,
        "original_height": _SIZE,
        "caption_n_chars": _COUNT,
        "caption_n_words": _COUNT,
        "caption_n_sentences": _COUNT,
        "n_humans": _COUNT,
        "n_sam_instances": _COUNT,
        "n_coco_instances": _COUNT,
        "coco_instance_diversity": _COUNT,
        "colorfulness": _number(0, 150, 50),
        "brightness": _number(0, 255, 50),
        "contrast": _number(0, 127, 50),
        "saturation": _number(0, 255, 50),
        "entropy": _number(0, 10, 50),
        "walkability": _number(0, 1, 50),
        "objectness": _number(0, 1, 50),
        "semantic_diversity": _COUNT,
        "geometric_complexity": _number(0, 0.75, 50),
        "occlusion_score": _number(0, 0.25, 50),
        "watermark_score": {"type": "number", "edges": [0, 0.5, 1], "optional": True},
        "aesthetic_score": {"type": "number", "edges": [0, 4.5, 5.5, 10], "optional": True},
    },
    "palette": {"color": _vector(3, 0, 255, 256)},
    "poses": {
        "box": _BOX,
        "pose": _vector(8, 0, CODES - 1, CODES),
        "global": _vector(9, -1, 1, COORDINATES),
        "camera": _vector(3, -1, 19, COORDINATES),
        "shape": _vector(10, -3, 3, COORDINATES),
    },
    "instances": {
        "point": {"type": "point", "range": [0, 223], "bins": 224},
        "polygon": {"type": "box", "range": [0, 999], "bins": COORDINATES, "optional": True},
        "codes": {**_vector(16, 0, CODES - 1, CODES), "optional": True},
    },
}

ORDERS: Mapping[FormName, tuple[str, ...]] = {
    "detections": ("given", "distance_to_origin", "area", "random"),
    "metadata": ("given", "random"),
    "palette": ("given",),
    "poses": ("given", "random"),
    "instances": ("given", "random"),
}
"""Orders that each form can be written in."""

MOST_ITEMS: Mapping[FormName, int] = {"metadata": 1, "palette": 7}
"""Most records of the forms whose text has a bound on them."""

OPEN_FIELDS = ("polygon", "shape")
"""Fields whose numbers may lie outside of their range: 4M does not clip them, and writes them in pieces."""

_FIELD: TypeAdapter[AnyField] = TypeAdapter(AnyField)


def form_of_fields(names: Iterable[str]) -> FormName | None:
    """The form whose fields have these names; metadata may lack some of theirs.

    >>> form_of_fields(["label", "box"])
    'detections'
    """
    given = set(names)
    if given and given <= set(FORMS["metadata"]):
        return "metadata"
    return next((form for form, fields in FORMS.items() if given == set(fields)), None)


def field_of(form: FormName, name: str) -> AnyField:
    """What a form says of a field."""
    return _FIELD.validate_python(FORMS[form][name])


def is_whole(field: AnyField) -> bool:
    """Whether the numbers of a form's field are whole: each of its bins is one number.

    >>> is_whole(field_of("palette", "color")), is_whole(field_of("metadata", "n_humans"))
    (True, True)
    >>> is_whole(field_of("poses", "camera")), is_whole(field_of("detections", "box"))
    (False, False)
    """
    if not isinstance(field, NumberField | PointField | VectorField | BoxField) or field.range is None:
        return False
    low, high = field.range
    return math.floor(high) - math.ceil(low) + 1 == field.bins


def says(content: object) -> AnyField:
    """A field as it was declared.

    Raises:
        ValidationError: if it is none.
    """
    return _FIELD.validate_python(content)


def differences(form: FormName, name: str, field: AnyField) -> list[str]:
    """Keys of a declared field that are not the form's. Classes, and bins of detections, are free."""
    wanted, got = field_of(form, name), field
    if wanted.type != got.type:
        return ["type"]
    free = {"description", "classes", *(["bins"] if form == "detections" else [])}
    keys = [key for key in type(wanted).model_fields if key not in free]
    return [key for key in keys if getattr(wanted, key) != getattr(got, key)]
