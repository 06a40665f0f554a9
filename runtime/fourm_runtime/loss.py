"""Losses as sums, divided only once the whole step's counts are known.

A global step is split over ranks and micro-batches. If each took a mean, the gradient would depend on
the split; a sum divided by the step's count does not.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch.nn import functional

from fourm_runtime.batch import MicroBatch
from fourm_schema.plan import Plan

Divisor = Literal["present", "declared", "scores"]


def loss_sums(logits: Mapping[str, torch.Tensor], batch: MicroBatch) -> dict[str, torch.Tensor]:
    """Summed cross-entropy of each stream's targets, in nats. Stream -> scalar."""
    return {
        name: functional.cross_entropy(
            scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores,
            batch.heads[name].targets,
            reduction="sum",
        )
        for name, scores in logits.items()
    }


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
