"""Forward and backward pass of attention on their own, without autograd: what an opaque operator is made of.

The log-sum-exp travels between the two as (H, T), whatever kernel computes it. FlashAttention and the CPU
operator have it like this; CUTLASS keeps one padded row per block.

Shapes: T query tokens, S key tokens, H heads, K numbers per head; B blocks of at most M queries.
"""

import math

import torch
from torch import Tensor

from fourm_runtime.attention import Blocks, check_device, kernels
from fourm_runtime.attention_backend import fmha, refusal
from fourm_runtime.transfer import to_device

_ALIGNMENT = 32
"""CUTLASS pads the log-sum-exp of a block to a multiple of this."""


def forward_pass(q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor]:
    """Attention within blocks, as `fourm_runtime.attention.attend`.

    Returns:
        Output (T, H, K) and log-sum-exp (H, T); 0 and -inf for a query without a key.

    Raises:
        BackendError: if no kernel serves the tensors.
    """
    device, exact = q_THK.device, torch.float64 if q_THK.dtype is torch.float64 else torch.float32
    nowhere = q_THK.new_full((q_THK.shape[1], len(q_THK)), -math.inf, dtype=exact)
    if blocks.idle:
        return torch.zeros_like(q_THK, memory_format=torch.contiguous_format), nowhere
    check_device(device)
    rows = blocks.keyed(device) if blocks.keyless else None
    queries = q_THK if rows is None else q_THK.index_select(0, rows)
    try:
        kernel, _ = kernels(device, q_THK.dtype, q_THK.shape[-1])
        out, lse = fmha().memory_efficient_attention_forward_requires_grad(
            queries[None], k_SHK[None], v_SHK[None], attn_bias=blocks.bias(device), op=kernel
        )
    except (NotImplementedError, ValueError) as reason:
        raise refusal(device, q_THK, reason) from reason
    out_THK, lse_HT = out[0], lse[0] if kernel.VARLEN_LSE_PACKED else packed_lse(lse, blocks)
    if rows is None:
        return out_THK, lse_HT
    return torch.zeros_like(q_THK).index_copy(0, rows, out_THK), nowhere.index_copy(1, rows, lse_HT)


def backward_pass(
    upstream_THK: Tensor,
    q_THK: Tensor,
    k_SHK: Tensor,
    v_SHK: Tensor,
    out_THK: Tensor,
    lse_HT: Tensor,
    blocks: Blocks,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values.

    Args:
        upstream_THK: gradient of the output.
        q_THK, k_SHK, v_SHK, blocks: as they were given to `forward_pass`.
        out_THK, lse_HT: what it returned.
    """
    device = q_THK.device
    if blocks.idle:
        return torch.zeros_like(q_THK), torch.zeros_like(k_SHK), torch.zeros_like(v_SHK)
    rows = blocks.keyed(device) if blocks.keyless else None
    own = (upstream_THK, q_THK, out_THK) if rows is None else _select((upstream_THK, q_THK, out_THK), rows)
    lse = lse_HT if rows is None else lse_HT.index_select(1, rows)
    _, kernel = kernels(device, q_THK.dtype, q_THK.shape[-1])
    dq, dk, dv = fmha().memory_efficient_attention_backward(
        own[0][None],
        own[2][None],
        lse.contiguous()[None] if kernel.VARLEN_LSE_PACKED else padded_lse(lse, blocks),
        own[1][None],
        k_SHK[None],
        v_SHK[None],
        attn_bias=blocks.bias(device),
        op=kernel,
    )
    if rows is None:
        return dq[0], dk[0], dv[0]
    return torch.zeros_like(q_THK).index_copy(0, rows, dq[0]), dk[0], dv[0]


def packed_lse(lse_BHM: Tensor, blocks: Blocks) -> Tensor:
    """(B, H, M), one padded row per block, to (H, T) of the queries that have a key."""
    _, heads, width = lse_BHM.shape
    rows = _padded_rows(blocks, width, lse_BHM.device)
    return lse_BHM.transpose(1, 2).reshape(-1, heads).index_select(0, rows).t()


def padded_lse(lse_HT: Tensor, blocks: Blocks) -> Tensor:
    """Inverse of `packed_lse`: (B, H, M), infinite where there is no query, as CUTLASS leaves it."""
    longest = max(q if k else 0 for q, k in zip(blocks.q_lengths, blocks.k_lengths, strict=True))
    width = -(-longest // _ALIGNMENT) * _ALIGNMENT
    padded = lse_HT.new_full((len(blocks.q_lengths) * width, len(lse_HT)), math.inf)
    padded.index_copy_(0, _padded_rows(blocks, width, lse_HT.device), lse_HT.t())
    return padded.view(len(blocks.q_lengths), width, len(lse_HT)).transpose(1, 2).contiguous()


def _padded_rows(blocks: Blocks, width: int, device: torch.device) -> Tensor:
    """Where each query that has a key stands when every block is padded to `width`."""
    pairs = zip(blocks.q_lengths, blocks.k_lengths, strict=True)
    rows = [place * width + rank for place, (q, k) in enumerate(pairs) if k for rank in range(q)]
    return to_device(torch.tensor(rows, dtype=torch.int64), device)


def _select(tensors: tuple[Tensor, Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    one, two, three = (x.index_select(0, rows) for x in tensors)
    return one, two, three
