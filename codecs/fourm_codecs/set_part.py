"""Sets of which a part is given: whole items, and behind them some fields of one more.

Whoever writes the rest follows the grammar, and writes the given fields where their turn comes.

Shapes: V ids of the vocabulary.
"""

from collections.abc import Mapping

import attrs
import numpy as np

from fourm_codecs.grammar import Automaton, Mask, State
from fourm_codecs.set_faults import raise_faults
from fourm_codecs.sets import SetCodec
from fourm_schema.errors import CodecError, Fault


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

    def allowed(self, grammar: Automaton, state: State, budget: int) -> Mask:
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


def read_part(codec: SetCodec, value: object) -> SetPart:
    """Encode what is given of a set.

    Args:
        codec: of the set.
        value: a list of records, or one record where there is at most one. The last is begun, and no more,
            if it lacks a field that is not optional.

    Raises:
        CodecError: naming every fault of every record.
    """
    records = [value] if isinstance(value, Mapping) and codec.entry.max_items == 1 else value
    last = records[-1] if isinstance(records, list | tuple) and records else None
    required = {name for name, field in codec.entry.fields.items() if not field.optional}
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


def _whole(codec: SetCodec, records: object) -> SetPart:
    tokens = codec.encode([records])
    assert tokens.chunk_lengths is not None, "items are chunks"
    return SetPart(tuple(tokens.ids[:-1].tolist()), len(tokens.chunk_lengths) - 1)
