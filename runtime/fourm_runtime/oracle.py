"""The same model, same weights, run the plain way: padded to the longest sample, with boolean masks.

It is what the packed path is tested and timed against. It starts from `Masked`, so that packing itself is
under test, and shares with the packed path only layers that treat each token alone (linear layers,
norms, MLPs): what is embedded, what sees what and what is predicted are written again here.

    softmax="explicit"   softmax(q k^T / sqrt K + mask) v in the tensors' own dtype: the test's oracle
    softmax="sdpa"       PyTorch's fused attention with a dense boolean mask: how a good padded
                         implementation runs, for benchmarks

Shapes: B samples, N encoder slots, M decoder slots, D width, H heads, K head width; T tokens of a stream.
"""

import math
from collections.abc import Mapping
from typing import Literal

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fourm_runtime.batch import DenseSequences, Float32, Int64, Masked, Selection
from fourm_runtime.tables import SideTables, module_name
from fourm_runtime.transformer import AnyToAnyTransformer, DecoderBlock, EncoderBlock
from fourm_schema.plan import Plan, Stream

Softmax = Literal["explicit", "sdpa"]


@attrs.frozen(eq=False)
class Placed:
    """Tokens of one stream and the slots of the padded batch that they take.

    Attributes:
        stream: which.
        samples, slots: (T,) sample and slot of each token.
        positions, ids: (T,) as in `Selection`.
        previous: (T,) likewise; None for inputs and for grids.
    """

    stream: Stream
    samples: Tensor
    slots: Tensor
    positions: Tensor
    ids: Tensor
    previous: Tensor | None


@attrs.frozen(eq=False)
class Padded:
    """B samples, padded.

    Attributes:
        inputs, targets: streams in the order of the plan; those without a token are left out.
        dense: stream name -> (T, C) values of its visible tokens.
        registers: learned tokens at the first slots of every sample.
        encoder_mask: (B, N, N) bool, query sees key.
        decoder_mask: (B, M, M) likewise.
        context_mask: (B, M, N) likewise, decoder to encoder.
    """

    inputs: tuple[Placed, ...]
    targets: tuple[Placed, ...]
    dense: Mapping[str, Tensor]
    registers: int
    encoder_mask: Tensor
    decoder_mask: Tensor
    context_mask: Tensor

    @property
    def labels(self) -> dict[str, Tensor]:
        """Local ids to predict: stream name -> (T,)."""
        return {placed.stream.name: placed.ids for placed in self.targets}


def pad(
    masked: Masked, plan: Plan, registers: int = 0, apart: bool = True, left_to_right: bool = False
) -> Padded:
    """Give every selected token a slot, sample by sample and stream by stream, and write the masks out.

    Args:
        masked, plan, registers, apart, left_to_right: as `fourm_runtime.packing.pack` takes them.
    """
    inputs, input_lengths = _place(masked.inputs, plan, np.full(masked.size, registers))
    targets, target_lengths = _place(masked.targets, plan, np.zeros(masked.size, dtype=np.int64))
    # A sample that shows nothing has one slot, of zeros.
    visible = torch.from_numpy(np.maximum(input_lengths, 1))
    wanted = torch.from_numpy(target_lengths)
    n, m = int(visible.max()), int(wanted.max())
    keys = torch.arange(n) < visible[:, None]

    stream_of_slot = torch.full((masked.size, m), -1)
    is_sequence = torch.zeros(masked.size, m, dtype=torch.bool)
    for placed in targets:
        stream_of_slot[placed.samples, placed.slots] = plan.index(placed.stream.name)
        is_sequence[placed.samples, placed.slots] = placed.stream.layout == "sequence"
    together = stream_of_slot[:, :, None] == stream_of_slot[:, None, :]
    ordered = is_sequence | left_to_right
    earlier = stream_of_slot[:, :, None] > stream_of_slot[:, None, :]
    earlier &= (stream_of_slot >= 0)[:, None, :]
    not_future = torch.ones(m, m, dtype=torch.bool).tril()
    return Padded(
        inputs=inputs,
        targets=targets,
        dense={
            placed.stream.name: torch.from_numpy(_shown_values(masked, placed))
            for placed in inputs
            if placed.stream.is_dense
        },
        registers=registers,
        encoder_mask=keys[:, None, :].expand(-1, n, -1).contiguous(),
        # Padding sees padding: stream -1. What it computes is read by nobody.
        decoder_mask=(together & (not_future | ~ordered[:, :, None])) | (earlier & (not apart)),
        context_mask=keys[:, None, :].expand(-1, m, -1).contiguous(),
    )


def _shown_values(masked: Masked, placed: Placed) -> Float32:
    """Token by token: the numbers of its cell, of its vector, or zeros for hidden vectors."""
    found = masked.dense[placed.stream.name]
    rows = list[Float32]()
    for sample, position, number in zip(
        placed.samples.tolist(), placed.positions.tolist(), placed.ids.tolist(), strict=True
    ):
        if not isinstance(found, DenseSequences):
            rows.append(found[sample, position])
        elif number < 0:
            rows.append(np.zeros(placed.stream.dense_dim or 0, np.float32))
        else:
            start, stop = found.offsets[sample : sample + 2]
            rows.append(found.values[start:stop][number])
    return np.stack(rows)


