"""Where each tensor of a released 4M model stands in a checkpoint of ours.

The trunk has the same names on both sides. What differs is that 4M keeps a table per modality and side, and
we one table per side with a span of rows for each.

Shapes: D width.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Literal

import attrs
import torch

from fourm_runtime.assemble import STORED_POSITIONS
from fourm_runtime.tables import module_name
from fourm_schema.allocation import Allocation, Span, position_key
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan, Stream

Side = Literal["encoder", "decoder"]


@attrs.frozen
class Place:
    """One tensor of 4M's.

    Attributes:
        name: 4M's.
        shape: 4M's.
        native: the tensor of ours that holds its numbers; None for a bias that is a buffer of zeros.
        rows: which rows of it; None for all.
        copy_of: 4M's name of the tensor that it is another name for; a file may have either or both.
        optional: a file may lack it: it is no parameter, and its numbers are known.
    """

    name: str
    shape: tuple[int, ...]
    native: str | None
    rows: Span | None = None
    copy_of: str | None = None
    optional: bool = False

    def of(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Its numbers among weights of ours, in 4M's shape: a view where it has a place."""
        if self.native is None:
            return torch.zeros(self.shape)
        tensor = weights[self.native]
        if self.rows is not None:
            tensor = tensor[self.rows.start : self.rows.stop]
        return tensor.reshape(self.shape)


def places(
    plan: Plan, allocation: Allocation, shape: Architecture, domains: Mapping[str, str]
) -> tuple[Place, ...]:
    """Every tensor of the released form of a model.

    Args:
        plan, allocation, shape: of the model.
        domains: stream name -> 4M's name of it.
    """
    found = [Place("mask_token", (1, 1, shape.dim), "tables.mask_token")]
    if shape.registers:
        found.append(Place("register_tokens", (1, shape.registers, shape.dim), "tables.registers"))
    for stream in plan.inputs:
        found += _embeddings("encoder", stream, plan, allocation, shape, domains[stream.name])
    for stream in plan.targets:
        found += _embeddings("decoder", stream, plan, allocation, shape, domains[stream.name])
    return (*found, *_trunk(shape))


def _embeddings(
    side: Side, stream: Stream, plan: Plan, allocation: Allocation, shape: Architecture, domain: str
) -> Iterator[Place]:
    dim, prefix = shape.dim, f"{side}_embeddings.{domain}"
    row = Span(allocation.streams[stream.name], 1)
    both = shape.share_stream_embedding and stream.can_be_input and side == "decoder"
    streams = "encoder" if shape.share_stream_embedding else side
    yield Place(
        f"{prefix}.mod_emb",
        (1, 1, dim),
        f"tables.{streams}_streams",
        row,
        copy_of=f"encoder_embeddings.{domain}.mod_emb" if both else None,
    )
    positions = (1, stream.position_count, dim)
    if stream.positions == "learned-1d":
        learned = allocation.learned_positions[stream.name]
        yield Place(f"{prefix}.pos_emb", positions, f"tables.{side}.learned_positions", learned)
    else:
        fixed = allocation.fixed_positions[position_key(stream)]
        yield Place(f"{prefix}.pos_emb", positions, STORED_POSITIONS, fixed, optional=True)
    if stream.dense_dim is not None:
        dense, own = (
            f"tables.dense.{module_name(stream.name)}",
            "proj" if stream.shown == "pixels" else "emb_proj",
        )
        yield Place(f"{prefix}.{own}.weight", (dim, stream.dense_dim), f"{dense}.weight")
        if stream.shown == "values":
            yield Place(f"{prefix}.{own}.bias", (dim,), f"{dense}.bias")
        return
    span, table = allocation.token_span(stream), (stream.vocab_size, dim)
    yield Place(f"{prefix}.token_emb.weight", table, f"tables.{side}.tokens", span)
    if side == "decoder":
        tied = f"{prefix}.token_emb.weight" if shape.tie_head else None
        head = "tables.decoder.tokens" if shape.tie_head else "tables.head"
        yield Place(f"{prefix}.to_logits.weight", table, head, span, copy_of=tied)


def _trunk(shape: Architecture) -> Iterator[Place]:
    dim, hidden = shape.dim, shape.mlp_hidden

    def layer(name: str, out: int, into: int, bias: bool, native: str | None = None) -> Iterator[Place]:
        yield Place(f"{name}.weight", (out, into), f"{native or name}.weight")
        if bias:
            yield Place(f"{name}.bias", (out,), f"{native or name}.bias")

    def norm(name: str, size: int = dim) -> Iterator[Place]:
        yield Place(f"{name}.weight", (size,), f"{name}.weight")
        yield Place(
            f"{name}.bias", (size,), f"{name}.bias" if shape.norm_bias else None, optional=not shape.norm_bias
        )

    def heads(name: str) -> Iterator[Place]:
        yield from layer(f"{name}.proj", dim, dim, shape.proj_bias)
        if shape.qk_norm:
            yield from norm(f"{name}.q_norm", shape.head_dim)
            yield from norm(f"{name}.k_norm", shape.head_dim)

    def mlp(name: str) -> Iterator[Place]:
        yield from layer(f"{name}.fc1", hidden, dim, shape.mlp_bias)
        yield from layer(f"{name}.fc2", dim, hidden, shape.mlp_bias)
        if shape.gated_mlp:
            yield from layer(f"{name}.fc3", hidden, dim, shape.mlp_bias)

    for number in range(shape.encoder_depth):
        block = f"encoder.{number}"
        yield from itertools.chain(norm(f"{block}.norm1"), norm(f"{block}.norm2"), mlp(f"{block}.mlp"))
        yield from layer(f"{block}.attn.qkv", 3 * dim, dim, shape.qkv_bias)
        yield from heads(f"{block}.attn")
    for number in range(shape.decoder_depth):
        block = f"decoder.{number}"
        for name in ("norm1", "query_norm", "context_norm", "norm2"):
            yield from norm(f"{block}.{name}")
        yield from layer(f"{block}.self_attn.qkv", 3 * dim, dim, shape.qkv_bias)
        yield from heads(f"{block}.self_attn")
        yield from layer(f"{block}.cross_attn.q", dim, dim, shape.qkv_bias)
        yield from layer(f"{block}.cross_attn.kv", 2 * dim, dim, shape.qkv_bias)
        yield from heads(f"{block}.cross_attn")
        yield from mlp(f"{block}.mlp")
    yield from norm("encoder_norm")
    yield from norm("decoder_norm")
    # 4M gives this one layer a bias even in its bias-free models.
    yield from layer("decoder_proj_context", dim, dim, True, native="context_proj")
