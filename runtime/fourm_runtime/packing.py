"""Pack what a mask selected into flat token sequences: every token is real, none is padding.

A packer with a capacity splits samples, in order and greedily, into micro-batches of at most
(T_in, T_out) tokens and fills each up to exactly that with a tail that nothing reads, so that shapes are
static; the tail is cut into short blocks, since attention within a block costs its length squared.
Without a capacity (CPU), all samples form one micro-batch of just their tokens.
"""

import itertools
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_runtime.batch import (
    DenseTokens,
    Head,
    Int32,
    Int64,
    JoinedKeys,
    Masked,
    MicroBatch,
    Selection,
    Side,
)
from fourm_schema.allocation import Allocation
from fourm_schema.errors import PlanError
from fourm_schema.plan import Plan, Stream

_TAIL_BLOCK = 128


@attrs.frozen(eq=False)
class _Tokens:
    """Tokens of several streams laid out sample by sample, stream by stream. All (T,)."""

    samples: Int32
    stream_index: Int32
    positions: Int32
    ids: Int32
    rows: Int32

    @property
    def size(self) -> int:
        return len(self.samples)


def pack(
    masked: Masked,
    plan: Plan,
    allocation: Allocation,
    registers: int = 0,
    capacity: tuple[int, int] | None = None,
    *,
    apart: bool = True,
    left_to_right: bool = False,
) -> tuple[MicroBatch, ...]:
    """Lay the selected tokens of N samples end to end.

    Args:
        masked: what each sample shows and must predict.
        plan: its streams, in the order in which a sample's tokens are laid.
        allocation: rows of the tables.
        registers: learned tokens put before each sample's encoder tokens.
        capacity: (T_in, T_out) of a static micro-batch; None packs all samples into one, without tail.
        apart: streams do not see each other in the decoder (`Architecture.decoder_streams_apart`).
        left_to_right: a token of a grid does not see later ones (`Architecture.decoder_left_to_right`).

    Returns:
        One or more micro-batches; together they hold every sample once, in order.

    Raises:
        PlanError: if one sample alone does not fit the capacity.
    """
    visible, wanted = _token_counts(masked, registers)
    parts = (
        _pack_range(masked, plan, allocation, registers, capacity, start, stop, apart)
        for start, stop in _ranges(visible, wanted, capacity)
    )
    return tuple(attrs.evolve(part, left_to_right=left_to_right) for part in parts)


def _token_counts(masked: Masked, registers: int) -> tuple[Int64, Int64]:
    """Tokens of each sample on either side: (N,), (N,)."""

    def count(selections: Sequence[Selection]) -> Int64:
        total = np.zeros(masked.size, dtype=np.int64)
        for selection in selections:
            total += np.bincount(selection.samples, minlength=masked.size)
        return total

    visible = count(list(masked.inputs.values())) + registers
    return np.maximum(visible, 1), count(list(masked.targets.values()))


def _ranges(visible: Int64, wanted: Int64, capacity: tuple[int, int] | None) -> Iterator[tuple[int, int]]:
    size = len(visible)
    if capacity is None:
        yield 0, size
        return
    over = np.flatnonzero((visible > capacity[0]) | (wanted > capacity[1]))
    if over.size:
        raise PlanError(
            f"sample {over[0]} of the step",
            f"does not fit a micro-batch of {capacity[0]} + {capacity[1]} tokens",
            got=f"{visible[over[0]]} + {wanted[over[0]]}",
            mend="raise steps.micro_batch_tokens or lower the budgets",
        )
    start, filled_in, filled_out = 0, 0, 0
    for sample, (n_in, n_out) in enumerate(zip(visible.tolist(), wanted.tolist(), strict=True)):
        if filled_in + n_in > capacity[0] or filled_out + n_out > capacity[1]:
            yield start, sample
            start, filled_in, filled_out = sample, 0, 0
        filled_in, filled_out = filled_in + n_in, filled_out + n_out
    yield start, size


