"""What a set keeps through its tokens, against bounds that are computed here; and that the check notices."""

import bisect
import math
import re
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from fourm_codecs.base import Array, Codec, FieldValue, Record, TokenBatch, Value
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.lawbook.set_validity import corners, record_faults
from fourm_codecs.lawbook.showing import show
from fourm_schema import strategies
from fourm_schema.errors import CodecError
from fourm_schema.set_fields import AngleField, AnyField, BoxField, NumberField, PointField, VectorField
from tests.codecs.drawn_sets import CLASSES, WORDS, sets
from tests.codecs.faulty import Faulty
from tests.codecs.signs import SIGNS, codec_of, fields


@given(st.data())
def test_every_declared_set_keeps_its_law(data: st.DataObject) -> None:
    """Half a bin per number, classes and words as they are, and the same ids when encoded again."""
    entry = data.draw(sets())
    values = data.draw(st.lists(strategies.values(entry), max_size=3))
    codec = codec_of(entry)

    assert violations(codec, values) == []
    assert [record_faults(entry, decoded, WORDS) for decoded in codec.decode(codec.encode(values))] == [
        []
    ] * len(values)


@given(st.data())
def test_no_number_is_off_by_more_than_half_its_bin(data: st.DataObject) -> None:
    """Linear, logarithmic, between given borders, round the circle; at the ends, at the borders of bins and
    just below them. The bound is that of the declaration, not the codec's own."""
    entry = data.draw(sets())
    given_order = entry.model_copy(update={"order": "given"})
    codec, value = codec_of(given_order), data.draw(strategies.values(given_order))
    records = cast("list[dict[str, object]]", value)[: entry.max_items]
    (decoded,) = codec.decode(codec.encode([value]))

    for record, back in zip(records, decoded, strict=True):
        for name, field in entry.fields.items():
            assert within_half_a_bin(field, cast(FieldValue, record.get(name)), back[name])


def within_half_a_bin(field: AnyField, value: FieldValue, back: FieldValue) -> bool:
    """Whether a decoded field is as near as its declaration says; categories and texts are not looked at."""
    if value is None or back is None:
        return value is back
    if isinstance(field, AngleField):
        turn = 360.0 if field.unit == "degree" else math.tau
        assert isinstance(value, float) and isinstance(back, float)
        return abs(math.remainder(math.fmod(value, turn) - back, turn)) <= turn / field.bins / 2 * (1 + 1e-9)
    if not isinstance(field, NumberField | PointField | VectorField | BoxField):
        return True
    numbers = cast("list[float]", [*value] if isinstance(value, list) else [value])
    backs = cast("list[float]", [*back] if isinstance(back, list) else [back])
    if isinstance(field, BoxField):
        numbers, backs = [*corners(field, numbers)], [*corners(field, backs)]
    return all(near(field, float(a), float(b)) for a, b in zip(numbers, backs, strict=True))


def near(field: NumberField | PointField | VectorField | BoxField, number: float, back: float) -> bool:
    if isinstance(field, NumberField) and field.edges is not None:
        clipped = min(max(number, field.edges[0]), field.edges[-1])
        place = min(bisect.bisect_right(field.edges, clipped), len(field.edges) - 1)
        return math.isclose(back, (field.edges[place - 1] + field.edges[place]) / 2, rel_tol=1e-12)
    assert field.range is not None
    low, high = field.range
    clipped = min(max(number, low), high)
    if isinstance(field, NumberField) and field.scale == "log":
        return abs(math.log(clipped / back)) <= math.log(high / low) / field.bins / 2 + 1e-12
    return abs(clipped - back) <= (high - low) / field.bins / 2 + 1e-12 * max(abs(low), abs(high))


@given(st.data())
def test_the_order_of_records_says_nothing_where_the_schema_gives_another(data: st.DataObject) -> None:
    """Equal sets have equal tokens, however a file lists their records."""
    entry = data.draw(sets().filter(lambda entry: entry.order != "given"))
    codec, value = codec_of(entry), cast("list[object]", data.draw(strategies.values(entry)))
    shuffled = data.draw(st.permutations(value))

    assert codec.encode([shuffled]).same(codec.encode([value]))


