"""Sets of records as tokens: what is kept, what is refused and how it is said, what damage costs."""

import copy
import json
import math
import pickle  # noqa: TID251  (what a worker process does with a codec)
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_codecs import strategies
from fourm_codecs.base import Record, TokenBatch
from fourm_codecs.build import build_codec
from fourm_codecs.check import violations
from fourm_codecs.grammar import Fixed
from fourm_codecs.plain import from_json, to_json
from fourm_codecs.scale import CLIP
from fourm_codecs.sets import Damage, SetCodec
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.codecs.drawn_sets import WORDS, sets

SIGNS: dict[str, object] = {
    "kind": "set",
    "max_items": 3,
    "order": "distance_to_origin",
    "fields": {
        "box": {"type": "box", "bins": 10},
        "label": {"type": "category", "classes": ["stop", "hot dog", "猫"]},
        "score": {"type": "number", "range": [0, 1], "bins": 4, "unit": "share", "optional": True},
        "says": {"type": "text", "vocabulary": "words", "max_tokens": 4, "optional": True},
    },
}
NEAR = {"box": [0.0, 0.1, 0.2, 1.0], "label": "猫", "score": None, "says": "a red cat"}
FAR = {"box": [0.5, 0.5, 0.5, 0.5], "label": "stop", "score": 1, "says": ""}


def codec_of(entry: dict[str, object] | Set, **changes: object) -> SetCodec:
    declared = entry if isinstance(entry, Set) else Set.model_validate({**entry, **changes})
    return SetCodec("signs", declared, WORDS)


def fields(**declared: dict[str, object]) -> dict[str, object]:
    return {"kind": "set", "max_items": 4, "fields": declared}


def message(codec: SetCodec, *values: object) -> str:
    with pytest.raises(CodecError) as caught:
        codec.encode(values)
    return str(caught.value)


# Laws


@given(st.data())
def test_every_declared_set_keeps_its_law(data: st.DataObject) -> None:
    """Half a bin per number, classes and words as they are, and the same ids when encoded again."""
    entry = data.draw(sets())
    values = data.draw(st.lists(strategies.values(entry), max_size=3))

    assert violations(codec_of(entry), values) == []


@settings(max_examples=100)
@given(sets(), st.integers(0, 2**32 - 1))
def test_any_ids_can_be_decoded_and_what_comes_back_is_a_value(entry: Set, seed: int) -> None:
    """A hundred schemas, a hundred rows each: noise, noise among true items, and true items with errors."""
    codec, rng = codec_of(entry), np.random.default_rng(seed)
    rows = [noise(codec, rng) for _ in range(100)]
    readings = codec.decode_with_report(TokenBatch.of(rows, codec.vocab_size))
    values = [reading.records for reading in readings]
    again = codec.encode(values)

    assert codec.decode(again) == codec.decode(codec.encode(codec.decode(again)))
    for row, reading in zip(rows, readings, strict=True):
        assert all(0 <= found.start <= found.stop <= len(row) for found in reading.damage)
        end = codec.automaton.special.end
        accepted = end in row and codec.automaton.chunk_lengths(row[: row.index(end) + 1]) is not None
        assert accepted or reading.damage


def noise(codec: SetCodec, rng: np.random.Generator) -> list[int]:
    """Random ids, in which runs that follow the grammar are strewn."""
    grammar, row = codec.automaton, list[int]()
    state = grammar.start
    for word in rng.integers(2**32, size=30).tolist():
        choices = np.flatnonzero(grammar.allowed(state, 12))
        if word % 8 == 0 or not len(choices):
            row.append(word % codec.vocab_size)
            state = grammar.start
        else:
            row.append(int(choices[word % len(choices)]))
            state = grammar.step(state, row[-1]) or grammar.start
            # An end token among them is rare enough for most of the row to be read.
            if grammar.is_final(state):
                state = grammar.start
                row[-1:] = [row[-1]] if word % 3 == 0 else []
    return row


