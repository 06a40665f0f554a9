"""A place in a row of words, and what can be read from there."""

from collections.abc import Sequence

from fourm_codecs.words_4m import Symbol


class Unreadable(Exception):
    """No record begins here; the row is read on behind."""


class Cursor:
    """Reads words one by one.

    Args:
        symbols: of a row.
        place: of the next one.
    """

    def __init__(self, symbols: Sequence[Symbol], place: int = 0) -> None:
        self._symbols, self.place = symbols, place

    def coordinate(self, axis: int, codes: range, field: str, *, is_open: bool = False) -> int:
        """The number of a coordinate of an axis.

        Raises:
            Unreadable: if something else comes, or the field has no such number.
        """
        symbol = self._next(field)
        fits = symbol.number in codes or (is_open and not 0 <= symbol.number < 1000)
        if symbol.kind != "coordinate" or symbol.axis != axis or not fits:
            raise Unreadable(f"{symbol.text!r} cannot be written in field {field!r}")
        self.place += 1
        return symbol.number

    def code(self, field: str, half: int) -> int:
        """A code that two axes share.

        Raises:
            Unreadable: if something else comes.
        """
        symbol = self._next(field)
        if symbol.kind != "coordinate" or symbol.axis > 1 or not 0 <= symbol.number < half:
            raise Unreadable(f"{symbol.text!r} cannot be written in field {field!r}")
        self.place += 1
        return symbol.number + half * symbol.axis

    def name(self, field: str) -> str:
        """The name of a class.

        Raises:
            Unreadable: if something else comes.
        """
        symbol = self._next(field)
        if symbol.kind != "class":
            raise Unreadable(f"{symbol.text!r} is no class of field {field!r}")
        self.place += 1
        return symbol.text

    def word(self, known: Sequence[str]) -> str:
        """A keyword.

        Raises:
            Unreadable: if something else comes.
        """
        symbol = self._next(known[0])
        if symbol.kind != "word" or symbol.text not in known:
            raise Unreadable(f"{symbol.text!r} stands where {' or '.join(map(repr, known))} belongs")
        self.place += 1
        return symbol.text

    def at_word(self, word: str) -> bool:
        """Whether a keyword comes next."""
        return self.place < len(self._symbols) and self._symbols[self.place][:2] == ("word", word)

    def at_coordinate(self, axis: int) -> bool:
        """Whether a coordinate of an axis comes next."""
        here = self._symbols[self.place] if self.place < len(self._symbols) else None
        return here is not None and here.kind == "coordinate" and here.axis == axis

    def _next(self, field: str) -> Symbol:
        if self.place >= len(self._symbols):
            raise Unreadable(f"the row ends within {field!r}")
        return self._symbols[self.place]