@pytest.mark.parametrize("name", CLASSES, ids=[ascii(name[:8]) for name in CLASSES])
def test_a_class_keeps_its_name_to_the_code_point(name: str) -> None:
    """Names are not normalised: two that look alike are two classes, as the schema lists them."""
    codec = codec_of(fields(label={"type": "category", "classes": [*CLASSES]}))
    (decoded,) = codec.decode(codec.encode([[{"label": name}]]))

    assert decoded == [{"label": name}]
    assert codec.encode([[{"label": name}]]).ids[0] == codec.encode([[{"label": CLASSES[0]}]]).ids[
        0
    ] + CLASSES.index(name)


@pytest.mark.parametrize(
    ("turn", "unit"), [(360.0, "degree"), (math.tau, "radian")], ids=["degrees", "radians"]
)
def test_angles_wrap(turn: float, unit: str) -> None:
    """Just below a full turn is the first bin, and turns on either side are taken off."""
    codec = codec_of(fields(x={"type": "angle", "bins": 8, "unit": unit}))
    angles = [0.0, turn / 16 - 1e-9, -turn / 16 + 1e-9, turn - 1e-9, turn, -turn, 7 * turn, turn / 16 + 1e-9]
    decoded = [codec.decode(codec.encode([[{"x": angle}]]))[0][0]["x"] for angle in angles]

    assert decoded == [0.0] * 7 + [turn / 8]


@pytest.mark.parametrize(("low", "high"), [(5e-324, 1.7e308), (1e-300, 1e-299), (0.999, 1.0)])
def test_a_log_scale_spans_all_that_a_float_can_hold(low: float, high: float) -> None:
    """The ratio of its ends need not be a float."""
    codec = codec_of(fields(x={"type": "number", "range": [low, high], "scale": "log", "bins": 6}))
    values = [[{"x": number} for number in (low, math.sqrt(low) * math.sqrt(high), high)]]

    assert violations(codec, values) == []
    assert "off by at most half a bin: x a factor of" in codec.law.describe()


@pytest.mark.parametrize("order", ["distance_to_origin", "area"])
def test_boxes_are_sorted_over_all_that_a_float_can_hold(order: str) -> None:
    """Squares and areas may be no floats; items without a box are last all the same."""
    entry = fields(box={"type": "box", "range": [0, 1e200], "bins": 4, "optional": True})
    codec = codec_of(entry, order=order)
    value = [{"box": None}, {"box": [1e200, 1e200, 1e200, 1e200]}, {"box": [0, 0, 1e199, 1e199]}]

    assert violations(codec, [value]) == []
    assert codec.decode(codec.encode([value]))[0][-1] == {"box": None}


@pytest.mark.parametrize(("number", "accepted"), [(1e-3 * (1 - 1e-8), True), (0.00099, False), (-0.1, False)])
def test_a_number_below_a_log_scale_is_not_rounding(number: float, accepted: bool) -> None:
    """A tenth is a rounding error of a million, but not of a thousandth, where the scale begins."""
    codec = codec_of(fields(x={"type": "number", "range": [0.001, 1e6], "scale": "log", "bins": 6}))
    if accepted:
        assert violations(codec, [[{"x": number}]]) == []
    else:
        with pytest.raises(CodecError, match=r"lies in \[0\.001, 1000000\]"):
            codec.encode([[{"x": number}]])


def test_a_range_wider_than_a_float_is_refused() -> None:
    with pytest.raises(CodecError, match=r"got 4 bins of \[-1e\+308, 1e\+308\]"):
        codec_of(fields(x={"type": "number", "range": [-1e308, 1e308], "bins": 4}))


def test_bins_that_no_float_tells_apart_are_refused() -> None:
    with pytest.raises(
        CodecError, match=r"^signs, field 'x': its bins are too fine for a float to tell them apart"
    ):
        codec_of(fields(x={"type": "number", "range": [1e15, 1e15 + 1], "bins": 64}))