def test_an_empty_set_is_its_end_token() -> None:
    codec = codec_of(SIGNS)
    tokens = codec.encode([[], []])

    assert tokens.ids.tolist() == [codec.automaton.special.end] * 2
    assert tokens.chunks() == [[1], [1]]
    assert codec.decode(tokens) == [[], []]


def test_items_are_chunks_in_order_of_their_distance_to_the_origin() -> None:
    """Box, class, a marker for the absent score, four tokens of text; then all of the far one."""
    codec = codec_of(SIGNS)
    tokens = codec.encode([[FAR, NEAR]])
    (near, far), (first, second) = codec.decode(tokens)[0], (NEAR, FAR)

    assert tokens.chunks() == [[4 + 1 + 1 + 4, 4 + 1 + 1 + 1, 1]]
    assert (near["label"], near["score"], near["says"]) == (first["label"], None, "a red cat")
    assert (far["label"], far["score"], far["says"]) == (second["label"], 0.875, "")
    assert near["box"] == pytest.approx([0.05, 0.15, 0.25, 0.95])
    assert far["box"] == pytest.approx([0.55, 0.55, 0.55, 0.55])


def test_larger_boxes_come_first_and_items_without_one_last() -> None:
    entry = fields(
        box={"type": "box", "bins": 10, "optional": True}, label={"type": "category", "classes": 4}
    )
    codec = codec_of(entry, order="area")
    value = [{"label": k, "box": box} for k, box in enumerate([None, [0, 0, 0.1, 1], [0, 0, 1, 1]])]

    assert [record["label"] for record in codec.decode(codec.encode([value]))[0]] == [2, 1, 0]


def test_a_random_order_is_drawn_from_the_given_generator_only() -> None:
    """Without one, equal sets have equal ids, in whatever order their records come."""
    codec = codec_of(fields(label={"type": "category", "classes": 9}), order="random")
    value = [{"label": k} for k in (7, 1, 5, 3)]
    fixed = codec.encode([value])
    drawn = {tuple(codec.encode([value], rng=np.random.default_rng(k)).ids.tolist()) for k in range(9)}

    assert fixed.same(codec.encode([value[::-1]]))
    assert [record["label"] for record in codec.decode(fixed)[0]] == [1, 3, 5, 7]
    assert len(drawn) > 3
    assert codec.encode([value], rng=np.random.default_rng(1)).same(
        codec.encode([value], rng=np.random.default_rng(1))
    )


def test_the_ends_of_a_scale_are_in_its_first_and_last_bin() -> None:
    """Linear, logarithmic, given borders, and angles that close."""
    codec = codec_of(
        fields(
            linear={"type": "number", "range": [-1, 1], "bins": 4},
            log={"type": "number", "range": [1, 10_000], "bins": 4, "scale": "log"},
            edges={"type": "number", "edges": [0, 1, 10]},
            turn={"type": "angle", "bins": 4},
            radian={"type": "angle", "bins": 4, "unit": "radian"},
        )
    )
    low = {"linear": -1, "log": 1, "edges": 0, "turn": -44.9, "radian": 7 * math.pi / 4 + 0.01}
    high = {"linear": 1, "log": 1e4, "edges": 10, "turn": 359 + 720, "radian": -math.pi / 2}
    first, last = codec.decode(codec.encode([[low, high]]))[0]

    assert first == {"linear": -0.75, "log": pytest.approx(10**0.5), "edges": 0.5, "turn": 0.0, "radian": 0.0}
    assert last == {
        "linear": 0.75,
        "log": pytest.approx(10**3.5),
        "edges": 5.5,
        "turn": 0.0,
        "radian": pytest.approx(3 * math.pi / 2),
    }


