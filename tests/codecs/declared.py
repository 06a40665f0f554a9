"""A schema with one modality of each exact codec, and a small trained vocabulary."""

from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

CAPTIONS = (
    "A three, drawn thin.",
    "a bold seven with a bar (crossed)",
    "it's a nine - round and small!",
    "the digit eight: two loops, one above the other",
    "zero; an open ring, left-leaning",
    "What is this? A four.",
)


SCHEMA = Schema.model_validate(
    {
        "version": 1,
        "vocabularies": {"words": {"kind": "wordpiece", "size": 256}},
        "modalities": {
            "digit": {
                "kind": "image",
                "size": 8,
                "patch": 1,
                "cell": {"type": "continuous", "range": [0, 16], "levels": 17},
                "shown": ["pixels", "tokens"],
                "pixel_patch": 2,
            },
            "tenths": {
                "kind": "image",
                "size": [2, 3],
                "patch": 1,
                "cell": {"type": "continuous", "range": [-0.3, 0.7], "levels": 11},
            },
            "parts": {
                "kind": "image",
                "size": 4,
                "patch": 1,
                "cell": {"type": "categorical", "classes": ["background", "contour", "ink"]},
            },
            "shape": {"kind": "vector", "dim": 3, "ranges": [0, 1], "bins": 32},
            "weather": {
                "kind": "vector",
                "dim": 3,
                "ranges": [[-40, 60], [0, 100], [0, 0.1]],
                "bins": 300,
                "names": ["temperature", "humidity", "rain"],
                "units": ["celsius", "percent", "m/h"],
                "shown": ["values", "tokens"],
            },
            "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 48, "views": 2},
            "title": {"kind": "text", "vocabulary": "words", "max_tokens": 6, "out_of_range": "clip"},
        },
    }
)


_DECLARED = resolve(SCHEMA).vocabularies[0]
WORDS = WordVocabulary.train(CAPTIONS, _DECLARED.name, _DECLARED.size, _DECLARED.special)
