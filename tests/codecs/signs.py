"""A declared set of road signs, and two of them."""

from fourm_codecs.sets import SetCodec
from fourm_schema.modality import Set
from tests.codecs.drawn_sets import WORDS

SIGNS: dict[str, object] = {
    "kind": "set",
    "max_items": 3,
    "order": "distance_to_origin",
    "fields": {
        "box": {"type": "box", "bins": 10},
        "label": {"type": "category", "classes": ["stop", "hot dog", "猫"]},
        "score": {"type": "number", "range": [0, 1], "bins": 4, "unit": "share", "optional": True},
        "says": {"type": "text", "vocabulary": "words", "max_tokens": 4, "optional": True},
    },
}
NEAR = {"box": [0.0, 0.1, 0.2, 1.0], "label": "猫", "score": None, "says": "a red cat"}
FAR = {"box": [0.5, 0.5, 0.5, 0.5], "label": "stop", "score": 1, "says": ""}


def codec_of(entry: dict[str, object] | Set, **changes: object) -> SetCodec:
    """The codec of a set, with keys of its declaration changed."""
    declared = entry if isinstance(entry, Set) else Set.model_validate({**entry, **changes})
    return SetCodec("signs", declared, WORDS)


def fields(**declared: dict[str, object]) -> dict[str, object]:
    """A set of up to four items with these fields, in the order they are given."""
    return {"kind": "set", "max_items": 4, "fields": declared}
