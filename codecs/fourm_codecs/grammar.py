"""The grammar of a set: a finite automaton over tokens, compiled from the fields of its records.

    set  = item* [EOS]           at most max_items items
    item = field field ...       in the order of the schema; no token opens an item, since each field has one
    field = absent marker        if it is optional
          | slot slot ...        one token each, from the range of ids that the layout gives the slot
          | piece* end-of-text   at most max_tokens tokens

One item is one chunk, and so is the end token. The same automaton serves encoding, reading damaged
sequences, masking chunk by chunk and constrained generation: each state knows its distance to acceptance,
so a generator never begins what it has no room to finish.

Shapes: V ids of the vocabulary.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_schema.modality import Set
from fourm_schema.plan import Special
from fourm_schema.set_layout import SetLayout, TokenRange, set_layout

Mask = NDArray[np.bool_]


class State(NamedTuple):
    """Where a sequence stands.

    Attributes:
        items: items that are complete; -1 once the set is accepted.
        field: the field that comes next, or is being written.
        place: tokens of it that are written.
        memory: those tokens, where a later one depends on them (a box's second corner).
    """

    items: int
    field: int
    place: int
    memory: tuple[int, ...] = ()


ACCEPTED = State(-1, 0, 0)


@attrs.frozen
class Slot:
    """One token of a field.

    Attributes:
        range: the ids it can be.
        not_below: number of an earlier slot of the same field; this token counts at least as far into its
            range as that one into its own.
    """

    range: TokenRange
    not_below: int | None = None


@attrs.frozen
class Fixed:
    """A field of as many tokens as it has slots.

    Attributes:
        name: of the field.
        slots: one per token.
        absent: the id that is written in place of the field, if it is optional.
    """

    name: str
    slots: tuple[Slot, ...]
    absent: int | None = None
    remembers: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        depends = any(slot.not_below is not None for slot in self.slots)
        object.__setattr__(self, "remembers", depends)

    def fewest(self, place: int) -> int:
        """Fewest tokens that complete the field after `place` of them."""
        return 1 if place == 0 and self.absent is not None else len(self.slots) - place


@attrs.frozen
class Pieces:
    """A field of word pieces, closed by a token of its own.

    Attributes:
        name: of the field.
        pieces: ranges of ids that are pieces of text, the unknown word among them.
        end: the id that closes the text.
        max_tokens: most tokens, the closing one included.
        absent: the id that is written in place of the field, if it is optional.
    """

    name: str
    pieces: tuple[TokenRange, ...]
    end: int
    max_tokens: int
    absent: int | None = None
    remembers: bool = attrs.field(default=False, init=False)

    def fewest(self, place: int) -> int:
        """Fewest tokens that complete the field after `place` of them: an empty text is a text."""
        return 1


Production = Fixed | Pieces


class Dialect(Protocol):
    """Gives each field its surface tokens; the automaton is the same for every dialect."""

    @property
    def name(self) -> str: ...

    def productions(self, entry: Set, layout: SetLayout) -> tuple[Production, ...]:
        """The productions of a set's fields, in their order."""
        ...


@attrs.frozen
class Native:
    """Each field writes in token ranges of its own.

    The axes of points and boxes have one range each, so that a token says which axis it belongs to and both
    corners of a box share what is learned of a place; the numbers of a vector share one range.
    """

    name: str = attrs.field(default="native", init=False)

    def productions(self, entry: Set, layout: SetLayout) -> tuple[Production, ...]:
        """The productions of a set's fields, in their order."""
        found: list[Production] = []
        for name, field in entry.fields.items():
            absent = layout.range(f"{name}.absent").start if field.optional else None
            match field.type:
                case "text":
                    unknown = TokenRange("unknown", layout.special.unknown, 1)
                    end = layout.range(f"{name}.end").start
                    found.append(Pieces(name, (unknown, layout.pieces), end, field.max_tokens, absent))
                case "point" | "box":
                    x, y = layout.range(f"{name}.x"), layout.range(f"{name}.y")
                    far = (Slot(x, not_below=0), Slot(y, not_below=1)) if field.type == "box" else ()
                    found.append(Fixed(name, (Slot(x), Slot(y), *far), absent))
                case _:
                    slots = (Slot(layout.range(name)),) * field.token_count
                    found.append(Fixed(name, slots, absent))
        return tuple(found)


NATIVE = Native()


class _Option(NamedTuple):
    """Ids [start, stop) that may come next, and what they do to the state."""

    start: int
    stop: int
    moves: Literal["accept", "next field", "on"]


class Grammar(Protocol):
    """What a generator has to know of the sequences of a set."""

    @property
    def special(self) -> Special:
        """Special ids of the stream."""
        ...

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size)."""
        ...

    @property
    def start(self) -> State:
        """The state of an empty sequence."""
        ...

    def step(self, state: State, identity: int) -> State | None:
        """The state after one more token; None if it may not come here."""
        ...

    def is_final(self, state: State) -> bool:
        """Whether the set is complete, its end token written."""
        ...

    def distance(self, state: State) -> int:
        """Fewest tokens to acceptance, the end token included."""
        ...

    def allowed(self, state: State, budget: int) -> Mask:
        """(V,) which ids may come next so that the whole set still fits into so many tokens."""
        ...


class Automaton:
    """The grammar of one set.

    Args:
        productions: of the fields of an item, in their order; at least one.
        max_items: most items.
        special: special ids of the stream.
        vocab_size: ids are in [0, vocab_size).

    Attributes:
        productions, max_items, special, vocab_size: as given.
        start: the state of an empty sequence.
    """

    def __init__(
        self, productions: Sequence[Production], max_items: int, special: Special, vocab_size: int
    ) -> None:
        assert productions, "an item has a field"
        self.productions = tuple(productions)
        self.max_items = max_items
        self.special = special
        self.vocab_size = vocab_size
        self.start = State(0, 0, 0)
        # Fewest tokens of the fields from each one on, up to the end of the item.
        rest = [0]
        for production in reversed(self.productions):
            rest.append(rest[-1] + production.fewest(0))
        self._rest = tuple(reversed(rest))

    @classmethod
    def of_entry(
        cls, modality: str, entry: Set, piece_count: int = 0, dialect: Dialect = NATIVE
    ) -> "Automaton":
        """The automaton of a declared set.

        Args:
            modality: its name, for errors.
            entry: the declared set.
            piece_count: ids of its word vocabulary that stand for pieces; only sets with texts need it.
            dialect: which tokens each field is written in.

        Raises:
            PlanError: if texts of the set write in several vocabularies.
        """
        layout = set_layout(modality, entry, piece_count)
        return cls(dialect.productions(entry, layout), entry.max_items, layout.special, layout.size)

    def step(self, state: State, identity: int) -> State | None:
        """The state after one more token; None if it may not come here."""
        for start, stop, moves in self._options(state):
            if start <= identity < stop:
                if moves == "accept":
                    return ACCEPTED
                if moves == "next field":
                    return self._next_field(state)
                remembers = self.productions[state.field].remembers
                memory = (*state.memory, identity) if remembers else ()
                return State(state.items, state.field, state.place + 1, memory)
        return None

    def is_final(self, state: State) -> bool:
        """Whether the set is complete, its end token written."""
        return state.items < 0

    def at_border(self, state: State) -> bool:
        """Whether the state lies between two chunks: an item, or the end token, may begin here."""
        return state.items >= 0 and state.field == 0 and state.place == 0

    def distance(self, state: State) -> int:
        """Fewest tokens to acceptance, the end token included."""
        if self.is_final(state):
            return 0
        if self.at_border(state):
            return 1
        here = self.productions[state.field].fewest(state.place)
        return here + self._rest[state.field + 1] + 1

    def allowed(self, state: State, budget: int) -> Mask:
        """Which ids may come next so that the whole set still fits.

        Args:
            state: where the sequence stands.
            budget: tokens left, the next one and the end token included.

        Returns:
            (V,) read-only. Not empty if distance(state) <= budget and the state is not final; nothing may
            follow a final state.
        """
        fitting = tuple(
            (option.start, option.stop)
            for option in self._options(state)
            if 1 + self._distance_after(state, option) <= budget
        )
        return id_mask(self.vocab_size, fitting)

    def chunk_lengths(self, ids: Sequence[int]) -> list[int] | None:
        """Tokens of each chunk of a whole sequence, the end token's last; None for any other sequence."""
        state: State | None = self.start
        lengths, begun = list[int](), 0
        for place, identity in enumerate(ids):
            state = self.step(state, int(identity)) if state is not None else None
            if state is None:
                return None
            if self.at_border(state) or self.is_final(state):
                lengths.append(place + 1 - begun)
                begun = place + 1
        return lengths if state is not None and self.is_final(state) else None

    def _options(self, state: State) -> list[_Option]:
        if self.is_final(state):
            return []
        options: list[_Option] = []
        if self.at_border(state):
            options.append(_Option(self.special.end, self.special.end + 1, "accept"))
            if state.items >= self.max_items:
                return options
        production = self.productions[state.field]
        if production.absent is not None and state.place == 0:
            options.append(_Option(production.absent, production.absent + 1, "next field"))
        if isinstance(production, Pieces):
            options.append(_Option(production.end, production.end + 1, "next field"))
            if state.place < production.max_tokens - 1:
                options += [_Option(ids.start, ids.stop, "on") for ids in production.pieces if ids.size]
            return options
        slot = production.slots[state.place]
        start = slot.range.start
        if slot.not_below is not None:
            start += state.memory[slot.not_below] - production.slots[slot.not_below].range.start
        last = state.place + 1 == len(production.slots)
        options.append(_Option(start, slot.range.stop, "next field" if last else "on"))
        return options

    def _distance_after(self, state: State, option: _Option) -> int:
        if option.moves == "accept":
            return 0
        if option.moves == "next field":
            return self.distance(self._next_field(state))
        return self.distance(State(state.items, state.field, state.place + 1))

    def _next_field(self, state: State) -> State:
        if state.field + 1 < len(self.productions):
            return State(state.items, state.field + 1, 0)
        return State(state.items + 1, 0, 0)


# Shared by every caller that asks the same: a state's mask depends on a few ranges only.
@lru_cache(maxsize=1024)
def id_mask(vocab_size: int, ranges: tuple[tuple[int, int], ...]) -> Mask:
    """(V,) read-only: True for the ids of some ranges [start, stop)."""
    mask = np.zeros(vocab_size, np.bool_)
    for start, stop in ranges:
        mask[start:stop] = True
    mask.flags.writeable = False
    return mask
