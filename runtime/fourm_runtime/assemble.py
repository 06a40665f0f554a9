"""From a plan and an architecture to a model with its first weights.

Initialisation is 4M's: linear layers Xavier-uniform, with packed projections treated as the separate
ones they stand for; norms one and zero; tables, mask token and registers normal with std 0.02. Every
tensor (and every span of a table) draws from a generator of its own, seeded by its name: a modality
added later changes no other first weight.
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
from fourm_schema.resolve import require_runnable

TABLE_STD = 0.02


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
        PlanError: if a stream cannot run in this version, or rows would have to move.
    """
    require_runnable(plan)
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


def initialise(model: AnyToAnyTransformer, seed: int) -> None:
    """Give every parameter its first value, in place."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("tables.") and not name.startswith("tables.dense."):
                continue
            if parameter.ndim == 1:
                nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
            else:
                packed = 3 if name.endswith("qkv.weight") else 2 if name.endswith("kv.weight") else 1
                fan_out, fan_in = parameter.shape[0] // packed, parameter.shape[1]
                bound = math.sqrt(6 / (fan_in + fan_out))
                parameter.uniform_(-bound, bound, generator=_generator(seed, name))
        _initialise_tables(model, seed)


def _initialise_tables(model: AnyToAnyTransformer, seed: int) -> None:
    tables, rows = model.tables, model.allocation
    for part, span in rows.tokens.items():
        for side, table in (("encoder", tables.encoder.tokens), ("decoder", tables.decoder.tokens)):
            _normal(table[span.start : span.stop], seed, f"{side}.tokens:{part}")
        if tables.head is not None:
            _normal(tables.head[span.start : span.stop], seed, f"head:{part}")
    for part, span in rows.learned_positions.items():
        for side, owner in (("encoder", tables.encoder), ("decoder", tables.decoder)):
            _normal(owner.learned_positions[span.start : span.stop], seed, f"{side}.positions:{part}")
    for part, row in rows.streams.items():
        _normal(tables.encoder_streams[row], seed, f"encoder.streams:{part}")
        if tables.decoder_streams is not tables.encoder_streams:
            _normal(tables.decoder_streams[row], seed, f"decoder.streams:{part}")
    _normal(tables.mask_token, seed, "mask_token")
    _normal(tables.registers, seed, "registers")
    nothing = [tables.encoder.tokens, tables.decoder.tokens, tables.encoder_streams, tables.decoder_streams]
    for table in nothing if tables.head is None else [*nothing, tables.head]:
        table[0].zero_()


def _normal(values: torch.Tensor, seed: int, name: str) -> None:
    values.normal_(0.0, TABLE_STD, generator=_generator(seed, name))


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
