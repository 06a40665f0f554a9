"""An explicit softmax over the whole score matrix, in float64, with the mask that xformers itself makes
of the lengths; and blocks to compare it on.
"""

import importlib
import math
from collections.abc import Sequence
from types import ModuleType

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from fourm_runtime.attention import Blocks, attend

CPU = torch.device("cpu")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}

# No block, tiny ones that share a bucket, and some that are long enough for a call of their own.
LENGTHS = st.one_of(st.just(0), st.integers(1, 12), st.integers(1, 12), st.integers(64, 80))


@st.composite
def block_lengths(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Query and key lengths of up to nine blocks."""
    count = draw(st.integers(0, 9))
    q = draw(st.lists(LENGTHS, min_size=count, max_size=count))
    if draw(st.booleans()):
        q = q[:1] * count
    return q, draw(st.lists(LENGTHS, min_size=count, max_size=count))


def build(kind: str, q: Sequence[int], k: Sequence[int]) -> Blocks:
    if kind == "cross":
        return Blocks.build(q, k)
    if kind == "cached":
        filled = [new + before for new, before in zip(q, k, strict=True)]
        return Blocks.cached(q, filled, capacity=max([1, *filled]) + 2)
    if kind == "prefixed":
        return Blocks.prefixed(q, [own + before for own, before in zip(q, k, strict=True)])
    return Blocks.build(q, causal=kind == "causal")


def mask_of(blocks: Blocks) -> Tensor:
    """(T, S) additive mask, as xformers writes these lengths out."""
    biases = importlib.import_module("xformers.ops.fmha.attn_bias")
    q, k = list(blocks.q_lengths), list(blocks.k_lengths)
    if not q:
        return torch.zeros(0, 0, dtype=torch.float64)
    if blocks.capacity is not None:
        bias = biases.BlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
            q, blocks.capacity, k, device=CPU
        )
    else:
        bias = biases.BlockDiagonalMask.from_seqlens(q, k, device=CPU)
        bias = bias.make_causal_from_bottomright() if blocks.causal else bias
    mask: Tensor = bias.materialize((blocks.q_size, blocks.k_size), dtype=torch.float64, device=CPU)
    return mask


def draw_tensors(
    blocks: Blocks, dtype: torch.dtype, heads: int = 4, width: int = 64, seed: int = 0
) -> list[Tensor]:
    """Queries, keys, values and an upstream gradient; keys and values as views of one projection."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size: int, parts: int) -> Tensor:
        return torch.randn(size, parts * heads * width, generator=generator).to(dtype)

    q, upstream = normal(blocks.q_size, 1), normal(blocks.q_size, 1)
    k, v = normal(blocks.k_size, 2).chunk(2, dim=-1)
    return [x.reshape(len(x), heads, width) for x in (q, k, v, upstream)]


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """softmax(q k^T / sqrt K + mask) v; a row that is masked everywhere gives 0."""
    scores = torch.einsum("thk,shk->hts", q, k) / math.sqrt(q.shape[-1]) + mask
    keyless = (mask == -torch.inf).all(dim=-1, keepdim=True) if mask.shape[-1] else torch.ones(len(q), 1) > 0
    weights = scores.masked_fill(keyless, 0.0).softmax(-1).masked_fill(keyless, 0.0)
    return torch.einsum("hts,shk->thk", weights, v)


def agree(found: Sequence[Tensor], truth: Sequence[Tensor], tolerance: float) -> bool:
    """Whether each tensor is within `tolerance` of its truth, relative to its largest value (at least 1).

    A truth of exactly 0, such as dq with one key, is a difference of numbers of size 1.
    """
    errors = [
        float((a.detach().double() - b.detach()).abs().max() / max(1.0, float(b.detach().abs().max())))
        for a, b in zip(found, truth, strict=True)
        if b.numel()
    ]
    # Not `max(errors) < tolerance`: that is true when a later error is not a number.
    return all(error < tolerance for error in errors)


def outputs_and_gradients(
    blocks: Blocks, dtype: torch.dtype, device: str = "cpu"
) -> tuple[list[Tensor], list[Tensor]]:
    """What attention computes, and what it should: output, dq, dk, dv."""
    q, k, v, upstream = (x.to(device) for x in draw_tensors(blocks, dtype))
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    out = attend(leaves[0], leaves[1], leaves[2], blocks)
    found = [out, *torch.autograd.grad(out, leaves, upstream)]
    doubles = [x.detach().double().cpu().requires_grad_() for x in (q, k, v)]
    expected = dense(doubles[0], doubles[1], doubles[2], mask_of(blocks))
    truth = [expected, *torch.autograd.grad(expected, doubles, upstream.double().cpu())]
    return [x.cpu() for x in found], truth


def scale_off(operator: ModuleType, patch: pytest.MonkeyPatch) -> None:
    """Plant a fault: gradients that are one percent off."""
    backward = operator._backward
    patch.setattr(operator, "_backward", lambda *a, **k: backward(*a, **{**k, "scale": 1.01 / math.sqrt(64)}))
