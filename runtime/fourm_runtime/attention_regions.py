"""Attention of a model's layers: several regions at once, and one operator that hides it from torch.compile.

A packed sequence may have regions that attend differently: the decoder's grids see their whole block, its
texts only what came before. `attend_regions` gives each region of the queries to `attend`. While a layer is
compiled, all of it is one opaque operator instead, `fourm::attend`. Lengths reach it as a tensor on the CPU:
to the compiler that is data like any other, so new lengths never compile anything anew, and reading them
waits for no GPU.

Shapes: T query tokens, S key tokens, H heads, K numbers per head.
"""

from collections.abc import Iterator
from functools import lru_cache, reduce
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from fourm_runtime.attention import Blocks, attend
from fourm_runtime.attention_passes import backward_pass, forward_pass

_NO_CAPACITY = -1
# Micro-batches of a step whose backward pass is still to come, times the three kinds of attention of a model.
_KEPT = 64


def _encode(regions: "Regions") -> Tensor:
    numbers = [int(regions.shared), len(regions.parts)]
    for part in regions.parts:
        capacity = _NO_CAPACITY if part.capacity is None else part.capacity
        numbers += [int(part.causal), capacity, len(part.q_lengths), *part.q_lengths, *part.k_lengths]
    return torch.from_numpy(np.array(numbers, dtype=np.int64))


@attrs.frozen(eq=False)
class Regions:
    """Consecutive regions of the queries, each with blocks of its own.

    Attributes:
        parts: what each region's queries see.
        shared: every region sees all keys (cross-attention); else keys are cut into regions too.
        code: the same as numbers, (n,) int64 on the CPU, for the operator that gets only tensors.
    """

    parts: tuple[Blocks, ...]
    shared: bool = False
    code: Tensor = attrs.field(init=False, default=attrs.Factory(_encode, takes_self=True))

    @classmethod
    def decoded(cls, numbers: list[int]) -> "Regions":
        """Inverse of `code`."""
        shared, count, *rest = numbers
        parts = []
        for _ in range(count):
            causal, capacity, size, *rest = rest
            q_lengths, k_lengths, rest = rest[:size], rest[size : 2 * size], rest[2 * size :]
            room = None if capacity == _NO_CAPACITY else capacity
            parts.append(Blocks(tuple(q_lengths), tuple(k_lengths), bool(causal), room))
        assert not rest, "the code ends with its last part"
        return cls(tuple(parts), bool(shared))

    def __iter__(self) -> Iterator[tuple[slice, slice, Blocks]]:
        """Each region's rows of the queries, its rows of the keys, and its blocks."""
        first = first_key = 0
        for part in self.parts:
            last, last_key = first + part.q_size, first_key + part.k_size
            yield slice(first, last), slice(first_key, last_key), part
            first, first_key = last, 0 if self.shared else last_key


def attend_regions(q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, regions: Regions) -> Tensor:
    """Softmax attention, region by region.

    Args:
        q_THK: queries, region after region.
        k_SHK, v_SHK: keys and values.
        regions: who sees what.

    Returns:
        (T, H, K); 0 for a query whose block has no key.

    Raises:
        BackendError: as `attend`.
    """
    if torch.compiler.is_compiling():
        out: Tensor = torch.ops.fourm.attend(q_THK, k_SHK, v_SHK, regions.code)[0]
        return out
    if len(regions.parts) == 1:
        return attend(q_THK, k_SHK, v_SHK, regions.parts[0])
    return torch.cat([attend(q_THK[rows], k_SHK[keys], v_SHK[keys], part) for rows, keys, part in regions])


def _regions_of(code: Tensor) -> Regions:
    return _regions_of_bytes(code.numpy().tobytes())


@lru_cache(maxsize=_KEPT)
def _regions_of_bytes(code: bytes) -> Regions:
    """All layers of a micro-batch ask for the same regions, so what kernels need is made once."""
    return Regions.decoded(np.frombuffer(code, dtype=np.int64).tolist())


# Nothing but tensors goes in: those are all that autograd keeps for the backward pass of a compiled graph.
@torch.library.custom_op("fourm::attend", mutates_args=())
def _attend(q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
    """Output (T, H, K) and log-sum-exp (H, T)."""
    found = [
        forward_pass(q_THK[rows], k_SHK[keys], v_SHK[keys], part) for rows, keys, part in _regions_of(code)
    ]
    outs, lses = [out for out, _ in found], [lse for _, lse in found]
    if len(found) == 1:
        return outs[0].contiguous(), lses[0].contiguous()
    return torch.cat(outs), torch.cat(lses, dim=1)


@_attend.register_fake
def _(q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
    size, heads, _ = q_THK.shape
    exact = torch.float64 if q_THK.dtype is torch.float64 else torch.float32
    return q_THK.new_empty(q_THK.shape), q_THK.new_empty((heads, size), dtype=exact)


@torch.library.custom_op("fourm::attend_backward", mutates_args=())
def _attend_backward(
    upstream_THK: Tensor,
    q_THK: Tensor,
    k_SHK: Tensor,
    v_SHK: Tensor,
    out_THK: Tensor,
    lse_HT: Tensor,
    code: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values."""
    regions = _regions_of(code)
    found = [
        backward_pass(
            upstream_THK[rows], q_THK[rows], k_SHK[keys], v_SHK[keys], out_THK[rows], lse_HT[:, rows], part
        )
        for rows, keys, part in regions
    ]
    dq, dk, dv = ([grads[side] for grads in found] for side in range(3))
    if len(found) == 1:
        return dq[0].contiguous(), dk[0].contiguous(), dv[0].contiguous()
    if regions.shared:
        return torch.cat(dq), reduce(torch.add, dk), reduce(torch.add, dv)
    return torch.cat(dq), torch.cat(dk), torch.cat(dv)


@_attend_backward.register_fake
def _(
    upstream_THK: Tensor,
    q_THK: Tensor,
    k_SHK: Tensor,
    v_SHK: Tensor,
    out_THK: Tensor,
    lse_HT: Tensor,
    code: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return q_THK.new_empty(q_THK.shape), k_SHK.new_empty(k_SHK.shape), v_SHK.new_empty(v_SHK.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    q_THK, k_SHK, v_SHK, code = inputs
    out_THK, lse_HT = output
    ctx.mark_non_differentiable(lse_HT)
    ctx.save_for_backward(q_THK, k_SHK, v_SHK, out_THK, lse_HT, code)


def _back(ctx: Any, upstream_THK: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    dq, dk, dv = torch.ops.fourm.attend_backward(upstream_THK, *ctx.saved_tensors)
    return dq, dk, dv, None


_attend.register_autograd(_back, setup_context=_keep)
