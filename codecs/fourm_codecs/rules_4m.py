"""What each form of 4M's texts lets follow: boxes with classes, metadata, palettes, poses, instances.

A form knows of the items before only its context: types of metadata that were written, colours that are
missing, whether a point is open. Of the item that is being written it knows the ids.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fourm_codecs.fields_4m import HALF, METADATA
from fourm_codecs.forms_4m import GROUPS, MOST_COLOURS, Detections, Metadata, RecordForm
from fourm_codecs.words_4m import Words
from fourm_schema.released_forms import COORDINATES

Ids = tuple[int, ...]
MASK_CODES = 16
PIXELS = 224


class Span(NamedTuple):
    """Ids [start, stop) that may come next; what follows them is equally long."""

    start: int
    stop: int


class Rules(Protocol):
    """What one form lets follow."""

    def spans(self, context: int, item: Ids) -> list[Span]:
        """Ids that may come after those of an item; none where it can only be complete."""
        ...

    def fewest(self, context: int, item: Ids) -> int:
        """Fewest ids that complete the item; 0 where it is complete."""
        ...

    def after(self, context: int, item: Ids) -> int:
        """The context behind the item, as far as it is written."""
        ...

    def owed(self, context: int) -> int:
        """Fewest ids between an item's end in this context and the end token."""
        ...

    def is_record(self, item: Ids) -> bool:
        """Whether a whole item is a record of its own."""
        ...

    def may_end(self, context: int) -> bool:
        """Whether the end token may follow an item's end in this context."""
        ...


class _Base:
    """What most forms have in common: no context, and every item is a record."""

    def __init__(self, words: Words) -> None:
        self._words, self._first = words, words.first_of_axis

    def after(self, context: int, item: Ids) -> int:
        return context

    def owed(self, context: int) -> int:
        return 0

    def is_record(self, item: Ids) -> bool:
        return True

    def may_end(self, context: int) -> bool:
        return self.owed(context) == 0

    def _span(self, axis: int, count: int, start: int = 0) -> Span:
        return Span(self._first[axis] + start, self._first[axis] + count)

    def _number(self, identity: int, axis: int) -> int:
        return identity - self._first[axis]

    def _box(self, written: Ids, bins: int = COORDINATES) -> list[Span]:
        """The next corner of a box: none lies before the one it belongs to."""
        place = len(written)
        start = self._number(written[place - 2], place - 2) if place > 1 else 0
        return [self._span(place, bins, start)]

    def _codes(self) -> list[Span]:
        return [self._span(0, HALF), self._span(1, HALF)]

    def _length(self, word: str) -> int:
        return len(self._words.word_ids[word])


class _Detections(_Base):
    def __init__(self, words: Words, bins: int) -> None:
        super().__init__(words)
        self._bins = bins

    def spans(self, context: int, item: Ids) -> list[Span]:
        if len(item) < 4:
            return self._box(item, self._bins)
        written = item[4:]
        following = {
            ids[len(written)]
            for ids in self._words.class_ids
            if len(ids) > len(written) and ids[: len(written)] == written
        }
        return [Span(identity, identity + 1) for identity in sorted(following)]

    def fewest(self, context: int, item: Ids) -> int:
        written = item[4:]
        rest = [len(ids) for ids in self._words.class_ids if ids[: len(written)] == written]
        return 4 - len(item[:4]) + min(rest) - len(written)


class _Metadata(_Base):
    """The context has a bit for each type that was written."""

    def __init__(self, words: Words, types: Sequence[int]) -> None:
        super().__init__(words)
        self._types = types

    def spans(self, context: int, item: Ids) -> list[Span]:
        if not item:
            types = [number for number in self._types if not context >> number & 1]
            return [self._span(1, number + 1, number) for number in types]
        codes = list(METADATA.values())[self._number(item[0], 1)].codes
        return [self._span(0, codes.stop)] if len(item) == 1 else []

    def fewest(self, context: int, item: Ids) -> int:
        return 2 - len(item)

    def after(self, context: int, item: Ids) -> int:
        return context | 1 << self._number(item[0], 1) if item else context

    def is_record(self, item: Ids) -> bool:
        return False


class _Palette(_Base):
    """The context is one more than the colours that are missing; 0 before their number is said."""

    def __init__(self, words: Words, most: int) -> None:
        super().__init__(words)
        self._most = min(most, MOST_COLOURS)

    def spans(self, context: int, item: Ids) -> list[Span]:
        if context == 0 and not item:
            return [self._span(1, number + 1, number) for number in range(1, self._most + 1)]
        return [self._span(0, 256)] if context > 1 and len(item) < 3 else []

    def fewest(self, context: int, item: Ids) -> int:
        return (1 if context == 0 else 3) - len(item)

    def after(self, context: int, item: Ids) -> int:
        if context == 0:
            return 1 + self._number(item[0], 1) if item else 0
        return context - 1

    def owed(self, context: int) -> int:
        return 3 * max(context - 1, 0)

    def is_record(self, item: Ids) -> bool:
        return len(item) == 3