@pytest.mark.parametrize(
    ("convention", "box"),
    [
        ("xyxy", [0.2, 0.4, 0.6, 1.0]),
        ("xywh", [0.2, 0.4, 0.4, 0.6]),
        ("cxcywh", [0.4, 0.7, 0.4, 0.6]),
    ],
)
def test_a_box_has_the_same_tokens_in_every_convention(convention: str, box: list[float]) -> None:
    """What is stored is the box, not the habit of its file."""
    codec = codec_of(fields(box={"type": "box", "bins": 100, "convention": convention}))
    plain = codec_of(fields(box={"type": "box", "bins": 100}))
    tokens = codec.encode([[{"box": box}]])

    # A corner on the border of two bins may round into either.
    assert np.abs(tokens.ids.astype(int) - plain.encode([[{"box": [0.2, 0.4, 0.6, 1]}]]).ids).max() <= 1
    assert codec.decode(tokens)[0][0]["box"] == pytest.approx(box, abs=0.02)


def test_a_record_may_be_given_as_one_dict() -> None:
    """`max_items: 1` is metadata; it comes back as a list, which can also be empty."""
    codec = codec_of(fields(width={"type": "number", "range": [0, 4], "bins": 4}), max_items=1)

    assert codec.encode([{"width": 3.5}, [{"width": 3.5}]]).rows()[0].tolist() == (
        codec.encode([[{"width": 3.5}]]).ids.tolist()
    )
    assert codec.decode(codec.encode([{"width": 3.5}, []])) == [[{"width": 3.5}], []]


# What is refused


def test_every_fault_of_every_record_is_named() -> None:
    """One run of an import tells all there is to mend."""
    codec = codec_of(SIGNS)
    wrong = [
        {"box": [0, 0, 2, 1], "label": "stopp", "score": "high", "kind": 1},
        {"box": [0.5, 0, 0.1, 1], "label": None, "says": "a red cat asleep"},
        ["no", "record"],
        {"box": [0, 0, 1], "label": "stop", "score": math.nan},
    ]

    said = message(codec, [NEAR], wrong)
    assert said.startswith(
        "signs: 11 faults; \n  signs, value 1: has at most 3 items; got 4; raise max_items, or"
    )
    assert said.splitlines()[2:] == [
        f"  signs, value 1, item {number}{fault}"
        for number, fault in [
            (0, ", field 'kind': is not declared; known: box, label, says, score"),
            (0, f", field 'box' x1: lies in [0, 1]; got 2; {CLIP}"),
            (
                0,
                ", field 'label': is none of the classes; got 'stopp'; did you mean 'stop'? "
                "known: stop, hot dog, 猫",
            ),
            (0, ", field 'score': is a finite number; got 'high'"),
            (1, ", field 'box': x0 is at most x1; got 0.5 and 0.1; this field's boxes are xyxy"),
            (1, ", field 'label': is missing; give it, or declare `optional: true`"),
            (
                1,
                ", field 'says': a text has at most 4 tokens, its end included; got 5 tokens: "
                "'a red cat asleep'; shorten it, raise max_tokens, or set `out_of_range: clip` to cut it",
            ),
            (2, ": is a record {field: value}; got list"),
            (3, ", field 'box': is a list of 4 numbers; got 3"),
            (3, ", field 'score': is a finite number; got nan"),
        ]
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "signs, value 0: an absent value has no tokens; leave it out of the batch"),
        ("x", "signs, value 0: is a list of records {field: value}; got str"),
        (
            NEAR,
            "signs, value 0: is a list of records {field: value}; got dict; "
            "encode takes a batch: put a single value in a list",
        ),
    ],
)
def test_what_is_no_set_is_told_what_is(value: object, said: str) -> None:
    assert message(codec_of(SIGNS), value) == said


def test_a_batch_is_not_one_value() -> None:
    with pytest.raises(CodecError, match=r"^signs: encode takes a batch; got one value; put it in a list$"):
        codec_of(SIGNS).encode(cast("list[object]", NEAR))


def test_a_flood_of_faults_is_cut() -> None:
    said = message(codec_of(SIGNS), *[[{}]] * 30)

    assert said.startswith("signs: 60 faults; ") and said.endswith("\n  and 40 more")
    assert len(said.splitlines()) == 22


