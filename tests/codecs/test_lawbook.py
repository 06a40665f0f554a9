"""The book of laws notices what is wrong with a codec, and tells it with a value that one understands."""

import re
from collections.abc import Sequence

import attrs
import numpy as np
import pytest

from fourm_codecs.base import Codec, Record, TokenBatch, Value
from fourm_codecs.bins import BinsCodec
from fourm_codecs.build import build_codec
from fourm_codecs.dense import DenseView, Float32
from fourm_codecs.lawbook.check_codec import LawsBroken, check_codec, codec_outcomes
from fourm_codecs.lawbook.codec_laws import CODEC_LAWS
from fourm_codecs.lawbook.dense_laws import dense_numbers_are_on_their_scale, dense_views_are_inverse
from fourm_codecs.lawbook.sample_words import sample_vocabularies
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import Subject
from fourm_codecs.lawbook.subjects import prepare
from fourm_codecs.levels import LevelsCodec
from fourm_codecs.untrained import untrained
from fourm_schema.errors import CodecError
from fourm_schema.lawbook.search import search
from fourm_schema.modality import Image, Set, Vector
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.strategies import values
from tests.codecs.declared import SCHEMA
from tests.codecs.faulty import Faulty
from tests.codecs.signs import SIGNS, codec_of


def one_bin_up(tokens: TokenBatch) -> TokenBatch:
    """As a codec does that rounds where it should floor, or counts bins from one."""
    return TokenBatch(np.minimum(tokens.ids + np.uint8(1), np.uint8(15)), tokens.lengths)


def turned(found: Sequence[Value]) -> Sequence[Value]:
    """Rows for columns."""
    return [np.ascontiguousarray(np.asarray(value).T) for value in found]


def absent_scores_dropped(batch: Sequence[object]) -> Sequence[object]:
    """As code does that writes `if record["score"]`: 0 is lost with None."""
    return [[{**r, "score": r.get("score") or None} for r in v] if isinstance(v, list) else v for v in batch]


def wide(tokens: TokenBatch) -> TokenBatch:
    return TokenBatch(tokens.ids.astype(np.uint32), tokens.lengths)


def less_the_mean(batch: Sequence[object]) -> Sequence[object]:
    """As a codec does that takes statistics of the batch it is given."""
    mean = np.mean([np.mean(np.asarray(value)) for value in batch]) if len(batch) > 1 else 0.5
    return [np.clip(np.asarray(value) - mean + 0.5, 0, 1) for value in batch]


WIND = Vector.model_validate({"kind": "vector", "dim": 2, "ranges": (0, 1), "bins": 16})
GREY = Image.model_validate(
    {"kind": "image", "size": (2, 3), "patch": 1, "cell": {"type": "categorical", "classes": 4}}
)
SQUARE = Image.model_validate(
    {"kind": "image", "size": 3, "patch": 1, "cell": {"type": "categorical", "classes": 4}}
)
SIGNED = Set.model_validate(SIGNS)
BINS = BinsCodec.from_entry("wind", WIND)

