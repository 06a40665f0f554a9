"""A vision transformer autoencoder around a finite scalar quantizer: patches -> codes -> patches.

Source: pre-norm blocks of Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929; one code per patch as in
4M, Mizrahi et al. 2023, https://arxiv.org/abs/2312.06647, section 3.1.

Shapes: N images, L patches (row by row), C numbers of a patch, D width, H heads, K = D / H, Z code
dimensions.
"""

import math

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from fourm_codecs.quantizers.fsq import FiniteScalarQuantizer

MLP_RATIO = 4
NORM_EPS = 1e-6


@attrs.frozen
class Size:
    """Width, blocks on each side of the codes, and attention heads."""

    dim: int
    depth: int
    heads: int


SIZES: dict[str, Size] = {
    "tiny": Size(64, 2, 4),
    # Those of 4M's tokenizers.
    "small": Size(512, 8, 8),
    "base": Size(768, 12, 12),
}


def sincos_2d(grid: tuple[int, int], dim: int) -> Tensor:
    """Fixed positions (L, D): sine and cosine of the row in one half, of the column in the other.

    Wavelengths run from 2 pi to 10,000 * 2 pi (Vaswani et al. 2017, section 3.5, per axis).

    >>> sincos_2d((2, 3), 8).shape
    torch.Size([6, 8])
    """
    quarter = dim // 4
    rate = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    row, column = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * rate for axis in (row, column)]
    parts = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1).to(torch.float32)


class Block(nn.Module):
    """Attention and a feed-forward net, each after a norm and added to what came in."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        dim, hidden = size.dim, size.dim * MLP_RATIO
        self.heads = size.heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim, NORM_EPS), nn.LayerNorm(dim, NORM_EPS)
        self.qkv, self.merge = _linear(dim, 3 * dim), _linear(dim, dim)
        self.up, self.down = _linear(dim, hidden), _linear(hidden, dim)

    def forward(self, x_NLD: Tensor) -> Tensor:
        count, length, dim = x_NLD.shape
        qkv = self.qkv(self.norm_attention(x_NLD)).reshape(count, length, 3, self.heads, dim // self.heads)
        q_NHLK, k_NHLK, v_NHLK = qkv.permute(2, 0, 3, 1, 4)
        seen_NHLK = F.scaled_dot_product_attention(q_NHLK, k_NHLK, v_NHLK)
        x_NLD = x_NLD + self.merge(seen_NHLK.transpose(1, 2).reshape(count, length, dim))
        added_NLD: Tensor = self.down(F.gelu(self.up(self.norm_mlp(x_NLD))))
        return x_NLD + added_NLD


class Autoencoder(nn.Module):
    """Patches -> one id each -> patches.

    Args:
        grid: (rows, columns) of patches.
        patch_dim: C.
        levels: of the quantizer.
        size: of the two transformers.
        generator: draws the first weights; None leaves them unset, for weights that are loaded.
    """

    positions: Tensor

    def __init__(
        self,
        grid: tuple[int, int],
        patch_dim: int,
        levels: tuple[int, ...],
        size: Size,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.quantizer = FiniteScalarQuantizer(levels)
        self.register_buffer("positions", sincos_2d(grid, size.dim), persistent=False)
        self.from_patch, self.to_code = _linear(patch_dim, size.dim), _linear(size.dim, len(levels))
        self.from_code, self.to_patch = _linear(len(levels), size.dim), _linear(size.dim, patch_dim)
        self.encoder = nn.Sequential(
            *(Block(size) for _ in range(size.depth)), nn.LayerNorm(size.dim, NORM_EPS)
        )
        self.decoder = nn.Sequential(
            *(Block(size) for _ in range(size.depth)), nn.LayerNorm(size.dim, NORM_EPS)
        )
        if generator is not None:
            _draw(self, generator)

    def encode(self, patches_NLC: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (N, L, Z), with gradients straight through the rounding, and their ids (N, L)."""
        x_NLD = self.encoder(self.from_patch(patches_NLC) + self.positions)
        codes_NLZ, ids_NL = self.quantizer(self.to_code(x_NLD))
        return codes_NLZ, ids_NL

    def decode(self, codes_NLZ: Tensor) -> Tensor:
        """Patches (N, L, C) of codes."""
        x_NLD = self.decoder(self.from_code(codes_NLZ) + self.positions)
        patches_NLC: Tensor = self.to_patch(x_NLD)
        return patches_NLC

    def forward(self, patches_NLC: Tensor) -> Tensor:
        """Patches after a round trip."""
        return self.decode(self.encode(patches_NLC)[0])


def _linear(inputs: int, outputs: int) -> nn.Linear:
    # Its own first weights would be drawn from the global generator.
    layer = skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]  # torch gives it no types
    assert isinstance(layer, nn.Linear)
    return layer


@torch.no_grad()
def _draw(network: Autoencoder, generator: torch.Generator) -> None:
    """Xavier-uniform matrices (Glorot and Bengio 2010, equation 16), zero biases; norms keep their ones."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            bound = math.sqrt(6 / (module.in_features + module.out_features))
            module.weight.uniform_(-bound, bound, generator=generator)
            module.bias.zero_()
