"""Texts and sets as they go by -> words, items, and the numbers and classes of each field."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fourm_runtime.profiling.arrays import classes_of
from fourm_runtime.profiling.quantities import NumberGatherer
from fourm_runtime.profiling.record import Lengths, Part
from fourm_runtime.scan.texts import word_count
from fourm_schema.modality import Set, Text
from fourm_schema.set_fields import (
    AngleField,
    AnyField,
    BoxField,
    CategoryField,
    MaskField,
    NumberField,
    PointField,
    TextField,
    VectorField,
)

EMPTY = "empty"
FLAT = "boxes without area"
WORDS = "words"
ITEMS = "items"
VIEWS = "alternatives"


class TextGatherer:
    """Counts the words of texts; each is a token at least."""

    def __init__(self, entry: Text) -> None:
        self._limit, self._most_views = entry.max_tokens - 1, entry.views
        self._words: Counter[int] = Counter()
        self._views: Counter[int] = Counter()
        self._empty = 0

    def add(self, values: Iterable[Sequence[str]]) -> None:
        """Take in the alternatives of some samples."""
        for views in values:
            self._views[len(views)] += 1
            for text in views:
                self._words[word_count(text)] += 1
                self._empty += not text.strip()

    def finished(self) -> tuple[dict[str, Part], dict[str, int]]:
        """Parts, and odd values."""
        parts: dict[str, Part] = {WORDS: Lengths(dict(sorted(self._words.items())), self._limit)}
        if self._most_views > 1:
            parts[VIEWS] = Lengths(dict(sorted(self._views.items())), self._most_views)
        return parts, {EMPTY: self._empty} if self._empty else {}


class SetGatherer:
    """Counts the items of sets, and gathers the values of their fields."""

    def __init__(self, entry: Set) -> None:
        self._entry = entry
        self._items: Counter[int] = Counter()
        self._fields = {name: _gatherer(name, field) for name, field in entry.fields.items()}
        self._without: Counter[str] = Counter()

    def add(self, values: Iterable[str]) -> None:
        """Take in some sets, as the JSON that is stored."""
        records: list[Mapping[str, object]] = []
        for text in values:
            items = json.loads(text)
            self._items[len(items)] += 1
            records += items
        for name, gatherer in self._fields.items():
            held = [record[name] for record in records if record.get(name) is not None]
            self._without[name] += len(records) - len(held)
            if held:
                gatherer.add(held)

    def finished(self) -> tuple[dict[str, Part], dict[str, int]]:
        """Parts, and odd values."""
        parts: dict[str, Part] = {ITEMS: Lengths(dict(sorted(self._items.items())), self._entry.max_items)}
        odd = {f"without {name}": count for name, count in self._without.items() if count}
        for gatherer in self._fields.values():
            parts |= gatherer.parts()
            if isinstance(gatherer, _Boxes) and gatherer.flat:
                odd[FLAT] = odd.get(FLAT, 0) + gatherer.flat
        return parts, odd


class _Numbers:
    """A field of numbers, or of several of one range."""

    def __init__(self, name: str, ends: tuple[float, float] | None) -> None:
        self._numbers = NumberGatherer([name], [ends])

    def add(self, values: Sequence[object]) -> None:
        """Take in the values of some items."""
        self._numbers.add(np.asarray(values, np.float64).reshape(-1, 1))

    def parts(self) -> dict[str, Part]:
        """What they come to."""
        return dict(self._numbers.finished())


class _Boxes(_Numbers):
    """A field of boxes: their corners, their areas, and how many have none."""

    def __init__(self, name: str, field: BoxField) -> None:
        super().__init__(name, field.range)
        self._field, self._areas, self.flat = (
            field,
            NumberGatherer([f"{name}, share of the picture"], [None]),
            0,
        )

    def add(self, values: Sequence[object]) -> None:
        boxes = [[float(number) for number in box] for box in values if isinstance(box, list)]
        corners = np.array([self._field.corners(box) for box in boxes])
        self._numbers.add(corners.reshape(-1, 1))
        sides = (corners[:, 2:] - corners[:, :2]) / (self._field.range[1] - self._field.range[0])
        self._areas.add(sides.prod(axis=1)[:, None])
        self.flat += int((sides <= 0).any(axis=1).sum())

    def parts(self) -> dict[str, Part]:
        return {**super().parts(), **self._areas.finished()}


class _Shares(_Numbers):
    """A field of masks: how much of each is covered."""

    def add(self, values: Sequence[object]) -> None:
        self._numbers.add(np.array([[float((np.asarray(mask) > 0).mean())] for mask in values]))


class _Labels:
    """A field of classes."""

    def __init__(self, name: str, field: CategoryField) -> None:
        self._name, self._counts = name, dict.fromkeys(field.names, 0)
        self._outside = 0

    def add(self, values: Sequence[object]) -> None:
        """Take in the values of some items."""
        for value in map(str, values):
            if value in self._counts:
                self._counts[value] += 1
            else:
                self._outside += 1

    def parts(self) -> dict[str, Part]:
        """What they come to."""
        return {self._name: classes_of(self._counts, self._outside)}


class _Words:
    """A field of short texts."""

    def __init__(self, name: str, field: TextField) -> None:
        self._name, self._limit = name, field.max_tokens - 1
        self._words: Counter[int] = Counter()

    def add(self, values: Sequence[object]) -> None:
        """Take in the values of some items."""
        self._words.update(word_count(str(value)) for value in values)

    def parts(self) -> dict[str, Part]:
        """What they come to."""
        return {f"{self._name}, {WORDS}": Lengths(dict(sorted(self._words.items())), self._limit)}


def _gatherer(name: str, field: AnyField) -> _Numbers | _Labels | _Words:
    match field:
        case CategoryField():
            return _Labels(name, field)
        case TextField():
            return _Words(name, field)
        case BoxField():
            return _Boxes(name, field)
        case MaskField():
            return _Shares(f"{name}, share covered", None)
        case AngleField():
            return _Numbers(name, None)
        case NumberField():
            edges = field.edges
            return _Numbers(name, field.range if edges is None else (edges[0], edges[-1]))
        case PointField() | VectorField():
            return _Numbers(name, field.range)