class _Poses(_Base):
    """The context is 1 once somebody, or `none`, was written, and 2 behind `none`."""

    def spans(self, context: int, item: Ids) -> list[Span]:
        if context == 2:
            return []
        words = ["human", "none"] if context == 0 else ["human"]
        word = self._begun(item, words)
        if word is None:
            return self._next(item, words)
        rest = item[self._length(word) :]
        if word == "none":
            return []
        if len(rest) < 4:
            return self._box(rest)
        rest, missing = rest[4:], list(GROUPS)
        while missing:
            group = self._begun(rest, missing)
            if group is None:
                return self._next(rest, missing)
            rest = rest[self._length(group) :]
            if len(rest) < GROUPS[group]:
                return self._codes() if group == "pose" else [self._span(0, COORDINATES)]
            rest = rest[GROUPS[group] :]
            missing.remove(group)
        return []

    def fewest(self, context: int, item: Ids) -> int:
        if not item:
            return self._length("none") if context == 0 else self._whole
        alone = self._words.word_ids["none"]
        if item == alone[: len(item)]:
            return self._length("none") - len(item)
        return self._whole - len(item)

    def after(self, context: int, item: Ids) -> int:
        return context if not item else 2 if item == self._words.word_ids["none"][: len(item)] else 1

    def owed(self, context: int) -> int:
        return self._length("none") if context == 0 else 0

    def is_record(self, item: Ids) -> bool:
        return item != self._words.word_ids["none"]

    @property
    def _whole(self) -> int:
        return self._length("human") + 4 + sum(self._length(group) + count for group, count in GROUPS.items())

    def _begun(self, ids: Ids, words: Sequence[str]) -> str | None:
        """The word that stands whole at the beginning."""
        known = self._words.word_ids
        return next((word for word in words if ids[: len(known[word])] == known[word]), None)

    def _next(self, ids: Ids, words: Sequence[str]) -> list[Span]:
        """What can follow of the words that the ids begin."""
        known = self._words.word_ids
        fitting = {known[word][len(ids)] for word in words if known[word][: len(ids)] == ids}
        return [Span(identity, identity + 1) for identity in sorted(fitting)]


class _Instances(_Poses):
    """The context is 1 where a further polygon may follow at the same point."""

    def spans(self, context: int, item: Ids) -> list[Span]:
        words = ["point", "polygon"] if context == 1 else ["point"]
        word = self._begun(item, words)
        if word is None:
            return self._next(item, words)
        rest = item[self._length(word) :]
        if word == "point":
            if len(rest) < 2:
                return [self._span(len(rest), PIXELS)]
            rest = rest[2:]
            word = self._begun(rest, ["none", "polygon"])
            if word is None:
                return self._next(rest, ["none", "polygon"])
            rest = rest[self._length(word) :]
        if word == "none" or len(rest) == 4 + MASK_CODES:
            return []
        return self._box(rest) if len(rest) < 4 else self._codes()

    def fewest(self, context: int, item: Ids) -> int:
        if not item:
            return self._length("point") + 2 + self._length("none")
        polygon = self._length("polygon") + 4 + MASK_CODES
        point = self._words.word_ids["point"]
        if item[: len(point)] != point[: len(item)]:
            return polygon - len(item)
        head = len(point) + 2
        if len(item) <= head or item[head:] == self._words.word_ids["none"][: len(item) - head]:
            return head + self._length("none") - len(item)
        return head + polygon - len(item)

    def after(self, context: int, item: Ids) -> int:
        return 0 if item[-self._length("none") :] == self._words.word_ids["none"] else 1

    def owed(self, context: int) -> int:
        return 0

    def is_record(self, item: Ids) -> bool:
        return True


def rules_of(form: RecordForm, words: Words, max_items: int) -> Rules:
    """The rules of a form.

    Args:
        form: of the records.
        words: of the tokenizer.
        max_items: most records.
    """
    if isinstance(form, Detections):
        return _Detections(words, form.bins)
    if isinstance(form, Metadata):
        return _Metadata(words, form.types)
    if form.name == "palette":
        return _Palette(words, max_items)
    return _Poses(words) if form.name == "poses" else _Instances(words)
