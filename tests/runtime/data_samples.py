"""A small schema of every kind that can be encoded, samples of it with gaps, and its codecs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fourm_codecs.base import StoredCodec
from fourm_codecs.build import build_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.data.dataset import Dataset
from fourm_schema.load import parse_schema
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

YAML = """
version: 1
vocabularies:
  words: {kind: wordpiece, size: 300}
modalities:
  digit:
    kind: image
    size: 4
    patch: 1
    pixel_patch: 2
    cell: {type: continuous, channels: 1, range: [0, 16], levels: 17}
    shown: [pixels, tokens]
  classes: {kind: image, size: 4, patch: 1, cell: {type: categorical, classes: [paper, contour, ink]}}
  shape: {kind: vector, dim: 3, ranges: [0, 1], bins: 32, shown: [values, tokens]}
  caption: {kind: text, vocabulary: words, max_tokens: 16, views: 4}
"""

SCHEMA = parse_schema(YAML)
PLAN = resolve(SCHEMA)


def samples(count: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """Rows with every pattern of absence but the empty one; captions have one to four alternatives."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        row: dict[str, object] = {
            "digit": rng.integers(0, 17, (4, 4)),
            "classes": rng.integers(0, 3, (4, 4)),
            "shape": rng.random(3, np.float32),
            "caption": [f"sample {index}, view {view}" for view in range(1 + index % 4)],
        }
        absent = 1 + index % 15
        for bit, name in enumerate(SCHEMA.modalities):
            if absent < 15 and absent >> bit & 1:
                row[name] = None
        yield row


def codecs_of(schema: Schema, texts: Iterator[str]) -> dict[str, StoredCodec]:
    """The codec of each modality, the word vocabulary learned from the texts."""
    words = resolve(schema).vocabularies
    trained = {word.name: WordVocabulary.train(texts, word.name, word.size, word.special) for word in words}
    return {name: build_codec(schema, f"{name}.tokens", trained) for name in schema.modalities}


def encoded(
    path: Path, count: int = 250, rows_per_fragment: int = 100
) -> tuple[Dataset, dict[str, StoredCodec]]:
    """A dataset of several fragments with all its token columns, and the codecs that filled them."""
    dataset = Dataset.create(path, SCHEMA, samples(count), rows_per_fragment=rows_per_fragment)
    codecs = codecs_of(SCHEMA, dataset.texts("caption"))
    dataset.encode(codecs)
    return dataset, codecs
