"""Vision transformer autoencoders around a quantizer: patches -> codes -> patches.

Source: pre-norm blocks of Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929; one code per patch as in
4M, Mizrahi et al. 2023, https://arxiv.org/abs/2312.06647, section 3.1.

Shapes: N images, L patches (row by row), C numbers of a patch, D width, H heads, K = D / H, Z code
dimensions.
"""

from collections.abc import Iterable

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fourm_codecs.code_network import CodeNetwork, Standard, linear, split
from fourm_codecs.quantizers.interface import Quantized, Quantizer

MLP_RATIO = 4
NORM_EPS = 1e-6
CELL_WIDTH = 16
NOTHING_IGNORED = -100


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


def sincos_2d(grid: tuple[int, int], dim: int, fitted: tuple[int, int] | None = None) -> Tensor:
    """Fixed positions (L, D): sine and cosine of the row in one half, of the column in the other.

    Wavelengths run from 2 pi to 10,000 * 2 pi (Vaswani et al. 2017, section 3.5, per axis).

    Args:
        grid: rows and columns of patches.
        dim: D.
        fitted: the grid that the weights were fitted on, where it is another. Its extent is stretched over
            this one, so that no patch lies outside of what was seen.

    >>> sincos_2d((2, 3), 8).shape
    torch.Size([6, 8])
    """
    quarter = dim // 4
    rate = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    axes = [_places(side, seen) for side, seen in zip(grid, fitted or grid, strict=True)]
    row, column = torch.meshgrid(*axes, indexing="ij")
    angles = [axis.reshape(-1, 1) * rate for axis in (row, column)]
    parts = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1).to(torch.float32)


def _places(side: int, seen: int) -> Tensor:
    """The centres of `side` patches, laid over the extent of `seen` ones that stand at 0, 1, 2..."""
    places = torch.arange(side, dtype=torch.float64)
    return places if side == seen else (places + 0.5) * (seen / side) - 0.5