@pytest.mark.parametrize(
    ("declared", "value", "said"),
    [
        ({"type": "category", "classes": 3}, 3, "is a class number from 0 to 2; got 3"),
        ({"type": "category", "classes": 3}, True, "is a class number from 0 to 2; got True"),
        ({"type": "category", "classes": ["a", "b"]}, 0, "is the name of a class; got 0; known: a, b"),
        (
            {"type": "category", "classes": "coco80"},
            "dgo",
            "is none of the classes; got 'dgo'; did you mean 'dog'? known: person, bicycle, car, motorcycle, "
            "airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign and 68 more",
        ),
        ({"type": "point"}, [[0], [0, 1]], "at [0]: is a finite number; got [0]"),
        ({"type": "point"}, np.zeros((2, 1)), "is a list of 2 numbers; got [[0.0], [0.0]]"),
        ({"type": "vector", "dim": 2}, "ab", "is a list of 2 numbers; got 'ab'"),
        ({"type": "angle"}, math.inf, "is a finite number; got inf"),
        ({"type": "number", "range": [0, 1]}, True, "is a finite number; got True"),
        ({"type": "number", "range": [0, 1]}, 10**400, "is a finite number; got 1" + "0" * 56 + "..."),
        (
            {"type": "number", "range": [0, 1], "unit": "m"},
            -1,
            "lies in [0, 1] m; got -1; rescale it, or set `out_of_range: clip` to bound it",
        ),
        (
            {"type": "box", "convention": "xywh"},
            [0.5, 0.5, 0.1, -0.25],
            "its height is 0 or more; got -0.25; this field's boxes are xywh",
        ),
    ],
)
def test_a_field_says_what_it_can_hold(declared: dict[str, object], value: object, said: str) -> None:
    place = " " if said.startswith("at [") else ": "

    assert message(codec_of(fields(x=declared)), [{"x": value}]) == (
        f"signs, value 0, item 0, field 'x'{place}{said}"
    )


def test_clipping_moves_numbers_cuts_texts_and_drops_the_last_items() -> None:
    """But an unknown class has no nearest one, and a box that is inside out no right way round."""
    codec = codec_of(SIGNS, out_of_range="clip")
    value = [NEAR, FAR, {**FAR, "box": [0.4, 0.4, 7, 0.5], "score": -3, "says": "a red cat asleep"}, FAR]
    back = codec.decode(codec.encode([value]))[0]

    assert len(back) == 3
    assert back[1]["box"] == pytest.approx([0.45, 0.45, 0.95, 0.55])
    assert (back[1]["score"], back[1]["says"]) == (0.125, "a red cat")
    assert "is none of the classes" in message(codec, [{**NEAR, "label": "x"}])
    assert "x0 is at most x1" in message(codec, [{**NEAR, "box": [1, 0, 0, 1]}])


def test_a_mask_field_is_refused_by_name() -> None:
    """It can be declared and explained; its autoencoder comes later."""
    schema = Schema.model_validate(
        {"version": 1, "modalities": {"signs": fields(outline={"type": "mask", "tokens": 4})}}
    )
    with pytest.raises(CodecError) as caught:
        build_codec(schema, "signs")

    assert str(caught.value) == (
        "signs, field 'outline': mask fields cannot be encoded in this version; "
        "use fields of type number, angle, category, point, box, vector or text; a box can stand for the mask"
    )


@pytest.mark.parametrize(("low", "high"), [(5e-324, 1.7e308), (1e-300, 1e-299), (0.999, 1.0)])
def test_a_log_scale_spans_all_that_a_float_can_hold(low: float, high: float) -> None:
    """The ratio of its ends need not be a float."""
    codec = codec_of(fields(x={"type": "number", "range": [low, high], "scale": "log", "bins": 6}))
    values = [[{"x": number} for number in (low, math.sqrt(low) * math.sqrt(high), high)]]

    assert violations(codec, values) == []
    assert "off by at most half a bin: x a factor of" in codec.law.describe()


def test_a_range_wider_than_a_float_is_refused() -> None:
    with pytest.raises(CodecError, match=r"got 4 bins of \[-1e\+308, 1e\+308\]"):
        codec_of(fields(x={"type": "number", "range": [-1e308, 1e308], "bins": 4}))


