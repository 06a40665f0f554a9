"""The any-to-any transformer: an encoder over what is seen, a decoder over what is asked for.

As in 4M (Mizrahi et al. 2023, section 2; 4M-21, Bachmann et al. 2024): pre-norm blocks, streams
isolated from each other in the decoder's self-attention, and a context made of the projected encoder
output plus the encoder's embeddings. Unlike 4M nothing is padded: attention takes block lengths.

Shapes: T tokens (T_in or T_out), S context tokens, D width, H heads, K head width.
"""

import attrs
import torch
from torch import nn
from torch.nn import functional

from fourm_runtime.attention import Blocks
from fourm_runtime.attention_regions import Regions, attend_regions
from fourm_runtime.batch import MicroBatch
from fourm_runtime.compiling import let_lengths_vary
from fourm_runtime.gate import gated_silu
from fourm_runtime.loss import head_losses
from fourm_runtime.products import Linear
from fourm_runtime.tables import Tables
from fourm_schema.allocation import Allocation
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan

NORM_EPS = 1e-6


def _within_encoder(routes: "Routes") -> Regions:
    return Regions((routes.encoder,))


def _within_decoder(routes: "Routes") -> Regions:
    return Regions((routes.parallel, routes.causal))


def _to_context(routes: "Routes") -> Regions:
    return Regions((routes.parallel_context, routes.causal_context), shared=True)


@attrs.frozen(eq=False)
class Routes:
    """Who attends to whom in one micro-batch; built once, used by every layer."""

    encoder: Blocks
    parallel: Blocks
    causal: Blocks
    parallel_context: Blocks
    causal_context: Blocks
    joined: torch.Tensor | None = None
    """(K,) decoder tokens whose keys the blocks see, where streams are not kept apart."""
    silent: torch.Tensor | None = None
    """(K,) context tokens that add nothing."""
    within_encoder: Regions = attrs.field(init=False, default=attrs.Factory(_within_encoder, takes_self=True))
    """What layers are given: the blocks above, region by region."""
    within_decoder: Regions = attrs.field(init=False, default=attrs.Factory(_within_decoder, takes_self=True))
    to_context: Regions = attrs.field(init=False, default=attrs.Factory(_to_context, takes_self=True))

    @property
    def tensors(self) -> tuple[torch.Tensor | None, ...]:
        """What of it has other sizes in other micro-batches."""
        regions = self.within_encoder, self.within_decoder, self.to_context
        return (*(each.code for each in regions), self.joined, self.silent)

    @classmethod
    def of(cls, batch: MicroBatch) -> "Routes":
        joined = batch.joined
        seen = (None, None) if joined is None else (joined.parallel_lengths, joined.causal_lengths)
        return cls(
            joined=None if joined is None else joined.index,
            encoder=Blocks.build(batch.encoder_lengths),
            parallel=_region(batch.parallel_lengths, seen[0], batch.left_to_right),
            causal=_region(batch.causal_lengths, seen[1], True),
            parallel_context=Blocks.build(batch.parallel_queries, batch.encoder_lengths),
            causal_context=Blocks.build(batch.causal_queries, batch.encoder_lengths),
            silent=batch.silent,
        )


def _region(lengths: tuple[int, ...], seen: tuple[int, ...] | None, causal: bool) -> Blocks:
    """Self-attention of one region: within its blocks, or over what each of them sees besides."""
    if causal and seen is not None:
        return Blocks.prefixed(lengths, seen)
    return Blocks.build(lengths, seen, causal=causal)


def _norm(dim: int, shape: Architecture) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=NORM_EPS, bias=shape.norm_bias)