class Block(nn.Module):
    """Attention and a feed-forward net, each after a norm and added to what came in."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        dim, hidden = size.dim, size.dim * MLP_RATIO
        self.heads = size.heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim, NORM_EPS), nn.LayerNorm(dim, NORM_EPS)
        self.qkv, self.merge = linear(dim, 3 * dim), linear(dim, dim)
        self.up, self.down = linear(dim, hidden), linear(hidden, dim)

    def forward(self, x_NLD: Tensor) -> Tensor:
        count, length, dim = x_NLD.shape
        qkv = self.qkv(self.norm_attention(x_NLD)).reshape(count, length, 3, self.heads, dim // self.heads)
        q_NHLK, k_NHLK, v_NHLK = qkv.permute(2, 0, 3, 1, 4)
        seen_NHLK = F.scaled_dot_product_attention(q_NHLK, k_NHLK, v_NHLK)
        x_NLD = x_NLD + self.merge(seen_NHLK.transpose(1, 2).reshape(count, length, dim))
        added_NLD: Tensor = self.down(F.gelu(self.up(self.norm_mlp(x_NLD))))
        return x_NLD + added_NLD


class PatchNetwork(CodeNetwork):
    """Patches -> one id each -> patches, by two vision transformers.

    Args:
        grid: (rows, columns) of patches that it is fitted on.
        patch_dim: C.
        quantizer: of the codes.
        size: of the two transformers.
    """

    positions: Tensor

    def __init__(self, grid: tuple[int, int], patch_dim: int, quantizer: Quantizer, size: Size) -> None:
        super().__init__()
        self.quantizer, self.fitted, self.grid = quantizer, grid, grid
        self.register_buffer("positions", sincos_2d(grid, size.dim), persistent=False)
        self.from_patch, self.to_code = linear(patch_dim, size.dim), linear(size.dim, quantizer.width)
        self.from_code, self.to_patch = linear(quantizer.width, size.dim), linear(size.dim, patch_dim)
        self.encoder = nn.Sequential(
            *(Block(size) for _ in range(size.depth)), nn.LayerNorm(size.dim, NORM_EPS)
        )
        self.decoder = nn.Sequential(
            *(Block(size) for _ in range(size.depth)), nn.LayerNorm(size.dim, NORM_EPS)
        )

    def encode(self, inputs: Tensor) -> Quantized:
        quantized: Quantized = self.quantizer(
            self.to_code(self.encoder(self.from_patch(self.into(inputs)) + self.positions))
        )
        return quantized

    def decode(self, codes_NLZ: Tensor) -> Tensor:
        patches_NLC: Tensor = self.to_patch(self.decoder(self.from_code(codes_NLZ) + self.positions))
        return self.out_of(patches_NLC)

    def see(self, grid: tuple[int, int]) -> None:
        """Take images of so many rows and columns of patches from now on."""
        self.grid = grid
        self.positions = sincos_2d(grid, self.positions.shape[1], self.fitted)

    def into(self, inputs: Tensor) -> Tensor:
        """Patches (N, L, C) of the values."""
        return inputs

    def out_of(self, patches_NLC: Tensor) -> Tensor:
        """What the codec reads values from."""
        return patches_NLC


class Autoencoder(PatchNetwork):
    """Patches of numbers in [-1, 1], by the squared error of what comes back."""

    def compare(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        return F.mse_loss(outputs, inputs)


class ClassAutoencoder(PatchNetwork):
    """Patches of class numbers: a learned vector per cell goes in, logits of each cell come out.

    Args:
        grid, quantizer, size: as above.
        cells: P, of a patch.
        classes: K.
        ignore: the class whose cells do not count.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        cells: int,
        classes: int,
        quantizer: Quantizer,
        size: Size,
        ignore: int | None = None,
    ) -> None:
        super().__init__(grid, cells * CELL_WIDTH, quantizer, size)
        # As a layer without a lookup of its own, so that its first weights are drawn like those of others.
        self.from_class, self.to_class = linear(classes, CELL_WIDTH), linear(CELL_WIDTH, classes)
        self.ignore = NOTHING_IGNORED if ignore is None else ignore

    def into(self, inputs: Tensor) -> Tensor:
        cells_NLPE = F.embedding(inputs.long(), self.from_class.weight.T) + self.from_class.bias
        return cells_NLPE.flatten(2)

    def out_of(self, patches_NLC: Tensor) -> Tensor:
        logits_NLPK: Tensor = self.to_class(split(patches_NLC, CELL_WIDTH))
        return logits_NLPK

    def compare(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        logits_RK, classes_R = outputs.flatten(0, 2), inputs.long().flatten()
        counted = (classes_R != self.ignore).sum().clamp(min=1)
        return F.cross_entropy(logits_RK, classes_R, ignore_index=self.ignore, reduction="sum") / counted


class FeatureAutoencoder(PatchNetwork):
    """Patches of feature vectors, brought to mean 0 and deviation 1 channel by channel.

    Args:
        grid, quantizer, size: as above.
        cells: P, of a patch.
        channels: K, of a cell.
    """

    def __init__(
        self, grid: tuple[int, int], cells: int, channels: int, quantizer: Quantizer, size: Size
    ) -> None:
        width = max(CELL_WIDTH, size.dim // cells)
        super().__init__(grid, cells * width, quantizer, size)
        self.width, self.channels = width, channels
        self.from_cell, self.to_cell = linear(channels, width), linear(width, channels)
        self.scale = Standard(channels)

    def measure(self, values: Iterable[NDArray[np.generic]]) -> None:
        self.scale.measure(batch.reshape(-1, self.channels) for batch in values)

    def into(self, inputs: Tensor) -> Tensor:
        cells_NLPK = self.scale(split(inputs, self.channels))
        patches_NLC: Tensor = self.from_cell(cells_NLPK).flatten(2)
        return patches_NLC

    def out_of(self, patches_NLC: Tensor) -> Tensor:
        cells_NLPK = self.to_cell(split(patches_NLC, self.width))
        return self.scale.undo(cells_NLPK).flatten(2)

    def compare(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        shown, wanted = (self.scale(split(side, self.channels)) for side in (outputs, inputs))
        return F.smooth_l1_loss(shown, wanted)
