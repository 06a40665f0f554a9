"""The one front door to attention: `attend(queries, keys, values, blocks)` on every device.

Behind it stands `xformers.ops.memory_efficient_attention` with xformers' block-diagonal biases. On CUDA
xformers picks a kernel; on a CPU, where it has none, it is handed ours (`fourm_runtime.cpu_operator`).
The layers of the model come in by `fourm_runtime.attention_regions`, which torch.compile can see through.

Shapes: T query tokens, S key tokens, H heads, K numbers per head.
"""

import math
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._compile import (
    _disable_dynamo,
)  # the public torch.compiler.disable imports Dynamo at once: seconds

from fourm_runtime.attention_backend import fmha, operators, refusal
from fourm_runtime.transfer import to_device
from fourm_schema.errors import BackendError


@attrs.frozen(eq=False)
class Blocks:
    """Which queries see which keys: block b of the queries sees block b of the keys, and nothing else.

    Build it once for a micro-batch and pass it to every layer: what the kernels need is made at the
    first call and kept.

    Attributes:
        q_lengths, k_lengths: tokens of each block; zeros are allowed on either side.
        causal: query i of a block sees the block's keys up to i; in a cache, counted from the last.
        capacity: rows that a key/value cache reserves for each block, of which the first `k_lengths`
            are filled; None where keys are packed without gaps.
    """

    q_lengths: tuple[int, ...]
    k_lengths: tuple[int, ...]
    causal: bool
    capacity: int | None = None
    _biases: dict[torch.device, object] = attrs.field(factory=dict, init=False, repr=False)
    _keyed: dict[torch.device, Tensor] = attrs.field(factory=dict, init=False, repr=False)
    _served: set[object] = attrs.field(factory=set, init=False, repr=False)

    @classmethod
    def build(
        cls, q_lengths: Sequence[int], k_lengths: Sequence[int] | None = None, causal: bool = False
    ) -> "Blocks":
        """Blocks of packed tokens.

        Args:
            q_lengths: query tokens of each block.
            k_lengths: key tokens of each block; None for self-attention.
            causal: mask the future; for self-attention only.

        Raises:
            BackendError: if the lengths do not describe blocks.
        """
        if causal and k_lengths is not None and tuple(k_lengths) != tuple(q_lengths):
            raise BackendError(
                "Blocks.build",
                "causal attention needs as many keys as queries in each block",
                got=f"queries {_shown(q_lengths)}, keys {_shown(k_lengths)}",
                mend="leave k_lengths out, or use Blocks.cached",
            )
        return cls._checked(q_lengths, q_lengths if k_lengths is None else k_lengths, causal, None)

    @classmethod
    def prefixed(cls, q_lengths: Sequence[int], k_lengths: Sequence[int]) -> "Blocks":
        """Causal blocks with keys before them: a block's last `q_lengths[b]` keys belong to its queries, and
        each query sees the keys up to its own.

        Args:
            q_lengths: query tokens of each block.
            k_lengths: key tokens of each block, those of the queries included.

        Raises:
            BackendError: if a block has fewer keys than queries.
        """
        blocks = cls._checked(q_lengths, k_lengths, True, None)
        if any(q > k for q, k in zip(blocks.q_lengths, blocks.k_lengths, strict=True)):
            raise BackendError(
                "Blocks.prefixed",
                "each block needs a key for each of its queries",
                got=f"queries {_shown(q_lengths)}, keys {_shown(k_lengths)}",
            )
        return blocks

    @classmethod
    def cached(cls, q_lengths: Sequence[int], k_lengths: Sequence[int], capacity: int) -> "Blocks":
        """Blocks over a key/value cache, for decoding token by token; it has no backward pass.

        The cache is (B * capacity, H, K): block b fills rows `b * capacity` and on. Its last `q_lengths[b]`
        keys belong to the queries, so each query sees the keys up to its own.

        Args:
            q_lengths: new tokens of each block.
            k_lengths: filled rows of each block, the new tokens included.
            capacity: rows that each block has.

        Raises:
            BackendError: if a block has more new tokens than keys, or more keys than rows.
        """
        blocks = cls._checked(q_lengths, k_lengths, True, capacity)
        for q_length, k_length in zip(blocks.q_lengths, blocks.k_lengths, strict=True):
            if not q_length <= k_length <= capacity:
                raise BackendError(
                    "Blocks.cached",
                    "each block needs new tokens <= filled rows <= capacity",
                    got=f"{q_length} new tokens, {k_length} rows filled of {capacity}",
                )
        return blocks

    @classmethod
    def _checked(
        cls, q_lengths: Sequence[int], k_lengths: Sequence[int], causal: bool, capacity: int | None
    ) -> "Blocks":
        if len(q_lengths) != len(k_lengths) or min((*q_lengths, *k_lengths), default=0) < 0:
            raise BackendError(
                "Blocks",
                "queries and keys need equally many blocks, none of negative length",
                got=f"queries {_shown(q_lengths)}, keys {_shown(k_lengths)}",
            )
        return cls(tuple(map(int, q_lengths)), tuple(map(int, k_lengths)), causal, capacity)

    @cached_property
    def q_size(self) -> int:
        """T, the query tokens of all blocks."""
        return sum(self.q_lengths)

    @cached_property
    def k_size(self) -> int:
        """S, the key tokens of all blocks; in a cache, its rows."""
        return sum(self.k_lengths) if self.capacity is None else self.capacity * len(self.k_lengths)

    @cached_property
    def keyless(self) -> bool:
        """Whether some query has no key."""
        return any(q and not k for q, k in zip(self.q_lengths, self.k_lengths, strict=True))

    @cached_property
    def idle(self) -> bool:
        """Whether no query has a key: there is nothing to compute."""
        return not any(q and k for q, k in zip(self.q_lengths, self.k_lengths, strict=True))

    def bias(self, device: torch.device) -> object:
        """The xformers bias on a device, built at the first request.

        Queries without a key are left out of it: the kernels disagree on them, so `attend` answers.
        """
        if device not in self._biases:
            biases = fmha().attn_bias
            q = [q if k else 0 for q, k in zip(self.q_lengths, self.k_lengths, strict=True)]
            k = list(self.k_lengths)
            if self.capacity is not None:
                made = biases.BlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
                    q, self.capacity, k, device=device
                )
            else:
                made = biases.BlockDiagonalMask.from_seqlens(q, k, device=device)
            if self.causal and self.capacity is None:
                # One and the same where no key comes before; this form has a kernel everywhere.
                from_left = q == k
                made = made.make_causal() if from_left else made.make_causal_from_bottomright()
            self._biases[device] = made
        return self._biases[device]

    def keyed(self, device: torch.device) -> Tensor:
        """Rows of the queries that have a key, made at the first request."""
        if device not in self._keyed:
            has_key = np.repeat(np.array(self.k_lengths) > 0, self.q_lengths)
            self._keyed[device] = to_device(torch.from_numpy(np.flatnonzero(has_key)), device)
        return self._keyed[device]


