"""All tables of a model in one module: embedding a packed stream is a few gathers.

Shapes: T tokens, D width, R vocabulary rows, P position rows, S stream rows, V ids of one stream.
Row 0 of each table means *nothing* (see `fourm_schema.allocation`): zero, never trained.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fourm_runtime.batch import MicroBatch, Side
from fourm_runtime.positions import fixed_table
from fourm_runtime.row_gradients import RowGradients
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

    Attributes:
        row_gradients: where gradients of vocabulary rows go, past autograd; None while autograd has them. See
            `rows_added_in_place`.
    """

    fixed_positions: torch.Tensor

    def __init__(self, plan: Plan, allocation: Allocation, architecture: Architecture) -> None:
        super().__init__()
        dim = architecture.dim
        self.allocation = allocation
        self.row_gradients: RowGradients | None = None
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
        content = self._rows(self.encoder.tokens, batch.encoder.rows)
        for name, tokens in batch.dense.items():
            projected = self.dense[module_name(name)](tokens.values.to(content.dtype))
            content = content.index_add(0, tokens.index, projected.to(content.dtype))
        if len(batch.registers):
            samples = len(batch.registers) // len(self.registers)
            content = content.index_add(0, batch.registers, self.registers.repeat(samples, 1))
        return content, self._embedding(batch.encoder, self.encoder, self.encoder_streams)

    def embed_target(self, batch: MicroBatch) -> torch.Tensor:
        """What the decoder reads: a mask token (grids) or the previous token, plus embedding. (T, D)."""
        causal = self._rows(self.decoder.tokens, batch.decoder.rows[batch.parallel_size :])
        content = torch.cat([self.mask_token.expand(batch.parallel_size, -1), causal])
        return content + self._embedding(batch.decoder, self.decoder, self.decoder_streams)

    def embed_next(self, rows: torch.Tensor, positions: torch.Tensor, streams: torch.Tensor) -> torch.Tensor:
        """The same for causal tokens that come one at a time, while decoding with a cache. (T, D)."""
        embedding = self._embedding(Side(rows, positions, streams), self.decoder, self.decoder_streams)
        return self._rows(self.decoder.tokens, rows) + embedding

    @property
    def vocabulary(self) -> tuple[nn.Parameter, ...]:
        """The tables with a row for each id: two, or three where the head is one of its own."""
        own = () if self.head is None else (self.head,)
        return self.encoder.tokens, self.decoder.tokens, *own

    def _embedding(self, side: Side, learned: SideTables, streams: torch.Tensor) -> torch.Tensor:
        fixed_count, own = len(self.fixed_positions), learned.learned_positions
        if not len(own):
            positions = functional.embedding(side.positions, self.fixed_positions).to(streams.dtype)
        else:
            # Two gathers: to lay the tables end to end would copy both for every token that is decoded.
            is_learned = side.positions >= fixed_count
            fixed = functional.embedding(side.positions.masked_fill(is_learned, 0), self.fixed_positions)
            rows = functional.embedding((side.positions - fixed_count).clamp_min(0), own)
            positions = fixed.to(streams.dtype) + rows.masked_fill(~is_learned[:, None], 0.0)
        return positions + functional.embedding(side.streams, streams, padding_idx=0)

    def _rows(self, table: nn.Parameter, rows: torch.Tensor) -> torch.Tensor:
        """Gather rows of a vocabulary table; row 0 gets no gradient and so stays zero."""
        if self.row_gradients is not None and torch.is_grad_enabled():
            gathered: torch.Tensor = _GatherRows.apply(  # type: ignore[no-untyped-call]
                table, rows, self.row_gradients
            )
            return gathered
        return functional.embedding(rows, table, padding_idx=0)

    @property
    def scoring(self) -> nn.Parameter:
        """The table whose rows score ids: the head, or the decoder's where the head is tied to it."""
        return self.decoder.tokens if self.head is None else self.head

    def logits(self, hidden_TD: torch.Tensor, stream: Stream) -> torch.Tensor:
        """Scores of the stream's ids for tokens that are to predict it: (T, V)."""
        span = self.allocation.token_span(stream)
        return functional.linear(hidden_TD, self.scoring[span.start : span.stop])


@contextmanager
def rows_added_in_place(tables: Tables, gradients: RowGradients) -> Iterator[None]:
    """Send gradients of vocabulary rows that are used within to the tables' `.grad` itself.

    What is computed is the same; what is spared are gradients of the size of whole tables. It is for those
    who own the gradients: `torch.autograd.grad` finds none of these rows, and hooks on the tables do not
    run.

    Args:
        tables: every vocabulary table must have a dense `.grad` when a backward pass comes.
        gradients: adds them.
    """
    tables.row_gradients = gradients
    try:
        yield
    finally:
        tables.row_gradients = None


# Types of ctx: torch leaves open what a function keeps on it.
class _GatherRows(torch.autograd.Function):
    """Rows of a table (T, D); the backward pass adds to the rows of the table's gradient."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, rows: torch.Tensor, gradients: RowGradients) -> torch.Tensor:
        ctx.table, ctx.rows, ctx.gradients = table, rows, gradients
        return functional.embedding(rows, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]  # the base takes any
        ctx.gradients.add_rows(ctx.table, ctx.rows, upstream)
        return None, None, None
