"""A broken codec is caught: each law check is shown a codec with one planted fault."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from fourm_codecs.base import TokenBatch, Value
from fourm_codecs.bins import BinsCodec
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.laws import Bounded, Calibrated, Canonical, Lossless
from fourm_codecs.levels import LevelsCodec
from fourm_codecs.wordpiece import WordPieceCodec
from tests.codecs.declared import WORDS
from tests.codecs.faulty import Faulty


def shift_ids(tokens: TokenBatch) -> TokenBatch:
    return TokenBatch(np.maximum(tokens.ids, 1) - np.uint8(1), tokens.lengths)


def scale_up(values: Sequence[Value]) -> Sequence[Value]:
    return [np.asarray(value, np.float32) * np.float32(1.25) for value in values]


def drop_last(tokens: TokenBatch) -> TokenBatch:
    return TokenBatch(tokens.ids[:-1], tokens.lengths - 1)


def widen(tokens: TokenBatch) -> TokenBatch:
    return TokenBatch(tokens.ids.astype(np.uint32), tokens.lengths)


def swap_rows(values: Sequence[Value]) -> Sequence[Value]:
    return list(reversed(values))


LEVELS = LevelsCodec.of_range(2, 2, 0, 16, 17)
BINS = BinsCodec.of_range(3, 0, 1, 32)
IMAGES = [np.full((2, 2), 8.0), np.zeros((2, 2))]
VECTORS = [np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.3, 1.0])]


@pytest.mark.parametrize(
    ("codec", "batch", "fault"),
    [
        (Faulty(LEVELS, after_decode=scale_up), IMAGES, r"8\.0 at \[0, 0\] came back as 10\.0, 2 apart"),
        (Faulty(LEVELS, after_encode=shift_ids), IMAGES, r"8\.0 at \[0, 0\] came back as 7\.0"),
        (Faulty(LEVELS, after_decode=swap_rows), IMAGES, r"8\.0 at \[0, 0\] came back as 0\.0"),
        (Faulty(BINS, after_encode=shift_ids), VECTORS, r"apart \(at most 0\.0156\)"),
        (Faulty(BINS, after_decode=scale_up), VECTORS, r"0\.1 at \[0\] came back as 0\.13"),
        (Faulty(BINS, after_encode=widen), VECTORS, r"ids are uint32, uint8 is enough"),
    ],
)
def test_a_planted_fault_breaks_the_law(codec: Faulty, batch: list[object], fault: str) -> None:
    """Scale off, bins off by one, rows swapped, ids too wide: a law that misses these is no law."""
    found = violations(codec, batch)

    assert any(re.search(fault, text) for text in found), found


def test_the_sound_codecs_under_the_planted_faults_have_none() -> None:
    assert violations(LEVELS, IMAGES) == violations(BINS, VECTORS) == []


def test_a_text_codec_that_forgets_the_end_is_caught() -> None:
    """Without an end id a generated text would run to the budget."""
    codec = Faulty(WordPieceCodec("caption", WORDS, 16), after_encode=drop_last)

    assert violations(codec, ["a three"])[0] == (
        "value 0: with ids behind its end it reads 'a three a three', without 'a three'; the value: 'a three'"
    )


def test_ids_that_depend_on_the_batch_are_caught() -> None:
    """A codec that, say, normalises by the batch's mean would store tokens that are not the value's own."""

    def by_batch_size(tokens: TokenBatch) -> TokenBatch:
        return shift_ids(tokens) if len(tokens) > 1 else tokens

    found = violations(Faulty(LEVELS, after_encode=by_batch_size), IMAGES)
    told = "its ids as value 0 of 2 are not those alone: 7 and 8 at [0]; the value: float64"
    assert any(fault.startswith(told) for fault in found), found


def test_nan_never_passes_for_an_equal_value() -> None:
    """NaN compares false with everything, so a check written with > would let it through."""
    nan = np.full((2,), np.nan)

    assert Lossless().check(np.zeros(2), nan)
    assert Bounded((1.0, 1.0), ("", ""), (0.0, 0.0)).check(np.zeros(2), nan)
    assert Calibrated("error", 0.9, 0.1).check(np.zeros(2), nan)


def test_a_lost_axis_is_no_small_error() -> None:
    assert Lossless().check(np.zeros((2, 3)), np.zeros((3, 2))) == ["shape (2, 3) came back as (3, 2)"]
    assert Lossless().check(np.zeros((2, 3, 1)), np.zeros((2, 3))) == []


def test_a_canonical_form_that_is_not_final_is_caught() -> None:
    """normalise(normalise(x)) = normalise(x), or stored ids would change each time they are re-encoded."""
    law = Canonical(lambda text: f"{text}!", "louder")

    assert law.check("a", "a!") == ["'a!' normalises further to 'a!!'"]


def test_a_calibrated_law_says_what_was_measured() -> None:
    law = Calibrated("mean absolute error", 0.95, 0.125, "metre")

    assert law.describe() == (
        "95% of the values held out at fitting had a mean absolute error of at most 0.125 metre"
    )
    assert not law.keeps_ids
