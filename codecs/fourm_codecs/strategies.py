"""Hypothesis strategies for the values of a declared modality: what a codec's law must hold on.

They reach the ends of each range, every level and class, the borders of bins, and texts that spell special
tokens. Needs the extra `test`.
"""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fourm_codecs.base import Array
from fourm_codecs.scale import Scale
from fourm_codecs.strategies_4m import released_records
from fourm_schema.errors import CodecError
from fourm_schema.modality import Categorical, Continuous, Direction, Image, Modality, Set, Text, Vector
from fourm_schema.resolve import PQ_TOKENS
from fourm_schema.set_fields import (
    AngleField,
    AnyField,
    BoxField,
    CategoryField,
    NumberField,
    PointField,
    TextField,
    VectorField,
)

LARGEST = 1e6
"""Largest number drawn where the schema names no range."""

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


def values(entry: Modality) -> st.SearchStrategy[object]:
    """Values that a modality can hold.

    Raises:
        CodecError: for a set with mask fields, which have no values yet.
    """
    if entry.codec == "ids":
        return _ids(entry)
    if isinstance(entry, Image):
        return _images(entry)
    if isinstance(entry, Vector):
        return _vectors(entry)
    if isinstance(entry, Text):
        return _texts(entry.max_tokens)
    assert isinstance(entry, Set), "there is no fifth kind"
    return _sets(entry) if entry.dialect is None else released_records(entry)


def _ids(entry: Modality) -> st.SearchStrategy[object]:
    if isinstance(entry, Text):
        # Its vocabulary stands elsewhere; any has the ids of a few special tokens, of which 3 ends a text.
        words = st.integers(0, 15).filter(lambda identity: identity != 3)
        return st.lists(words, max_size=min(entry.max_tokens - 1, 12))
    assert isinstance(entry, Image | Vector), "a set has no ids of its own choice"
    shape = entry.grid if isinstance(entry, Image) else (entry.tokens or PQ_TOKENS,)
    return arrays(np.int64, shape, elements=st.integers(0, (entry.vocab_size or 1) - 1))


def _images(entry: Image) -> st.SearchStrategy[object]:
    shape = entry.size if entry.channels == 1 else (*entry.size, entry.channels)
    cell = entry.cell
    if isinstance(cell, Categorical):
        elements = st.integers(0, cell.class_count - 1)
        return st.sampled_from([np.int64, np.uint16]).flatmap(
            lambda dtype: arrays(dtype, shape, elements=elements)
        )
    if isinstance(cell, Continuous) and cell.levels is not None:
        table = np.linspace(*cell.range, cell.levels)
        places = arrays(np.int64, shape, elements=st.integers(0, cell.levels - 1))
        dtypes = [np.float64, np.float32, *([np.int64] if (table == table.round()).all() else [])]
        return st.tuples(places, st.sampled_from(dtypes)).map(lambda drawn: table[drawn[0]].astype(drawn[1]))
    if isinstance(cell, Continuous):
        return arrays(np.float64, shape, elements=_within(*cell.range))
    if isinstance(cell, Direction):
        return arrays(np.float64, shape, elements=_within(-1.0, 1.0), fill=st.nothing()).map(_of_length_one)
    return arrays(np.float64, shape, elements=_within(-LARGEST, LARGEST))


def _vectors(entry: Vector) -> st.SearchStrategy[object]:
    ranges = entry.range_of_each or ((-LARGEST, LARGEST),) * entry.dim
    numbers: st.SearchStrategy[object] = st.tuples(*(_within(low, high) for low, high in ranges))
    if entry.max_length is not None:
        numbers = st.lists(numbers, min_size=1, max_size=min(entry.max_length, 6))
    return st.tuples(numbers, st.sampled_from([np.float64, np.float32])).map(
        lambda drawn: np.asarray(drawn[0], drawn[1])
    )


def _texts(max_tokens: int) -> st.SearchStrategy[object]:
    # A character comes to one token at most, except that canonical decomposition makes up to four of it.
    narrow = st.text(st.characters(max_codepoint=127), max_size=max_tokens - 1)
    wide = st.text(max_size=(max_tokens - 1) // 4)
    spelled = st.lists(st.sampled_from(_LITERALS), max_size=(max_tokens - 1) // 5).map("".join)
    return st.one_of(narrow, wide, spelled)


def _sets(entry: Set) -> st.SearchStrategy[object]:
    clip = entry.out_of_range == "clip"
    drawn = {name: _field(name, field, clip) for name, field in entry.fields.items()}
    required = {name: drawn[name] for name, field in entry.fields.items() if not field.optional}
    optional = {name: st.one_of(st.none(), drawn[name]) for name in drawn if name not in required}
    most = entry.max_items + 2 if clip else entry.max_items
    return st.lists(st.fixed_dictionaries(required, optional=optional), max_size=most)


def _field(name: str, field: AnyField, clip: bool) -> st.SearchStrategy[object]:
    match field:
        case NumberField():
            return _binned(_edges(field), clip)
        case AngleField():
            turn = 360.0 if field.unit == "degree" else math.tau
            border = st.integers(-4 * field.bins, 4 * field.bins).map(lambda k: k * turn / field.bins / 2)
            return st.one_of(border, border.map(_just_below), st.floats(-2 * turn, 2 * turn))
        case CategoryField():
            return (
                st.integers(0, field.classes - 1)
                if isinstance(field.classes, int)
                else st.sampled_from(field.names)
            )
        case PointField() | VectorField():
            number = _binned(_edges(field), clip)
            return st.lists(number, min_size=field.token_count, max_size=field.token_count)
        case BoxField():
            side = st.tuples(_binned(_edges(field), clip), _binned(_edges(field), clip)).map(sorted)
            return st.tuples(side, side).map(
                lambda sides: field.of_corners([side[end] for end in (0, 1) for side in sides])
            )
        case TextField():
            return _texts(2 * field.max_tokens if clip else field.max_tokens)
    raise CodecError(f"field {name!r}", "mask fields cannot be encoded in this version")


def _edges(field: NumberField | PointField | VectorField | BoxField) -> tuple[float, ...]:
    """The borders of a field's bins."""
    if isinstance(field, NumberField) and field.edges is not None:
        return field.edges
    assert field.range is not None, "a number has a range or edges"
    log = isinstance(field, NumberField) and field.scale == "log"
    return Scale.of_range(*field.range, field.bins, "field", clip=False, log=log).edges


def _binned(edges: tuple[float, ...], clip: bool) -> st.SearchStrategy[float]:
    """Numbers of a range: anywhere, its ends, borders of its bins, just below these; outside if it clips."""
    low, high = edges[0], edges[-1]
    reach = (high - low) / 2 if clip else 0.0
    borders = st.sampled_from(edges)
    below = borders.map(lambda border: max(low, _just_below(border)))
    return st.one_of(st.sampled_from([low, high]), borders, below, st.floats(low - reach, high + reach))


def _just_below(number: float) -> float:
    return math.nextafter(number, -math.inf)


def _within(low: float, high: float) -> st.SearchStrategy[float]:
    return st.one_of(st.sampled_from([low, high]), st.floats(low, high))


def _of_length_one(image_HW3: Array) -> Array:
    vectors_HW3 = image_HW3.astype(np.float64)
    length_HW1 = np.linalg.norm(vectors_HW3, axis=-1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0])
    directions: Array = np.where(length_HW1 > 1e-3, vectors_HW3 / np.maximum(length_HW1, 1e-3), up)
    return directions
