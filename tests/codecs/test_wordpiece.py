"""Text codec: what it keeps, what no text can do, what no ids can do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.wordpiece import WordPieceCodec
from fourm_codecs.words import UNKNOWN
from fourm_schema.errors import CodecError
from tests.codecs.declared import WORDS

SPELLED = [
    "[PAD]",
    "[UNK]",
    "[SOS]",
    "[EOS]",
    "[S_0]",
    "[S_1]",
    "[s_1]",
    "a [EOS] b",
    "x[S_2]y",
    "##ing",
    "[[EOS]]",
]


@pytest.fixture
def codec() -> WordPieceCodec:
    return WordPieceCodec("caption", WORDS, 48)


def test_a_text_comes_back_in_canonical_form(codec: WordPieceCodec) -> None:
    texts = ["A three, drawn THIN.", "  it's\ta bold\nseven -- (crossed)!", "Zéro; an open ring", ""]

    assert codec.decode(codec.encode(texts)) == [
        "a three, drawn thin.",
        "it's a bold seven--(crossed)!",
        "zero; an open ring",
        "",
    ]


def test_a_word_with_an_unknown_character_is_unknown_as_a_whole(codec: WordPieceCodec) -> None:
    """⁇ is read back as unknown, so that the form with it is final."""
    (text,) = codec.decode(codec.encode(["a \u0416uk drawn thin"]))

    assert text == "a ⁇ drawn thin"
    assert codec.decode(codec.encode([text])) == [text]


@pytest.mark.parametrize("text", SPELLED)
def test_no_text_spells_a_special_id(codec: WordPieceCodec, text: str) -> None:
    """A caption that says [EOS] must not end a sequence, and one that says [S_1] must not open a span."""
    special = codec.vocabulary.special
    *pieces, last = codec.encode([text]).ids.tolist()

    assert last == special.end
    assert all(piece == special.unknown or piece >= special.size for piece in pieces)
    assert len(pieces) >= 3


@given(text=st.lists(st.sampled_from([*SPELLED, " ", "a", "-", UNKNOWN]), max_size=6).map("".join))
def test_no_mixture_of_texts_spells_a_special_id(text: str) -> None:
    pieces = WORDS.pieces_of([text])[0]

    assert all(piece == WORDS.special.unknown or piece >= WORDS.special.size for piece in pieces)


@given(row=st.lists(st.integers(0, 2**16 - 1), max_size=40))
def test_any_ids_read_as_a_text(row: list[int]) -> None:
    """Even ids of another vocabulary: what a model generates may be nonsense, but it never crashes."""
    (text,) = WordPieceCodec("caption", WORDS, 48).decode(TokenBatch.of([row], 2**16))

    assert WORDS.normalise(text) == text


def test_reading_stops_at_the_end_id_and_skips_the_other_special_ids(codec: WordPieceCodec) -> None:
    special = codec.vocabulary.special
    (a,), (three,) = codec.vocabulary.pieces_of(["a", "three"])
    row = [special.start, a, special.pad, special.first_sentinel, three, special.end, a]

    assert codec.decode(TokenBatch.of([row], codec.vocab_size)) == ["a three"]


def test_a_text_that_is_too_long_is_refused_with_its_length() -> None:
    codec = WordPieceCodec("caption", WORDS, 4)

    assert codec.encode(["a three."]).lengths.tolist() == [4]
    with pytest.raises(CodecError) as caught:
        codec.encode(["a", "a three, thin"])

    assert str(caught.value) == (
        "caption, value 1: a text has at most 4 tokens, its end included; got 5 tokens: 'a three, thin'; "
        "shorten it, raise max_tokens, or set `out_of_range: clip` to cut it"
    )


def test_clip_cuts_after_the_last_whole_word() -> None:
    """Half a word would be read back as other pieces, and its ids would not be canonical."""
    codec = WordPieceCodec("title", WORDS, 5, out_of_range="clip")
    (whole,) = WORDS.pieces_of(["thinthree"])
    assert len(whole) > 1

    tokens = codec.encode(["a three, thinthree", "thin" * 20])

    assert codec.decode(tokens) == ["a three,", ""]
    assert all(row[-1] == WORDS.special.end for row in tokens.rows())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "caption, value 0: a value is a string; got int"),
        (["a", "b"], "caption, value 0: a value is a string; got list; encode alternative texts one by one"),
        (None, "caption, value 0: an absent value has no tokens; leave it out of the batch"),
        (
            "half \ud83d",
            r"words: character 5 of a text is half a surrogate pair; got 'half \ud83d'; "
            "decode the text from its bytes again",
        ),
    ],
)
def test_what_is_no_text_is_refused(codec: WordPieceCodec, value: object, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        codec.encode([value])

    assert str(caught.value) == message


def test_one_string_is_no_batch_of_characters(codec: WordPieceCodec) -> None:
    with pytest.raises(
        CodecError, match=r"^caption: encode takes a batch; got one string; put it in a list$"
    ):
        codec.encode("a three")
