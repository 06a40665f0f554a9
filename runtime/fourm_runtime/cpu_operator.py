"""Block-diagonal attention on a CPU: an operator pair that xformers runs like one of its own.

xformers ships no CPU kernel, but `memory_efficient_attention(..., op=(FwOp, BwOp))` accepts ours. The
work is done by PyTorch's CPU flash attention, which returns the log-sum-exp that xformers keeps for the
backward pass. That kernel takes rectangles, and a packed micro-batch is hundreds of small blocks of
unequal length, so blocks are first sorted into few calls:

    long blocks      one call for each run of equal neighbours; tokens are read and written in place
    short blocks     buckets of similar size, each padded to its longest and given to one masked call

A bucket is closed when its padding would cost more than the call it saves, which is where the sum of the
two is least for evenly spread lengths. Padding repeats a block's own last token, so that a value that is
not finite stays in its sample.

Import this module through `fourm_runtime.attention`, which silences a misleading warning of xformers.

Shapes: T query tokens, S key tokens, H heads, K numbers per head; a call holds C blocks of M queries and
N keys, padding included.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import attrs
import numpy as np
import torch
from torch import Tensor
from xformers.ops.fmha import common
from xformers.ops.fmha.attn_bias import BlockDiagonalCausalFromBottomRightMask as PrefixedBias
from xformers.ops.fmha.attn_bias import BlockDiagonalCausalMask as CausalBias
from xformers.ops.fmha.attn_bias import BlockDiagonalCausalWithOffsetPaddedKeysMask as CachedBias
from xformers.ops.fmha.attn_bias import BlockDiagonalMask as FullBias

from fourm_runtime.batch import Bools, Int64

DTYPES = {torch.float64, torch.float32, torch.bfloat16, torch.float16}
Bias: TypeAlias = FullBias | CachedBias

# Measured on one AVX512 core, forward and backward together: a call costs as much as so many scores
# times numbers per token.
CALL_COST = 200_000
# Numbers in a block's queries and keys above which copying them costs more than a call of their own.
LONG = 32_768

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@attrs.frozen(eq=False)
class Rows:
    """Where C blocks of one length stand in a packed tensor.

    Attributes:
        start, step, count, length: block c is rows `start + c * step`, and `length - 1` more.
        read: None where that is so; else (C * length,) the row of every token, the last one repeated.
        write: likewise, with the row past the end of the tensor where a token is padding.
        padding: which tokens of `read` are padding.
    """

    start: int
    step: int
    count: int
    length: int
    read: Tensor | None = None
    write: Tensor | None = None
    padding: Tensor | None = None

    @classmethod
    def of(cls, starts: Int64, lengths: Int64, size: int) -> "Rows":
        """Describe blocks (their first rows and lengths) of a packed tensor of `size` rows."""
        longest = int(lengths.max())
        steps = np.diff(starts)
        start, step = int(starts[0]), int(steps[0]) if len(steps) else longest
        if (lengths == longest).all() and (steps == step).all():
            return cls(start, step, len(starts), longest)
        ranks = np.arange(longest)
        real = (ranks < lengths[:, None]).reshape(-1)
        read = (starts[:, None] + np.minimum(ranks, lengths[:, None] - 1)).reshape(-1)
        indices = (read, np.where(real, read, size), np.flatnonzero(~real))
        return cls(start, step, len(starts), longest, *map(torch.from_numpy, indices))

    def take_upstream(self, packed: Tensor) -> Tensor:
        """`take` for gradients: padding repeats a token, but must not pass its gradient on twice."""
        blocks = self.take(packed)
        if self.padding is not None and len(self.padding):
            blocks.flatten(0, 1).index_fill_(0, self.padding, 0.0)
        return blocks

    def take(self, packed: Tensor) -> Tensor:
        """Blocks (C, length, ...) of a packed tensor (T, ...): a view where the rows allow it."""
        if self.read is not None:
            return packed.index_select(0, self.read).view(self.count, self.length, *packed.shape[1:])
        return packed.as_strided(
            (self.count, self.length, *packed.shape[1:]),
            (self.step * packed.stride(0), *packed.stride()),
            packed.storage_offset() + self.start * packed.stride(0),
        )

    def put(self, packed: Tensor, blocks: Tensor) -> None:
        """Inverse of `take`; `packed` has one row more than there are tokens, and padding goes there."""
        if self.write is not None:
            packed.index_copy_(0, self.write, blocks.flatten(0, 1))
        else:
            self.take(packed).copy_(blocks)


@attrs.frozen(eq=False)
class Side:
    """The queries' or the keys' rows of every call.

    Attributes:
        rows: one entry per call.
        size: tokens of the packed tensor.
        in_order: the calls are its rows from first to last: joining their results is enough.
        covers: no row is left out.
    """

    rows: tuple[Rows, ...]
    size: int
    in_order: bool
    covers: bool

    @classmethod
    def of(cls, starts: Int64, lengths: Int64, calls: Sequence[Int64], size: int) -> "Side":
        rows = tuple(Rows.of(starts[call], lengths[call], size) for call in calls)
        covers = int(lengths.sum()) == size
        dense = all(each.read is None and (each.count == 1 or each.step == each.length) for each in rows)
        ascending = all(one.start < other.start for one, other in itertools.pairwise(rows))
        return cls(rows, size, in_order=covers and dense and ascending, covers=covers)

    def join(self, pieces: Sequence[Tensor], fill: float) -> Tensor:
        """Lay the results of all calls, each (C, M, ...), into one tensor (size, ...)."""
        if self.in_order:
            flat = [piece.flatten(0, 1) for piece in pieces]
            return flat[0] if len(flat) == 1 else torch.cat(flat)
        shape = (self.size + 1, *pieces[0].shape[2:])
        packed = pieces[0].new_empty(shape) if self.covers else pieces[0].new_full(shape, fill)
        for rows, piece in zip(self.rows, pieces, strict=True):
            rows.put(packed, piece)
        return packed[:-1]


@attrs.frozen(eq=False)
class Calls:
    """A bias, sorted into calls of the kernel.

    Attributes:
        queries, keys: rows that each call reads.
        causal: whether each call is causal (query i of a block sees keys 0..i).
        masks: what each call adds to its scores, (C, 1, 1 or M, N), or None.
    """

    queries: Side
    keys: Side
    causal: tuple[bool, ...]
    masks: tuple[Tensor | None, ...]

    def __iter__(self) -> Iterator[tuple[Rows, Rows, bool, Tensor | None]]:
        return zip(self.queries.rows, self.keys.rows, self.causal, self.masks, strict=True)


def calls_of(inputs: common.Inputs) -> Calls:
    """Sort the bias into calls, once: every layer of a step passes the same bias, which keeps the answer.

    xformers hands operators nothing but the bias, so the bias is where the answer must be kept.
    """
    bias = inputs.attn_bias
    assert isinstance(bias, (FullBias, CachedBias)), "xformers checks the type before it runs an operator"
    kept: dict[object, Calls] = bias.__dict__.setdefault("fourm_calls", {})
    query, key = inputs.query, inputs.key
    width = query.shape[2] * query.shape[3]
    found = kept.get((query.dtype, width))
    if found is None:
        found = _sort(_Rectangles.of(bias), query.shape[1], key.shape[1], width, query.dtype)
        kept[(query.dtype, width)] = found
    return found


@attrs.frozen(eq=False)
class _Rectangles:
    """Rectangle b of the scores: queries from `q_starts[b]`, keys from `k_starts[b]`.

    Attributes:
        causal: (blocks,) whether query i sees only keys up to `i + ahead`.
        ahead: (blocks,) keys before the first query's own.
    """

    q_starts: Int64
    q_lengths: Int64
    k_starts: Int64
    k_lengths: Int64
    causal: Bools
    ahead: Int64

    @classmethod
    def of(cls, bias: Bias) -> "_Rectangles":
        q_spans = np.array(list(bias.q_seqinfo.intervals()), dtype=np.int64).reshape(-1, 2)
        k_spans = np.array(list(bias.k_seqinfo.intervals()), dtype=np.int64).reshape(-1, 2)
        live = (q_spans[:, 1] > q_spans[:, 0]) & (k_spans[:, 1] > k_spans[:, 0])
        (q_starts, q_stops), (k_starts, k_stops) = q_spans[live].T, k_spans[live].T
        m, n = q_stops - q_starts, k_stops - k_starts
        ahead = n - m if isinstance(bias, (CachedBias, PrefixedBias)) else np.zeros_like(m)
        assert (ahead >= 0).all(), "a query before the first key sees nothing"
        # A lone query with all its keys before it is not masked at all.
        masked = isinstance(bias, (CausalBias, CachedBias, PrefixedBias))
        causal = np.full(len(m), masked) & (ahead < n - 1)
        return cls(q_starts, m, k_starts, n, causal, ahead)

    def follows(self, block: int, run: Sequence[int]) -> bool:
        """Whether a block continues a run of equal neighbours, so that one view holds them all."""
        last = run[-1]
        same = self.q_lengths[last] == self.q_lengths[block] and self.k_lengths[last] == self.k_lengths[block]
        adjacent = self.q_starts[last] + self.q_lengths[last] == self.q_starts[block]
        step = self.k_starts[block] - self.k_starts[last]
        return bool(
            same and adjacent and (len(run) == 1 or step == self.k_starts[last] - self.k_starts[run[-2]])
        )


def _sort(blocks: _Rectangles, q_size: int, k_size: int, width: int, dtype: torch.dtype) -> Calls:
    shifted = blocks.causal & (blocks.ahead > 0)
    kinds = (~blocks.causal, blocks.causal & ~shifted, shifted)
    calls = [call for kind in kinds for call in _group(blocks, np.flatnonzero(kind), width)]
    calls.sort(key=lambda call: int(blocks.q_starts[call[0]]))
    return Calls(
        Side.of(blocks.q_starts, blocks.q_lengths, calls, q_size),
        Side.of(blocks.k_starts, blocks.k_lengths, calls, k_size),
        tuple(bool(blocks.causal[call[0]] and not shifted[call[0]]) for call in calls),
        tuple(_mask(blocks, call, dtype) for call in calls),
    )


def _group(blocks: _Rectangles, chosen: Int64, width: int) -> list[Int64]:
    """Split blocks of one kind (indices, ascending) into calls, as the module's docstring says.

    Args:
        blocks: all blocks.
        chosen: indices of those to split, ascending.
        width: numbers per token, over all heads.
    """
    is_long = (blocks.q_lengths + blocks.k_lengths)[chosen] * width >= LONG
    calls: list[list[int]] = []
    for block in chosen[is_long].tolist():
        if calls and blocks.follows(block, calls[-1]):
            calls[-1].append(block)
        else:
            calls.append([block])

    short = chosen[~is_long]
    q_lengths, k_lengths = blocks.q_lengths[short], blocks.k_lengths[short]
    # Two lengths cannot both be sorted: queries go by powers of two, keys exactly within each.
    order = np.lexsort((q_lengths, k_lengths, np.ceil(np.log2(q_lengths))))[::-1]
    rows = columns = real = 0
    bucket: list[int] = []
    for block, m, n in zip(
        short[order].tolist(), q_lengths[order].tolist(), k_lengths[order].tolist(), strict=True
    ):
        rows, columns, real = max(rows, m), max(columns, n), real + m * n
        if bucket and rows * columns * (len(bucket) + 1) - real > CALL_COST // width:
            calls.append(bucket)
            rows, columns, real, bucket = m, n, m * n, []
        bucket.append(block)
    calls += [bucket] if bucket else []
    return [np.array(sorted(call), dtype=np.int64) for call in calls]


def _mask(blocks: _Rectangles, call: Int64, dtype: torch.dtype) -> Tensor | None:
    """What to add to the scores of a call, (C, 1, 1 or M, N), or None where the kernel needs no help."""
    q_lengths, k_lengths, ahead = blocks.q_lengths[call], blocks.k_lengths[call], blocks.ahead[call]
    causal = bool(blocks.causal[call[0]])
    rows, columns = np.arange(q_lengths.max()), np.arange(k_lengths.max())
    shifted = causal and bool(ahead[0])
    # An unshifted causal query i sees keys 0..i, so padding shows only where queries outnumber keys.
    reach = np.minimum(q_lengths, len(columns)) if causal and not shifted else len(columns)
    if not shifted and (k_lengths >= reach).all():
        return None
    seen = columns < k_lengths[:, None, None]
    if shifted:
        seen = seen & (columns <= rows[:, None] + ahead[:, None, None])
    mask = torch.zeros(len(call), 1, *seen.shape[1:], dtype=dtype)
    return mask.masked_fill_(torch.from_numpy(~seen)[:, None], -torch.inf)


class _Op(common.AttentionOpBase):  # type: ignore[misc]  # the base is untyped
    SUPPORTED_DEVICES = {"cpu"}  # noqa: RUF012  # the base declares a plain set
    SUPPORTED_DTYPES = DTYPES
    SUPPORTED_MAX_K = 65536
    SUPPORTED_ATTN_BIAS_TYPES = (FullBias, CausalBias, CachedBias, PrefixedBias)
    SUPPORTS_DROPOUT = False
    SUPPORTS_CUSTOM_SCALE = True
    VARLEN_LSE_PACKED = True

    @classmethod
    def not_supported_reasons(cls, d: common.Inputs) -> list[str]:
        # The base refuses bfloat16 off CUDA for want of speed; the kernel computes it correctly.
        reasons: list[str] = super().not_supported_reasons(d)
        return [reason for reason in reasons if not reason.startswith("bf16 is only supported")]


class FwOp(_Op, common.AttentionFwOpBase):  # type: ignore[misc]  # the base is untyped
    """Forward pass: output (1, T, H, K) and log-sum-exp (1, H, T)."""

    OPERATOR = _forward
    NAME = "fourmF-cpu"

    @classmethod
    def apply(cls, inp: common.Inputs, needs_gradient: bool) -> tuple[Tensor, common.Context | None]:
        query, key, value = (_rows_contiguous(x[0]) for x in (inp.query, inp.key, inp.value))
        calls = calls_of(inp)
        if not calls.causal:
            out, lse = torch.zeros_like(query), query.new_full(query.shape[:2], -torch.inf)
        else:
            outs, lses = [], []
            for q_rows, k_rows, causal, mask in calls:
                q, k, v = q_rows.take(query), k_rows.take(key), k_rows.take(value)
                o, e = _forward(
                    q.transpose(1, 2),
                    k.transpose(1, 2),
                    v.transpose(1, 2),
                    0.0,
                    causal,
                    attn_mask=mask,
                    scale=inp.scale,
                )
                outs.append(o.transpose(1, 2))
                lses.append(e.transpose(1, 2))
            out = calls.queries.join(outs, fill=0.0)
            lse = calls.queries.join(lses, fill=-torch.inf) if needs_gradient else out
        if not needs_gradient:
            return out[None], None
        return out[None], common.Context(lse=lse.transpose(0, 1)[None], out=out[None])


class BwOp(_Op, common.AttentionBwOpBase):  # type: ignore[misc]  # the base is untyped
    """Backward pass: gradients of queries, keys and values from the saved output and log-sum-exp."""

    OPERATOR = _backward
    NAME = "fourmB-cpu"

    @classmethod
    def apply(cls, ctx: common.Context, inp: common.Inputs, grad: Tensor) -> common.Gradients:
        query, key, value = (_rows_contiguous(x[0]) for x in (inp.query, inp.key, inp.value))
        out, lse = ctx.out.reshape(query.shape), ctx.lse[0].transpose(0, 1)
        upstream = grad.reshape(query.shape).contiguous()
        calls = calls_of(inp)
        if not calls.causal:
            return common.Gradients(*(torch.zeros_like(x) for x in (inp.query, inp.key, inp.value)))
        grads: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for q_rows, k_rows, causal, mask in calls:
            pieces = _backward(
                q_rows.take_upstream(upstream).transpose(1, 2),
                q_rows.take(query).transpose(1, 2),
                k_rows.take(key).transpose(1, 2),
                k_rows.take(value).transpose(1, 2),
                q_rows.take(out).transpose(1, 2),
                q_rows.take(lse).transpose(1, 2),
                0.0,
                causal,
                attn_mask=mask,
                scale=inp.scale,
            )
            for joined, piece in zip(grads, pieces, strict=True):
                joined.append(piece.transpose(1, 2))
        sides = (calls.queries, calls.keys, calls.keys)
        dq, dk, dv = (side.join(joined, fill=0.0)[None] for side, joined in zip(sides, grads, strict=True))
        return common.Gradients(dq=dq, dk=dk, dv=dv)


def _rows_contiguous(packed: Tensor) -> Tensor:
    return packed if packed.stride(-1) == 1 else packed.contiguous()
