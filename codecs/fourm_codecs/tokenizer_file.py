"""Text by a tokenizer that was made elsewhere: a Hugging Face `tokenizer.json`, such as 4M's.

Unlike a vocabulary of ours, its special tokens are spelled: `v0=12` or a class name in a text is read as the
one id it stands for. Those that stand for no content, which a text may spell too, are left out of its ids: in
4M, a caption that says `[S_1]` has the id that opens a masked span, and one that says `[EOS]` ends there.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import attrs
import numpy as np
from tokenizers import Tokenizer

from fourm_codecs.base import Array, Parts, TokenBatch
from fourm_codecs.files import read_file
from fourm_codecs.laws import Canonical
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality, Text
from fourm_schema.plan import Special

_SENTINEL = re.compile(r"\[S_(\d+)\]")
_NAMED = ("[PAD]", "[UNK]", "[SOS]", "[EOS]")


@attrs.define(slots=False, frozen=True)
class TokenizerFile:
    """A tokenizer with the special tokens of 4M.

    Attributes:
        content: of the file.
        where: whose it is; errors start with it.
    """

    content: bytes = attrs.field(repr=False)
    where: str

    @classmethod
    def of_parts(cls, modality: str, parts: Parts) -> Self:
        """The file that a codec is built from: the bytes of the tensor `tokenizer`.

        Raises:
            CodecError: if it is missing, no tokenizer, or without the special tokens.
        """
        content = parts.tensors.get("tokenizer")
        if content is None:
            raise CodecError(modality, "its tokenizer file is missing", mend="import the model with it again")
        return cls(np.asarray(content, np.uint8).tobytes(), modality).checked()

    def checked(self) -> Self:
        """Itself.

        Raises:
            CodecError: if the content is no tokenizer, or lacks special tokens.
        """
        size, special = self._layout
        assert special.size <= size, "sentinels are ids"
        return self

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the content.

        Raises:
            CodecError: if it is none.
        """
        try:
            return Tokenizer.from_str(self.content.decode("utf-8"))
        except Exception as fault:  # tokenizers raises bare Exception for what it cannot parse
            reason = str(fault).splitlines()[0][:120] if str(fault) else type(fault).__name__
            what = "is no tokenizer file (tokenizer.json of tokenizers)"
            raise CodecError(self.where, what, got=reason) from None

    @property
    def size(self) -> int:
        """Ids are in [0, size)."""
        return self._layout[0]

    @property
    def special(self) -> Special:
        """The ids that stand for no content."""
        return self._layout[1]

    @cached_property
    def _layout(self) -> tuple[int, Special]:
        """How many ids there are, and which of them are special.

        Raises:
            CodecError: if the content is no tokenizer, or lacks special tokens.
        """
        ids: dict[str, int] = self.tokenizer.get_vocab(with_added_tokens=True)
        lacking = [token for token in (*_NAMED, "[S_0]") if token not in ids]
        if lacking:
            raise CodecError(
                self.where,
                f"has no token {', '.join(lacking)}",
                mend="give the tokenizer file the model was trained with",
            )
        sentinels = {int(match[1]): ids[token] for token in ids if (match := _SENTINEL.fullmatch(token))}
        first = sentinels[0]
        if any(sentinels.get(k) != first + k for k in range(len(sentinels))):
            raise CodecError(self.where, "its sentinels [S_0], [S_1], ... do not follow each other")
        pad, unknown, start, end = (ids[token] for token in _NAMED)
        return max(ids.values()) + 1, Special(pad, unknown, start, end, first, len(sentinels))


def read_tokenizer(path: Path | str) -> bytes:
    """Read a tokenizer file, and see that it is one with the special tokens of 4M.

    Raises:
        CodecError: if it is missing, no tokenizer, or without the special tokens.
    """
    return TokenizerFile(read_file(Path(path)), str(path)).checked().content


@attrs.define(slots=False, frozen=True)
class TokenizerCodec:
    """A text becomes the ids that the tokenizer gives it, and the end id.

    Attributes:
        modality: whose texts it takes.
        file: the tokenizer file.
        max_tokens: most ids of one text, the end id included.
        out_of_range: a longer text is refused (`error`), or cut (`clip`).
        entry: the schema entry it was built from.
    """

    modality: str
    file: TokenizerFile
    max_tokens: int
    out_of_range: Literal["error", "clip"] = "error"
    entry: Modality | None = attrs.field(default=None, eq=False, repr=False)
    name: str = attrs.field(default="tokenizer", init=False)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts) -> Self:
        """The codec of a declared text, given its tokenizer file as the bytes of the tensor `tokenizer`."""
        if not isinstance(entry, Text):
            raise CodecError(modality, "a tokenizer is for texts", got=f"kind {entry.kind!r}")
        file = TokenizerFile.of_parts(modality, parts)
        return cls(modality, file, entry.max_tokens, entry.out_of_range, entry)

    @property
    def vocab_size(self) -> int:
        return self.file.size

    @property
    def special(self) -> Special:
        """The ids that stand for no content."""
        return self.file.special

    @property
    def token_shape(self) -> None:
        return None

    @property
    def parts(self) -> Parts:
        return Parts(tensors={"tokenizer": np.frombuffer(self.file.content, np.uint8)})

    @property
    def law(self) -> Canonical:
        return Canonical(self._canonical, "the text as its tokenizer writes it")

    def encode(self, values: Sequence[object] | Array) -> TokenBatch:
        """Turn texts into ids; pad, start and end tokens and sentinels that a text spells are left out.

        Raises:
            CodecError: if a value is no string, or has more than `max_tokens` ids and is not to be cut.
        """
        rows = []
        for number, value in enumerate(values):
            where = f"{self.modality}, value {number}"
            if value is None:
                raise CodecError(where, "an absent value has no tokens", mend="leave it out of the batch")
            if not isinstance(value, str):
                raise CodecError(where, "a value is a string", got=type(value).__name__)
            ids = self._ids(value)
            if len(ids) >= self.max_tokens and self.out_of_range == "error":
                raise CodecError(
                    where,
                    f"a text has at most {self.max_tokens} tokens, its end included",
                    got=f"{len(ids) + 1} tokens",
                    mend="shorten it, or set `out_of_range: clip` to cut it",
                )
            rows.append([*ids[: self.max_tokens - 1], self.special.end])
        return TokenBatch.of(rows, self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[str]:
        """Turn ids into texts: up to the first end id, without pad, start and sentinels."""
        return [self._text(row.tolist()) for row in tokens.rows()]

    def _ids(self, text: str) -> list[int]:
        encoded = self.file.tokenizer.encode(text, add_special_tokens=False).ids
        return [each for each in encoded if each != self.special.end and each not in self._silent]

    @cached_property
    def _silent(self) -> frozenset[int]:
        """Ids that are read as nothing; the end id ends the text besides."""
        special = self.special
        sentinels = range(special.first_sentinel, special.first_sentinel + special.sentinel_count)
        return frozenset((special.pad, special.start, *sentinels))

    def _text(self, ids: list[int]) -> str:
        kept = list[int]()
        for identity in ids:
            if identity == self.special.end:
                break
            if identity not in self._silent:
                kept.append(identity)
        text: str = self.file.tokenizer.decode(kept, skip_special_tokens=False)
        return text

    def _canonical(self, value: object) -> str:
        assert isinstance(value, str), "encode has refused everything else"
        return self._text(self._ids(value)[: self.max_tokens - 1])
