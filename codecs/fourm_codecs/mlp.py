"""A residual network around a quantizer: a vector -> one code, written in several ids -> the vector.

Source: the global features of 4M-21 (Bachmann et al. 2024, https://arxiv.org/abs/2406.09406, appendix) are
written in codes of a network without attention, each id from a codebook of its own.

Shapes: N vectors, C numbers of a vector, Z numbers of a code, D width.
"""

from collections.abc import Iterable

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fourm_codecs.code_network import CodeNetwork, Standard, linear
from fourm_codecs.quantizers.interface import Quantized, Quantizer
from fourm_codecs.vit import MLP_RATIO, NORM_EPS, Size


class ResidualBlock(nn.Module):
    """A feed-forward net after a norm, added to what came in."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, NORM_EPS)
        self.up, self.down = linear(dim, dim * MLP_RATIO), linear(dim * MLP_RATIO, dim)

    def forward(self, x_ND: Tensor) -> Tensor:
        added_ND: Tensor = self.down(F.gelu(self.up(self.norm(x_ND))))
        return x_ND + added_ND


class VectorAutoencoder(CodeNetwork):
    """Vectors (N, 1, C), brought to mean 0 and deviation 1 number by number.

    Args:
        dim: C.
        quantizer: of the code; gives it as many ids as a vector has.
        size: of the two networks.
    """

    def __init__(self, dim: int, quantizer: Quantizer, size: Size) -> None:
        super().__init__()
        self.quantizer, width = quantizer, quantizer.width
        self.from_vector, self.to_code = linear(dim, size.dim), linear(size.dim, width)
        self.from_code, self.to_vector = linear(width, size.dim), linear(size.dim, dim)
        self.encoder = nn.Sequential(
            *(ResidualBlock(size.dim) for _ in range(size.depth)), nn.LayerNorm(size.dim, NORM_EPS)
        )
        self.decoder = nn.Sequential(
            *(ResidualBlock(size.dim) for _ in range(size.depth)), nn.LayerNorm(size.dim, NORM_EPS)
        )
        self.scale = Standard(dim)

    def measure(self, values: Iterable[NDArray[np.generic]]) -> None:
        self.scale.measure(batch[:, 0] for batch in values)

    def encode(self, inputs: Tensor) -> Quantized:
        latents: Tensor = self.to_code(self.encoder(self.from_vector(self.scale(inputs[:, 0]))))
        quantized: Quantized = self.quantizer(latents[:, None])
        return quantized

    def decode(self, codes_NLZ: Tensor) -> Tensor:
        numbers_NC: Tensor = self.to_vector(self.decoder(self.from_code(codes_NLZ[:, 0])))
        return self.scale.undo(numbers_NC)[:, None]

    def compare(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        return F.smooth_l1_loss(self.scale(outputs), self.scale(inputs))
