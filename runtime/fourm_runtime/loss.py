"""Losses as sums, divided only once the whole step's counts are known.

A global step is split over ranks and micro-batches. If each took a mean, the gradient would depend on
the split; a sum divided by the step's count does not.

Shapes: T decoder tokens, T_s those of a stream, V_s its ids, S streams, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fourm_runtime.batch import Head, MicroBatch
from fourm_runtime.chunked_loss import CHUNK, accurate, backward_rows, forward_rows, is_large
from fourm_runtime.products import product
from fourm_runtime.row_gradients import RowGradients
from fourm_runtime.tables import Tables
from fourm_schema.plan import Plan

_CHUNK = 2**21
"""Scores that are turned into a gradient at a time."""

Divisor = Literal["present", "declared", "scores"]


def loss_sums(logits: Mapping[str, torch.Tensor], batch: MicroBatch) -> dict[str, torch.Tensor]:
    """Summed cross-entropy of each stream's targets, in nats. Stream -> scalar."""
    return {
        name: functional.cross_entropy(
            scores.to(accurate(scores.dtype)),
            batch.heads[name].targets,
            reduction="sum",
        )
        for name, scores in logits.items()
    }


def head_losses(
    tables: Tables, hidden_TD: torch.Tensor, batch: MicroBatch, plan: Plan
) -> dict[str, torch.Tensor]:
    """What `loss_sums` gives for the logits of these tokens, without keeping them.

    Of the scores, one array (T_s, V_s) per stream lives until the backward pass: their softmax less the
    targets, which is the gradient. Plain cross-entropy keeps the logarithm of the softmax and makes the
    gradient beside it; and each slice of the head's table would send a gradient of the whole table. Streams
    that share their rows are scored by one product. Of large vocabularies on a GPU not even that array is
    kept: their scores are made twice, a few rows at a time.

    Args:
        tables: give each stream its rows of the head.
        hidden_TD: what the decoder made of every target token.
        batch: the targets.
        plan: the streams.
    """
    if not batch.heads:
        return {}
    parts: dict[int, _Part] = {}
    for number, (name, head) in enumerate(batch.heads.items()):
        span = tables.allocation.token_span(plan.stream(name))
        parts.setdefault(span.start, _Part(slice(span.start, span.stop))).streams.append((number, head))
    sums: torch.Tensor = _HeadLosses.apply(  # type: ignore[no-untyped-call]
        hidden_TD, tables.scoring, list(parts.values()), len(batch.heads), tables.row_gradients
    )
    return dict(zip(batch.heads, sums.unbind(), strict=True))


