"""The order in which the items of a set are written.

It is decided on what the tokens say, not on the numbers they stand for, so that decoding and encoding again
changes nothing.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fourm_codecs.grammar import Fixed, Production
from fourm_codecs.scale import Scale
from fourm_schema.modality import Set

Item = tuple[tuple[int, ...], ...]
"""The ids of one item, field by field."""

_DECIDES = {"distance_to_origin": ("box", "point"), "area": ("box",)}
"""Types of which the first field decides."""


class ItemOrder:
    """Sorts the items of one set as its schema says.

    Args:
        entry: the declared set.
        productions: of its fields, in their order.
        scales: field -> bins of its numbers; of the points and boxes at least.
    """

    def __init__(self, entry: Set, productions: Sequence[Production], scales: Mapping[str, Scale]) -> None:
        self._order, self._most = entry.order, entry.max_items
        types = _DECIDES.get(entry.order, ())
        places = [place for place, field in enumerate(entry.fields.values()) if field.type in types]
        assert places or not types, "the rules of the schema ask for such a field"
        self._place = places[0] if places else 0
        self._production = productions[self._place]
        self._scale = scales.get(self._production.name)

    @property
    def sorts(self) -> bool:
        """Whether every set of items has one order only."""
        return self._order in _DECIDES

    def __call__(self, items: Sequence[Item], rng: np.random.Generator | None = None) -> list[int]:
        """The numbers of the items in the order they are written, at most as many as there may be.

        Args:
            items: what is to be written.
            rng: shuffles items of `order: random`; without it they are sorted by their ids.
        """
        numbers = list(range(len(items)))
        match self._order:
            case "given":
                pass
            case "random" if rng is not None:
                numbers = rng.permutation(len(items)).tolist()
            case "random":
                numbers.sort(key=lambda k: items[k])
            case "distance_to_origin":
                numbers.sort(key=lambda k: (self._distance(items[k]), items[k]))
            case "area":
                numbers.sort(key=lambda k: (-self._area(items[k]), items[k]))
        return numbers[: self._most]

    # Products, not powers: they overflow to infinity, where a power raises.
    def _distance(self, item: Item) -> tuple[bool, float]:
        """Squared distance to (0, 0) of the first corner, or point; items without it come last."""
        corner = self._numbers(item)
        return (False, corner[0] * corner[0] + corner[1] * corner[1]) if corner else (True, math.inf)

    def _area(self, item: Item) -> float:
        """Area of the box; -1 where it is absent, which is after every box."""
        corners = self._numbers(item)
        return (corners[2] - corners[0]) * (corners[3] - corners[1]) if corners else -1.0

    def _numbers(self, item: Item) -> list[float]:
        """The coordinates that decide; empty where the field is absent."""
        ids, production, scale = item[self._place], self._production, self._scale
        assert isinstance(production, Fixed) and scale is not None, "points and boxes have scales"
        if ids == (production.absent,):
            return []
        slots = zip(production.slots, ids, strict=True)
        return [scale.middle(identity - slot.range.start) for slot, identity in slots]
