"""The order in which the items of a set are written.

It is decided on what the tokens say, not on the numbers they stand for, so that decoding and encoding again
changes nothing.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.grammar import Fixed, Production
from fourm_codecs.scale import Scale
from fourm_schema.modality import Set

Item = tuple[tuple[int, ...], ...]
"""The ids of one item, field by field."""


@attrs.frozen(eq=False)
class Items:
    """The tokens of R records of many values, at most K each.

    Attributes:
        ids: (R, K), record by record; -1 behind the last of a field that is absent.
        owners: (R,) which value each belongs to, never decreasing.
    """

    ids: NDArray[np.int64]
    owners: NDArray[np.int64]


_DECIDES = {"distance_to_origin": ("box", "point"), "area": ("box",)}
"""Types of which the first field decides."""


class ItemOrder:
    """Sorts the items of one set as its schema says.

    Args:
        entry: the declared set.
        productions: of its fields, in their order.
        scales: field -> bins of its numbers; of the points and boxes at least.
        coded: fields in learned codes. Where nothing else decides, ids do, but theirs last: decoded and
            encoded again they may be others, and must not change the order of what is not.
    """

    def __init__(
        self,
        entry: Set,
        productions: Sequence[Production],
        scales: Mapping[str, Scale],
        coded: Collection[str] = (),
    ) -> None:
        self._order, self._most = entry.order, entry.max_items
        types = _DECIDES.get(entry.order, ())
        places = [place for place, field in enumerate(entry.fields.values()) if field.type in types]
        assert places or not types, "the rules of the schema ask for such a field"
        self._place = places[0] if places else 0
        self._production = productions[self._place]
        self._scale = scales.get(self._production.name)
        numbers = range(len(productions))
        self._coded = [place for place in numbers if productions[place].name in coded]
        self._exact = [place for place in numbers if place not in self._coded]
        self._names = [production.name for production in productions]

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
                numbers.sort(key=lambda k: self._ids(items[k]))
            case "distance_to_origin":
                numbers.sort(key=lambda k: (self._distance(items[k]), self._ids(items[k])))
            case "area":
                numbers.sort(key=lambda k: (-self._area(items[k]), self._ids(items[k])))
        return numbers[: self._most]

    def of_columns(
        self,
        items: Items,
        first: Mapping[str, int],
        counts: NDArray[np.int64],
        rng: np.random.Generator | None,
    ) -> NDArray[np.int64]:
        """The same for the items of many values, of which none has too many: (R,) what stands at each place.

        Args:
            items: of all values.
            first: field -> the column of its first id.
            counts: (N,) items of each value.
            rng: as above.
        """
        everything = np.arange(len(items.owners))
        if self._order == "given":
            return everything
        if self._order == "random" and rng is not None:
            starts = np.cumsum(counts) - counts
            moved = [start + rng.permutation(count) for start, count in zip(starts, counts, strict=True)]
            return np.concatenate([everything[:0], *moved])
        if self._order == "random":
            return np.lexsort((*self._columns(items.ids, first)[::-1], items.owners))
        keys = self._keys(items.ids, first)
        placed, undecided = _sorted_within(keys, items.owners, counts)
        # The last key decides first; ids are looked at only where nothing else decides.
        columns = self._columns(items.ids[undecided], first)[::-1]
        placed[undecided] = undecided[np.lexsort((*columns, keys[undecided], items.owners[undecided]))]
        return placed

    def _ids(self, item: Item) -> Item:
        """What decides between items where the order does not: their ids, learned codes last."""
        return (*(item[k] for k in self._exact), *(item[k] for k in self._coded)) if self._coded else item

    def _columns(self, ids: NDArray[np.int64], first: Mapping[str, int]) -> list[NDArray[np.int64]]:
        """The same for columns."""
        starts = [*(first[name] for name in self._names), ids.shape[1]]
        places = [*self._exact, *self._coded]
        return [ids[:, column] for k in places for column in range(starts[k], starts[k + 1])]

    def _keys(self, ids: NDArray[np.int64], first: Mapping[str, int]) -> NDArray[np.float64]:
        """(R,) what decides, ascending; NaN where the field is absent: such items come last."""
        production, scale = self._production, self._scale
        assert isinstance(production, Fixed) and scale is not None, "points and boxes have scales"
        column = first[production.name]
        absent = ids[:, column] == production.absent
        starts = np.array([slot.range.start for slot in production.slots])
        places = np.where(absent[:, None], 0, ids[:, column : column + len(starts)] - starts)
        x = scale.middles[places].T
        with np.errstate(over="ignore"):
            area = self._order == "area"
            keys = -((x[2] - x[0]) * (x[3] - x[1])) if area else x[0] * x[0] + x[1] * x[1]
        return np.where(absent, np.nan, keys)

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


def _sorted_within(
    keys: NDArray[np.float64], owners: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(R,) each value's items by ascending keys, and those of the values whose keys do not decide."""
    most, everything = int(counts.max(initial=0)), np.arange(len(keys))
    if most * len(counts) > 8 * len(keys) or np.isnan(keys).any():
        return everything, everything
    starts = np.cumsum(counts) - counts
    table = np.full((len(counts), most), np.nan)
    table[owners, everything - starts[owners]] = keys
    # Cells without an item hold NaN, which is sorted behind every number.
    ranks = np.argsort(table, axis=1)
    ascending = np.take_along_axis(table, ranks, axis=1)
    tied = (ascending[:, 1:] == ascending[:, :-1]).any(axis=1)
    placed = (starts[:, None] + ranks)[np.arange(most) < counts[:, None]]
    return placed, np.flatnonzero(tied[owners])
