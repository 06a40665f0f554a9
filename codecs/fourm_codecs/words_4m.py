"""The words of 4M's text tokenizer: the coordinates `v0=0` to `v3=999`, a few keywords, the names of classes.

Coordinates outside 0 to 999 have no word of their own. 4M writes some (`v0=-3`), and its tokenizer cuts them
into pieces; reading puts the pieces together again.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import attrs

from fourm_codecs.tokenizer_file import TokenizerFile
from fourm_schema.errors import CodecError
from fourm_schema.released_forms import COORDINATES

AXES = 4

_COORDINATE = re.compile(r"v([0-3])=(-?\d+)")
_MOST_PIECES = 12
"""Pieces of a coordinate outside 0 to 999: `v`, `##0`, `=`, `-` and those of its digits."""


class Symbol(NamedTuple):
    """One word of a row of ids.

    Attributes:
        kind: what it is; `other` is one id that is no word of the form.
        text: the word.
        axis, number: of a coordinate.
        start, stop: it is ids[start:stop].
    """

    kind: Literal["coordinate", "word", "class", "other"]
    text: str
    start: int
    stop: int
    axis: int = -1
    number: int = 0


def coordinate(axis: int, number: int) -> str:
    """The word of a coordinate.

    >>> coordinate(2, 17)
    'v2=17'
    """
    return f"v{axis}={number}"


@attrs.define(slots=False, frozen=True)
class Words:
    """What a text tokenizer makes of the words of one form.

    Attributes:
        file: the tokenizer; its `where` is the modality.
        keywords: of the form.
        classes: names of the classes, where the form has some.
    """

    file: TokenizerFile
    keywords: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        special = self.file.special
        lacking = [word for word in self._coordinates() if self.file.tokenizer.token_to_id(word) is None]
        if lacking:
            shown = ", ".join(lacking[:6]) + (f" and {len(lacking) - 6} more" if len(lacking) > 6 else "")
            raise CodecError(
                self.file.where,
                "its tokenizer has no word for coordinates that 4M writes",
                got=f"it lacks {shown}",
                mend="give the tokenizer file the model was trained with",
            )
        assert self.file.size > special.size, "a tokenizer with coordinates has words"
        outside = coordinate(0, COORDINATES)
        if not self.axis_of.keys().isdisjoint(self.spell(outside)):
            raise CodecError(
                self.file.where,
                f"its tokenizer finds a coordinate within {outside!r}",
                mend="make its coordinates whole words (single_word), as 4M's are",
            )
        reserved = set(range(special.size)) | {special.unknown} | {*self.axis_of}
        spelled: dict[tuple[int, ...], str] = {}
        for name in (*self.keywords, *self.classes):
            ids = self.spell(name)
            taken = spelled.get(ids)
            if not ids or reserved.intersection(ids) or taken not in (None, name):
                what = f"its tokenizer cannot spell {name!r}"
                if taken not in (None, name):
                    what = f"its tokenizer spells {name!r} as it spells {taken!r}"
                raise CodecError(
                    self.file.where, what, mend="rename the class, or give the tokenizer file it is for"
                )
            spelled[ids] = name

    @cached_property
    def axis_of(self) -> dict[int, tuple[int, int]]:
        """Id -> axis and number of the coordinate it stands for."""
        found = {}
        for axis in range(AXES):
            for number in range(COORDINATES):
                identity = self.file.tokenizer.token_to_id(coordinate(axis, number))
                if identity is not None:
                    found[identity] = (axis, number)
        return found

    @cached_property
    def first_of_axis(self) -> tuple[int, ...]:
        """The id of `v0=0`, `v1=0`, `v2=0` and `v3=0`; the others of an axis follow it."""
        of = {found: identity for identity, found in self.axis_of.items()}
        first = [of[axis, 0] for axis in range(AXES)]
        for axis, start in enumerate(first):
            if any(self.axis_of.get(start + number) != (axis, number) for number in range(COORDINATES)):
                raise CodecError(
                    self.file.where, f"the coordinates v{axis}=0, v{axis}=1, ... do not follow each other"
                )
        return tuple(first)

    @cached_property
    def word_ids(self) -> dict[str, tuple[int, ...]]:
        """Keyword -> its ids."""
        return {word: self.spell(word) for word in self.keywords}

    @cached_property
    def class_ids(self) -> dict[tuple[int, ...], str]:
        """The ids of a class name -> the name."""
        return {self.spell(name): name for name in self.classes}

    def spell(self, text: str) -> tuple[int, ...]:
        """The ids of a text."""
        return tuple(self.file.tokenizer.encode(text, add_special_tokens=False).ids)

    def spell_chunk(self, words: Sequence[str]) -> list[int]:
        """The ids of several words of the form."""
        return list(self.spell(" ".join(words)))

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of some ids, for messages."""
        text: str = self.file.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def symbols(self, ids: Sequence[int]) -> list[Symbol]:
        """The words of a row of ids; every id is in one of them."""
        found: list[Symbol] = []
        place = 0
        while place < len(ids):
            symbol = self._symbol(ids, place)
            found.append(symbol)
            place = symbol.stop
        return found

    def _symbol(self, ids: Sequence[int], place: int) -> Symbol:
        if ids[place] in self.axis_of:
            axis, number = self.axis_of[ids[place]]
            return Symbol("coordinate", coordinate(axis, number), place, place + 1, axis, number)
        for length in range(min(self._longest, len(ids) - place), 0, -1):
            piece = tuple(ids[place : place + length])
            if piece in self.class_ids:
                return Symbol("class", self.class_ids[piece], place, place + length)
            if piece in self._keyword_of:
                return Symbol("word", self._keyword_of[piece], place, place + length)
        return self._outside(ids, place) or Symbol(
            "other", self.text_of(ids[place : place + 1]), place, place + 1
        )

    def _outside(self, ids: Sequence[int], place: int) -> Symbol | None:
        """A coordinate outside 0 to 999, put together from its pieces."""
        text, found = "", None
        for stop in range(place, min(place + _MOST_PIECES, len(ids))):
            if ids[stop] in self.axis_of:
                break
            piece: str | None = self.file.tokenizer.id_to_token(ids[stop])
            text += (piece or " ").removeprefix("##")
            match = _COORDINATE.fullmatch(text)
            if match and self.spell(text) == tuple(ids[place : stop + 1]):
                found = Symbol("coordinate", text, place, stop + 1, int(match[1]), int(match[2]))
        return found

    @cached_property
    def _keyword_of(self) -> dict[tuple[int, ...], str]:
        return {ids: word for word, ids in self.word_ids.items()}

    @cached_property
    def _longest(self) -> int:
        return max((len(ids) for ids in (*self._keyword_of, *self.class_ids)), default=0)

    def _coordinates(self) -> Iterable[str]:
        return (coordinate(axis, number) for number in range(COORDINATES) for axis in range(AXES))
