"""Sets of which a part is given: whole items, and behind them some fields of one more.

Whoever writes the rest follows the grammar, and writes the given fields where their turn comes.

Shapes: V ids of the vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs
import numpy as np

from fourm_codecs.base import TokenBatch
from fourm_codecs.grammar import Automaton, Grammar, Mask, State
from fourm_codecs.set_faults import raise_faults
from fourm_codecs.sets import SetCodec
from fourm_schema.errors import CodecError, Fault
from fourm_schema.modality import Set


@attrs.frozen
class SetPart:
    """What is given of a set.

    Attributes:
        ids: of the whole items; no end token.
        items: how many these are; it matters only where an item is begun.
        begun: field -> its ids, of the item that follows; None where none has to.
    """

    ids: tuple[int, ...]
    items: int = 0
    begun: Mapping[str, tuple[int, ...]] | None = None

    def allowed(self, grammar: Grammar, state: State, budget: int) -> Mask:
        """Which ids may come next so that the set holds the part, and still fits.

        Args:
            grammar: of the set.
            state: where the sequence stands, behind the whole items.
            budget: tokens left, the next one and the end token included.

        Returns:
            (V,)
        """
        if self.begun is None or state.items != self.items:
            return grammar.allowed(state, budget)
        assert isinstance(grammar, Automaton), "only items of a set with tokens of its own are begun"
        here, *later = grammar.productions[state.field :]
        mask = np.zeros(grammar.vocab_size, np.bool_)
        if here.name in self.begun:
            mask[self.begun[here.name][state.place]] = True
            return mask
        # A given text may be longer than the shortest one, which is what the grammar reckons with.
        extra = sum(len(self.begun[p.name]) - p.fewest(0) for p in later if p.name in self.begun)
        mask |= grammar.allowed(state, budget - extra)
        mask[grammar.special.end] = False
        return mask


class DrawnCodec(Protocol):
    """A codec whose sequences are drawn under a grammar."""

    @property
    def modality(self) -> str: ...

    @property
    def automaton(self) -> Grammar:
        """The grammar that its sequences follow."""
        ...

    @property
    def entry(self) -> Set: ...

    def encode(self, values: Sequence[object]) -> TokenBatch:
        """Turn sets into ids."""
        ...

    def sort_places(self, ids: Sequence[int]) -> list[int]:
        """The places of a row of ids, moved so that its items stand in the order the schema asks for."""
        ...


def read_part(codec: DrawnCodec, value: object) -> SetPart:
    """Encode what is given of a set.

    Args:
        codec: of the set.
        value: a list of records, or one record where there is at most one. The last is begun, and no more,
            if it lacks a field that is not optional; in the words of 4M, records are whole.

    Raises:
        CodecError: naming every fault of every record.
    """
    records = [value] if isinstance(value, Mapping) and codec.entry.max_items == 1 else value
    last = records[-1] if isinstance(records, list | tuple) and records else None
    required = {name for name, field in codec.entry.fields.items() if not field.optional}
    if not isinstance(codec, SetCodec):
        return SetPart(()) if isinstance(records, list | tuple) and not records else _drawable(codec, records)
    if not isinstance(records, list | tuple) or not isinstance(last, Mapping) or required <= set(last):
        return _whole(codec, records)
    faults, where = list[Fault](), f"{codec.modality}, value 0"
    if len(records) > codec.entry.max_items:
        what = f"has at most {codec.entry.max_items} items"
        faults.append(Fault(where, what, f"{len(records)}, the last one begun"))
    begun = codec.fields(last, f"{where}, item {len(records) - 1}", faults, in_part=True)
    try:
        part = _whole(codec, records[:-1])
    except CodecError as error:
        raise_faults(codec.modality, [*error.faults, *faults])
        raise
    raise_faults(codec.modality, faults)
    return attrs.evolve(part, begun=begun)


def _whole(codec: DrawnCodec, records: object) -> SetPart:
    tokens = codec.encode([records])
    assert tokens.chunk_lengths is not None, "items are chunks"
    return SetPart(tuple(tokens.ids[:-1].tolist()), len(tokens.chunk_lengths) - 1)


def _drawable(codec: DrawnCodec, records: object) -> SetPart:
    """Whole items, in words with which the set can be drawn on."""
    part = _whole(codec, records)
    state: State | None = codec.automaton.start
    for identity in part.ids:
        state = codec.automaton.step(state, identity) if state is not None else None
    if state is None:
        what = "holds a number beyond the words of 4M, behind which nothing can be drawn"
        raise CodecError(
            f"{codec.modality}, value 0", what, mend="give numbers within the range of their fields"
        )
    return part