def _pack_range(
    masked: Masked,
    plan: Plan,
    allocation: Allocation,
    registers: int,
    capacity: tuple[int, int] | None,
    start: int,
    stop: int,
    apart: bool,
) -> MicroBatch:
    count = stop - start

    def part(selection: Selection) -> Selection:
        return _cut(selection, start, stop)

    shown = [(s, part(masked.inputs[s.name])) for s in plan.streams if s.name in masked.inputs]
    wanted = [(s, part(masked.targets[s.name])) for s in plan.streams if s.name in masked.targets]
    parallel = _lay([pair for pair in wanted if pair[0].layout == "grid"], plan, allocation, target=True)
    causal = _lay([pair for pair in wanted if pair[0].layout == "sequence"], plan, allocation, target=True)
    inputs = _lay(shown, plan, allocation, target=False)

    own = np.bincount(inputs.samples, minlength=count)
    reserved = np.full(count, registers) if registers else (own == 0).astype(np.int64)
    place = np.arange(inputs.size) + np.cumsum(reserved)[inputs.samples]
    lengths = own + reserved
    ends = np.cumsum(lengths)
    register_index = (ends - lengths)[:, None] + np.arange(registers)[None, :]

    tail_in = capacity[0] - int(lengths.sum()) if capacity else 0
    tail_out = capacity[1] - parallel.size - causal.size if capacity else 0
    encoder_size = int(lengths.sum()) + tail_in
    decoder_size = parallel.size + causal.size + tail_out
    dense = {
        stream.name: DenseTokens(
            values=torch.from_numpy(masked.dense_values(stream.name, selection.samples + start, selection)),
            index=torch.from_numpy(place[inputs.stream_index == plan.index(stream.name)]),
        )
        for stream, selection in shown
        if stream.is_dense and selection.size
    }
    # The first block of the tail's context also answers the tail's queries; the others answer none.
    tail = _tail_lengths(tail_in) or ([0] if tail_out else [])
    idle = [0] * len(tail)
    return MicroBatch(
        encoder=_side(plan, allocation, encoder_size, [(place, inputs)]),
        dense=dense,
        registers=torch.from_numpy(register_index.reshape(-1).astype(np.int64)),
        encoder_lengths=tuple(lengths.tolist() + tail),
        decoder=_side(
            plan,
            allocation,
            decoder_size,
            [(np.arange(parallel.size), parallel), (parallel.size + np.arange(causal.size), causal)],
        ),
        parallel_size=parallel.size,
        parallel_lengths=_block_lengths(parallel),
        causal_lengths=_block_lengths(causal) + tuple(_tail_lengths(tail_out)),
        parallel_queries=tuple(np.bincount(parallel.samples, minlength=count).tolist() + idle),
        causal_queries=tuple(
            np.bincount(causal.samples, minlength=count).tolist() + ([tail_out, *idle[1:]] if tail else [])
        ),
        heads=_heads(plan, parallel, causal),
        joined=None if apart else _joined(parallel, causal, _tail_lengths(tail_out)),
    )


def _cut(selection: Selection, start: int, stop: int) -> Selection:
    """Samples [start, stop), renumbered from 0."""
    low, high = np.searchsorted(selection.samples, [start, stop])
    if start == 0 and high == selection.size:
        return selection
    return Selection(
        (selection.samples[low:high] - start).astype(np.int32),
        selection.positions[low:high],
        selection.ids[low:high],
        None if selection.previous is None else selection.previous[low:high],
    )


def _lay(
    pairs: Sequence[tuple[Stream, Selection]], plan: Plan, allocation: Allocation, target: bool
) -> _Tokens:
    """Order tokens by sample, then by stream, then as the selection has them."""

    def joined(parts: list[NDArray[np.int32]]) -> Int32:
        return np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32, copy=False)

    samples = joined([selection.samples for _, selection in pairs])
    order = np.argsort(samples, kind="stable")
    return _Tokens(
        samples=samples[order],
        stream_index=joined([np.full(sel.size, plan.index(s.name), np.int32) for s, sel in pairs])[order],
        positions=joined([_positions(stream, sel, allocation, target) for stream, sel in pairs])[order],
        ids=joined([sel.ids for _, sel in pairs])[order],
        rows=joined([_rows(stream, selection, allocation, target) for stream, selection in pairs])[order],
    )


