"""Codecs of 4M's texts, over the released tokenizer or a small one of our own."""

import json
from pathlib import Path

import numpy as np

from fourm_codecs.base import Parts
from fourm_codecs.build import codec_of_entry
from fourm_codecs.sets_4m import RecordTextCodec
from fourm_schema.modality import Set
from fourm_schema.released_forms import FORMS, MOST_ITEMS, FormName


def text_codec(content: bytes, form: FormName, **keys: object) -> RecordTextCodec:
    """The codec of a form; `keys` of its entry replace the usual ones."""
    entry: dict[str, object] = {
        "kind": "set",
        "fields": FORMS[form],
        "max_items": MOST_ITEMS.get(form, 100),
        "dialect": {"name": "4m", "vocabulary": "words", "max_tokens": 4000},
        **keys,
    }
    parts = Parts(tensors={"tokenizer": np.frombuffer(content, np.uint8)})
    codec = codec_of_entry("grammar-4m", form, Set.model_validate_json(json.dumps(entry)), parts)
    assert isinstance(codec, RecordTextCodec)
    return codec


def released_tokenizer(golden: Path) -> bytes:
    return (golden / "text_tokenizer_4m_wordpiece_30k.json").read_bytes()
