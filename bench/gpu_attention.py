"""Whether attention computes what it should on this machine: the numeric part of `gpu.py`.

Every kind of block that training uses, in the lengths of a real micro-batch (empty blocks and queries without
a key included), against a softmax written out in float64; called directly, and through the opaque operator
that compiled blocks use.

Shapes: T query tokens, S key tokens, H heads, K numbers per head.
"""

import math
from collections.abc import Callable, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from fourm_runtime.attention import Blocks
from fourm_runtime.attention_regions import Regions, attend_regions
from fourm_schema.errors import FourmError

HEADS, WIDTH = 4, 64
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 3e-2}


@attrs.frozen
class AttentionError:
    """One kind of block in one dtype.

    Attributes:
        kind: which blocks.
        dtype: of queries, keys and values.
        way: `attend`, or `opaque` for the operator of compiled blocks.
        error: largest difference from the truth of output and gradients, relative to the truth's largest
            number (at least 1).
        allowed: what it may be.
        fault: what was raised, if something was; the error is then no number.
    """

    kind: str
    dtype: str
    way: str
    error: float
    allowed: float
    fault: str = ""

    @property
    def kept(self) -> bool:
        """Whether it is small enough; an error that is not a number is not."""
        return self.error < self.allowed


def kinds(scale: int, rng: np.random.Generator) -> dict[str, Regions]:
    """What the layers of a model pass on, with blocks of up to `scale` tokens."""

    def lengths(count: int) -> list[int]:
        return [0, 1, *rng.integers(1, scale + 1, count - 2).tolist()]

    q, k = lengths(12), lengths(12)
    k[5] = 0
    longer = [own + before for own, before in zip(q, lengths(12), strict=True)]
    return {
        "self": Regions((Blocks.build(q),)),
        "cross": Regions((Blocks.build(q, k), Blocks.build(k[::-1], k)), shared=True),
        "causal": Regions((Blocks.build(q, causal=True),)),
        "prefixed": Regions((Blocks.prefixed(q, longer),)),
        "regions": Regions((Blocks.build(q), Blocks.build(k, causal=True))),
        "idle": Regions((Blocks.build([0, 0], [3, 4]), Blocks.build([5, 0], [3, 4])), shared=True),
    }


def attention_errors(device: torch.device, dtypes: Sequence[torch.dtype], scale: int) -> list[AttentionError]:
    """Compare every kind in every dtype, both ways.

    Args:
        device: where attention runs.
        dtypes: of queries, keys and values.
        scale: tokens of the longest block.
    """
    ways: dict[str, Callable[[Tensor, Tensor, Tensor, Regions], Tensor]] = {
        "attend": attend_regions,
        "opaque": lambda q, k, v, regions: torch.ops.fourm.attend(q, k, v, regions.code)[0],
    }
    found = []
    for kind, regions in kinds(scale, np.random.default_rng(0)).items():
        for dtype in dtypes:
            drawn = _draw(regions, dtype)
            truth = _with_gradients(_explicit, [x.double() for x in drawn], regions)
            name, allowed = str(dtype).removeprefix("torch."), TOLERANCE[dtype]
            for way, call in ways.items():
                try:
                    answers = _with_gradients(call, [x.to(device) for x in drawn], regions)
                except (FourmError, RuntimeError) as fault:
                    # One kernel that is missing should not hide what the others do.
                    found.append(AttentionError(kind, name, way, math.nan, allowed, str(fault)))
                    continue
                errors = [_error(one, other) for one, other in zip(answers, truth, strict=True)]
                worst = next((e for e in errors if math.isnan(e)), max(errors))
                found.append(AttentionError(kind, name, way, worst, allowed))
    return found


def _draw(regions: Regions, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys, values and the gradient of the output."""
    generator = torch.Generator().manual_seed(1)
    queries = sum(part.q_size for part in regions.parts)
    keys = regions.parts[0].k_size if regions.shared else sum(part.k_size for part in regions.parts)
    sizes = (queries, keys, keys, queries)
    return [torch.randn(size, HEADS, WIDTH, generator=generator).to(dtype) for size in sizes]


def _with_gradients(
    call: Callable[[Tensor, Tensor, Tensor, Regions], Tensor], drawn: Sequence[Tensor], regions: Regions
) -> list[Tensor]:
    leaves = [x.detach().requires_grad_() for x in drawn[:3]]
    out = call(leaves[0], leaves[1], leaves[2], regions)
    return [out.detach(), *torch.autograd.grad(out, leaves, drawn[3])]


def _explicit(q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, regions: Regions) -> Tensor:
    """softmax(q k^T / sqrt K) v, block by block, as its definition has it."""
    outs = []
    for rows, keys, part in regions:
        q_parts = torch.split(q_THK[rows], list(part.q_lengths))
        k_parts = torch.split(k_SHK[keys], list(part.k_lengths))
        v_parts = torch.split(v_SHK[keys], list(part.k_lengths))
        for q, k, v in zip(q_parts, k_parts, v_parts, strict=True):
            scores = torch.einsum("thk,shk->hts", q, k) / math.sqrt(q.shape[-1])
            if part.causal:
                future = torch.ones(len(q), len(k), dtype=torch.bool).triu(len(k) - len(q) + 1)
                scores = scores.masked_fill(future, -torch.inf)
            outs.append(torch.einsum("hts,shk->thk", scores.softmax(-1), v))
    return torch.cat(outs)


def _error(found: Tensor, truth: Tensor) -> float:
    if not truth.numel():
        return 0.0
    difference = (found.double().cpu() - truth).abs().max()
    return float(difference / max(1.0, float(truth.abs().max())))
