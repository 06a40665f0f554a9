"""Text as WordPiece ids of a shared vocabulary, closed by the end id.

The vocabulary (`fourm_codecs.vocabulary`) is an object of its own, which several modalities share; the
codec adds what its modality says: how long a text may be, and what happens to a longer one.
"""

from collections.abc import Sequence
from typing import Literal, Self

import attrs
import numpy as np

from fourm_codecs.base import Array, Parts, TokenBatch
from fourm_codecs.laws import Canonical
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality, Text


@attrs.frozen
class WordPieceCodec:
    """A text becomes the ids of its word pieces and the end id.

    Attributes:
        modality: whose texts it takes.
        vocabulary: what the ids stand for.
        max_tokens: most ids of one text, the end id included.
        out_of_range: a longer text is refused (`error`), or cut after the last word that fits (`clip`).
        entry: the schema entry it was built from.
    """

    modality: str
    vocabulary: WordVocabulary
    max_tokens: int
    out_of_range: Literal["error", "clip"] = "error"
    entry: Modality | None = attrs.field(default=None, eq=False, repr=False)
    name: str = attrs.field(default="wordpiece", init=False)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts) -> Self:
        """The codec of a declared text, given its trained vocabulary."""
        if not isinstance(entry, Text):
            raise CodecError(modality, "word pieces are for texts", got=f"kind {entry.kind!r}")
        if parts.vocabulary is None:
            raise CodecError(
                modality,
                f"its vocabulary {entry.vocabulary!r} is not trained yet",
                mend="train it (`fourm codec train`) and pass it: vocabularies={name: vocabulary}",
            )
        return cls(modality, parts.vocabulary, entry.max_tokens, entry.out_of_range, entry)

    @property
    def vocab_size(self) -> int:
        return self.vocabulary.size

    @property
    def token_shape(self) -> None:
        return None

    @property
    def parts(self) -> Parts:
        return Parts(vocabulary=self.vocabulary)

    @property
    def law(self) -> Canonical:
        lowered = "lowercased without accents, " if self.vocabulary.lowercase else ""
        cut = f", cut to {self.max_tokens} tokens" if self.out_of_range == "clip" else ""
        form = f"{lowered}white space and punctuation set as in English, unknown words as ⁇{cut}"
        return Canonical(self._canonical, form)

    def encode(self, values: Sequence[object] | Array) -> TokenBatch:
        """Turn texts into ids. No text, whatever it says, becomes a special id other than unknown and end.

        Raises:
            CodecError: if a value is no string, or has more than `max_tokens` ids and is not to be cut.
        """
        if isinstance(values, str):
            raise CodecError(self.modality, "encode takes a batch", got="one string", mend="put it in a list")
        texts = [self._text(value, number) for number, value in enumerate(values)]
        rows: list[list[int]] = []
        for number, pieces in enumerate(self.vocabulary.pieces_of(texts)):
            if len(pieces) >= self.max_tokens and self.out_of_range == "error":
                raise CodecError(
                    f"{self.modality}, value {number}",
                    f"a text has at most {self.max_tokens} tokens, its end included",
                    got=f"{len(pieces) + 1} tokens: {_short(texts[number])}",
                    mend="shorten it, raise max_tokens, or set `out_of_range: clip` to cut it",
                )
            rows.append([*self._cut(pieces), self.vocabulary.special.end])
        return TokenBatch.of(rows, self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[str]:
        """Turn ids into texts: any ids, up to the first end id, without the other special ids.

        Pieces in an order no encoder writes may spell words that take more of them: such a text is cut after
        the last word that fits when it is encoded again.
        """
        texts = [self.vocabulary.text_of(row.tolist()) for row in tokens.rows()]
        return [
            text if len(pieces) < self.max_tokens else self.vocabulary.text_of(self._cut(pieces))
            for text, pieces in zip(texts, self.vocabulary.pieces_of(texts), strict=True)
        ]

    def _cut(self, pieces: list[int]) -> list[int]:
        """Keep the whole words that fit: half a word would be read back as other pieces."""
        kept = self.max_tokens - 1
        if len(pieces) <= kept:
            return pieces
        while kept and self.vocabulary.continues(pieces[kept]):
            kept -= 1
        return pieces[:kept]

    def _canonical(self, value: object) -> str:
        assert isinstance(value, str), "encode has refused everything else"
        if self.out_of_range == "clip":
            return self.vocabulary.text_of(self._cut(self.vocabulary.pieces_of([value])[0]))
        return self.vocabulary.normalise(value)

    def _text(self, value: object, number: int) -> str:
        if isinstance(value, str):
            return value
        where = f"{self.modality}, value {number}"
        if value is None:
            raise CodecError(where, "an absent value has no tokens", mend="leave it out of the batch")
        mend = "encode alternative texts one by one" if isinstance(value, list | tuple | np.ndarray) else ""
        raise CodecError(where, "a value is a string", got=type(value).__name__, mend=mend)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
