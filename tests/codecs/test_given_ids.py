"""Ids that were made elsewhere go through unchanged."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.build import build_codec
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_schema.errors import CodecError
from fourm_schema.schema import Schema
from fourm_schema.strategies import values

SCHEMA = Schema.model_validate(
    {
        "version": 1,
        "vocabularies": {"words": {"kind": "wordpiece", "size": 300, "sentinels": 200, "rows": "own"}},
        "modalities": {
            "depth": {
                "kind": "image",
                "size": 8,
                "patch": 4,
                "cell": {"type": "continuous", "range": [0, 1]},
                "codec": "ids",
                "vocab_size": 50,
            },
            "feature": {"kind": "vector", "dim": 700, "codec": "ids", "vocab_size": 9, "tokens": 5},
            "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 6, "codec": "ids"},
        },
    }
)


@pytest.mark.parametrize("name", ["depth", "feature", "caption"])
@given(data=st.data())
def test_ids_are_lossless(name: str, data: st.DataObject) -> None:
    batch = data.draw(st.lists(values(SCHEMA.modalities[name]), min_size=1, max_size=3))

    assert violations(build_codec(SCHEMA, name), batch) == []


def test_any_ids_of_a_text_end_at_their_first_end_id() -> None:
    codec = build_codec(SCHEMA, "caption")

    (found,) = codec.decode(TokenBatch.of([[5, 250, 3, 7]], codec.vocab_size))

    assert np.asarray(found).tolist() == [5, 250]


@pytest.mark.parametrize("name", ["depth", "feature", "caption"])
def test_a_codec_of_ids_is_stored_and_read(name: str, tmp_path: Path) -> None:
    codec = build_codec(SCHEMA, name)
    save_codec(codec, tmp_path / name)
    again = load_codec(tmp_path / name)

    assert again == codec and codec_hash(again) == codec_hash(codec)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("depth", [[1, 2, 3]], r"depth, value 0: a value is 2x2 token ids; got int64 of shape 1x3"),
        ("depth", [[1, 2], [3]], r"a value is 2x2 token ids"),
        ("depth", [[1, 2], [3, 50]], r"an id of this vocabulary is in \[0, 50\); got 50"),
        ("depth", None, r"got NoneType; leave it out of the batch"),
        ("feature", [1] * 4, r"a value is 5 token ids"),
        ("caption", [9] * 6, r"has at most 5 ids before its end, which is added; got 6 ids"),
        ("caption", [-1], r"an id of this vocabulary is in \[0, 300\); got -1"),
        ("caption", 7, r"a value is a row of token ids; got int64 of shape one number"),
    ],
)
def test_what_is_no_row_of_ids_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        build_codec(SCHEMA, name).encode([value])