class Heads(nn.Module):
    """What self- and cross-attention share: splitting into heads, query-key norms, the way out."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        self.q_norm = _norm(shape.head_dim, shape) if shape.qk_norm else nn.Identity()
        self.k_norm = _norm(shape.head_dim, shape) if shape.qk_norm else nn.Identity()
        self.proj = Linear(shape.dim, shape.dim, bias=shape.proj_bias)

    def split(self, x_TD: torch.Tensor) -> torch.Tensor:
        """(T, D) -> (T, H, K)."""
        return x_TD.view(*x_TD.shape[:-1], self.heads, self.head_dim)

    def normalise(self, norm: nn.Module, x_THK: torch.Tensor) -> torch.Tensor:
        """Normalise queries or keys, in their own dtype: under autocast a norm answers in float32."""
        normed: torch.Tensor = norm(x_THK)
        return normed.to(x_THK.dtype)

    def merge(self, out_THK: torch.Tensor) -> torch.Tensor:
        """(T, H, K) -> (T, D), projected."""
        merged: torch.Tensor = self.proj(out_THK.flatten(1))
        return merged


class SelfAttention(Heads):
    """Multi-head attention of tokens within their block."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__(shape)
        self.qkv = Linear(shape.dim, 3 * shape.dim, bias=shape.qkv_bias)

    def project(self, x_TD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each (T, H, K)."""
        q, k, v = (self.split(part) for part in self.qkv(x_TD).chunk(3, dim=-1))
        return self.normalise(self.q_norm, q), self.normalise(self.k_norm, k), v

    def forward(
        self, x_TD: torch.Tensor, regions: Regions, joined: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attend; `joined` (K,) names the tokens whose keys are seen, where those are not everyone's own."""
        q, k, v = self.project(x_TD)
        if joined is not None:
            k, v = k.index_select(0, joined), v.index_select(0, joined)
        return self.merge(attend_regions(q, k, v, regions))


class CrossAttention(Heads):
    """Attention of each sample's target tokens to its own context."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__(shape)
        self.q = Linear(shape.dim, shape.dim, bias=shape.qkv_bias)
        self.kv = Linear(shape.dim, 2 * shape.dim, bias=shape.qkv_bias)

    def queries(self, x_TD: torch.Tensor) -> torch.Tensor:
        """(T, H, K)."""
        return self.normalise(self.q_norm, self.split(self.q(x_TD)))

    def keys_values(
        self, context_SD: torch.Tensor, silent: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the context, each (S, H, K); the values of `silent` tokens are zero."""
        k, v = (self.split(part) for part in self.kv(context_SD).chunk(2, dim=-1))
        if silent is not None:
            v = v.index_fill(0, silent, 0.0)
        return self.normalise(self.k_norm, k), v

    def forward(self, x_TD: torch.Tensor, context_SD: torch.Tensor, routes: Routes) -> torch.Tensor:
        q = self.queries(x_TD)
        k, v = self.keys_values(context_SD, routes.silent)
        return self.merge(attend_regions(q, k, v, routes.to_context))


class Mlp(nn.Module):
    """fc2(act(fc1 x) * fc3 x), or fc2(act(fc1 x)) without a gate."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.activation = functional.silu if shape.activation == "silu" else functional.gelu
        self.fc1 = Linear(shape.dim, shape.mlp_hidden, bias=shape.mlp_bias)
        self.fc2 = Linear(shape.mlp_hidden, shape.dim, bias=shape.mlp_bias)
        self.fc3 = Linear(shape.dim, shape.mlp_hidden, bias=shape.mlp_bias) if shape.gated_mlp else None

    def forward(self, x_TD: torch.Tensor) -> torch.Tensor:
        if self.fc3 is not None and self.activation is functional.silu and not torch.compiler.is_compiling():
            return gated_silu(self.fc1(x_TD), self.fc3(x_TD), self.fc2.weight, self.fc2.bias)
        hidden = self.activation(self.fc1(x_TD))
        if self.fc3 is not None:
            hidden = hidden * self.fc3(x_TD)
        out: torch.Tensor = self.fc2(hidden)
        return out


class EncoderBlock(nn.Module):
    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(shape.dim, shape), _norm(shape.dim, shape)
        self.attn = SelfAttention(shape)
        self.mlp = Mlp(shape)

    def forward(self, x_TD: torch.Tensor, routes: Routes) -> torch.Tensor:
        x_TD = x_TD + self.attn(self.norm1(x_TD), routes.within_encoder)
        out: torch.Tensor = x_TD + self.mlp(self.norm2(x_TD))
        return out


class DecoderBlock(nn.Module):
    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(shape.dim, shape), _norm(shape.dim, shape)
        self.query_norm, self.context_norm = _norm(shape.dim, shape), _norm(shape.dim, shape)
        self.self_attn = SelfAttention(shape)
        self.cross_attn = CrossAttention(shape)
        self.mlp = Mlp(shape)

    def forward(self, y_TD: torch.Tensor, context_SD: torch.Tensor, routes: Routes) -> torch.Tensor:
        y_TD = y_TD + self.self_attn(self.norm1(y_TD), routes.within_decoder, routes.joined)
        y_TD = y_TD + self.cross_attn(self.query_norm(y_TD), self.context_norm(context_SD), routes)
        out: torch.Tensor = y_TD + self.mlp(self.norm2(y_TD))
        return out


class AnyToAnyTransformer(nn.Module):
    """Encoder-decoder over packed multimodal tokens.

    Parameters are uninitialised: build models with `fourm_runtime.assemble.assemble`, or load them.

    Args:
        plan: streams to embed and predict.
        allocation: rows of the tables.
        architecture: shape of the network.
    """

    def __init__(self, plan: Plan, allocation: Allocation, architecture: Architecture) -> None:
        super().__init__()
        self.plan, self.allocation, self.architecture = plan, allocation, architecture
        self.tables = Tables(plan, allocation, architecture)
        self.encoder = nn.ModuleList(EncoderBlock(architecture) for _ in range(architecture.encoder_depth))
        self.encoder_norm = _norm(architecture.dim, architecture)
        # 4M gives this one layer a bias even in its bias-free models.
        self.context_proj = Linear(architecture.dim, architecture.dim)
        self.decoder = nn.ModuleList(DecoderBlock(architecture) for _ in range(architecture.decoder_depth))
        self.decoder_norm = _norm(architecture.dim, architecture)
        self.compiled = False
        """Whether blocks are compiled."""

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile every block in place, at its first call; names and values of parameters stay as they are.

        A block is norms, projections, gates and residuals around attention; torch.compile fuses what stands
        between the matrix products. Attention itself is an opaque operator in it
        (`fourm_runtime.attention_regions`). Embeddings and the loss, whose work differs from one micro-batch
        to the next, stay as they are.

        Args:
            backend: of torch.compile.
        """
        for block in (*self.encoder, *self.decoder):
            block.compile(dynamic=True, fullgraph=True, backend=backend)
        self.compiled = True

    def encode(self, batch: MicroBatch, routes: Routes | None = None) -> torch.Tensor:
        """Run the encoder.

        Returns:
            The decoder's context (T_in, D): projected encoder output plus the tokens' embeddings.
        """
        features, embedding = self._encoded(batch, routes)
        context: torch.Tensor = self.context_proj(features) + embedding
        return context

    def features(self, batch: MicroBatch, routes: Routes | None = None) -> torch.Tensor:
        """What the encoder makes of the visible tokens, for use on its own: (T_in, D), normalised."""
        return self._encoded(batch, routes)[0]

    def _encoded(self, batch: MicroBatch, routes: Routes | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised output, and the tokens' embeddings."""
        routes = routes or Routes.of(batch)
        content, embedding = self.tables.embed_input(batch)
        x = content + embedding
        if self.compiled:
            let_lengths_vary(x, *routes.tensors)
        for block in self.encoder:
            x = block(x, routes)
        return self.encoder_norm(x), embedding

    def decode(
        self, batch: MicroBatch, context_SD: torch.Tensor, routes: Routes | None = None
    ) -> torch.Tensor:
        """Run the decoder over all target tokens at once. Returns (T_out, D), normalised."""
        routes = routes or Routes.of(batch)
        y = self.tables.embed_target(batch)
        if self.compiled:
            let_lengths_vary(y, context_SD, *routes.tensors)
        for block in self.decoder:
            y = block(y, context_SD, routes)
        hidden: torch.Tensor = self.decoder_norm(y)
        return hidden

    def by_stream(self, hidden_TD: torch.Tensor, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """What predicts each stream's targets: stream -> (T_s, D).

        One gather puts all of them in the order of the heads; a gather for each would send as many gradients
        of the size of `hidden_TD` back.
        """
        if not batch.heads:
            return {}
        rows = hidden_TD.index_select(0, torch.cat([head.index for head in batch.heads.values()]))
        parts = torch.split(rows, [len(head.index) for head in batch.heads.values()])
        return dict(zip(batch.heads, parts, strict=True))

    def logits(self, hidden_TD: torch.Tensor, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Scores of each stream's own ids for its own targets: stream -> (T_s, V_s)."""
        return {
            name: self.tables.logits(rows, self.plan.stream(name))
            for name, rows in self.by_stream(hidden_TD, batch).items()
        }

    def forward(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Predict every target of the micro-batch: stream -> logits (T_s, V_s), in the order of its head."""
        routes = Routes.of(batch)
        return self.logits(self.decode(batch, self.encode(batch, routes), routes), batch)

    def losses(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Summed cross-entropy of every stream's targets, as `fourm_runtime.loss.head_losses` gives it."""
        routes = Routes.of(batch)
        hidden = self.decode(batch, self.encode(batch, routes), routes)
        return head_losses(self.tables, hidden, batch, self.plan)
