"""Codecs of 4M's texts, over the released tokenizer or a small one of our own."""

import json
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from fourm_codecs.base import Parts
from fourm_codecs.build import codec_of_entry
from fourm_codecs.sets_4m import RecordTextCodec
from fourm_schema.modality import Set
from fourm_schema.released_forms import FORMS, MOST_ITEMS, FormName

WORDS_OF_FORMS = ("human", "none", "pose", "global", "camera", "shape", "point", "polygon")


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


def small_tokenizer(classes: tuple[str, ...] = (), left_out: tuple[str, ...] = ()) -> bytes:
    """A tokenizer with 4M's special tokens and coordinates; other words are spelled by their letters.

    Args:
        classes: names that are tokens of their own.
        left_out: special tokens that it lacks.
    """
    named = ["[PAD]", "[UNK]", "[SOS]", "[EOS]", *(f"[S_{k}]" for k in range(200))]
    coordinates = [f"v{axis}={k}" for axis in range(4) for k in range(1000)]
    special = [token for token in (*named, *coordinates) if token not in left_out]
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces = [*letters, "=", "-", *WORDS_OF_FORMS, *(f"##{letter}" for letter in letters)]
    listed = [*special, *classes, *pieces]
    tokenizer = Tokenizer(models.WordPiece({token: k for k, token in enumerate(listed)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    whole = [AddedToken(token, single_word=True, special=True) for token in (*special, *classes)]
    tokenizer.add_special_tokens(whole)
    content: str = tokenizer.to_str()
    return content.encode()


def released_tokenizer(golden: Path) -> bytes:
    return (golden / "text_tokenizer_4m_wordpiece_30k.json").read_bytes()