def _positions(stream: Stream, selection: Selection, allocation: Allocation, target: bool) -> Int32:
    """Rows of the position tables."""
    ranks = selection.positions
    if target:
        ranks = np.where(ranks < stream.target_ranks, ranks, 0)
    return (ranks + allocation.position_offset(stream)).astype(np.int32)


def _rows(stream: Stream, selection: Selection, allocation: Allocation, target: bool) -> Int32:
    """Vocabulary rows to embed; 0 where content is projected or the mask token stands."""
    if stream.is_dense or (target and stream.layout == "grid"):
        return np.zeros(selection.size, dtype=np.int32)
    ids = selection.previous if target else selection.ids
    assert ids is not None, "a sequence target carries the ids that precede it"
    return (ids + allocation.token_offset(stream)).astype(np.int32)


def _side(
    plan: Plan, allocation: Allocation, size: int, parts: Sequence[tuple[NDArray[np.integer], _Tokens]]
) -> Side:
    rows, positions, streams = (np.zeros(size, dtype=np.int32) for _ in range(3))
    stream_rows = np.array([allocation.streams[name] for name in plan.names], dtype=np.int32)
    for place, tokens in parts:
        rows[place] = tokens.rows
        positions[place] = tokens.positions
        streams[place] = stream_rows[tokens.stream_index]
    return Side(torch.from_numpy(rows), torch.from_numpy(positions), torch.from_numpy(streams))


def _block_lengths(tokens: _Tokens) -> tuple[int, ...]:
    """Run lengths of (sample, stream), in order."""
    return tuple(np.diff(_starts(tokens), append=tokens.size).tolist())


def _starts(tokens: _Tokens) -> Int64:
    """Where each (sample, stream) begins; tokens are in this order already, so nothing is sorted."""
    begins = np.ones(tokens.size, np.bool_)
    begins[1:] = np.diff(tokens.samples) != 0
    begins[1:] |= np.diff(tokens.stream_index) != 0
    return np.flatnonzero(begins)


def _joined(parallel: _Tokens, causal: _Tokens, tail: list[int]) -> JoinedKeys:
    """Each block sees the blocks of its sample whose streams come before its own, then itself."""
    blocks: list[tuple[int, int, NDArray[np.int64]]] = []
    for tokens, offset in ((parallel, 0), (causal, parallel.size)):
        for first, last in itertools.pairwise([*_starts(tokens).tolist(), tokens.size]):
            places = np.arange(first, last) + offset
            blocks.append((int(tokens.samples[first]), int(tokens.stream_index[first]), places))
    seen = []
    for sample, stream, own in blocks:
        before = [places for other, earlier, places in blocks if other == sample and earlier < stream]
        seen.append(np.concatenate([*before, own]))
    first = parallel.size + causal.size
    for length in tail:
        seen.append(np.arange(first, first + length))
        first += length
    cut = len(_starts(parallel))
    return JoinedKeys(
        torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *seen])),
        tuple(map(len, seen[:cut])),
        tuple(map(len, seen[cut:])),
    )


def _tail_lengths(size: int) -> list[int]:
    """Cut a tail into blocks.

    >>> _tail_lengths(300)
    [128, 128, 44]
    """
    return [min(_TAIL_BLOCK, size - start) for start in range(0, size, _TAIL_BLOCK)]


def _heads(plan: Plan, parallel: _Tokens, causal: _Tokens) -> dict[str, Head]:
    heads = {}
    for index, stream in enumerate(plan.streams):
        tokens, offset = (parallel, 0) if stream.layout == "grid" else (causal, parallel.size)
        chosen = np.flatnonzero(tokens.stream_index == index)
        if chosen.size:
            heads[stream.name] = Head(
                index=torch.from_numpy(chosen + offset),
                targets=torch.from_numpy(tokens.ids[chosen].astype(np.int64)),
            )
    return heads