@_disable_dynamo
def attend(q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, blocks: Blocks) -> Tensor:
    """Softmax attention within blocks: softmax(q k^T / sqrt K) v.

    torch.compile leaves it out of its graphs: lengths change with every batch, and a graph that held
    them would be compiled anew each time. What stands around it is compiled once.

    Args:
        q_THK: queries, block after block.
        k_SHK, v_SHK: keys and values, block after block, or a cache (see `Blocks.cached`).
        blocks: how many tokens each block has.

    Returns:
        (T, H, K); 0 for a query whose block has no key.

    Raises:
        BackendError: if the shapes do not fit the blocks or each other, or if no kernel serves them.
    """
    expected = (blocks.q_size, blocks.k_size)
    like = k_SHK.shape == v_SHK.shape and q_THK.shape[1:] == k_SHK.shape[1:]
    if (len(q_THK), len(k_SHK)) != expected or not like:
        raise BackendError(
            "attention",
            f"the blocks hold {expected[0]} queries and {expected[1]} keys",
            got=f"queries {tuple(q_THK.shape)}, keys {tuple(k_SHK.shape)}, values {tuple(v_SHK.shape)}",
        )
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (q_THK, k_SHK, v_SHK))
    if blocks.capacity is not None and needs_gradient:
        raise BackendError(
            "attention", "a key/value cache has no backward pass", mend="run it under torch.no_grad()"
        )
    if blocks.idle:
        # No kernel is run, but all three stay in the graph: their weights get zero gradients, not none.
        nothing = q_THK[:0] + k_SHK[:0] + v_SHK[:0]
        return F.pad(nothing, (0, 0, 0, 0, 0, len(q_THK)))
    if not blocks.keyless:
        return _run(q_THK, k_SHK, v_SHK, blocks, needs_gradient)
    rows = blocks.keyed(q_THK.device)
    out = _run(q_THK.index_select(0, rows), k_SHK, v_SHK, blocks, needs_gradient)
    return torch.zeros_like(q_THK).index_copy(0, rows, out)


def operator_name(device: torch.device | str, dtype: torch.dtype = torch.float32) -> str:
    """Name of the forward kernel that serves a device, for the log.

    Args:
        device: where attention would run.
        dtype: of queries, keys and values; CUDA kernels differ by it.

    Raises:
        BackendError: if none does.
    """
    device = torch.device(device)
    check_device(device)
    return str(kernels(device, dtype, 64)[0].NAME)


# Types of the pair: an untyped library's classes, so Any is all that can be said of them.
def kernels(device: torch.device, dtype: torch.dtype, width: int) -> tuple[Any, Any]:
    """The forward and the backward operator that serve a device.

    Args:
        device: where attention runs.
        dtype: of queries, keys and values.
        width: numbers per head.

    Raises:
        NotImplementedError: if there is none, as xformers has it.
    """
    return operators(device) or _preferred(device, dtype, width)


