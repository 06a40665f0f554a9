"""A WordPiece vocabulary: special ids, then learned pieces.

Source: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 4.1.

Several text modalities may share one. Special ids have no spelling: a caption that says "[EOS]" is five
characters of text and can never end a sequence or open a masked span.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Self

import attrs
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from fourm_codecs.words import UNKNOWN, join, normaliser, splitter, stands_alone
from fourm_schema.errors import CodecError
from fourm_schema.plan import Special

PREFIX = "##"
LONGEST_WORD = 100
"""Characters; a longer word is unknown (as in BERT), which bounds the time a word can take."""


@attrs.define(slots=False, frozen=True)
class WordVocabulary:
    """What each id of a word vocabulary stands for.

    Attributes:
        name: the declared name.
        size: ids are in [0, size); those after the last piece are spare.
        special: the first ids, which stand for no word.
        pieces: id `special.size + k` is pieces[k]; a piece that continues a word starts with `##`.
        lowercase: letters are lowered and lose their accents.
    """

    name: str
    size: int
    special: Special
    pieces: tuple[str, ...]
    lowercase: bool = True

    def __attrs_post_init__(self) -> None:
        if len(self.pieces) > self.size - self.special.size:
            raise CodecError(
                self.name,
                f"{len(self.pieces)} pieces and {self.special.size} special ids do not fit {self.size} ids",
            )
        seen: set[str] = set()
        for piece in self.pieces:
            bare = piece.removeprefix(PREFIX)
            fits = bare and self.split(bare) == [bare] and piece not in seen and UNKNOWN not in piece
            if not fits:
                raise CodecError(
                    self.name, "a piece is one word or part of one, listed once", got=repr(piece)
                )
            seen.add(piece)

    @classmethod
    def train(
        cls, texts: Iterable[str], name: str, size: int, special: Special, lowercase: bool = True
    ) -> Self:
        """Learn pieces from texts: the same texts in any order give the same vocabulary.

        Every kept character is a piece, alone and (letters) as `##` continuation, so that a word is unknown
        only if one of its characters is; where the ids do not suffice, the rarest characters are left out.

        Raises:
            CodecError: if `size` leaves no id for a piece, or there is no text.
        """
        room = size - special.size
        if room < 2:
            raise CodecError(
                name,
                f"size {size} leaves no room for words after {special.size} special ids",
                mend=f"raise it to {special.size + 2} or more",
            )
        split = splitter(lowercase)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split(_encodable(text, name)))
        alphabet = _alphabet(counts, room)
        if not alphabet:
            raise CodecError(name, "there is no text to learn words from", mend="import some text first")
        return cls(name, size, special, _learn(counts, alphabet, room), lowercase)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary as a Hugging Face tokenizer without added tokens: it never reads a special id."""
        spelled = {piece: self.special.size + k for k, piece in enumerate(self.pieces)}
        # Brackets are always words of their own, so no text is read as this one entry.
        spelled["[UNK]"] = self.special.unknown
        tokenizer = Tokenizer(
            models.WordPiece(spelled, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
        )
        tokenizer.normalizer = normaliser(self.lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return tokenizer

    @cached_property
    def alphabet(self) -> frozenset[str]:
        """The characters that have a piece of their own."""
        return frozenset(piece for piece in self.pieces if len(piece) == 1)

    def split(self, text: str) -> list[str]:
        """The words of a text, cleaned."""
        return splitter(self.lowercase)(text)

    def normalise(self, text: str) -> str:
        """The canonical form of a text: its words, unknown ones as `⁇`, set as in English.

        Applying it twice changes nothing more.
        """
        return join([word if self.knows(word) else UNKNOWN for word in self.split(text)])

    def knows(self, word: str) -> bool:
        """Whether a word has pieces: it is not overlong and each of its characters is known."""
        return len(word) <= LONGEST_WORD and self.alphabet.issuperset(word)

    def pieces_of(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the words of each text, nothing put before or after.

        Raises:
            CodecError: if a text holds a lone surrogate, which no file can hold either.
        """
        readable = [_encodable(text, self.name) for text in texts]
        return [encoding.ids for encoding in self.tokenizer.encode_batch(readable, add_special_tokens=False)]

    def continues(self, identity: int) -> bool:
        """Whether an id continues the word before it."""
        return self._piece(identity).startswith(PREFIX)

    def text_of(self, ids: Iterable[int]) -> str:
        """Write any ids as a canonical text: up to the end id, without other special ids.

        The unknown id, and ids that no piece has, read `⁇`. No sequence of ids is refused.
        """
        words: list[str] = []
        for identity in ids:
            if identity == self.special.end:
                break
            if identity < self.special.size and identity != self.special.unknown:
                continue
            piece = self._piece(identity)
            if piece.startswith(PREFIX) and words and words[-1] != UNKNOWN:
                words[-1] += piece.removeprefix(PREFIX)
            else:
                words.append(piece.removeprefix(PREFIX))
        # Pieces in an order no encoder writes may come to an overlong word.
        return self.normalise(join(words))

    def _piece(self, identity: int) -> str:
        place = identity - self.special.size
        return self.pieces[place] if 0 <= place < len(self.pieces) else UNKNOWN


def _encodable(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as fault:
        raise CodecError(
            where,
            f"character {fault.start} of a text is half a surrogate pair",
            got=repr(text[max(0, fault.start - 10) : fault.end]),
            mend="decode the text from its bytes again",
        ) from None
    return text


def _alphabet(counts: Counter[str], room: int) -> list[str]:
    """The most frequent characters whose single pieces fit, in code point order."""
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    del characters[UNKNOWN]
    kept: list[str] = []
    for character in sorted(characters, key=lambda c: (-characters[c], c)):
        room -= 1 if stands_alone(character) else 2
        if room < 0:
            break
        kept.append(character)
    return sorted(kept)


def _learn(counts: Counter[str], alphabet: list[str], room: int) -> tuple[str, ...]:
    single = [*alphabet, *(PREFIX + character for character in alphabet if not stands_alone(character))]
    known = set(alphabet)
    words = sorted(word for word in counts if known.issuperset(word) and len(word) <= LONGEST_WORD)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # The trainer numbers `##` characters in the order of a randomly seeded hash map and breaks ties by
    # these numbers, so equal texts give different vocabularies. Declared as special, they are numbered
    # first, by us.
    trainer = trainers.WordPieceTrainer(
        vocab_size=room, min_frequency=0, show_progress=False, special_tokens=single
    )
    chunk = 1000
    repeated = (
        " ".join([word] * min(chunk, counts[word] - start))
        for word in words
        for start in range(0, counts[word], chunk)
    )
    tokenizer.train_from_iterator(repeated, trainer)
    learned = sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda entry: entry[1])
    return tuple(piece for piece, _ in learned)
