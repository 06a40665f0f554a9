"""Decoding many sets at once: what `SetCodec.encode` writes is read item by item in all rows together.

A row that is damaged in any way is left to the reader of single rows, which says what it makes of it.

Shapes: N rows, R items of all of them, K tokens of an item at most, P numbers of a field.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import FieldValue, Record, TokenBatch
from fourm_codecs.grammar import Automaton, Fixed
from fourm_codecs.set_order import ItemOrder, Items
from fourm_codecs.set_values import AngleForm, BoxForm, CategoryForm, Form, NumberForm, NumbersForm

Ints = NDArray[np.int64]


def decode_columns(
    tokens: TokenBatch, grammar: Automaton, forms: Mapping[str, Form], order: ItemOrder
) -> list[list[Record] | None] | None:
    """The records of each row, None of a row that is not whole.

    Args:
        tokens: any ids.
        grammar, forms, order: of the codec.

    Returns:
        None if a field is a text or in learned codes.
    """
    productions = [production for production in grammar.productions if isinstance(production, Fixed)]
    written = AngleForm | BoxForm | CategoryForm | NumberForm | NumbersForm
    if len(productions) < len(forms) or not all(isinstance(form, written) for form in forms.values()):
        return None
    items, whole = _whole_items(tokens, productions, grammar)
    counts = np.bincount(items.owners, minlength=len(tokens))
    first, width = dict[str, int](), 0
    for production in productions:
        first[production.name], width = width, width + len(production.slots)
    ids = items.ids[order.of_columns(items, first, counts, None)] if order.sorts else items.ids
    columns = [_values(forms[p.name], p, ids[:, first[p.name] :][:, : len(p.slots)]) for p in productions]
    records: list[Record] = [dict(zip(first, values, strict=True)) for values in zip(*columns, strict=True)]
    stops = np.cumsum(counts).tolist()
    starts = [0, *stops[:-1]]
    return [
        records[start:stop] if sound else None
        for start, stop, sound in zip(starts, stops, whole.tolist(), strict=True)
    ]


def _whole_items(
    tokens: TokenBatch, productions: Sequence[Fixed], grammar: Automaton
) -> tuple[Items, NDArray[np.bool_]]:
    """The items of all rows that are whole, row by row, and (N,) which rows are."""
    # A row without an end is read on into the next, and the last one into what is no id.
    ids, starts = np.append(tokens.ids.astype(np.int64), -1), tokens.offsets[:-1]
    place, last = starts.copy(), starts + tokens.lengths - 1
    whole, running = np.zeros(len(tokens), np.bool_), np.arange(len(tokens))
    width = sum(len(production.slots) for production in productions)
    found, owners = [np.zeros((0, width), np.int64)], [running[:0]]
    for _ in range(grammar.max_items + 1):
        ended = ids[place[running]] == grammar.special.end
        whole[running[ended]] = place[running[ended]] == last[running[ended]]
        running = running[~ended]
        if not len(running):
            break
        item, after = _next_item(ids, place[running], productions)
        right = (after >= 0) & (after <= last[running])
        running = running[right]
        place[running] = after[right]
        found.append(item[right])
        owners.append(running)
    all_owners = np.concatenate(owners)
    kept = np.flatnonzero(whole[all_owners])
    kept = kept[np.argsort(all_owners[kept], kind="stable")]
    return Items(np.concatenate(found)[kept], all_owners[kept]), whole


def _next_item(ids: Ints, place: Ints, productions: Sequence[Fixed]) -> tuple[Ints, Ints]:
    """The items that begin at some places, as `Items` has them, and where each ends; -1 for none."""
    parts, right = list[Ints](), np.ones(len(place), np.bool_)
    for production in productions:
        slots = production.slots
        part = ids[np.minimum(place[:, None] + np.arange(len(slots)), len(ids) - 1)]
        counted = part - np.array([slot.range.start for slot in slots])
        fits = ((counted >= 0) & (counted < np.array([slot.range.size for slot in slots]))).all(axis=1)
        for number, slot in enumerate(slots):
            if slot.not_below is not None:
                fits &= counted[:, number] >= counted[:, slot.not_below]
        absent = part[:, 0] == (-2 if production.absent is None else production.absent)
        part[absent, 1:] = -1
        parts.append(part)
        right &= fits | absent
        place = place + np.where(absent, 1, len(slots))
    return np.concatenate(parts, axis=1), np.where(right, place, -1)


def _values(form: Form, production: Fixed, ids: Ints) -> Sequence[FieldValue]:
    """What `form.write` makes of each item's ids, None where the field is absent."""
    absent = ids[:, 0] == (-2 if production.absent is None else production.absent)
    places = ids - np.array([slot.range.start for slot in production.slots])
    if not absent.any():
        return _written(form, places)
    there = iter(_written(form, places[~absent]))
    return [None if gap else next(there) for gap in absent.tolist()]


def _written(form: Form, places: Ints) -> Sequence[FieldValue]:
    match form:
        case NumberForm():
            numbers = form.scale.middles[places[:, 0]]
        case AngleForm():
            numbers = places[:, 0] * form.turn / form.bins
        case CategoryForm():
            names = range(len(form.names)) if form.counted else form.names
            return [names[place] for place in places[:, 0].tolist()]
        case NumbersForm():
            numbers = form.scale.middles[places]
        case BoxForm():
            corners = cast("Sequence[float]", form.scale.middles[places].T)
            numbers = np.stack(form.field.of_corners(corners), axis=1)
        case _:
            raise AssertionError("asked for before")
    return cast("list[FieldValue]", numbers.tolist())
