"""One decoder step for many rows: with a key/value cache, or recomputed from the beginning.

Shapes: R rows, A rows that are still active, S context tokens, D width, H heads, K head width.
"""

from collections.abc import Sequence

import attrs
import torch

from fourm_runtime.attention import Blocks, attend
from fourm_runtime.generation.trunk import Trunk
from fourm_runtime.transformer import AnyToAnyTransformer, Routes
from fourm_schema.plan import Stream


@attrs.frozen(eq=False)
class StepRows:
    """What does not change about R rows while they grow.

    Attributes:
        samples: encoder block that each row looks at; never decreasing.
        context_lengths: tokens of every encoder block.
        token_offsets, position_offsets, streams: (R,) int32 rows of the tables.
        target_ranks: (R,) int32, tokens that have a position each; those after them take position 0.
    """

    samples: tuple[int, ...]
    context_lengths: tuple[int, ...]
    token_offsets: torch.Tensor
    position_offsets: torch.Tensor
    target_ranks: torch.Tensor
    streams: torch.Tensor

    @classmethod
    def of(
        cls,
        model: AnyToAnyTransformer,
        rows: Sequence[tuple[int, Stream]],
        context_lengths: Sequence[int],
    ) -> "StepRows":
        allocation, device = model.allocation, model.tables.mask_token.device

        def column(values: list[int]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.int32, device=device)

        return cls(
            tuple(sample for sample, _ in rows),
            tuple(context_lengths),
            column([allocation.token_offset(stream) for _, stream in rows]),
            column([allocation.position_offset(stream) for _, stream in rows]),
            column([stream.target_ranks for _, stream in rows]),
            column([allocation.streams[stream.name] for _, stream in rows]),
        )

    def queries(self, rows: Sequence[int], each: int = 1) -> list[int]:
        """Query tokens that look at each encoder block, when each of `rows` has `each` of them."""
        counts = [0] * len(self.context_lengths)
        for row in rows:
            counts[self.samples[row]] += each
        return counts


def _places(
    tables: StepRows, rows: torch.Tensor, ids: torch.Tensor, ranks: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows of the tables that tokens of some rows take: of words, of positions, of streams."""
    ranks = torch.where(ranks < tables.target_ranks[rows], ranks, 0)
    return tables.token_offsets[rows] + ids, tables.position_offsets[rows] + ranks, tables.streams[rows]


class CachedSteps:
    """Keeps the keys and values of every layer: of the rows so far, and of the context.

    Args:
        model: in eval mode, without gradients.
        tables: the rows.
        context_SD: what they look at.
        capacity: most tokens of a row.
        silent: (K,) tokens of the context that add nothing.
    """

    def __init__(
        self,
        model: AnyToAnyTransformer,
        tables: StepRows,
        context_SD: torch.Tensor,
        capacity: int,
        silent: torch.Tensor | None = None,
    ) -> None:
        self._trunk, self._tables, self._capacity = Trunk(model), tables, capacity
        self._lengths = [0] * len(tables.samples)
        size = (len(tables.samples) * capacity, model.architecture.heads, model.architecture.head_dim)
        layers = self._trunk.decoder
        self._own = [(context_SD.new_zeros(size), context_SD.new_zeros(size)) for _ in layers]
        self._context = [
            self._trunk.keys_values(block.cross_attn, block.context_norm(context_SD), silent)
            for block in layers
        ]
        self._active: tuple[int, ...] = ()
        self._looking = Blocks.build([0] * len(tables.context_lengths), tables.context_lengths)

    def advance(self, active: Sequence[int], previous: Sequence[int]) -> torch.Tensor:
        """Feed each active row its previous id. Returns (A, D), the normalised output for its next id."""
        tables, device = self._tables, self._own[0][0].device
        rows = torch.tensor(active, device=device)
        ranks = torch.tensor([self._lengths[row] for row in active], dtype=torch.int32, device=device)
        ids = torch.tensor(previous, dtype=torch.int32, device=device)
        place = rows * self._capacity + ranks
        for row in active:
            self._lengths[row] += 1
        live = set(active)
        own_blocks = Blocks.cached(
            [int(row in live) for row in range(len(self._lengths))], self._lengths, self._capacity
        )
        if tuple(active) != self._active:
            self._active = tuple(active)
            self._looking = Blocks.build(tables.queries(active), tables.context_lengths)
        trunk = self._trunk
        y = trunk.embed_next(*_places(tables, rows, ids, ranks))
        for block, (keys, values), (context_keys, context_values) in zip(
            trunk.decoder, self._own, self._context, strict=True
        ):
            q, k, v = trunk.projections(block.self_attn, block.norm1(y))
            keys.index_copy_(0, place, k)
            values.index_copy_(0, place, v)
            y = trunk.merge(block.self_attn, attend(q, keys, values, own_blocks), y)
            q = trunk.queries(block.cross_attn, block.query_norm(y))
            y = trunk.merge(block.cross_attn, attend(q, context_keys, context_values, self._looking), y)
            y = trunk.feed_forward(block.mlp, block.norm2(y), y)
        hidden: torch.Tensor = trunk.model.decoder_norm(y)
        return hidden


class RecomputedSteps:
    """Runs the whole decoder over all of a row's tokens in each step. Arguments as `CachedSteps`."""

    def __init__(
        self,
        model: AnyToAnyTransformer,
        tables: StepRows,
        context_SD: torch.Tensor,
        silent: torch.Tensor | None = None,
    ) -> None:
        self._model, self._tables, self._context, self._silent = model, tables, context_SD, silent
        self._read: list[list[int]] = [[] for _ in tables.samples]

    def advance(self, active: Sequence[int], previous: Sequence[int]) -> torch.Tensor:
        """As `CachedSteps.advance`."""
        for row, identity in zip(active, previous, strict=True):
            self._read[row].append(identity)
        device = self._context.device
        length = len(self._read[active[0]])
        assert all(len(self._read[row]) == length for row in active), "rows start and grow together"
        rows = torch.tensor(active, device=device).repeat_interleave(length)
        ids = torch.tensor([self._read[row] for row in active], dtype=torch.int32, device=device).flatten()
        ranks = torch.arange(length, dtype=torch.int32, device=device).repeat(len(active))
        none: list[int] = []
        routes = Routes(
            encoder=Blocks.build(none),
            parallel=Blocks.build(none),
            causal=Blocks.build([length] * len(active), causal=True),
            parallel_context=Blocks.build(
                [0] * len(self._tables.context_lengths), self._tables.context_lengths
            ),
            causal_context=Blocks.build(
                self._tables.queries(active, each=length), self._tables.context_lengths
            ),
            silent=self._silent,
        )
        y = self._model.tables.embed_next(*_places(self._tables, rows, ids, ranks))
        for block in self._model.decoder:
            y = block(y, self._context, routes)
        hidden: torch.Tensor = self._model.decoder_norm(y)
        return hidden[length - 1 :: length]