def test_bins_that_no_float_tells_apart_are_refused() -> None:
    with pytest.raises(
        CodecError, match=r"^signs, field 'x': its bins are too fine for a float to tell them apart"
    ):
        codec_of(fields(x={"type": "number", "range": [1e15, 1e15 + 1], "bins": 64}))


# Damage


@pytest.mark.parametrize(
    ("harm", "kept", "damage"),
    [
        (lambda ids: ids, [0, 1], []),
        (lambda ids: ids[:-1], [0, 1], [(17, 17, "the end token is missing")]),
        (lambda ids: [0, *ids], [0, 1], [(0, 1, "id 0 at place 0 cannot be written in field 'box'")]),
        (
            lambda ids: ids[:3] + ids[4:],
            [1],
            [(0, 9, "id {label} at place 3 cannot be written in field 'box'")],
        ),
        (
            lambda ids: ids[:14],
            [0],
            [(10, 14, "the row ends within field 'label'"), (14, 14, "the end token is missing")],
        ),
        (
            lambda ids: ids[:10] * 5 + ids[-1:],
            [0, 0, 0],
            [(30, 50, "after 3 items, the most there can be")],
        ),
    ],
)
def test_what_parses_is_kept_and_what_does_not_is_reported(
    harm: Callable[[list[int]], list[int]], kept: list[int], damage: list[tuple[int, int, str]]
) -> None:
    """A model's slip in one item costs that item, not the picture."""
    codec = codec_of(SIGNS)
    tokens = codec.encode([[NEAR, FAR]])
    whole, ids = codec.decode(tokens)[0], [int(identity) for identity in tokens.ids]
    (reading,) = codec.decode_with_report(TokenBatch.of([harm(ids)], codec.vocab_size))

    assert reading.records == [whole[k] for k in kept]
    assert reading.damage == tuple(
        Damage(start, stop, what.format(label=ids[4])) for start, stop, what in damage
    )


def test_ids_after_the_end_change_nothing() -> None:
    codec = codec_of(SIGNS)
    ids = codec.encode([[NEAR]]).ids.tolist()

    assert codec.decode(TokenBatch.of([[*ids, *ids, 0, 5]], codec.vocab_size)) == codec.decode(
        TokenBatch.of([ids], codec.vocab_size)
    )


# The law notices


def _edit(value: list[Record], name: str, wrong: object) -> list[Record]:
    spoilt = copy.deepcopy(value)
    cast("dict[str, object]", spoilt[0])[name] = wrong
    return spoilt


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v: v[:1], "2 records came back as 1"),
        (lambda v: _edit(v, "label", "stop"), "item 0, field 'label': '猫' came back as 'stop'"),
        (
            lambda v: _edit(v, "says", "a cat"),
            "item 0, field 'says': 'a red cat' came back as 'a cat'",
        ),
        (lambda v: _edit(v, "score", 0.4), "item 0, field 'score': None came back as 0.4"),
        (
            lambda v: _edit(v, "box", [0.05, 0.15, 0.35, 0.95]),
            "item 0, field 'box': 0.2 came back as 0.35, more than half a bin apart",
        ),
        (
            lambda v: _edit(v, "box", [0.05, 0.15, 0.01, 0.95]),
            "it came back as no value of this set: signs, item 0, field 'box': x0 is at most x1; "
            "got 0.05 and 0.01; this field's boxes are xyxy",
        ),
    ],
)
def test_the_law_catches_each_planted_fault(spoil: Callable[[list[Record]], list[Record]], said: str) -> None:
    """A law that never fails proves nothing."""
    codec = codec_of(SIGNS)
    back = codec.decode(codec.encode([[FAR, NEAR]]))[0]

    assert codec.law.check([FAR, NEAR], back) == []
    assert codec.law.check([FAR, NEAR], spoil(back)) == [said]


