"""Encoding many sets at once: a column per field in place of a record at a time.

The ids are those of the record-by-record path of `SetCodec`, bit for bit. What that path would refuse, cut or
write in pieces of text is left to it: then there are no columns, and it says what is wrong.

Shapes: N values, R records of all of them, K tokens of a record at most, P numbers of a field.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import cast

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import TokenBatch, id_dtype
from fourm_codecs.grammar import Automaton, Fixed
from fourm_codecs.scale import Scale
from fourm_codecs.set_order import ItemOrder, Items
from fourm_codecs.set_values import AngleForm, BoxForm, CategoryForm, Form, NumberForm, NumbersForm
from fourm_schema.modality import Set

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_NUMBERS = {int, float, np.float64, np.float32, np.int64, np.int32, np.uint8, np.uint16}
_LISTS = {list, tuple}


def encode_columns(
    values: Sequence[object],
    entry: Set,
    grammar: Automaton,
    forms: Mapping[str, Form],
    order: ItemOrder,
    rng: np.random.Generator | None,
) -> TokenBatch | None:
    """Encode sets; None where a value is not one that columns can hold.

    Args:
        values: lists of records.
        entry, grammar, forms, order: of the codec.
        rng: as `SetCodec.encode` takes it.
    """
    single = entry.max_items == 1
    rows = [[value] if single and type(value) is dict else value for value in values]
    if not {type(row) for row in rows} <= _LISTS:
        return None
    lists = cast("list[list[object]]", rows)
    counts = np.array([len(row) for row in lists], np.int64)
    found = list(chain.from_iterable(lists))
    if {type(record) for record in found} - {dict} or (counts > entry.max_items).any():
        return None
    records, known = cast("list[dict[str, object]]", found), set(entry.fields)
    if not all(known.issuperset(record) for record in records):
        return None
    columns = []
    for production in grammar.productions:
        column = [record.get(production.name) for record in records]
        ids = _field(production, forms[production.name], column) if isinstance(production, Fixed) else None
        if ids is None:
            return None
        columns.append(ids)
    widths = [ids.shape[1] for ids in columns]
    table = np.concatenate(columns, axis=1)
    items = Items(table, np.repeat(np.arange(len(rows)), counts))
    first = dict(
        zip((p.name for p in grammar.productions), np.cumsum([0, *widths[:-1]]).tolist(), strict=True)
    )
    places = order.of_columns(items, first, counts, rng)
    return _laid_out(attrs.evolve(items, ids=table[places]), counts, grammar)


def _field(production: Fixed, form: Form, column: list[object]) -> Ints | None:
    """The ids (R, slots) of a field, -1 behind an absent marker; None if a value needs another look."""
    starts = np.array([slot.range.start for slot in production.slots], np.int64)
    given = [value for value in column if value is not None]
    places = _places(form, given)
    if places is None or len(given) == len(column):
        return None if places is None else places + starts
    if production.absent is None:
        return None
    present = np.array([value is not None for value in column])
    ids = np.full((len(column), len(starts)), -1, np.int64)
    ids[:, 0] = production.absent
    ids[present] = places + starts
    return ids


def _places(form: Form, column: list[object]) -> Ints | None:
    """What `form.read` gives of each value, (R, P)."""
    match form:
        case NumberForm():
            numbers = _floats(column)
            return None if numbers is None else _bins(form.scale, numbers[:, None])
        case AngleForm():
            angles = _floats(column)
            if angles is None:
                return None
            share = np.fmod(angles, form.turn) / form.turn
            return (np.floor(share * form.bins + 0.5).astype(np.int64) % form.bins)[:, None]
        case CategoryForm():
            return _classes(form, column)
        case NumbersForm():
            numbers = _lists(column, form.count)
            return None if numbers is None else _bins(form.scale, numbers)
        case BoxForm():
            boxes = _lists(column, 4)
            return None if boxes is None else _boxes(form, boxes)
    return None


def _classes(form: CategoryForm, column: list[object]) -> Ints | None:
    if not {type(name) for name in column} <= ({str, int} if form.counted else {str}):
        return None
    places = [form.places.get(str(name), -1) for name in column]
    return None if -1 in places else np.array(places, np.int64).reshape(-1, 1)


def _boxes(form: BoxForm, boxes: Floats) -> Ints | None:
    x0, y0, x1, y1 = form.field.corners(cast("Sequence[float]", boxes.T))
    corners: Floats = np.stack([x0, y0, x1, y1], axis=1)
    if (corners[:, :2] > corners[:, 2:]).any():
        return None
    return _bins(form.scale, corners)


def _bins(scale: Scale, numbers: Floats) -> Ints | None:
    """The bins of numbers of the range, those a rounding outside among them; None if one is further out."""
    low, high = scale.bounds
    if not scale.clip and not bool(((low <= numbers) & (numbers <= high)).all()):
        return None
    edges = np.asarray(scale.edges)
    places = np.searchsorted(edges, np.clip(numbers, scale.low, scale.high), side="right") - 1
    return np.clip(places, 0, len(edges) - 2)


def _floats(column: Sequence[object]) -> Floats | None:
    """Finite numbers; None if one is none. A truth value is none."""
    if not {type(number) for number in column} <= _NUMBERS:
        return None
    try:
        numbers = np.array(column, np.float64)
    except OverflowError:
        return None
    return numbers if bool(np.isfinite(numbers).all()) else None


def _lists(column: list[object], count: int) -> Floats | None:
    """(R, count) finite numbers of lists; None if one is none."""
    flat = [numbers.tolist() if isinstance(numbers, np.ndarray) else numbers for numbers in column]
    if not {type(numbers) for numbers in flat} <= _LISTS:
        return None
    lists = cast("list[list[object]]", flat)
    if {len(numbers) for numbers in lists} - {count}:
        return None
    numbers = _floats(list(chain.from_iterable(lists)))
    return None if numbers is None else numbers.reshape(-1, count)


def _laid_out(items: Items, counts: Ints, grammar: Automaton) -> TokenBatch:
    """The items of each value and its end token, end to end."""
    used = items.ids >= 0
    sizes = used.sum(axis=1)
    # An item's chunk comes after the end tokens of all values before its own.
    chunks = np.arange(len(sizes)) + items.owners
    chunk_lengths = np.ones(len(sizes) + len(counts), np.int64)
    chunk_lengths[chunks] = sizes
    ids = np.full(int(chunk_lengths.sum()), grammar.special.end, np.int64)
    item_starts = (np.cumsum(chunk_lengths) - chunk_lengths)[chunks]
    within = np.cumsum(used, axis=1) - 1
    ids[(item_starts[:, None] + within)[used]] = items.ids[used]
    lengths = np.bincount(items.owners, weights=sizes, minlength=len(counts)).astype(np.int64) + 1
    return TokenBatch(ids.astype(id_dtype(grammar.vocab_size)), lengths, chunk_lengths)