@attrs.frozen(eq=False)
class _Part:
    """Streams that are scored by the same rows of the head: their numbers and targets."""

    rows: slice
    streams: list[tuple[int, Head]] = attrs.field(factory=list)

    def index(self) -> torch.Tensor:
        return torch.cat([head.index for _, head in self.streams])

    def targets(self) -> torch.Tensor:
        return torch.cat([head.targets for _, head in self.streams])

    def sizes(self) -> list[int]:
        return [head.targets.shape[0] for _, head in self.streams]

    def chunk(self, device: torch.device) -> int | None:
        """Tokens whose scores exist at one time, where they are made in chunks."""
        size = self.rows.stop - self.rows.start
        return max(1, CHUNK // size) if is_large(size, device) else None


# Types of ctx: torch leaves open what a function keeps on it.
class _HeadLosses(torch.autograd.Function):
    """Summed cross-entropies (S,) of S streams, scored by rows of one table (R, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: torch.Tensor,
        table_RD: torch.Tensor,
        parts: Sequence[_Part],
        stream_count: int,
        row_gradients: RowGradients | None,
    ) -> torch.Tensor:
        kind = hidden_TD.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else table_RD.dtype
        sums: list[torch.Tensor] = [hidden_TD.new_zeros(())] * stream_count
        all_kept = []
        for part in parts:
            own, weight = hidden_TD.index_select(0, part.index()).to(dtype), table_RD[part.rows].to(dtype)
            chunk = part.chunk(hidden_TD.device)
            if chunk is None:
                kept = product(own, weight)
                losses = _to_errors(kept, part.targets())
            else:
                losses, kept = forward_rows(own, weight, part.targets(), chunk)
            for (number, _), loss in zip(part.streams, torch.split(losses, part.sizes()), strict=True):
                sums[number] = loss.sum()
            all_kept.append(kept)
        ctx.save_for_backward(hidden_TD, *all_kept)
        ctx.table, ctx.parts, ctx.row_gradients, ctx.dtype = table_RD, parts, row_gradients, dtype
        return torch.stack(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_S: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # the base takes any
        table, (hidden, *all_kept) = ctx.table, ctx.saved_tensors
        hidden_gradient = torch.zeros_like(hidden)
        rows: RowGradients | None = ctx.row_gradients
        table_gradient: Any = torch.zeros_like(table) if rows is None else None
        for kept, part in zip(all_kept, ctx.parts, strict=True):
            factor = torch.cat([upstream_S[k].expand(len(head.targets)) for k, head in part.streams])
            own, weight = hidden.index_select(0, part.index()).to(ctx.dtype), table[part.rows].to(ctx.dtype)
            chunk = part.chunk(hidden.device)
            if chunk is not None:
                total = table_gradient[part.rows] if rows is None else rows.opened(table, part.rows)
                back = backward_rows(own, weight, part.targets(), kept, factor, total, chunk)
            else:
                own, back = own * factor[:, None].to(ctx.dtype), product(kept, weight.t())
                if rows is None:
                    table_gradient[part.rows] = kept.t() @ own
                else:
                    rows.add_product(table, part.rows, kept, own)
                back *= factor[:, None].to(ctx.dtype)
            hidden_gradient.index_copy_(0, part.index(), back.to(hidden.dtype))
        return hidden_gradient, table_gradient, None, None, None


def _to_errors(scores_TV: torch.Tensor, targets_T: torch.Tensor) -> torch.Tensor:
    """Turn scores, in place, into the gradient of their cross-entropy; the cross-entropies, (T,)."""
    losses = []
    # A few rows at a time, so that what is beside the scores stays small and in the cache.
    step = max(1, _CHUNK // scores_TV.shape[1])
    for scores, targets in zip(
        torch.split(scores_TV, step), torch.split(targets_T[:, None], step), strict=True
    ):
        logs = functional.log_softmax(scores, -1, dtype=accurate(scores.dtype))
        losses.append(-logs.gather(1, targets)[:, 0])
        errors = torch.exp(logs, out=scores if scores.dtype == logs.dtype else logs)
        errors.scatter_add_(1, targets, errors.new_full((1, 1), -1.0).expand_as(targets))
        if scores.dtype != logs.dtype:
            scores.copy_(errors)
    return torch.cat(losses)


def target_counts(batches: tuple[MicroBatch, ...]) -> dict[str, int]:
    """Targets of each stream over several micro-batches."""
    counts: dict[str, int] = {}
    for batch in batches:
        for name, head in batch.heads.items():
            counts[name] = counts.get(name, 0) + int(head.targets.shape[0])
    return counts


def stream_factors(counts: Mapping[str, int], plan: Plan, divisor: Divisor = "present") -> dict[str, float]:
    """What each stream's loss sum is multiplied with to give its part of the step's loss.

    Loss of a step = sum over streams of w_s * (sum_s / count_s) / divisor.

    Args:
        counts: targets of each stream over the *global* step.
        plan: gives the weights w_s.
        divisor: `present` divides by the weights of the streams that have targets in this step;
            `declared` by the number of streams that could be targets, absent ones included, as 4M does.
            `scores` weighs each stream's mean by the scores it came from (targets x ids of its vocabulary)
            and divides by their sum: 4M's loss type `token`.
    """
    if divisor == "scores":
        return _by_scores(counts, plan)
    weights = {s.name: s.loss_weight for s in plan.targets if counts.get(s.name)}
    total = sum(weights.values()) if divisor == "present" else float(len(plan.targets))
    return {name: weight / counts[name] / total for name, weight in weights.items() if total > 0}


def _by_scores(counts: Mapping[str, int], plan: Plan) -> dict[str, float]:
    each = {s.name: s.loss_weight * s.vocab_size for s in plan.targets if counts.get(s.name)}
    total = sum(weight * counts[name] for name, weight in each.items())
    return {name: weight / total for name, weight in each.items() if total > 0}


def weighted(sums: Mapping[str, torch.Tensor], factors: Mapping[str, float]) -> torch.Tensor:
    """This micro-batch's part of the step's loss, a scalar to call `backward()` on."""
    parts = [sums[name] * factor for name, factor in factors.items() if name in sums]
    return torch.stack(parts).sum() if parts else torch.zeros(())
