"""Training of word vocabularies: where ids lie, and that equal texts give equal ids."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fourm_codecs.vocabulary import PREFIX, WordVocabulary
from fourm_codecs.words import UNKNOWN, stands_alone
from fourm_schema.errors import CodecError
from fourm_schema.plan import Special

SPECIAL = Special(pad=0, unknown=1, start=2, end=3, first_sentinel=4, sentinel_count=10)

TRAIN = """
import hashlib, json, sys
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.plan import Special
texts = json.load(sys.stdin)
vocabulary = WordVocabulary.train(texts, "words", 200, Special(0, 1, 2, 3, 4, 10))
print(hashlib.sha256(json.dumps(vocabulary.pieces).encode()).hexdigest())
"""


def texts_with_ties(seed: int) -> list[str]:
    """Random words over few letters: many pairs are equally frequent, so training must break ties."""
    generator = np.random.default_rng(seed)
    known = ["".join(generator.choice(list("abcdefgh"), generator.integers(1, 6))) for _ in range(200)]
    return [" ".join(generator.choice(known, 8)) for _ in range(100)]


def test_equal_texts_give_equal_ids_in_any_order_and_any_process(root: Path) -> None:
    """The library's own trainer numbers pieces by a randomly seeded hash map: twice the same texts, two
    vocabularies. Ours must not, or a dataset encoded twice would hold two languages."""
    texts = texts_with_ties(0)
    here = [WordVocabulary.train(given, "words", 200, SPECIAL) for given in (texts, texts[::-1], texts)]
    environment = {"PYTHONPATH": f"{root}:{root / 'codecs'}"}
    there = [
        subprocess.run(
            [sys.executable, "-c", TRAIN],
            input=json.dumps(texts),
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]

    assert here[0] == here[1] == here[2]
    digest = hashlib.sha256(json.dumps(here[0].pieces).encode()).hexdigest()
    assert there == [digest, digest]


def test_special_ids_come_first_and_pieces_never_pass_the_size() -> None:
    vocabulary = WordVocabulary.train(texts_with_ties(1), "words", 120, SPECIAL)

    assert min(vocabulary.pieces_of(["abc"])[0]) >= SPECIAL.size
    assert len(vocabulary.pieces) == 120 - SPECIAL.size


def test_spare_ids_are_left_when_there_is_little_text() -> None:
    """The table has as many rows as the file says, however little there was to learn."""
    vocabulary = WordVocabulary.train(["a bee"], "words", 256, SPECIAL)

    assert vocabulary.size == 256
    assert len(vocabulary.pieces) < 20
    assert vocabulary.text_of([255]) == UNKNOWN


def test_every_word_of_known_characters_is_known() -> None:
    """Each letter is a piece at the start and within a word, though this text has no word 'ba'."""
    vocabulary = WordVocabulary.train(["ab, ab"], "words", 256, SPECIAL)

    assert {"a", "b", "##a", "##b", ","} <= set(vocabulary.pieces)
    assert "##," not in vocabulary.pieces
    assert vocabulary.normalise("BAAB, c") == "baab, ⁇"


def test_the_rarest_characters_go_when_ids_do_not_suffice() -> None:
    vocabulary = WordVocabulary.train(["aaaa bbb cc d"], "words", SPECIAL.size + 6, SPECIAL)

    assert vocabulary.alphabet == {"a", "b", "c"}
    assert vocabulary.normalise("a b c d") == "a b c ⁇"


def test_the_mark_of_unknown_words_is_never_learned() -> None:
    """Or decoded texts with unknown words would be read back as texts that have this mark."""
    vocabulary = WordVocabulary.train(["a ⁇ ⁇"], "words", 64, SPECIAL)

    assert vocabulary.pieces_of(["⁇"]) == [[SPECIAL.unknown]]


def test_ideographs_and_punctuation_stand_alone() -> None:
    assert stands_alone("中")
    assert stands_alone("-")
    assert not stands_alone("é")
    vocabulary = WordVocabulary.train(["中文"], "words", 64, SPECIAL)
    assert not any(piece.startswith(PREFIX) for piece in vocabulary.pieces)


def test_case_is_kept_where_the_schema_says_so() -> None:
    vocabulary = WordVocabulary.train(["Ada É"], "words", 64, SPECIAL, lowercase=False)

    assert vocabulary.normalise("Ada ada É") == "Ada ada É"
    assert WordVocabulary.train(["Ada É"], "words", 64, SPECIAL).normalise("Ada É") == "ada e"


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (["a"], 15, "words: size 15 leaves no room for words after 14 special ids; raise it to 16 or more"),
        ([], 64, "words: there is no text to learn words from; import some text first"),
        (["", " \n"], 64, "words: there is no text to learn words from; import some text first"),
    ],
)
def test_a_vocabulary_that_cannot_be_learned_says_why(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        WordVocabulary.train(texts, "words", size, SPECIAL)

    assert str(caught.value) == message


@pytest.mark.parametrize("piece", ["", "##", "a b", "[EOS]", "a,b", "A", UNKNOWN, "twice"])
def test_pieces_that_training_cannot_give_are_refused(piece: str) -> None:
    """A vocabulary from a file must not spell special ids or hold pieces that no text reaches."""
    with pytest.raises(CodecError, match="a piece is one word or part of one, listed once"):
        WordVocabulary("words", 64, SPECIAL, ("twice", piece))


def test_more_pieces_than_ids_are_refused() -> None:
    with pytest.raises(CodecError, match="2 pieces and 14 special ids do not fit 15 ids"):
        WordVocabulary("words", 15, SPECIAL, ("a", "b"))
