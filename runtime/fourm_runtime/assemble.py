"""From a plan and an architecture to a model with its first weights.

Linear layers are Xavier-uniform as in 4M, with packed projections treated as the separate ones they
stand for; keys begin with the weights of their queries, so that a token attends to what is like it, its own
place above all, before it has learned to. Norms are one and zero; the output head and the mask token normal
with std 0.02. What a token brings into the network (table rows, stream embeddings, dense projections)
starts at the size of its sin-cos position instead, 0.5: at 4M's 0.02 a token is a thirtieth of the position
it is added to, and a small model needs several times the steps to notice it (docs/findings.md). Every
tensor (and every span of a table) draws from a generator of its own, seeded by its name: a modality added
later changes no other first weight.
"""

import hashlib
import math

import torch
from torch import nn

from fourm_runtime.positions import fixed_table
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.allocation import Allocation, allocate
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan

OUTPUT_STD = 0.02
INPUT_STD = 0.5
STORED_POSITIONS = "tables.fixed_positions"
"""The one tensor of a checkpoint that is not trained; only some have it (`Architecture.stored_positions`)."""


def assemble(
    plan: Plan, architecture: Architecture, seed: int = 0, allocation: Allocation | None = None
) -> AnyToAnyTransformer:
    """Build a model on the CPU in float32, with seeded weights.

    Args:
        plan: streams to embed and predict.
        architecture: shape of the network, e.g. `fourm_schema.architecture.architecture("tiny")`.
        seed: same seed, same weights.
        allocation: rows that a checkpoint already gave; None gives fresh ones.

    Raises:
        PlanError: if rows would have to move.
    """
    model = empty_model(plan, allocate(plan, allocation), architecture)
    initialise(model, seed)
    return model


def empty_model(plan: Plan, allocation: Allocation, architecture: Architecture) -> AnyToAnyTransformer:
    """A model whose parameters hold nothing yet (no random numbers are drawn); buffers are right."""
    with torch.device("meta"):
        model = AnyToAnyTransformer(plan, allocation, architecture)
    model.to_empty(device="cpu")
    if architecture.share_stream_embedding:
        # Leaving the meta device gives every name a tensor of its own.
        model.tables.decoder_streams = model.tables.encoder_streams
    model.tables.fixed_positions = fixed_table(allocation, architecture.dim)
    return model


def stored_tensors(model: AnyToAnyTransformer) -> dict[str, torch.Tensor]:
    """What a checkpoint holds of a model: its parameters, and positions that are not computed. By name."""
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters())
    if model.architecture.stored_positions:
        tensors[STORED_POSITIONS] = model.tables.fixed_positions
    return tensors


def initialise(model: AnyToAnyTransformer, seed: int) -> None:
    """Give every parameter its first value, in place."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("tables.") and not name.startswith("tables.dense."):
                continue
            if parameter.ndim == 1:
                nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
            elif name.startswith("tables.dense."):
                # Values of size one give content of the size that table rows have.
                std = 2 * INPUT_STD / math.sqrt(parameter.shape[1])
                parameter.normal_(0.0, std, generator=_generator(seed, name))
            else:
                packed = 3 if name.endswith("qkv.weight") else 2 if name.endswith("kv.weight") else 1
                fan_out, fan_in = parameter.shape[0] // packed, parameter.shape[1]
                bound = math.sqrt(6 / (fan_in + fan_out))
                parameter.uniform_(-bound, bound, generator=_generator(seed, name))
        _begin_keys_as_queries(model)
        _initialise_tables(model, seed)


def _begin_keys_as_queries(model: AnyToAnyTransformer) -> None:
    """Copy the weights of queries to keys, so that tokens of one place or content attend to each other."""
    named = dict(model.named_parameters())
    for name, parameter in named.items():
        size = parameter.shape[-1]
        if name.endswith("qkv.weight"):
            parameter[size : 2 * size] = parameter[:size]
        elif name.endswith(".kv.weight"):
            parameter[:size] = named[name.replace(".kv.", ".q.")]


def _initialise_tables(model: AnyToAnyTransformer, seed: int) -> None:
    tables, rows = model.tables, model.allocation
    encoder, decoder, head = tables.encoder, tables.decoder, tables.head
    shared = tables.decoder_streams is tables.encoder_streams
    # A tied table is the head too, and a head must start small.
    read_std = OUTPUT_STD if head is None else INPUT_STD

    def draw(values: torch.Tensor, name: str, std: float) -> None:
        values.normal_(0.0, std, generator=_generator(seed, name))

    for part, span in rows.tokens.items():
        draw(encoder.tokens[span.start : span.stop], f"encoder.tokens:{part}", INPUT_STD)
        draw(decoder.tokens[span.start : span.stop], f"decoder.tokens:{part}", read_std)
        if head is not None:
            draw(head[span.start : span.stop], f"head:{part}", OUTPUT_STD)
    for part, span in rows.learned_positions.items():
        draw(encoder.learned_positions[span.start : span.stop], f"encoder.positions:{part}", INPUT_STD)
        draw(decoder.learned_positions[span.start : span.stop], f"decoder.positions:{part}", INPUT_STD)
    for part, row in rows.streams.items():
        draw(tables.encoder_streams[row], f"encoder.streams:{part}", INPUT_STD)
        if not shared:
            draw(tables.decoder_streams[row], f"decoder.streams:{part}", INPUT_STD)
    draw(tables.mask_token, "mask_token", OUTPUT_STD)
    draw(tables.registers, "registers", INPUT_STD)
    nothing = [encoder.tokens, decoder.tokens, tables.encoder_streams, tables.decoder_streams]
    for table in nothing if head is None else [*nothing, head]:
        table[0].zero_()


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
