"""Any row of ids, read under the grammar of a set: which runs of it are whole items, and what the rest is.

    row  =  item* end                    nothing is damaged
    row  =  (item | damage)* [end damage]

Every id of a row is in an item, is the end token, or is damaged.
"""

from collections.abc import Sequence
from typing import NamedTuple

import attrs

from fourm_codecs.base import Record
from fourm_codecs.grammar import Automaton, State


class Span(NamedTuple):
    """The ids [start, stop) of a row."""

    start: int
    stop: int


@attrs.frozen
class Damage:
    """Ids that are no part of a record, or not all of which a record keeps.

    Attributes:
        start, stop: they are ids[start:stop] of their row.
        what: why they could not be read.
    """

    start: int
    stop: int
    what: str


@attrs.frozen
class Reading:
    """What a row of ids says.

    Attributes:
        records: those that could be read, in the order that the schema asks for.
        spans: where in the row each of them stands.
        damage: what could not be read, in the order of the row; empty for what `encode` writes.
    """

    records: list[Record]
    spans: tuple[Span, ...]
    damage: tuple[Damage, ...]


def find_items(grammar: Automaton, ids: Sequence[int]) -> tuple[list[Span], list[Damage]]:
    """Find the whole items of a row.

    Args:
        grammar: of the set.
        ids: any ids.

    Returns:
        The items, in the order of the row, and everything else up to its end.
    """
    items: list[Span] = []
    damage: list[Damage] = []
    end = grammar.special.end
    length = ids.index(end) if end in ids else len(ids)
    place = 0
    while place < length:
        if len(items) == grammar.max_items:
            damage.append(Damage(place, length, f"after {len(items)} items, the most there can be"))
            break
        stop, what = _item_at(grammar, ids, place, length)
        if what:
            # Ids that fail one by one are one damage: the first says why.
            begun = damage.pop() if damage and damage[-1].stop == place else Damage(place, place, what)
            damage.append(attrs.evolve(begun, stop=place + 1))
            place += 1
        else:
            items.append(Span(place, stop))
            place = stop
    if length == len(ids):
        damage.append(Damage(length, length, "the end token is missing"))
    elif length + 1 < len(ids):
        damage.append(Damage(length + 1, len(ids), "after the end token"))
    return items, damage


def _item_at(grammar: Automaton, ids: Sequence[int], start: int, length: int) -> tuple[int, str]:
    """Where the item that begins at `start` ends; or why none begins there."""
    state: State = grammar.start
    for place in range(start, length):
        following = grammar.step(state, ids[place])
        if following is None:
            field = grammar.productions[state.field].name
            return start, f"id {ids[place]} at place {place} cannot be written in field {field!r}"
        if grammar.at_border(following):
            return place + 1, ""
        state = following
    return start, f"the row ends within field {grammar.productions[state.field].name!r}"