FAULTS: dict[str, tuple[Codec, str, str]] = {
    "a bin too high": (
        Faulty(BINS, WIND, after_encode=one_bin_up),
        "law-is-kept",
        r"0\.0 at \[0\] came back as 0\.09375, 0\.0938 apart \(at most 0\.0313\); "
        r"the value: float64 \[0\.0, 0\.0\]",
    ),
    "axes swapped": (
        Faulty(LevelsCodec.from_entry("land", SQUARE), SQUARE, after_decode=turned),
        "law-is-kept",
        r"1 at \[\d, \d\] came back as 0, 1 apart \(at most 0\); "
        r"the value: an array 3x3: [01] everywhere but [01] at \[\d, \d\]",
    ),
    "axes swapped, of another height than width": (
        Faulty(LevelsCodec.from_entry("land", GREY), GREY, after_decode=turned),
        "law-is-kept",
        r"shape \(2, 3\) came back as \(3, 2\); the value: int64 \[\[0, 0, 0\], \[0, 0, 0\]\]",
    ),
    "a null for a nought": (
        Faulty(codec_of(SIGNED), SIGNED, before_encode=absent_scores_dropped),
        "law-is-kept",
        r"item 0, field 'score': 0\.0 came back as None; the value: \[\{'box': \[0\.0, 0\.0, 0\.0, 0\.0\], "
        r"'label': 'stop', 'score': 0\.0",
    ),
    "a wider type than is needed": (
        Faulty(BINS, WIND, after_encode=wide),
        "ids-have-the-smallest-type",
        r"ids are uint32, uint8 is enough for 16 of them",
    ),
    "the mean of the batch": (
        Faulty(BINS, WIND, before_encode=less_the_mean),
        "batch-is-single",
        r"its ids as value \d of \d are not those alone: \d+ and \d+ at \[0\]; the value: float",
    ),
}


@pytest.mark.parametrize(("codec", "law", "said"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_told_with_the_smallest_value(codec: Faulty, law: str, said: str) -> None:
    """What it says is what somebody needs to find the fault: the place, both numbers, and a plain value."""
    (broken,) = [each for each in CODEC_LAWS if each.id == law]
    assert codec.entry is not None
    tested = Subject(codec.modality, values(codec.entry), codec.entry, codec)
    outcome = search(broken, tested, codec.modality, 60)

    assert re.match(said, outcome.fault), outcome.fault
    assert not search(broken, attrs.evolve(tested, codec=codec.sound), codec.modality, 60).fault


def test_every_law_that_a_codec_breaks_is_told() -> None:
    """In one error, so that the tests of a package of others need one line."""
    with pytest.raises(LawsBroken) as caught:
        check_codec(Faulty(BINS, WIND, after_encode=one_bin_up), entry=WIND, examples=5)

    broken = {outcome.law for outcome in caught.value.outcomes}
    assert {"law-is-kept", "law-is-kept-at-the-ends", "canonical-ids-survive"} <= broken
    assert str(caught.value).startswith(
        f"the codec of wind breaks {len(broken)} laws:\nlaw-is-kept: Decoding"
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("scale", "10 came back as 50; the value: float64 [[10.0, 10.0], [10.0, 10.0]]"),
        ("centre", "0 came back as -5; the value: float64 [[0.0, 0.0], [0.0, 0.0]]"),
    ],
)
def test_a_normalisation_that_is_not_undone_is_told(name: str, told: str) -> None:
    """A view that forgets part of its scale on the way back, which shows in no shape and no range."""

    class Forgetful(DenseView):
        def decode(self, tokens_NLC: Float32) -> list[Float32]:
            found = super().decode(tokens_NLC)
            return [value * 5 if name == "scale" else value - 5 for value in found]

    cell = {"type": "continuous", "range": (0, 10)}
    entry = Image.model_validate({"kind": "image", "size": 2, "patch": 1, "cell": cell, "shown": ("pixels",)})
    planted = Forgetful.from_entry("depth", entry)
    tested = Subject("depth", values(entry), entry, view=planted)

    outcome = search(dense_views_are_inverse, tested, "depth", 30)
    kept = search(dense_numbers_are_on_their_scale, tested, "depth", 30)

    assert outcome.fault == told
    assert kept.kept, "only the way back is wrong"


@pytest.mark.parametrize("name", ["digit", "parts", "shape", "weather", "caption"])
def test_our_codecs_keep_every_law_that_speaks_of_them(name: str) -> None:
    """By the function that others call, with the entry and without it."""
    words = sample_vocabularies(SCHEMA, resolve(SCHEMA))
    codec = build_codec(SCHEMA, name, words)

    with_entry = check_codec(codec, examples=5)
    entry = SCHEMA.modalities[name]
    plain = Faulty(codec, entry)
    without = check_codec(plain, values(entry), examples=5)

    assert {outcome.law for outcome in without} < {outcome.law for outcome in with_entry}
    assert all(outcome.kept for outcome in [*with_entry, *without])


def test_a_codec_without_values_and_entry_cannot_be_checked() -> None:
    with pytest.raises(CodecError, match="vector: says nothing of its values; give a strategy of them"):
        codec_outcomes(BinsCodec.of_range(2, 0, 1, 4))


def test_an_exception_of_a_codec_is_told_with_its_place() -> None:
    """A codec of others may fail in ways that no law foresees."""

    def fails(tokens: TokenBatch) -> TokenBatch:
        raise KeyError("lookup")

    outcomes = codec_outcomes(Faulty(BINS, WIND, after_encode=fails), entry=WIND, examples=3)
    told = {outcome.law: outcome.fault for outcome in outcomes}

    assert re.match(r"KeyError was raised: 'lookup' \(.*test_lawbook\.py, line \d+\)", told["law-is-kept"])


def test_the_same_seed_finds_the_same() -> None:
    """A failure that a colleague sees is one that you can see."""
    codec = Faulty(BINS, WIND, before_encode=less_the_mean)
    one, other = (codec_outcomes(codec, entry=WIND, examples=10, seed=3) for _ in range(2))

    assert one == other


def test_laws_have_names_of_their_own_and_say_what_they_say_in_one_sentence() -> None:
    names = [law.id for law in CODEC_LAWS]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]+", name) for name in names)
    assert all(re.fullmatch(r"[A-Z`].*\.", law.statement) for law in CODEC_LAWS)


