"""What a model costs before it is built: parameters, arithmetic and memory, part by part.

Parameters are exact. FLOPs count matrix products only, two per multiply-add, as PyTorch's
FlopCounterMode does; elementwise work, lookups and the recomputation inside fused attention are left
out, and a causal block counts whole. Count what is real: packed tokens never include padding.

Formulas: reference roofline with D width, F hidden width of the MLP, n, m block lengths,

    encoder layer   N (8 D^2 + MLP) + 4 sum n^2 D
    decoder layer   M (12 D^2 + MLP) + 4 N D^2 + 4 sum m^2 D + 4 sum m n D
    MLP             4 D F, or 6 D F when gated
    context         2 N D^2
    head            sum over streams 2 T D V

Training is three times that (forward, and the gradients of inputs and of weights), but twice for dense
projections, whose inputs need no gradient.
"""

from collections.abc import Mapping
from typing import Literal

import attrs

from fourm_schema.allocation import Allocation
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan, Stream

Precision = Literal["float64", "float32", "bfloat16", "float16"]
BYTES: dict[Precision, int] = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@attrs.frozen
class Tokens:
    """Tokens of some samples, as attention sees them.

    Attributes:
        encoder: encoder tokens of each sample, registers included.
        decoder: length of each self-attention block of the decoder: one for each sample and stream.
        context: (target tokens, encoder tokens) of each cross-attention block.
        dense: stream name -> visible dense tokens, all samples together.
        targets: stream name -> target tokens, all samples together.
    """

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    context: tuple[tuple[int, int], ...]
    dense: Mapping[str, int]
    targets: Mapping[str, int]


@attrs.frozen
class Part:
    """One row of the table of costs.

    Attributes:
        name: part of the model.
        parameters: trained numbers.
        forward_flops, train_flops: for the tokens that were asked about.
    """

    name: str
    parameters: int
    forward_flops: int
    train_flops: int


