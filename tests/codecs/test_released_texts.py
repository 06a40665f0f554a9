"""Sets in 4M's words: what is written is read again, what is drawn can be read, and bad input is told."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourm_codecs.base import Parts, TokenBatch
from fourm_codecs.build import codec_of_entry
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.lawbook.sample_words import small_tokenizer
from fourm_codecs.set_part import read_part
from fourm_codecs.sets_4m import RecordTextCodec
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set
from fourm_schema.released_forms import FORMS, FormName
from fourm_schema.strategies import values
from tests.codecs.released_texts import text_codec

CLASSES = ("dog", "hot dog", "dogs", "dog bed")
"""Names in pieces, one the beginning of another; `hot dog` is a token of its own."""

CONTENT = small_tokenizer(("hot dog",))
DETECTIONS = {**FORMS["detections"], "label": {"type": "category", "classes": CLASSES}}
LENGTHS: dict[FormName, int] = {
    "detections": 60,
    "metadata": 40,
    "palette": 23,
    "poses": 275,
    "instances": 290,
}


def codec_of(form: FormName, **keys: object) -> RecordTextCodec:
    dialect = {"name": "4m", "vocabulary": "words", "max_tokens": LENGTHS[form]}
    fields = DETECTIONS if form == "detections" else FORMS[form]
    return text_codec(CONTENT, form, **{"fields": fields, "dialect": dialect, **keys})


CODECS = {
    (form, clip): codec_of(form, out_of_range="clip" if clip else "error")
    for form in FORMS
    for clip in (True, False)
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(data=st.data())
def test_records_obey_the_law(form: FormName, data: st.DataObject) -> None:
    """Every number is as near as its word tells, and what is read is written the same."""
    codec = CODECS[form, data.draw(st.booleans())]
    value = data.draw(values(codec.entry))

    assert violations(codec, [value]) == []
    assert codec.decode_with_report(codec.encode([value]))[0].damage == ()


@pytest.mark.parametrize("order", ["random", "distance_to_origin", "area"])
@settings(max_examples=20)
@given(data=st.data())
def test_equal_sets_have_equal_texts(order: str, data: st.DataObject) -> None:
    """Where the order of the records says nothing, it changes nothing."""
    codec = codec_of("detections", order=order)
    value = data.draw(values(codec.entry).filter(lambda drawn: isinstance(drawn, list)))
    assert isinstance(value, list)

    assert violations(codec, [value]) == []
    assert codec.texts([data.draw(st.permutations(value))]) == codec.texts([value])


@pytest.mark.parametrize("form", ["metadata", "instances"])
def test_a_shuffled_set_says_the_same(form: FormName) -> None:
    """Types of metadata, and points with all their instances, change places; nothing else does."""
    codec = codec_of(form, order="random")
    box, codes = [1.0, 2.0, 30.0, 40.0], [float(k * 60) for k in range(16)]
    there = [{"point": [5.0, 6.0], "polygon": box, "codes": codes[::step]} for step in (1, -1)]
    value: list[object] = [{name: 0 for name in [*FORMS["metadata"]][:19]}]
    if form == "instances":
        value = [*there, {"point": [7.0, 8.0]}, {"point": [9.0, 9.0]}]
    plain = codec.encode([value])
    shuffled = [codec.encode([value], rng=np.random.default_rng(seed)) for seed in range(5)]

    assert any(not one.same(plain) for one in shuffled)
    assert all(codec.law.check(value, codec.decode(one)[0]) == [] for one in shuffled)
    assert all(sorted(one.ids.tolist()) == sorted(plain.ids.tolist()) for one in shuffled)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), room=st.integers(0, 60))
def test_what_is_drawn_under_the_grammar_is_read_whole(form: FormName, seed: int, room: int) -> None:
    """Any walk through the grammar ends within its length, and every id of it is in a record."""
    codec, rng = CODECS[form, False], np.random.default_rng(seed)
    grammar = codec.automaton
    budget = min(grammar.distance(grammar.start) + room, LENGTHS[form])
    state, ids = grammar.start, list[int]()
    while not grammar.is_final(state):
        left = budget - len(ids)
        assert grammar.distance(state) <= left
        allowed = np.flatnonzero(grammar.allowed(state, left))
        # Ranges are wide; each of them, the end among them, should be tried as often.
        borders = np.flatnonzero(np.diff(allowed, prepend=-2) > 1)
        parts = np.split(allowed, borders[1:])
        ids.append(int(rng.choice(parts[rng.integers(len(parts))])))
        following = grammar.step(state, ids[-1])
        assert following is not None
        state = following
    (reading,) = codec.decode_with_report(TokenBatch.of([ids], codec.vocab_size))

    assert reading.damage == ()
    assert codec.encode([reading.records]).lengths[0] <= budget
    assert sorted(codec.sort_places(ids)) == list(range(len(ids)))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25)
@given(data=st.data())
def test_what_is_encoded_follows_the_grammar(form: FormName, data: st.DataObject) -> None:
    """So records can be given and drawn on; only numbers in pieces have no place in it."""
    codec = CODECS[form, False]
    batch = codec.encode([data.draw(values(codec.entry))])
    ids = batch.ids.tolist()
    pieces = any(
        symbol.stop - symbol.start > 1 and symbol.kind == "coordinate" for symbol in codec.words.symbols(ids)
    )
    state, seen = codec.automaton.start, list[bool]()
    for place, identity in enumerate(ids):
        seen.append(bool(codec.automaton.allowed(state, len(ids) - place)[identity]))
        following = codec.automaton.step(state, identity)
        if following is None:
            break
        state = following

    assert all(seen) != pieces
    assert pieces or codec.automaton.is_final(state)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(data=st.data())
def test_any_ids_are_read_as_far_as_they_can_be(form: FormName, data: st.DataObject) -> None:
    """What a model without the grammar writes has a value, and the rest is reported."""
    codec = CODECS[form, False]
    ids = codec.encode([data.draw(values(codec.entry))]).ids.tolist()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(ids)))
        match data.draw(st.sampled_from(["drop", "put", "double"])):
            case "drop":
                ids = ids[:place] + ids[place + 1 :]
            case "put":
                ids = [*ids[:place], data.draw(st.integers(0, codec.vocab_size - 1)), *ids[place:]]
            case _:
                ids = ids[:place] * 2 + ids[place:]
    (reading,) = codec.decode_with_report(TokenBatch.of([ids], codec.vocab_size))

    assert violations(codec, [reading.records]) == []
    assert len(reading.spans) == len(reading.records)
    if not reading.damage:
        assert codec.law.check(reading.records, codec.decode(TokenBatch.of([ids], codec.vocab_size))[0]) == []


def read(form: FormName, text: str, **keys: object) -> tuple[list[object], list[tuple[int, int, str]]]:
    """What a text says, and its damage."""
    codec = codec_of(form, **keys)
    ids = [*codec.words.spell(text), codec.file.special.end]
    (reading,) = codec.decode_with_report(TokenBatch.of([ids], codec.vocab_size))
    return [*reading.records], [(one.start, one.stop, one.what) for one in reading.damage]


@pytest.mark.parametrize(
    ("form", "text", "kept", "damage"),
    [
        ("detections", "v0=1 v1=2 v2=9 hot dog", 0, [(0, 4, "'hot dog' cannot be written in field 'box'")]),
        (
            "detections",
            "v0=9 v1=2 v2=1 v3=3 hot dog",
            0,
            [(0, 5, "the box of field 'box' ends before it begins")],
        ),
        (
            "detections",
            "v0=1 v1=2 v2=3 v3=4 v0=1 v1=2 v2=3 v3=4 hot dog",
            1,
            [(0, 4, "'v0=1' is no class of")],
        ),
        ("metadata", "v1=3 v0=7 v1=25 v0=3", 1, [(2, 4, "'v1=25' cannot be written in field 'type'")]),
        ("metadata", "v1=9 v0=50", 0, [(0, 2, "'v0=50' cannot be written in field 'colorfulness'")]),
        ("metadata", "v1=3 v0=7 v1=3 v0=8", 1, [(2, 4, "field 'caption_n_words' stands here a second time")]),
        ("palette", "v1=2 v0=1 v0=2 v0=3", 1, [(0, 1, "it says 2 of 1 colors")]),
        ("palette", "v0=1 v0=2 v0=3", 1, [(3, 3, "it says nothing of 1 colors")]),
        (
            "palette",
            "v0=1 v0=2 v0=3 v1=1",
            1,
            [(3, 4, "the number of colors stands behind a color"), (4, 4, "it says nothing of 1 colors")],
        ),
        (
            "palette",
            "v1=1 v0=256 v0=2 v0=3",
            0,
            [(0, 1, "it says 1 of 0 colors"), (1, 4, "'v0=256' cannot be written in field 'color'")],
        ),
        ("poses", "none none", 0, [(1, 2, "'none' stands here a second time")]),
        ("poses", "none human", 0, [(1, 2, "the row ends within 'box'")]),
        ("instances", "polygon v0=1", 0, [(0, 2, "a polygon stands behind no point")]),
        ("instances", "point v0=1 v1=2 none point v0=500", 1, [(4, 6, "'v0=500' cannot be written in")]),
    ],
)
def test_damage_is_told(form: FormName, text: str, kept: int, damage: list[tuple[int, int, str]]) -> None:
    """Where it stands, and what was expected."""
    records, found = read(form, text)

    assert len(records) == kept
    for (start, stop, what), (at, until, said) in zip(damage, found, strict=True):
        assert (start, stop) == (at, until)
        assert what in said


def test_a_number_outside_is_put_together_from_its_pieces() -> None:
    """4M writes some coordinates without a word of their own; `v0=-3` is six ids here."""
    codec = codec_of("instances")
    value = [{"point": [1.0, 2.0], "polygon": [-3.0, 5.0, 1200.0, 6.0], "codes": [0.0] * 16}]
    batch = codec.encode([value])

    assert "v0=-3 v1=5 v2=1200 v3=6" in codec.texts([value])[0]
    assert codec.decode(batch) == [value]
    with pytest.raises(
        CodecError, match=r"holds a number beyond the words of 4M, behind which nothing can be"
    ):
        read_part(codec, value)


def test_nothing_is_given_as_nothing_is_known() -> None:
    """4M says `none` of a picture without persons, which would leave nothing to draw."""
    codec = codec_of("poses")

    assert codec.texts([[]]) == ["none"]
    assert read_part(codec, []).ids == ()


@pytest.mark.parametrize(
    ("form", "value", "message"),
    [
        (
            "detections",
            [{"box": [0, 0, 1, 1.5], "label": "dog"}],
            r"item 0, field 'box' x1|y1: lies in \[0, 1\]; got 1.5",
        ),
        (
            "detections",
            [{"box": [0, 0, 1, 1], "label": "dgo"}],
            r"field 'label': is none of the classes; got 'dgo'; did",
        ),
        (
            "detections",
            [{"box": [0.5, 0, 0.1, 1], "label": "dog"}],
            r"field 'box': x0 is at most x1; got 0.5 and 0.1",
        ),
        ("detections", [{"label": "dog"}], r"field 'box': is missing"),
        (
            "detections",
            [{"box": [0, 0, 1, 1], "label": "dog"}] * 20,
            r"at most 60 tokens, its end included; got 141",
        ),
        (
            "metadata",
            {"colorfullness": 3},
            r"field 'colorfullness': is not declared; did you mean 'colorfulness'",
        ),
        (
            "metadata",
            {"n_humans": 1000},
            r"field 'n_humans': lies in \[0, 999\]; got 1000; .*out_of_range: clip",
        ),
        ("metadata", {"n_humans": 1.5}, r"field 'n_humans': is a whole number; got 1.5"),
        ("metadata", {}, r"item 0: says nothing; leave the record out"),
        ("palette", [{"color": [0, 0, 256]}], r"field 'color' at \[2\]: lies in \[0, 255\]; got 256"),
        ("palette", [{"color": [0, 0, 0]}] * 8, r"has at most 7 items; got 8"),
        (
            "instances",
            [{"point": [1, 2], "polygon": [0, 0, 1, 1]}],
            r"has polygon and codes, or neither; got point, pol",
        ),
        (
            "instances",
            [{"point": [1, 2], "polygon": [0, 0, 1, 1e6], "codes": [0] * 16}],
            r"y1: is far outside what 4M",
        ),
        ("poses", [{"box": [0, 0, 1, 1]}], r"field 'pose': is missing"),
    ],
)
def test_values_that_have_no_text_are_told(form: FormName, value: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        codec_of(form).encode([value])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            small_tokenizer(left_out=("v0=7", "v3=999")),
            r"det: its tokenizer has no word for .*; got it lacks v0=7, v3=999",
        ),
        (
            small_tokenizer(left_out=tuple(f"v2={k}" for k in range(9))),
            r"lacks v2=0, .*, v2=5 and 3 more; give the",
        ),
        (small_tokenizer(left_out=("[EOS]",)), r"has no token \[EOS\]"),
        (b"{}", r"is no tokenizer file"),
    ],
)
def test_a_tokenizer_without_the_words_is_refused_by_their_names(content: bytes, message: str) -> None:
    entry = {
        "kind": "set",
        "fields": DETECTIONS,
        "max_items": 3,
        "dialect": {"name": "4m", "vocabulary": "words", "max_tokens": 60},
    }
    parts = Parts(tensors={"tokenizer": np.frombuffer(content, np.uint8)})
    with pytest.raises(CodecError, match=message):
        codec_of_entry("grammar-4m", "det", Set.model_validate_json(json.dumps(entry)), parts)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["dog", "Dog"], r"spells 'Dog' as it spells 'dog'"),
        (["dog", "犬"], r"cannot spell '犬'"),
        (["dog", "v0=3"], r"cannot spell 'v0=3'"),
        (["dog", "[EOS]"], r"cannot spell '\[EOS\]'"),
    ],
)
def test_classes_that_the_tokenizer_cannot_spell_apart_are_refused(classes: list[str], message: str) -> None:
    fields = {**DETECTIONS, "label": {"type": "category", "classes": classes}}
    with pytest.raises(CodecError, match=message):
        codec_of("detections", fields=fields)


def test_a_codec_without_its_tokenizer_says_so() -> None:
    with pytest.raises(
        CodecError, match=r"det: its tokenizer file is missing; import the model with it again"
    ):
        codec_of_entry("grammar-4m", "det", codec_of("detections").entry, Parts())


def test_a_codec_is_stored_with_its_tokenizer(tmp_path: object) -> None:
    """A checkpoint needs no other file to read its records."""
    codec = codec_of("palette")
    save_codec(codec, f"{tmp_path}/palette")
    again = load_codec(f"{tmp_path}/palette")

    assert again == codec and codec_hash(again) == codec_hash(codec)
