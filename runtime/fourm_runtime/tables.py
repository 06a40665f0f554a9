"""All tables of a model in one module: embedding a packed stream is a few gathers.

Shapes: T tokens, D width, R vocabulary rows, P position rows, S stream rows, V ids of one stream.
Row 0 of each table means *nothing* (see `fourm_schema.allocation`): zero, never trained.
"""

import torch
from torch import nn
from torch.nn import functional

from fourm_runtime.batch import MicroBatch, Side
from fourm_runtime.positions import fixed_table
from fourm_schema.allocation import Allocation
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan, Stream


def module_name(stream: str) -> str:
    """A stream's name as PyTorch module names allow it: `digit.pixels` -> `digit__pixels`."""
    return stream.replace(".", "__")


class SideTables(nn.Module):
    """Vocabulary and learned-position rows of the encoder or of the decoder."""

    def __init__(self, allocation: Allocation, dim: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(allocation.token_rows, dim))
        self.learned_positions = nn.Parameter(torch.empty(allocation.learned_position_rows, dim))


class Tables(nn.Module):
    """Vocabulary tables (encoder, decoder, head), positions, stream embeddings, dense projections.

    Args:
        plan: streams to embed and predict.
        allocation: who owns which rows.
        architecture: width, tying and sharing.
    """

    fixed_positions: torch.Tensor

    def __init__(self, plan: Plan, allocation: Allocation, architecture: Architecture) -> None:
        super().__init__()
        dim = architecture.dim
        self.allocation = allocation
        self.encoder = SideTables(allocation, dim)
        self.decoder = SideTables(allocation, dim)
        self.head = None if architecture.tie_head else nn.Parameter(torch.empty(allocation.token_rows, dim))
        self.encoder_streams = nn.Parameter(torch.empty(allocation.stream_rows, dim))
        self.decoder_streams = (
            self.encoder_streams
            if architecture.share_stream_embedding
            else nn.Parameter(torch.empty(allocation.stream_rows, dim))
        )
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.registers = nn.Parameter(torch.empty(architecture.registers, dim))
        self.dense = nn.ModuleDict(
            {
                module_name(s.name): nn.Linear(s.dense_dim, dim, bias=s.shown == "values")
                for s in plan.streams
                if s.dense_dim is not None
            }
        )
        self.register_buffer(
            "fixed_positions", fixed_table(allocation, dim), persistent=architecture.stored_positions
        )

    def embed_input(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Content and embedding (position + stream) of the visible tokens: (T, D), (T, D).

        They stay apart because the decoder's context adds the embedding once more.
        """
        content = _rows(self.encoder.tokens, batch.encoder.rows)
        for name, tokens in batch.dense.items():
            projected = self.dense[module_name(name)](tokens.values.to(content.dtype))
            content = content.index_add(0, tokens.index, projected.to(content.dtype))
        if len(batch.registers):
            samples = len(batch.registers) // len(self.registers)
            content = content.index_add(0, batch.registers, self.registers.repeat(samples, 1))
        return content, self._embedding(batch.encoder, self.encoder, self.encoder_streams)

    def embed_target(self, batch: MicroBatch) -> torch.Tensor:
        """What the decoder reads: a mask token (grids) or the previous token, plus embedding. (T, D)."""
        causal = _rows(self.decoder.tokens, batch.decoder.rows[batch.parallel_size :])
        content = torch.cat([self.mask_token.expand(batch.parallel_size, -1), causal])
        return content + self._embedding(batch.decoder, self.decoder, self.decoder_streams)

    def embed_next(self, rows: torch.Tensor, positions: torch.Tensor, streams: torch.Tensor) -> torch.Tensor:
        """The same for causal tokens that come one at a time, while decoding with a cache. (T, D)."""
        side = Side(rows, positions, streams)
        return _rows(self.decoder.tokens, rows) + self._embedding(side, self.decoder, self.decoder_streams)

    def _embedding(self, side: Side, learned: SideTables, streams: torch.Tensor) -> torch.Tensor:
        positions = torch.cat([self.fixed_positions.to(streams.dtype), learned.learned_positions])
        return functional.embedding(side.positions, positions) + _rows(streams, side.streams)

    def logits(self, hidden_TD: torch.Tensor, stream: Stream) -> torch.Tensor:
        """Scores of the stream's ids for tokens that are to predict it: (T, V)."""
        span = self.allocation.token_span(stream)
        weight = self.decoder.tokens if self.head is None else self.head
        return functional.linear(hidden_TD, weight[span.start : span.stop])


def _rows(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Gather rows; row 0 gets no gradient and so stays zero."""
    return functional.embedding(rows, table, padding_idx=0)
