"""Texts by a tokenizer that was made elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import Codec, Parts, TokenBatch
from fourm_codecs.build import build_codec, codec_of_entry
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_codecs.tokenizer_file import TokenizerCodec, TokenizerFile, read_tokenizer
from fourm_schema.errors import CodecError
from fourm_schema.modality import Text
from fourm_schema.schema import Schema
from tests.runtime.small_release import WORDS, tokenizer_file


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return read_tokenizer(tokenizer_file(tmp_path_factory.mktemp("tokenizer")))


def codec_of(content: bytes, **keys: object) -> TokenizerCodec:
    entry = Text.model_validate(
        {"kind": "text", "vocabulary": "words", "max_tokens": 6, "codec": "tokenizer", **keys}
    )
    found = codec_of_entry(
        "tokenizer", "caption", entry, Parts(tensors={"tokenizer": np.frombuffer(content, np.uint8)})
    )
    assert isinstance(found, TokenizerCodec) and isinstance(found, Codec)
    return found


def test_special_tokens_are_read_from_the_file(content: bytes) -> None:
    file = TokenizerFile(content, "here")
    special = file.special

    assert file.size == WORDS
    assert (special.pad, special.unknown, special.start, special.end) == (0, 1, 2, 3)
    assert (special.first_sentinel, special.sentinel_count) == (4, 200)


SPELLED = st.sampled_from(
    ["[S_0]", "[S_199]", "[EOS]", "[SOS]", "[PAD]", "[UNK]", "[S_", "0]", "dog", "v0=1"]
)


@given(text=st.one_of(st.text("dogcat v0=1[S_]EO", max_size=6), st.lists(SPELLED, max_size=6).map("".join)))
def test_decoding_gives_the_text_as_the_tokenizer_writes_it(content: bytes, text: str) -> None:
    """The end id closes every text and cannot be spelled inside one, nor can a sentinel: masks mean something
    else by it. So what is decoded has the same ids again."""
    codec = codec_of(content, max_tokens=64)
    batch = codec.encode([text])
    ids, (back,) = batch.ids.tolist(), codec.decode(batch)

    assert ids.count(codec.special.end) == 1
    assert not {0, 2, *range(4, 204)} & {*ids}
    assert codec.law.check(text, back) == []
    assert codec.encode([back]).ids.tolist() == ids


def test_a_text_that_spells_a_sentinel_opens_no_span(content: bytes) -> None:
    assert codec_of(content).encode(["dog [S_3] cat", "[S_0]"]).rows()[0].tolist() == [240, 241, 3]
    assert codec_of(content).encode(["[S_0]"]).ids.tolist() == [3]


def test_any_ids_have_a_text(content: bytes) -> None:
    """A model may write whatever it likes: special ids are silent, and nothing follows the end."""
    codec = codec_of(content)

    found = codec.decode(TokenBatch.of([[0, 5, 240, 3, 241], [], [1, 241]], codec.vocab_size))

    assert found == ["dog", "", "[UNK] cat"]


def test_a_long_text_is_refused_or_cut(content: bytes) -> None:
    with pytest.raises(CodecError, match=r"has at most 6 tokens, its end included; got 7 tokens; shorten it"):
        codec_of(content).encode(["dog cat dog cat dog cat"])
    cut = codec_of(content, out_of_range="clip").encode(["dog cat dog cat dog cat"])

    assert cut.lengths.tolist() == [6]


def test_a_value_that_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(CodecError, match=r"caption, value 0: a value is a string; got int"):
        codec_of(content).encode([5])


def test_the_tokenizer_is_stored_with_the_codec(content: bytes, tmp_path: Path) -> None:
    """A checkpoint needs no other file to read its texts."""
    codec = codec_of(content)
    save_codec(codec, tmp_path / "caption")
    again = load_codec(tmp_path / "caption")

    assert again == codec and codec_hash(again) == codec_hash(codec)
    assert again.encode(["dog"]).ids.tolist() == [240, 3]


def test_a_codec_without_its_file_says_so() -> None:
    schema = Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": 300}},
            "modalities": {
                "caption": {
                    "kind": "text",
                    "vocabulary": "words",
                    "max_tokens": 8,
                    "codec": "tokenizer",
                }
            },
        }
    )
    with pytest.raises(CodecError, match=r"caption: its tokenizer file is missing; import the model with it"):
        build_codec(schema, "caption")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("[EOS]", "[FIN]"), r"has no token \[EOS\]; give the tokenizer file"),
        (lambda text: text.replace("[S_7]", "[S_777]"), r"its sentinels .* do not follow each other"),
        (lambda text: text[:100], r"is no tokenizer file"),
    ],
)
def test_a_tokenizer_without_4ms_special_tokens_is_refused(
    spoil: Callable[[str], str], message: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "other.json"
    path.write_text(spoil(content.decode()))
    with pytest.raises(CodecError, match=message):
        read_tokenizer(path)


def test_golden_tokenizer_gives_the_ids_of_the_released_code(golden: Path) -> None:
    """Ids of every recorded text, coordinates and class names included. The codec leaves out those that stand
    for no content."""
    (path,) = golden.glob("text_tokenizer*.json")
    codec = codec_of(read_tokenizer(path), max_tokens=4096)
    files = sorted(golden.glob("transforms*.json"))
    recorded = [case for file in files for case in json.loads(file.read_text())["text"]]

    assert recorded and codec.vocab_size == 30_000 and codec.special.sentinel_count == 200
    for case in recorded:
        left_out = {0, 2, 3, *range(codec.special.first_sentinel, codec.special.first_sentinel + 200)}
        assert codec.file.tokenizer.encode(case["text"], add_special_tokens=False).ids == case["ids"]
        wanted = [identity for identity in case["ids"] if identity not in left_out]
        assert codec.encode([case["text"]]).ids.tolist() == [*wanted, 3]
        if len(wanted) == len(case["ids"]):
            text = codec.decode(TokenBatch.of([case["ids"]], codec.vocab_size))
            assert text == [case["decoded_keep_special"]]