@attrs.frozen
class Memory:
    """Bytes that training holds at once, on one device without sharding.

    Attributes:
        weights, gradients: one number each per parameter.
        optimizer: AdamW's two moments.
        activations: what the backward pass needs, for the tokens that were asked about.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


@attrs.frozen
class Cost:
    """Costs of a model and of some tokens through it."""

    tokens: Tokens
    parts: tuple[Part, ...]
    memory: Memory

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def forward_flops(self) -> int:
        return sum(part.forward_flops for part in self.parts)

    @property
    def train_flops(self) -> int:
        return sum(part.train_flops for part in self.parts)


def cost(
    plan: Plan,
    allocation: Allocation,
    shape: Architecture,
    tokens: Tokens,
    weights: Precision = "float32",
    activations: Precision = "float32",
) -> Cost:
    """Count everything.

    Args:
        plan: streams to embed and predict.
        allocation: rows of the tables, those of removed modalities included.
        shape: of the network.
        tokens: of one sample or of a micro-batch (`sample_tokens` gives a typical sample).
        weights: precision of parameters, gradients and optimizer states.
        activations: precision of what the backward pass keeps.
    """
    counts, flops = _parameters(plan, allocation, shape), _forward_flops(plan, shape, tokens)
    parts = tuple(
        Part(name, counts[name], flops.get(name, 0), flops.get(name, 0) * (2 if name == DENSE else 3))
        for name in counts
    )
    width, total = BYTES[weights], sum(counts.values())
    return Cost(
        tokens,
        parts,
        Memory(
            weights=width * total,
            gradients=width * total,
            optimizer=2 * width * total,
            activations=BYTES[activations] * _saved_numbers(plan, shape, tokens),
        ),
    )


def sample_tokens(plan: Plan, shape: Architecture, inputs: int, targets: int) -> Tokens:
    """Tokens of a sample that has every modality and fills its budgets evenly over its streams.

    Real masks draw uneven shares, and samples lack modalities: they fill less, and their blocks are
    longer and fewer. This is the estimate to size a model with, not a measurement.

    Args:
        plan: its streams.
        shape: for its registers.
        inputs, targets: most visible and most target tokens of a sample.
    """
    shown = _share(inputs, {stream.name: stream.length for stream in plan.inputs})
    # A token of a grid is shown or asked for, never both.
    room = {
        stream.name: stream.length - shown.get(stream.name, 0) if stream.layout == "grid" else stream.length
        for stream in plan.targets
    }
    wanted = _share(targets, room)
    visible = max(1, sum(shown.values()) + shape.registers)
    regions = [
        sum(wanted[stream.name] for stream in plan.targets if stream.layout == layout)
        for layout in ("grid", "sequence")
    ]
    return Tokens(
        encoder=(visible,),
        decoder=tuple(count for count in wanted.values() if count),
        context=tuple((queries, visible) for queries in regions if queries),
        dense={stream.name: shown[stream.name] for stream in plan.inputs if stream.is_dense},
        targets={name: count for name, count in wanted.items() if count},
    )


def _share(budget: int, room: Mapping[str, int]) -> dict[str, int]:
    """Deal a budget out evenly; what a stream has no room for goes to the others."""
    dealt: dict[str, int] = {}
    for place, name in enumerate(sorted(room, key=lambda name: room[name])):
        dealt[name] = min(room[name], (budget - sum(dealt.values())) // (len(room) - place))
    return {name: dealt[name] for name in room}


ENCODER_TABLE, DECODER_TABLE, HEAD = "encoder table", "decoder table", "output head"
POSITIONS, STREAMS, LEARNED = "learned positions", "stream embeddings", "mask token, registers"
DENSE, ENCODER, CONTEXT, DECODER = "dense projections", "encoder", "context projection", "decoder"


def _parameters(plan: Plan, rows: Allocation, shape: Architecture) -> dict[str, int]:
    dim = shape.dim
    norm = _norm(dim, shape)
    qk_norms = 2 * _norm(shape.head_dim, shape) if shape.qk_norm else 0
    mlp = _linear(dim, shape.mlp_hidden, shape.mlp_bias) * (2 if shape.gated_mlp else 1)
    mlp += _linear(shape.mlp_hidden, dim, shape.mlp_bias)
    # The same weights whether queries, keys and values are projected together or apart.
    attention = _linear(dim, 3 * dim, shape.qkv_bias) + _linear(dim, dim, shape.proj_bias) + qk_norms
    dense = sum(_linear(s.dense_dim, dim, s.shown == "values") for s in plan.streams if s.dense_dim)
    return {
        ENCODER_TABLE: rows.token_rows * dim,
        DECODER_TABLE: rows.token_rows * dim,
        HEAD: 0 if shape.tie_head else rows.token_rows * dim,
        POSITIONS: 2 * rows.learned_position_rows * dim,
        STREAMS: rows.stream_rows * dim * (1 if shape.share_stream_embedding else 2),
        LEARNED: dim * (1 + shape.registers),
        DENSE: dense,
        ENCODER: shape.encoder_depth * (2 * norm + attention + mlp) + norm,
        CONTEXT: _linear(dim, dim, bias=True),
        DECODER: shape.decoder_depth * (4 * norm + 2 * attention + mlp) + norm,
    }


def _linear(inputs: int, outputs: int, bias: bool) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _norm(dim: int, shape: Architecture) -> int:
    return dim * (2 if shape.norm_bias else 1)


def _forward_flops(plan: Plan, shape: Architecture, tokens: Tokens) -> dict[str, int]:
    dim = shape.dim
    visible, wanted = sum(tokens.encoder), sum(tokens.decoder)
    mlp = (6 if shape.gated_mlp else 4) * dim * shape.mlp_hidden
    encoder = visible * (8 * dim**2 + mlp) + 4 * dim * sum(n * n for n in tokens.encoder)
    decoder = wanted * (12 * dim**2 + mlp) + visible * 4 * dim**2
    decoder += 4 * dim * (sum(m * m for m in tokens.decoder) + sum(m * n for m, n in tokens.context))
    return {
        DENSE: sum(2 * count * dim * _dense_dim(plan.stream(name)) for name, count in tokens.dense.items()),
        ENCODER: shape.encoder_depth * encoder,
        CONTEXT: 2 * visible * dim**2,
        DECODER: shape.decoder_depth * decoder,
        HEAD: sum(2 * count * dim * plan.stream(name).vocab_size for name, count in tokens.targets.items()),
    }


def _saved_numbers(plan: Plan, shape: Architecture, tokens: Tokens) -> int:
    """Numbers that autograd keeps, in units of a token's width D and hidden width F.

    An encoder token in a layer keeps both norms' inputs and outputs (4 D), queries, keys and values
    (3 D) and attention's output (D). A target token keeps six norms' ends (6 D), self-attention's 4 D,
    the query and the output of cross-attention (2 D), and both outputs once more where the two regions
    are joined (2 D); an encoder token adds to each decoder layer its normed context, key and value (3 D).
    An MLP keeps 2 F, one that is gated by another function than silu 4 F. Query-key norms keep what they
    return. Around the layers stand the last norms, the context and, for each target, its scores. Row
    statistics (of norms, of attention) are left out: about 1 %.
    """
    dim, extra = shape.dim, 1 if shape.qk_norm else 0
    visible, wanted = sum(tokens.encoder), sum(tokens.decoder)
    mlp = (4 if shape.gated_mlp and shape.activation != "silu" else 2) * shape.mlp_hidden
    encoder = visible * ((8 + 2 * extra) * dim + mlp)
    decoder = wanted * ((14 + 3 * extra) * dim + mlp) + visible * (3 + extra) * dim
    scores = sum(count * plan.stream(name).vocab_size for name, count in tokens.targets.items())
    values = sum(count * _dense_dim(plan.stream(name)) for name, count in tokens.dense.items())
    around = 3 * visible * dim + 2 * wanted * dim + scores + values
    return shape.encoder_depth * encoder + shape.decoder_depth * decoder + around


def _dense_dim(stream: Stream) -> int:
    assert stream.dense_dim is not None, "only dense streams are projected"
    return stream.dense_dim
