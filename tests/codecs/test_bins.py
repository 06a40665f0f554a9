"""Uniform bins: the ends, the centres, the units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.bins import BinsCodec
from fourm_schema.errors import CodecError

WEATHER = BinsCodec(
    "weather",
    ((-40, 60), (0, 100)),
    10,
    units=("celsius", "percent"),
    names=("temperature", "humidity"),
)


def test_both_ends_of_a_range_are_in_it() -> None:
    """The upper end belongs to the last bin; floor alone would give it a bin of its own."""
    assert WEATHER.encode([[-40, 0], [60, 100]]).ids.tolist() == [0, 0, 9, 9]


def test_decoding_gives_the_centres_in_the_unit_of_each_number() -> None:
    (value,) = WEATHER.decode(TokenBatch.of([[0, 9]], 10))

    assert value.tolist() == [-35, 95]
    assert WEATHER.law.error == (5, 5)


@given(low=st.floats(-1e3, 1e3), width=st.floats(1, 1e3), bins=st.integers(2, 100), data=st.data())
def test_no_value_is_off_by_more_than_half_a_bin(
    low: float, width: float, bins: int, data: st.DataObject
) -> None:
    codec = BinsCodec.of_range(1, low, low + width, bins)
    value = np.array([data.draw(st.floats(low, low + width))])

    (back,) = codec.decode(codec.encode([value]))

    assert codec.law.check(value, back) == []


@given(low=st.floats(-1e3, 1e3), width=st.floats(1, 1e3), bins=st.integers(2, 100))
def test_every_bin_is_reached_by_its_own_centre(low: float, width: float, bins: int) -> None:
    codec = BinsCodec.of_range(1, low, low + width, bins)
    tokens = TokenBatch.of([[number] for number in range(bins)], bins)

    assert codec.encode(codec.decode(tokens)).same(tokens)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (
            [10, 100.5],
            "weather, value 0 'humidity': lies in [0, 100] percent; got 100.5; "
            "rescale it, or set `out_of_range: clip` to bound it",
        ),
        (
            [float("nan"), 0],
            "weather, value 0 'temperature': NaN stands for no value; got nan; "
            "give None for an absent value, or fill it in",
        ),
        ([10, 20, 30], "weather, value 0: a value has shape 2; got 3"),
    ],
)
def test_a_value_outside_is_refused_by_its_name_and_unit(vector: list[float], message: str) -> None:
    with pytest.raises(CodecError) as caught:
        WEATHER.encode([vector])

    assert str(caught.value) == message


def test_clip_moves_a_value_to_the_nearer_end() -> None:
    codec = BinsCodec("weather", ((-40, 60),), 10, out_of_range="clip")

    assert codec.encode([[-1e9], [np.inf]]).ids.tolist() == [0, 9]


def test_a_range_end_that_float32_cannot_hold_is_in_the_range() -> None:
    """float32(0.1) is a little more than 0.1: a float32 column at the end of its range is not out of it."""
    assert BinsCodec.of_range(1, 0, 0.1, 8).encode([np.array([0.1], np.float32)]).ids.tolist() == [7]


def test_bins_too_fine_for_a_float32_are_refused_when_built() -> None:
    with pytest.raises(CodecError, match=r"vector at \[0\]: its bins are too fine for a float32"):
        BinsCodec.of_range(1, 1e6, 1e6 + 1, 256)