def test_what_cannot_be_built_is_named_and_what_is_untrained_says_so() -> None:
    """A row that is missing would look like one that is kept."""
    schema = Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": 200}},
            "modalities": {
                "photo": {
                    "kind": "image",
                    "size": 4,
                    "patch": 2,
                    "vocab_size": 40,
                    "cell": {"type": "direction"},
                },
                "land": {
                    "kind": "image",
                    "size": 40,
                    "patch": 4,
                    "cell": {"type": "categorical", "classes": 3},
                    "codec": "plugin:absent",
                    "vocab_size": 9,
                },
                "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 9},
            },
        }
    )
    photo, land, caption = prepare(schema)

    assert (photo.stands_in, photo.not_tested) == ("random weights", {})
    assert caption.stands_in == "words learned from a few sample texts"
    assert land.tested.codec is None
    assert "there is no codec 'plugin:absent'" in land.not_tested["land.tokens"]


def test_untrained_weights_are_those_of_their_seed() -> None:
    entry = SCHEMA.modalities["digit"].model_copy(update={"patch": (2, 2), "vocab_size": 40})
    image = np.arange(64.0).reshape(8, 8) % 17
    ids = [untrained("digit", entry, seed=seed).encode([image]).ids.tolist() for seed in (0, 0, 1)]

    assert ids[0] == ids[1] != ids[2]
    with pytest.raises(CodecError, match="shape: its codec 'bins' is not learned; build it with build_codec"):
        untrained("shape", SCHEMA.modalities["shape"])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.zeros((4, 4)), "an array 4x4: 0 everywhere"),
        (np.arange(3), "int64 [0, 1, 2]"),
        (np.eye(6), "an array 6x6: many numbers, such as 1 at [0, 0], 1 at [1, 1], 1 at [2, 2]"),
        (np.array([[np.nan, 2.0]] + [[2.0, 2.0]] * 4), "an array 5x2: 2 everywhere but nan at [0, 0]"),
        ("a text", "'a text'"),
    ],
)
def test_values_are_shown_briefly(value: object, told: str) -> None:
    assert show(value) == told


def test_a_long_value_is_cut() -> None:
    records: list[Record] = [{"x": float(number)} for number in range(99)]

    assert len(show(records)) == 300
