"""The order in which records are written in 4M's words.

It is decided on what the words say, so that decoding and encoding again changes nothing. 4M sorts boxes by
the numbers before they are rounded: two boxes whose distances differ by less than that may change places.
"""

from collections.abc import Sequence

import numpy as np

from fourm_codecs.fields_4m import METADATA, CodesOf
from fourm_schema.released_forms import FormName

_TYPES = {name: number for number, name in enumerate(METADATA)}


class RecordOrder:
    """Sorts the records of one set as its schema says.

    Args:
        form: of the records.
        order: as the schema has it.
    """

    def __init__(self, form: FormName, order: str) -> None:
        self._form, self._order = form, order

    @property
    def sorts(self) -> bool:
        """Whether every set of records has one order only."""
        return self._order in ("distance_to_origin", "area")

    def __call__(self, records: Sequence[CodesOf], rng: np.random.Generator | None) -> list[int]:
        """The numbers of the records in the order they are written.

        Args:
            records: their codes.
            rng: shuffles records of `order: random`; without it they are sorted by their codes.
        """
        numbers = list(range(len(records)))
        match self._order:
            case "distance_to_origin":
                numbers.sort(key=lambda k: (_distance(records[k]), _codes(records[k])))
            case "area":
                numbers.sort(key=lambda k: (-_area(records[k]), _codes(records[k])))
            case "random":
                if rng is None:
                    numbers.sort(key=lambda k: _codes(records[k]))
                else:
                    numbers = rng.permutation(len(records)).tolist()
                if self._form == "instances":
                    numbers = _together(records, numbers)
        return numbers

    def within(self, record: CodesOf, rng: np.random.Generator | None) -> CodesOf:
        """A record with its fields in the order they are written."""
        if self._form != "metadata" or self._order != "random":
            return record
        names = sorted(record, key=_TYPES.__getitem__)
        if rng is not None:
            names = [names[k] for k in rng.permutation(len(names))]
        return {name: record[name] for name in names}


def _codes(record: CodesOf) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, record.values()))


def _distance(record: CodesOf) -> int:
    x, y, *_ = record["box"]
    return x * x + y * y


def _area(record: CodesOf) -> int:
    x0, y0, x1, y1 = record["box"]
    return (x1 - x0) * (y1 - y0)


def _together(records: Sequence[CodesOf], numbers: Sequence[int]) -> list[int]:
    """The numbers, those of one point behind each other."""
    points = [tuple(records[k]["point"]) for k in numbers]
    return sorted(numbers, key=lambda k: points.index(tuple(records[k]["point"])))
