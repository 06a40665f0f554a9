"""Every codec keeps its law on every value its schema entry allows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import Codec, TokenBatch
from fourm_codecs.build import build_codec
from fourm_codecs.lawbook.given_values import violations
from fourm_schema.strategies import values
from tests.codecs.declared import SCHEMA, WORDS

MODALITIES = ["digit", "tenths", "parts", "shape", "weather", "caption", "title"]


@pytest.mark.parametrize("name", MODALITIES)
@given(data=st.data())
def test_a_codec_keeps_its_law_on_all_values_of_its_entry(name: str, data: st.DataObject) -> None:
    """The law, canonical ids, batch = single, ids in range and in the smallest type: all of `violations`."""
    batch = data.draw(st.lists(values(SCHEMA.modalities[name]), min_size=1, max_size=3))

    assert violations(build_codec(SCHEMA, name, {"words": WORDS}), batch) == []


@pytest.mark.parametrize("name", MODALITIES)
@given(data=st.data())
def test_any_ids_have_a_canonical_value(name: str, data: st.DataObject) -> None:
    """A model may generate any ids: decoding is total, and what it gives is a value of the modality."""
    codec = build_codec(SCHEMA, name, {"words": WORDS})
    length = st.just(int(np.prod(codec.token_shape))) if codec.token_shape else st.integers(0, 12)
    row = data.draw(
        length.flatmap(lambda n: st.lists(st.integers(0, codec.vocab_size - 1), min_size=n, max_size=n))
    )

    (value,) = codec.decode(TokenBatch.of([row], codec.vocab_size))

    if codec.token_shape:
        assert codec.encode([value]).ids.tolist() == row
    else:
        assert isinstance(value, str)
        assert WORDS.normalise(value) == value


@pytest.mark.parametrize("name", MODALITIES)
def test_an_empty_batch_is_a_batch(name: str) -> None:
    """An empty selection of rows must not need a special case in the data room."""
    codec = build_codec(SCHEMA, name, {"words": WORDS})

    assert list(codec.decode(codec.encode([]))) == []


def test_every_codec_is_a_codec_and_states_its_law_in_one_sentence() -> None:
    codecs = [build_codec(SCHEMA, name, {"words": WORDS}) for name in MODALITIES]

    assert all(isinstance(codec, Codec) for codec in codecs)
    assert [codec.law.describe() for codec in codecs] == [
        "decoding gives back what was encoded",
        "decoding gives back what was encoded, up to the rounding of a float32 (1.7e-07)",
        "decoding gives back what was encoded",
        "decoding is off by at most 0.0156",
        "decoding is off by at most (0.167 celsius, 0.167 percent, 0.000167 m/h)",
        "decoding gives back the canonical form of what was encoded: lowercased without accents, "
        "white space and punctuation set as in English, unknown words as ⁇",
        "decoding gives back the canonical form of what was encoded: lowercased without accents, "
        "white space and punctuation set as in English, unknown words as ⁇, cut to 6 tokens",
    ]