def test_the_law_is_told_in_words() -> None:
    assert codec_of(SIGNS).law.describe() == (
        "decoding gives back the records, sorted by distance_to_origin, off by at most half a bin: "
        "box 0.05 per corner, score 0.125 share; label, says as encoded"
    )


# Planted faults


Records = list[dict[str, object]]


def tampered(
    sound: Codec,
    before_encode: Callable[[Records], Records] = lambda value: value,
    after_encode: Callable[[TokenBatch], TokenBatch] = lambda tokens: tokens,
    after_decode: Callable[[Records], Records] = lambda value: value,
) -> Faulty:
    """A sound codec of sets whose values, one by one, or ids are changed on the way."""

    def given_changed(batch: Sequence[object]) -> list[object]:
        return [before_encode([dict(record) for record in cast(Records, value)]) for value in batch]

    def back_changed(found: Sequence[Value]) -> list[Value]:
        return [cast("list[Record]", after_decode(cast(Records, value))) for value in found]

    return Faulty(sound, before_encode=given_changed, after_encode=after_encode, after_decode=back_changed)


def each(change: Callable[[dict[str, object]], dict[str, object]]) -> Callable[[Records], Records]:
    return lambda value: [{**record, **change(record)} for record in value]


def box(record: dict[str, object]) -> list[float]:
    return cast("list[float]", record["box"])


def next_bin(record: dict[str, object]) -> dict[str, object]:
    score = cast("float | None", record["score"])
    return {"score": None if score is None else score - 0.25}


def swapped_axes(record: dict[str, object]) -> dict[str, object]:
    x0, y0, x1, y1 = box(record)
    return {"box": [y0, x0, y1, x1]}


def other_convention(record: dict[str, object]) -> dict[str, object]:
    x0, y0, x1, y1 = box(record)
    return {"box": [x0, y0, x1 - x0, y1 - y0]}


def next_class(record: dict[str, object]) -> dict[str, object]:
    names = ["stop", "hot dog", "猫"]
    return {"label": names[names.index(str(record["label"])) - 2]}


def last_word_lost(record: dict[str, object]) -> dict[str, object]:
    return {"says": str(record["says"]).rpartition(" ")[0]}


def without_end(tokens: TokenBatch) -> TokenBatch:
    return TokenBatch.of([row[:-1] for row in tokens.rows()], CODEC.vocab_size)


CODEC = codec_of(SIGNS)
VALUE = [
    {"box": [0.5, 0.6, 0.8, 0.7], "label": "stop", "score": None, "says": "two dogs"},
    {"box": [0.1, 0.3, 0.2, 0.9], "label": "猫", "score": 0.9, "says": "a red cat"},
]
"""The far one first: the codec writes the near one as item 0."""


FAULTS: dict[str, tuple[Faulty, list[str]]] = {
    "a bin too low": (
        tampered(CODEC, after_decode=each(next_bin)),
        ["item 0, field 'score': 0.9 came back as 0.625, more than half a bin apart"],
    ),
    "axes swapped": (
        tampered(CODEC, after_decode=each(swapped_axes)),
        [
            "item 0, field 'box': (0.1, 0.3, 0.2, 0.9) came back as (0.35, 0.15, 0.95, 0.25), "
            "more than half a bin apart at x0, y0, x1, y1",
            "item 1, field 'box': (0.5, 0.6, 0.8, 0.7) came back as (0.65, 0.55, 0.75, 0.85), "
            "more than half a bin apart at x0, y1",
        ],
    ),
    "sizes for corners": (
        tampered(CODEC, after_decode=each(other_convention)),
        [
            "it came back as no value of this set: signs, item 0, field 'box': x0 is at most x1; "
            "got 0.15 and 0.1; this field's boxes are xyxy"
        ],
    ),
    "an optional field dropped": (
        tampered(CODEC, before_encode=each(lambda record: {"score": None})),
        ["item 0, field 'score': 0.9 came back as None"],
    ),
    "an absent field made up": (
        tampered(CODEC, after_decode=each(lambda record: {"score": record["score"] or 0.125})),
        ["item 1, field 'score': None came back as 0.125"],
    ),
    "items in reverse": (
        tampered(CODEC, after_decode=lambda value: value[::-1]),
        ["came back out of order: by distance_to_origin, item 1 belongs where item 0 is"],
    ),
    "the last item lost": (
        tampered(CODEC, before_encode=lambda value: value[:-1]),
        ["2 records came back as 1"],
    ),
    "classes counted from one": (
        tampered(CODEC, after_decode=each(next_class)),
        [
            "item 0, field 'label': '猫' came back as 'stop'",
            "item 1, field 'label': 'stop' came back as 'hot dog'",
        ],
    ),
    "the last word lost": (
        tampered(CODEC, after_decode=each(last_word_lost)),
        [
            "item 0, field 'says': 'a red cat' came back as 'a red'",
            "item 1, field 'says': 'two dogs' came back as 'two'",
        ],
    ),
}


