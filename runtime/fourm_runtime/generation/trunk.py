"""The network as generation runs it: what `AnyToAnyTransformer` computes, in fewer and quicker operations.

Three things differ, none of which changes a number by more than rounding:

    few rows        a step of a text has a row or a few: `weight @ rows`, columns side by side, reads the
                    weights at the speed of memory, where `rows @ weight^T` of PyTorch's CPU library does not
    fused           on a CPU in float32, linear layers are oneDNN's, which add the residual and apply the
                    activation as they write; torch.compile emits the same operators
    short queries   where few cells look at a long context, its keys and values are not made: the queries take
                    on the weights of the keys, and the weights of the values follow the attention

    q . (W_k c) = (W_k^T q) . c        sum_i a_i (W_v c_i) = W_v (sum_i a_i c_i)

Shapes: T tokens, S context tokens, D width, H heads, K head width.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from fourm_runtime.attention import Blocks, attend
from fourm_runtime.batch import MicroBatch
from fourm_runtime.products import is_onednn
from fourm_runtime.tables import module_name
from fourm_runtime.transformer import (
    AnyToAnyTransformer,
    CrossAttention,
    DecoderBlock,
    EncoderBlock,
    Mlp,
    Routes,
    SelfAttention,
)
from fourm_schema.plan import Stream

# Rows up to which a product is turned around: more gain nothing, and those of long rows less.
FEW = 8
FEW_LONG = 2

ROOM = 2**30
"""Bytes of weights that are laid out for oneDNN, at most: they are copies."""
MANY = 4
"""Passes from which this is worth its time."""


class Trunk:
    """A model's encoder and decoder, for grids; `CachedSteps` uses its parts for sequences.

    Args:
        model: in eval mode, without gradients. Its weights must not change while this is in use.
        passes: how often the encoder will run.
    """

    def __init__(self, model: AnyToAnyTransformer, passes: int = 1) -> None:
        self.model = model
        self._room = ROOM if passes >= MANY else 0
        self._laid: dict[tuple[int, int], torch.Tensor] = {}
        tables = model.tables
        self.decoder = [block for block in model.decoder if isinstance(block, DecoderBlock)]
        self._encoder = [block for block in model.encoder if isinstance(block, EncoderBlock)]
        self._head = tables.decoder.tokens if tables.head is None else tables.head
        fixed = tables.fixed_positions.to(tables.decoder_streams.dtype)
        self._encoder_positions = torch.cat([fixed, tables.encoder.learned_positions])
        self._positions = torch.cat([fixed, tables.decoder.learned_positions])
        self._projected: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def encode(self, batch: MicroBatch, routes: Routes) -> torch.Tensor:
        """As `AnyToAnyTransformer.encode`."""
        content, embedding = self._embed_input(batch)
        x = content + embedding
        for block in self._encoder:
            q, k, v = self.projections(block.attn, block.norm1(x))
            x = self.merge(block.attn, attend(q, k, v, routes.encoder), x)
            x = self.feed_forward(block.mlp, block.norm2(x), x)
        return self.linear(self.model.context_proj, self.model.encoder_norm(x), embedding)

    def decode(self, batch: MicroBatch, context_SD: torch.Tensor, routes: Routes) -> torch.Tensor:
        """As `AnyToAnyTransformer.decode`, of a batch that asks for grids only."""
        assert not batch.causal_lengths, "sequences are decoded step by step"
        y = self.model.tables.embed_target(batch)
        for block in self.decoder:
            q, k, v = self.projections(block.self_attn, block.norm1(y))
            y = self.merge(block.self_attn, attend(q, k, v, routes.parallel), y)
            context = block.context_norm(context_SD)
            seen = self.look(
                block.cross_attn, block.query_norm(y), context, routes.parallel_context, routes.silent
            )
            y = self.merge(block.cross_attn, seen, y)
            y = self.feed_forward(block.mlp, block.norm2(y), y)
        hidden: torch.Tensor = self.model.decoder_norm(y)
        return hidden

    def _embed_input(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Tables.embed_input`; what the step before projected is not projected again."""
        tables = self.model.tables
        content = functional.embedding(batch.encoder.rows, tables.encoder.tokens)
        for name, tokens in batch.dense.items():
            values, made = self._projected.get(name, (tokens.values[:0], content))
            if values.shape != tokens.values.shape or not torch.equal(values, tokens.values):
                made = tables.dense[module_name(name)](tokens.values.to(content.dtype)).to(content.dtype)
                self._projected[name] = tokens.values, made
            content.index_add_(0, tokens.index, made)
        if batch.registers.shape[0]:
            samples = batch.registers.shape[0] // tables.registers.shape[0]
            content.index_add_(0, batch.registers, tables.registers.repeat(samples, 1))
        place = functional.embedding(batch.encoder.positions, self._encoder_positions)
        return content, place + functional.embedding(batch.encoder.streams, tables.encoder_streams)

    def embed_next(self, rows: torch.Tensor, positions: torch.Tensor, streams: torch.Tensor) -> torch.Tensor:
        """As `Tables.embed_next`, with the position table laid out once."""
        tables = self.model.tables
        content = functional.embedding(rows, tables.decoder.tokens)
        place = functional.embedding(positions, self._positions)
        return content + (place + functional.embedding(streams, tables.decoder_streams))

    def logits(self, hidden_TD: torch.Tensor, stream: Stream) -> torch.Tensor:
        """As `Tables.logits`."""
        span = self.model.allocation.token_span(stream)
        return self.product(hidden_TD, self._head[span.start : span.stop])

    def projections(
        self, layer: SelfAttention, x_TD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `SelfAttention.project`."""
        q, k, v = (layer.split(part) for part in self.linear(layer.qkv, x_TD).chunk(3, dim=-1))
        return layer.normalise(layer.q_norm, q), layer.normalise(layer.k_norm, k), v

    def merge(
        self, layer: SelfAttention | CrossAttention, out_THK: torch.Tensor, onto_TD: torch.Tensor
    ) -> torch.Tensor:
        """As `Heads.merge`, added to the residual."""
        return self.linear(layer.proj, out_THK.flatten(1), onto_TD)

    def queries(self, layer: CrossAttention, x_TD: torch.Tensor) -> torch.Tensor:
        """As `CrossAttention.queries`."""
        return layer.normalise(layer.q_norm, layer.split(self.linear(layer.q, x_TD)))

    def keys_values(
        self, layer: CrossAttention, context_SD: torch.Tensor, silent: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `CrossAttention.keys_values`."""
        k, v = (layer.split(part) for part in self.linear(layer.kv, context_SD).chunk(2, dim=-1))
        if silent is not None:
            v = v.index_fill(0, silent, 0.0)
        return layer.normalise(layer.k_norm, k), v

    def look(
        self,
        layer: CrossAttention,
        x_TD: torch.Tensor,
        context_SD: torch.Tensor,
        blocks: Blocks,
        silent: torch.Tensor | None,
    ) -> torch.Tensor:
        """What tokens find in their contexts, before the way out: (T, H, K)."""
        q = self.queries(layer, x_TD)
        if not _are_short(layer, blocks, x_TD, silent):
            return attend(q, *self.keys_values(layer, context_SD, silent), blocks)
        weight_k, weight_v = layer.kv.weight.view(2, layer.heads, layer.head_dim, -1)
        # `attend` divides by the square root of the width it sees, which is D and should be K. What a bias
        # adds to the keys is the same for all of them, and so for none.
        wide = torch.bmm(q.transpose(0, 1), weight_k) * math.sqrt(context_SD.shape[1] / layer.head_dim)
        keys = context_SD[:, None].expand(-1, layer.heads, -1)
        values = keys if silent is None else context_SD.index_fill(0, silent, 0.0)[:, None].expand_as(keys)
        found = attend(wide.transpose(0, 1), keys, values, blocks)
        out = torch.bmm(found.transpose(0, 1), weight_v.transpose(1, 2)).transpose(0, 1)
        if layer.kv.bias is not None:
            out = out + layer.split(layer.kv.bias.chunk(2)[1])
        return out

    def feed_forward(self, layer: Mlp, x_TD: torch.Tensor, onto_TD: torch.Tensor) -> torch.Tensor:
        """As `Mlp`, added to the residual."""
        fc1, fc3 = layer.fc1, layer.fc3
        if _is_few(x_TD, fc1.weight) or not is_onednn(x_TD, fc1.weight):
            hidden = layer.activation(self.linear(fc1, x_TD))
            if fc3 is not None:
                hidden = hidden * self.linear(fc3, x_TD)
        else:
            name, how = ("swish", "") if layer.activation is functional.silu else ("gelu", "none")
            fused = torch.ops.mkldnn._linear_pointwise
            hidden = fused(x_TD, self._layout(fc1.weight), fc1.bias, name, [], how)
            if fc3 is not None:
                hidden = fused.binary(x_TD, hidden, self._layout(fc3.weight), fc3.bias, "mul")
        return self.linear(layer.fc2, hidden, onto_TD)

    def linear(
        self, layer: nn.Linear, x_TD: torch.Tensor, onto_TD: torch.Tensor | None = None
    ) -> torch.Tensor:
        """A layer, added to something or not."""
        return self.product(x_TD, layer.weight, layer.bias, onto_TD)

    def product(
        self,
        x_TD: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        onto: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """onto + x weight^T + bias, in whatever way is quick for as many rows."""
        if _is_few(x_TD, weight):
            # A lone row would fall to a slower routine than two of it.
            rows = torch.cat([x_TD, x_TD]) if x_TD.shape[0] == 1 else x_TD
            out = (weight @ rows.t()).t()[: x_TD.shape[0]]
            if bias is not None:
                out = out + bias
            return out.contiguous() if onto is None else onto + out
        if not is_onednn(x_TD, weight):
            out = functional.linear(x_TD, weight, bias)
            return out if onto is None else onto + out
        fused = torch.ops.mkldnn._linear_pointwise
        laid = self._layout(weight)
        made: torch.Tensor = (
            fused(x_TD, laid, bias, "none", [], "")
            if onto is None
            else fused.binary(x_TD, onto, laid, bias, "add")
        )
        return made

    def _layout(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as oneDNN reads it best, if it will be read often: laid out once."""
        key = (weight.data_ptr(), weight.shape[0])
        if key not in self._laid:
            size = weight.numel() * weight.element_size()
            if size > self._room:
                return weight
            self._room -= size
            self._laid[key] = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        return self._laid[key]


def _are_short(
    layer: CrossAttention, blocks: Blocks, x_TD: torch.Tensor, silent: torch.Tensor | None
) -> bool:
    """Whether queries that take on the weights of keys and values cost less than half of making these."""
    if x_TD.device.type != "cpu" or not isinstance(layer.k_norm, nn.Identity):
        return False
    if layer.kv.bias is not None and (silent is not None or blocks.keyless):
        return False
    pairs = sum(q * k for q, k in zip(blocks.q_lengths, blocks.k_lengths, strict=True))
    dim = x_TD.shape[1]
    return 2 * (pairs * layer.heads + blocks.q_size * dim) < blocks.k_size * dim


def _is_few(x_TD: torch.Tensor, weight: torch.Tensor) -> bool:
    # Not len(): of a tensor it takes microseconds, and this is asked for every layer of every token.
    few = FEW if weight.shape[0] >= weight.shape[1] else FEW_LONG
    return 1 <= x_TD.shape[0] <= few and x_TD.device.type == "cpu" and x_TD.dtype == torch.float32
