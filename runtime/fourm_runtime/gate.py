"""The second half of a gated MLP, keeping for the backward pass only what cannot be computed again at once.

Plain autograd keeps four arrays of the hidden width for each token: what enters the activation, what leaves
it, the gate, and their product. Two are enough: the others are an activation and a product away.

Source: checkpointing of cheap operations, Chen et al. 2016, https://arxiv.org/abs/1604.06174, section 4.3.
Shapes: T tokens, H hidden width, D width.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fourm_runtime.products import product


def gated_silu(
    inner_TH: torch.Tensor, gate_TH: torch.Tensor, weight_DH: torch.Tensor, bias_D: torch.Tensor | None
) -> torch.Tensor:
    """(silu(inner) * gate) weight^T + bias; (T, D), for any axes before H. It has a first derivative only."""
    out: torch.Tensor = _GatedSilu.apply(inner_TH, gate_TH, weight_DH, bias_D)  # type: ignore[no-untyped-call]
    return out


# Types of ctx: torch leaves open what a function keeps on it.
class _GatedSilu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inner: torch.Tensor,
        gate: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(inner, gate, weight)
        hidden = functional.silu(inner).mul_(gate)
        return product(hidden.flatten(0, -2), weight, bias).view(*hidden.shape[:-1], weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # the base takes any
        inner, gate, weight = ctx.saved_tensors
        active = functional.silu(inner)
        weight_gradient = bias_gradient = None
        if ctx.needs_input_grad[2]:
            gated = (active * gate).flatten(0, -2)
            weight_gradient = (upstream.flatten(0, -2).t() @ gated).to(weight.dtype)
        if ctx.needs_input_grad[3]:
            bias_gradient = upstream.flatten(0, -2).sum(0).to(weight.dtype)
        hidden = product(upstream.flatten(0, -2), weight.to(upstream.dtype).t()).view_as(inner)
        gate_gradient = active.mul_(hidden)
        inner_gradient = torch.ops.aten.silu_backward(hidden.mul_(gate), inner)
        return inner_gradient, gate_gradient, weight_gradient, bias_gradient