@pytest.mark.parametrize(("codec", "said"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_caught_with_an_example_that_one_can_read(codec: Faulty, said: list[str]) -> None:
    """A law that misses these is no law; what it says must lead to the fault."""
    assert violations(CODEC, [VALUE]) == []
    assert f"value 0: {'; '.join(said)}; the value: {show(VALUE)}" in violations(codec, [VALUE])


def test_drawn_values_reach_each_planted_fault() -> None:
    """A user's codec is checked on values that the schema entry draws: they must be ones that matter."""
    left = dict(FAULTS)

    @seed(0)
    @settings(max_examples=60, database=None, phases=[Phase.generate])
    @given(strategies.values(CODEC.entry))
    def find(value: object) -> None:
        assert violations(CODEC, [value]) == []
        for name in [name for name, (codec, _) in left.items() if violations(codec, [value])]:
            del left[name]

    find()
    assert list(left) == []


def test_a_codec_that_keeps_the_order_of_a_file_is_caught() -> None:
    """Where the schema sorts, tokens that follow the file would store equal sets as different ones."""

    class Unsorted(Faulty):
        def encode(self, values: Sequence[object] | Array) -> TokenBatch:
            return codec_of(SIGNS, order="given").encode(values)

    sorted_, unsorted = (codec.encode([VALUE]).ids.tolist() for codec in (CODEC, Unsorted(CODEC)))

    (found,) = violations(Unsorted(CODEC), [VALUE])
    first, again = re.findall(r"(\[[\d, ]+\.\.\.\])", found)
    assert found.startswith("value 0: the ids [")
    assert (first, again) == (f"{unsorted[:12]}"[:-1] + ", ...]", f"{sorted_[:12]}"[:-1] + ", ...]")


def test_a_codec_that_moves_what_should_stay_as_given_is_caught() -> None:
    """What stood first in the file is compared with what came back first."""
    found = violations(tampered(codec_of(SIGNS, order="given"), lambda value: value[::-1]), [VALUE])

    assert "; item 0, field 'label': 'stop' came back as '猫'" in found[0]


def test_a_codec_that_forgets_the_end_is_caught() -> None:
    (found,) = violations(tampered(CODEC, after_encode=without_end), [VALUE])

    assert found.startswith("value 0: with ids behind its end it reads [{'box': [0.15")


def test_a_small_shift_shows_between_borders_that_lie_far_apart() -> None:
    """The allowance for rounding is that of the arithmetic, not a share of the largest border."""
    entry = fields(x={"type": "number", "edges": [0, 0.001, 0.002, 1e9]})
    shifted = tampered(codec_of(entry), after_decode=each(lambda record: {"x": 0.0015}))

    found = violations(shifted, [[{"x": 0.0002}]])
    assert found[0].startswith(
        "value 0: item 0, field 'x': 0.0002 came back as 0.0015, more than half a bin apart"
    )