def test_a_codec_that_shifts_a_token_is_caught() -> None:
    """The check runs on codecs it has never seen."""

    class Shifted(SetCodec):
        def decode(self, tokens: TokenBatch) -> list[list[Record]]:
            production = self.automaton.productions[0]
            assert isinstance(production, Fixed)
            low, high = production.slots[0].range.start, production.slots[0].range.stop - 1
            ids = np.where((tokens.ids >= low) & (tokens.ids < high), tokens.ids + 1, tokens.ids)
            return super().decode(TokenBatch(ids.astype(tokens.ids.dtype), tokens.lengths))

    codec = codec_of(fields(x={"type": "number", "range": [0, 1], "bins": 10}))
    shifted = Shifted(codec.modality, codec.entry, codec.vocabulary)

    assert violations(codec, [[{"x": 0.2}]]) == []
    assert "value 0: item 0, field 'x': 0.2 came back as 0.35" in violations(shifted, [[{"x": 0.2}]])[0]


def test_the_law_is_told_in_words() -> None:
    assert codec_of(SIGNS).law.describe() == (
        "decoding gives back the records, whatever their order, off by at most half a bin: "
        "box 0.05 per corner, score 0.125 share; label, says as encoded"
    )


# Files and plain values


def schema() -> Schema:
    return Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": WORDS.size}},
            "modalities": {"signs": SIGNS},
        }
    )


def test_a_schema_builds_the_codec_and_the_plan_counts_its_ids() -> None:
    codec = build_codec(schema(), "signs", {"words": WORDS})
    stream = resolve(schema()).stream("signs")

    assert isinstance(codec, SetCodec)
    assert (stream.vocab_size, stream.codec) == (codec.vocab_size, codec.name)
    with pytest.raises(CodecError, match=r"^signs, field 'says': its vocabulary 'words' is not trained yet"):
        build_codec(schema(), "signs")


def test_a_stored_codec_reads_the_same_ids(tmp_path: Path) -> None:
    codec = codec_of(SIGNS)
    save_codec(codec, tmp_path)
    loaded = load_codec(tmp_path)

    assert loaded.encode([[NEAR, FAR]]).same(codec.encode([[NEAR, FAR]]))
    assert codec_hash(loaded) == codec_hash(codec)


def test_a_codec_travels_to_a_worker() -> None:
    """Encoding a dataset is done by several processes."""
    codec = codec_of(SIGNS)
    assert codec.encode([[NEAR]]), "its caches are filled"

    assert pickle.loads(pickle.dumps(codec)).encode([[FAR]]).same(codec.encode([[FAR]]))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"description": "seen"}, True),
        ({"classes": ["hot dog", "stop", "猫"]}, False),
        ({"optional": True, "classes": ["stop", "hot dog"]}, False),
    ],
)
def test_the_hash_of_a_codec_follows_what_its_ids_mean(change: dict[str, object], same: bool) -> None:
    """Two classes that change places leave every size as it was."""
    declared = cast("dict[str, dict[str, object]]", SIGNS["fields"])
    other = codec_of(SIGNS, fields={**declared, "label": {**declared["label"], **change}})

    assert (codec_hash(other) == codec_hash(codec_of(SIGNS))) == same


@given(st.data())
def test_values_travel_as_json(data: st.DataObject) -> None:
    """Requests and answers are JSON; a set read from its own JSON has the same tokens."""
    entry = data.draw(sets())
    codec = codec_of(entry)
    value = codec.decode(codec.encode([data.draw(strategies.values(entry))]))[0]
    content = json.loads(json.dumps(to_json(value)))

    assert codec.encode([from_json("signs", entry, content)]).same(codec.encode([value]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"x": 1}, "signs: a value is a list of records; got dict"),
        ([1], "signs, item 0: is a record {field: value}; got int"),
        ([{"x": {}}], "signs, item 0, field 'x': is a number, a string or a list of numbers; got {}"),
        ([{"x": ["a"]}], "signs, item 0, field 'x': is a number, a string or a list of numbers; got ['a']"),
    ],
)
def test_json_of_another_form_is_refused(content: object, said: str) -> None:
    entry = codec_of(SIGNS).entry
    with pytest.raises(CodecError) as caught:
        from_json("signs", entry, json.loads(json.dumps(content)))

    assert str(caught.value) == said