def _place(selections: Mapping[str, Selection], plan: Plan, taken: Int64) -> tuple[tuple[Placed, ...], Int64]:
    """Slots for the tokens of each stream, after those already `taken`; and the slots then taken, (B,)."""
    taken = taken.astype(np.int64)
    found = []
    for stream in plan.streams:
        selection = selections.get(stream.name)
        if selection is None or not selection.size:
            continue
        slots = np.empty(selection.size, dtype=np.int64)
        for sample in range(len(taken)):
            own = np.flatnonzero(selection.samples == sample)
            slots[own] = taken[sample] + np.arange(len(own))
            taken[sample] += len(own)
        found.append(
            Placed(
                stream,
                samples=_long(selection.samples),
                slots=_long(slots),
                positions=_long(selection.positions),
                ids=_long(selection.ids),
                previous=None if selection.previous is None else _long(selection.previous),
            )
        )
    return tuple(found), taken


def _long(numbers: np.ndarray[tuple[int, ...], np.dtype[np.integer]]) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int64))


def forward(model: AnyToAnyTransformer, padded: Padded, softmax: Softmax = "explicit") -> dict[str, Tensor]:
    """Predict every target, like the model's own `forward`.

    Args:
        model: gives the weights; its device and dtype are used.
        padded: samples.
        softmax: see the module's docstring.

    Returns:
        Stream name -> logits (T, V), tokens in the order of samples, then of the selection.
    """
    content, embedding = _embed_input(model, padded)
    x = content + embedding
    for block in model.encoder:
        assert isinstance(block, EncoderBlock)
        q, k, v = block.attn.project(block.norm1(x))
        x = x + block.attn.proj(_attend(q, k, v, padded.encoder_mask, softmax))
        x = x + block.mlp(block.norm2(x))
    context = model.context_proj(model.encoder_norm(x)) + embedding

    y = _embed_target(model, padded)
    for block in model.decoder:
        assert isinstance(block, DecoderBlock)
        q, k, v = block.self_attn.project(block.norm1(y))
        y = y + block.self_attn.proj(_attend(q, k, v, padded.decoder_mask, softmax))
        q = block.cross_attn.queries(block.query_norm(y))
        k, v = block.cross_attn.keys_values(block.context_norm(context))
        y = y + block.cross_attn.proj(_attend(q, k, v, padded.context_mask, softmax))
        y = y + block.mlp(block.norm2(y))
    hidden = model.decoder_norm(y)

    weight = model.tables.decoder.tokens if model.tables.head is None else model.tables.head
    logits = {}
    for placed in padded.targets:
        own = _span_of(weight, model, placed.stream)
        logits[placed.stream.name] = functional.linear(hidden[placed.samples, placed.slots], own)
    return logits


def _attend(q_BMHK: Tensor, k_BNHK: Tensor, v_BNHK: Tensor, mask_BMN: Tensor, softmax: Softmax) -> Tensor:
    """Attention with a dense mask; (B, M, D)."""
    q, k, v = (x.transpose(1, 2) for x in (q_BMHK, k_BNHK, v_BNHK))
    if softmax == "sdpa":
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask_BMN[:, None])
    else:
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        out = scores.masked_fill(~mask_BMN[:, None], -torch.inf).softmax(-1) @ v
    return out.transpose(1, 2).flatten(2)


def _embed_input(model: AnyToAnyTransformer, padded: Padded) -> tuple[Tensor, Tensor]:
    """Content and embedding of the encoder's slots, (B, N, D) each; zero where a slot is empty."""
    tables = model.tables
    content = tables.mask_token.new_zeros(*padded.encoder_mask.shape[:2], model.architecture.dim)
    embedding = torch.zeros_like(content)
    if padded.registers:
        content = torch.cat(
            [tables.registers.expand(len(content), -1, -1), content[:, padded.registers :]], dim=1
        )
    for placed in padded.inputs:
        stream, slots = placed.stream, (placed.samples, placed.slots)
        if stream.is_dense:
            values = padded.dense[stream.name].to(content.dtype)
            own = tables.dense[module_name(stream.name)](values)
        else:
            own = _span_of(tables.encoder.tokens, model, stream)[placed.ids]
        content = content.index_put(slots, own)
        embedding = embedding.index_put(
            slots,
            _positions(model, placed, tables.encoder) + _stream_row(model, tables.encoder_streams, stream),
        )
    return content, embedding


def _embed_target(model: AnyToAnyTransformer, padded: Padded) -> Tensor:
    """What the decoder reads, (B, M, D); zero where a slot is empty."""
    tables = model.tables
    y = tables.mask_token.new_zeros(*padded.decoder_mask.shape[:2], model.architecture.dim)
    for placed in padded.targets:
        if placed.previous is None:
            own = tables.mask_token.expand(len(placed.ids), -1)
        else:
            own = _span_of(tables.decoder.tokens, model, placed.stream)[placed.previous]
        embedding = _positions(model, placed, tables.decoder)
        embedding = embedding + _stream_row(model, tables.decoder_streams, placed.stream)
        y = y.index_put((placed.samples, placed.slots), own + embedding)
    return y


def _span_of(table: Tensor, model: AnyToAnyTransformer, stream: Stream) -> Tensor:
    """The rows of a vocabulary table that belong to a stream's ids, (V, D)."""
    span = model.allocation.token_span(stream)
    return table[span.start : span.stop]


def _stream_row(model: AnyToAnyTransformer, table: Tensor, stream: Stream) -> Tensor:
    return table[model.allocation.streams[stream.name]]


def _positions(model: AnyToAnyTransformer, placed: Placed, side: SideTables) -> Tensor:
    """Position embeddings of a stream's tokens, (T, D)."""
    stream, positions = placed.stream, placed.positions
    if side is model.tables.decoder:
        positions = positions * (positions < stream.target_ranks)
    if stream.positions == "learned-1d":
        span = model.allocation.learned_positions[stream.name]
        return side.learned_positions[span.start : span.stop][positions]
    start = model.allocation.position_offset(stream)
    return model.tables.fixed_positions[start + positions].to(side.tokens.dtype)
