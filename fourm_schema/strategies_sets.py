"""Records to draw: the items of a declared set, field by field, and texts."""

import math

import numpy as np
from hypothesis import strategies as st

from fourm_schema.bin_borders import field_borders
from fourm_schema.modality import Set
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

_LITERALS = (
    "[PAD]",
    "[UNK]",
    "[SOS]",
    "[EOS]",
    "[S_0]",
    "[S_1]",
    "##a",
    "\u2047",
    " \t\n",
    "it's",
    "-",
    "İ",
    "é",
)

MOST_NUMBERS = 12
"""Numbers of a vector up to which each is drawn for itself."""

MOST_DRAWN = 6
"""Items of a drawn set, where one may hold more: a set that is full is a case of its own."""


def texts(max_tokens: int) -> st.SearchStrategy[str]:
    """Texts that have room in so many tokens, those that spell special tokens among them."""
    # A character comes to one token at most, except that canonical decomposition makes up to four of it.
    narrow = st.text(st.characters(max_codepoint=127), max_size=max_tokens - 1)
    wide = st.text(max_size=(max_tokens - 1) // 4)
    spelled = st.lists(st.sampled_from(_LITERALS), max_size=(max_tokens - 1) // 5).map("".join)
    return st.one_of(narrow, wide, spelled)


def records(entry: Set) -> st.SearchStrategy[list[dict[str, object]]]:
    """Values of a declared set that has tokens of its own."""
    clip = entry.out_of_range == "clip"
    most = entry.max_items + 2 if clip else entry.max_items
    return st.lists(record(entry), max_size=most if most <= MOST_DRAWN + 2 else MOST_DRAWN)


def record(entry: Set) -> st.SearchStrategy[dict[str, object]]:
    """One record of a declared set."""
    clip = entry.out_of_range == "clip"
    drawn = {name: field_values(field, clip) for name, field in entry.fields.items()}
    left_out = object()
    # Every record draws the same fields: what differs in form is hard to make smaller.
    fields = {
        name: st.one_of(st.just(left_out), st.none(), drawn[name]) if field.optional else drawn[name]
        for name, field in entry.fields.items()
    }
    return st.fixed_dictionaries(fields).map(
        lambda found: {name: value for name, value in found.items() if value is not left_out}
    )


def field_values(field: AnyField, clip: bool = False) -> st.SearchStrategy[object]:
    """Values of one declared field.

    Args:
        field: what the schema says of it.
        clip: numbers outside of its range, and longer texts, are values too.
    """
    match field:
        case NumberField():
            return _binned(field, clip)
        case AngleField():
            turn = 360.0 if field.unit == "degree" else math.tau
            border = st.integers(-4 * field.bins, 4 * field.bins).map(lambda k: k * turn / field.bins / 2)
            return st.one_of(border, border.map(_just_below), st.floats(-2 * turn, 2 * turn))
        case CategoryField():
            if isinstance(field.classes, int):
                return st.integers(0, field.classes - 1)
            return st.sampled_from(field.names)
        case PointField() | VectorField():
            count = 2 if isinstance(field, PointField) else field.dim
            return _numbers(_binned(field, clip), count)
        case BoxField():
            side = st.tuples(_binned(field, clip), _binned(field, clip)).map(sorted)
            return st.tuples(side, side).map(lambda drawn: _box(field, *drawn))
        case TextField():
            return texts(2 * field.max_tokens if clip else field.max_tokens)
        case MaskField():
            corner = st.integers(0, field.size)
            return st.tuples(corner, corner, corner, corner).map(lambda drawn: _mask(field.size, *drawn))


def _numbers(number: st.SearchStrategy[float], count: int) -> st.SearchStrategy[list[float]]:
    """So many numbers; of many, all but a few places hold one."""
    if count <= MOST_NUMBERS:
        return st.lists(number, min_size=count, max_size=count)
    places = st.dictionaries(st.integers(0, count - 1), number, max_size=MOST_NUMBERS)
    return st.tuples(number, places).map(lambda drawn: [drawn[1].get(k, drawn[0]) for k in range(count)])


def _binned(field: NumberField | PointField | VectorField | BoxField, clip: bool) -> st.SearchStrategy[float]:
    """Numbers of a range: anywhere, its ends, borders of its bins, just below these; outside if it clips."""
    edges = field_borders(field)
    low, high = edges[0], edges[-1]
    reach = (high - low) / 2 if clip else 0.0
    borders = st.sampled_from(edges)
    below = borders.map(lambda border: max(low, _just_below(border)))
    return st.one_of(st.sampled_from([low, high]), borders, below, st.floats(low - reach, high + reach))


def _just_below(number: float) -> float:
    return math.nextafter(number, -math.inf)


def _box(field: BoxField, x: list[float], y: list[float]) -> list[float]:
    return field.of_corners([x[0], y[0], x[1], y[1]])


def _mask(size: int, top: int, bottom: int, left: int, right: int) -> object:
    """A picture of one rectangle, which may be empty."""
    mask = np.zeros((size, size), np.uint8)
    mask[min(top, bottom) : max(top, bottom), min(left, right) : max(left, right)] = 1
    return mask
