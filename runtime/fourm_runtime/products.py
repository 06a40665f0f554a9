"""Matrix products of linear layers: oneDNN's on a CPU in float32 where they are large, PyTorch's elsewhere.

PyTorch multiplies float32 on a CPU by MKL. oneDNN, which it has as well, is a tenth to a quarter quicker at
what a layer computes forward and for the gradient of its input, not for that of its weight; but it prepares
each new size for most of a millisecond. Packed batches have new sizes all the time, so small products stay.

Shapes: T tokens, D inputs, E outputs of a layer.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

LARGE = 2**27
"""Multiplications from which a product is worth the preparation, in a network that meets a size six times."""

_HAS_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def is_onednn(x_TD: torch.Tensor, weight_ED: torch.Tensor) -> bool:
    """Whether oneDNN can multiply them as they are."""
    return (
        _HAS_ONEDNN
        and x_TD.device.type == "cpu"
        and x_TD.dtype == weight_ED.dtype == torch.float32
        and x_TD.shape[0] > 0
        and not torch.is_autocast_enabled("cpu")
    )


def _is_large(x_TD: torch.Tensor, weight_ED: torch.Tensor) -> bool:
    """Whether oneDNN can multiply them, and is worth its preparation."""
    return x_TD.shape[0] * weight_ED.numel() >= LARGE and is_onednn(x_TD, weight_ED)


def product(x_TD: torch.Tensor, weight_ED: torch.Tensor, bias_E: torch.Tensor | None = None) -> torch.Tensor:
    """x weight^T + bias (T, E), without a gradient."""
    if not _is_large(x_TD, weight_ED):
        return functional.linear(x_TD, weight_ED, bias_E)
    made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x_TD, weight_ED, bias_E, "none", [], "")
    return made


class Linear(nn.Linear):
    """`torch.nn.Linear`, multiplied by `product`. Where that is oneDNN's it has a first derivative only."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """x weight^T + bias, for any axes before D."""
        x_TD = input
        if torch.compiler.is_compiling() or x_TD.dim() != 2 or not _is_large(x_TD, self.weight):
            return functional.linear(x_TD, self.weight, self.bias)
        out: torch.Tensor = _Product.apply(x_TD, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


# Types of ctx: torch leaves open what a function keeps on it.
class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_TD: torch.Tensor, weight_ED: torch.Tensor, bias_E: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x_TD, weight_ED)
        return product(x_TD, weight_ED, bias_E)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_TE: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # the base takes any
        x_TD, weight_ED = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(upstream_TE, weight_ED.t()) if of_x else None,
            upstream_TE.t() @ x_TD if of_weight else None,
            upstream_TE.sum(0) if of_bias else None,
        )