@cache
def _preferred(device: torch.device, dtype: torch.dtype, width: int) -> tuple[Any, Any]:
    """What xformers chooses, asked once: choosing anew in every layer costs more than a small kernel."""
    probe = torch.zeros(1, 8, 1, width, device=device, dtype=dtype)
    inputs = fmha().Inputs(probe, probe, probe, attn_bias=Blocks.build([8]).bias(device))
    dispatch = fmha().dispatch
    forward = dispatch._dispatch_fw(inputs, True)
    return forward, dispatch._dispatch_bw(inputs, varlen_lse_packed=forward.VARLEN_LSE_PACKED)


def _run(q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, blocks: Blocks, needs_gradient: bool) -> Tensor:
    device = q_THK.device
    pair = operators(device)
    form = (q_THK.dtype, k_SHK.dtype, v_SHK.dtype, q_THK.shape[1:])
    out: Tensor
    if device.type == "cpu" and pair and not needs_gradient and form in blocks._served:
        # xformers checks every call, which takes longer than attention of few tokens; the first layer passed.
        inputs = fmha().Inputs(q_THK[None], k_SHK[None], v_SHK[None], blocks.bias(device))
        out = pair[0].apply(inputs, False)[0]
        return out[0]
    check_device(device)
    try:
        out = fmha().memory_efficient_attention(
            q_THK[None], k_SHK[None], v_SHK[None], attn_bias=blocks.bias(device), op=pair
        )
    except (NotImplementedError, ValueError) as reason:
        raise refusal(device, q_THK, reason) from reason
    blocks._served.add(form)
    return out[0]


@cache
def check_device(device: torch.device) -> None:
    """Once per device: refuse those without kernels, open xformers' gate on CUDA and test what is behind.

    xformers refuses every CUDA kernel when its own extension does not load, as when it was built for
    another CUDA release. Its attention uses only kernels of torch, so it can be told to go on; whether
    they compute what they should is then tested here, on blocks that include empty ones.

    Raises:
        BackendError: if the device has no kernels, or they compute something else.
    """
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise BackendError("attention", f"there is no kernel for {device.type}", mend="use cpu or cuda")
    common = fmha().common
    if not common._built_with_cuda:
        common._built_with_cuda = True
    for dtype in (torch.float32, torch.bfloat16):
        # The first call may come from generation, where no gradient is recorded.
        try:
            with torch.inference_mode(False), torch.enable_grad():
                error = _self_test(device, dtype)
        except (NotImplementedError, ValueError):
            # Not every GPU has a kernel for both; `attend` says so if this one is asked for.
            continue
        # `not <`: an error that is not a number must fail too.
        if not error < (1e-4 if dtype is torch.float32 else 3e-2):
            raise BackendError(
                f"attention on {device}",
                "the kernel disagrees with an explicit softmax",
                got=f"relative error {error:.1e} in {str(dtype).removeprefix('torch.')}",
                mend="install the xformers wheel of this CUDA release",
            )


def _self_test(device: torch.device, dtype: torch.dtype) -> float:
    """Largest relative error of outputs and gradients over a few blocks, against an explicit softmax."""
    blocks = Blocks.build([5, 0, 16, 3], [7, 4, 16, 1])
    generator = torch.Generator().manual_seed(0)
    sizes = (blocks.q_size, blocks.k_size, blocks.k_size, blocks.q_size)
    drawn = [torch.randn(size, 2, 64, generator=generator).to(device, dtype) for size in sizes]
    leaves = [x.requires_grad_() for x in drawn[:3]]
    q, k, v = (x[None] for x in leaves)
    out = fmha().memory_efficient_attention(q, k, v, attn_bias=blocks.bias(device), op=operators(device))[0]
    found = [out, *torch.autograd.grad(out, leaves, drawn[3])]

    doubles = [x.detach().double().requires_grad_() for x in leaves]
    q_parts, k_parts, v_parts = (
        torch.split(x, list(lengths))
        for x, lengths in zip(doubles, (blocks.q_lengths, blocks.k_lengths, blocks.k_lengths), strict=True)
    )
    expected = torch.cat(
        [
            torch.einsum("hmn,nhk->mhk", torch.einsum("mhk,nhk->hmn", q, k).div(8).softmax(-1), v)
            for q, k, v in zip(q_parts, k_parts, v_parts, strict=True)
        ]
    )
    truth = [expected, *torch.autograd.grad(expected, doubles, drawn[3].double())]
    errors = [
        float((a.detach().double() - b.detach()).abs().max() / b.detach().abs().max())
        for a, b in zip(found, truth, strict=True)
    ]
    return next((error for error in errors if math.isnan(error)), max(errors))


def _shown(lengths: Sequence[int]) -> str:
    head = ", ".join(map(str, lengths[:8]))
    return f"[{head}, ... {len(lengths)} in all]" if len(lengths) > 8 else f"[{head}]"
