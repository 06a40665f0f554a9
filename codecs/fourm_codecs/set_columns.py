"""Encoding many sets at once: a column per field in place of a record at a time.

The ids are those of the record-by-record path of `SetCodec`, bit for bit. What that path would refuse, cut or
write in pieces of text is left to it: then there are no columns, and it says what is wrong.

Shapes: N values, R records of all of them, K tokens of a record at most, P numbers of a field.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import cast

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import TokenBatch, id_dtype
from fourm_codecs.grammar import Automaton, Fixed, Production
from fourm_codecs.python_numbers import Floats, float_lists, floats_of
from fourm_codecs.scale import Scale
from fourm_codecs.set_codes import CodesForm
from fourm_codecs.set_order import ItemOrder, Items
from fourm_codecs.set_values import AngleForm, BoxForm, CategoryForm, Form, NumberForm, NumbersForm
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set

Ints = NDArray[np.int64]

Record = dict[str, object]

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
    types = set(map(type, values))
    if dict in types and entry.max_items == 1:
        values = [[value] if type(value) is dict else value for value in values]
        types = set(map(type, values))
    if not types <= _LISTS:
        return None
    lists = cast("Sequence[list[object]]", values)
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    records = list(chain.from_iterable(lists))
    if set(map(type, records)) - {dict} or (counts > entry.max_items).any():
        return None
    columns, first, width = list[Ints](), dict[str, int](), 0
    # Numbers beyond any range become infinite on the way, and are seen as such.
    with np.errstate(over="ignore", invalid="ignore"):
        found = _columns(cast("list[Record]", records), grammar.productions, forms)
    if found is None:
        return None
    for production, ids in zip(grammar.productions, found, strict=True):
        columns.append(ids)
        first[production.name], width = width, width + ids.shape[1]
    items = Items(np.concatenate(columns, axis=1), np.repeat(np.arange(len(lists)), counts))
    places = order.of_columns(items, first, counts, rng)
    return _laid_out(attrs.evolve(items, ids=items.ids[places]), counts, grammar)


def _columns(
    records: list[Record], productions: Sequence[Production], forms: Mapping[str, Form]
) -> list[Ints] | None:
    """The ids of each field, (R, slots); None if a value needs another look."""
    found = list[Ints]()
    if all(isinstance(forms[production.name], NumberForm) for production in productions):
        return _numbers(records, productions, forms)
    # As many keys as there are fields, and each field among them: no other key, and no field missing.
    whole = set(map(len, records)) <= {len(productions)}
    known = {production.name for production in productions}
    if not whole and not all(known.issuperset(record) for record in records):
        return None
    for production in productions:
        if not isinstance(production, Fixed):
            return None
        name = production.name
        try:
            column = (
                list(map(itemgetter(name), records)) if whole else [record.get(name) for record in records]
            )
        except KeyError:
            return None
        ids = _field(production, forms[name], column)
        if ids is None:
            return None
        found.append(ids)
    return found


def _numbers(
    records: list[Record], productions: Sequence[Production], forms: Mapping[str, Form]
) -> list[Ints] | None:
    """The same for records of numbers only, of which most may be missing: what is there is read in one go."""
    places = {production.name: place for place, production in enumerate(productions)}
    names = list(chain.from_iterable(records))
    try:
        fields = np.fromiter(map(places.__getitem__, names), np.int64, len(names))
    except KeyError:
        return None
    values = list(chain.from_iterable(map(dict.values, records)))
    owners = np.repeat(np.arange(len(records)), np.fromiter(map(len, records), np.int64, len(records)))
    numbers = floats_of(values)
    if numbers is None and None in values:
        given = np.fromiter((value is not None for value in values), np.bool_, len(values))
        fields, owners = fields[given], owners[given]
        numbers = floats_of([value for value in values if value is not None])
    if numbers is None:
        return None
    table = np.full((len(productions), len(records)), np.nan)
    table[fields, owners] = numbers
    found = list[Ints]()
    for production, column in zip(productions, table, strict=True):
        assert isinstance(production, Fixed), "a number is one token"
        form, absent = forms[production.name], np.isnan(column)
        assert isinstance(form, NumberForm), "asked for above"
        missing = bool(absent.any())
        if missing and production.absent is None:
            return None
        marker = -1 if production.absent is None else production.absent
        bins = _bins(form.scale, np.where(absent, form.scale.low, column) if missing else column)
        if bins is None:
            return None
        ids = production.slots[0].range.start + bins
        if missing:
            ids[absent] = marker
        found.append(ids[:, None])
    return found


def _field(production: Fixed, form: Form, column: list[object]) -> Ints | None:
    """The ids (R, slots) of a field, -1 behind an absent marker; None if a value needs another look."""
    starts = np.array([slot.range.start for slot in production.slots], np.int64)
    if production.absent is None or NoneType not in set(map(type, column)):
        places = _places(form, column)
        return None if places is None else places + starts
    places = _places(form, [value for value in column if value is not None])
    if places is None:
        return None
    ids = np.full((len(column), len(starts)), -1, np.int64)
    ids[:, 0] = production.absent
    ids[[value is not None for value in column]] = places + starts
    return ids


def _places(form: Form, column: list[object]) -> Ints | None:
    """What `form.read` gives of each value, (R, P)."""
    match form:
        case NumberForm():
            numbers = floats_of(column)
            return None if numbers is None else _bins(form.scale, numbers[:, None])
        case AngleForm():
            angles = floats_of(column)
            if angles is None:
                return None
            share = np.fmod(angles, form.turn) / form.turn
            return (np.floor(share * form.bins + 0.5).astype(np.int64) % form.bins)[:, None]
        case CategoryForm():
            return _classes(form, column)
        case NumbersForm():
            numbers = float_lists(column, form.count)
            return None if numbers is None else _bins(form.scale, numbers)
        case BoxForm():
            boxes = float_lists(column, 4)
            return None if boxes is None else _boxes(form, boxes)
        case CodesForm():
            try:
                return form.read_all(column)
            except CodecError:
                return None
    return None


def _classes(form: CategoryForm, column: list[object]) -> Ints | None:
    if form.counted:
        if not set(map(type, column)) <= {str, int}:
            return None
        column = list(map(str, column))
    try:
        # What is no name is none of the keys.
        places = map(form.places.__getitem__, cast("list[str]", column))
        return np.fromiter(places, np.int64, len(column))[:, None]
    except (KeyError, TypeError):
        return None


def _boxes(form: BoxForm, boxes: Floats) -> Ints | None:
    if form.field.convention != "xyxy":
        x0, y0, x1, y1 = form.field.corners(cast("Sequence[float]", boxes.T))
        boxes = np.stack([x0, y0, x1, y1], axis=1)
    return None if (boxes[:, :2] > boxes[:, 2:]).any() else _bins(form.scale, boxes)


def _bins(scale: Scale, numbers: Floats) -> Ints | None:
    """The bins of numbers of the range, those a rounding outside among them; None if one is further out."""
    if not numbers.size:
        return np.zeros(numbers.shape, np.int64)
    low, high = scale.bounds
    least, most = float(numbers.min()), float(numbers.max())
    if not scale.clip and not low <= least <= most <= high:
        return None
    if not scale.low <= least <= most <= scale.high:
        numbers = np.clip(numbers, scale.low, scale.high)
    borders, last = scale.open_borders, len(scale.edges) - 2
    # Bins of equal width are told by a product, up to a rounding that their borders then mend.
    guess = ((numbers - scale.low) * ((last + 1) / (scale.high - scale.low))).astype(np.int64)
    np.minimum(guess, last, out=guess)
    for _ in range(2):
        below, above = borders[guess] > numbers, borders[guess + 1] <= numbers
        if not (below | above).any():
            return guess
        guess += above
        guess -= below
    return np.searchsorted(borders, numbers, side="right") - 1


def _laid_out(items: Items, counts: Ints, grammar: Automaton) -> TokenBatch:
    """The items of each value and its end token, end to end."""
    used = items.ids >= 0
    sizes = used.sum(axis=1)
    lengths = np.bincount(items.owners, weights=sizes, minlength=len(counts)).astype(np.int64) + 1
    ends = np.cumsum(lengths) - 1
    ids = np.full(int(lengths.sum()), grammar.special.end, id_dtype(grammar.vocab_size))
    within = np.ones(len(ids), np.bool_)
    within[ends] = False
    ids[within] = items.ids[used]
    chunk_lengths = np.ones(len(sizes) + len(counts), np.int64)
    # An item's chunk comes after the end tokens of all values before its own.
    chunk_lengths[np.arange(len(sizes)) + items.owners] = sizes
    return TokenBatch(ids, lengths, chunk_lengths)
