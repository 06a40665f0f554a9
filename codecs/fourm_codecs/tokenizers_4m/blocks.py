"""The parts of 4M's vision transformers, under the names that their tensors have.

Source: Mizrahi et al. 2023, https://arxiv.org/abs/2312.06647, appendix on tokenization; ConvNeXt blocks of
Liu et al. 2022, https://arxiv.org/abs/2201.03545.
Shapes: N samples, L tokens, D width, C channels, H rows, W columns; h, w of the grid of tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourm_codecs.tokenizers_4m.design import EXPANSION, Vit

NORM_EPS = 1e-6


def position_table(grid: tuple[int, int], dim: int) -> Tensor:
    """4M's sines and cosines (1, D, h, w), every step in float32.

    Places are counted down the columns and laid along the rows: on a square grid the first half of the
    channels tells the row, on any other they tell neither. Models have learned them so.

    >>> position_table((2, 3), 8).shape
    torch.Size([1, 8, 2, 3])
    """
    rows, columns = grid
    exponents = torch.arange(dim // 4, dtype=torch.float32) / (dim // 4)
    rate = 1.0 / 10_000**exponents
    outer = torch.arange(columns, dtype=torch.float32).repeat_interleave(rows)
    inner = torch.arange(rows, dtype=torch.float32).repeat(columns)
    angles = [torch.outer(places, rate) for places in (outer, inner)]
    table_LD = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return table_LD.T.reshape(1, dim, rows, columns)


def placed(x_NDhw: Tensor, table_1Dhw: Tensor) -> Tensor:
    """Add positions, stretched to the grid of the tokens, and lay these row by row: (N, L, D)."""
    grid = x_NDhw.shape[2:]
    if table_1Dhw.shape[2:] != grid:
        table_1Dhw = F.interpolate(table_1Dhw, size=grid, mode="bicubic", align_corners=False)
    return (x_NDhw + table_1Dhw).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Attention of every token to every token."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x_NLD: Tensor) -> Tensor:
        count, length, dim = x_NLD.shape
        qkv = self.qkv(x_NLD).reshape(count, length, 3, self.heads, dim // self.heads)
        q_NHLK, k_NHLK, v_NHLK = qkv.permute(2, 0, 3, 1, 4)
        seen_NHLK = F.scaled_dot_product_attention(q_NHLK, k_NHLK, v_NHLK)
        merged: Tensor = self.proj(seen_NHLK.transpose(1, 2).reshape(count, length, dim))
        return merged


class FeedForward(nn.Module):
    """Two layers with an activation between them."""

    def __init__(self, dim: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, EXPANSION * dim), nn.Linear(EXPANSION * dim, dim)
        self.activation = activation

    def forward(self, x_NLD: Tensor) -> Tensor:
        found: Tensor = self.fc2(self.activation(self.fc1(x_NLD)))
        return found


class Block(nn.Module):
    """Attention and a feed-forward net, each after a norm and added to what came in."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, NORM_EPS), nn.LayerNorm(dim, NORM_EPS)
        self.attn, self.mlp = Attention(dim, heads), FeedForward(dim, nn.GELU())

    def forward(self, x_NLD: Tensor) -> Tensor:
        x_NLD = x_NLD + self.attn(self.norm1(x_NLD))
        added: Tensor = self.mlp(self.norm2(x_NLD))
        return x_NLD + added


class Trunk(nn.Module):
    """What encoder and decoder have in common: positions, blocks and the last feed-forward net."""

    def __init__(self, shape: Vit) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(torch.empty(1, shape.dim, *shape.grid), requires_grad=False)
        self.blocks = nn.ModuleList(Block(shape.dim, shape.heads) for _ in range(shape.depth))
        self.has_post_mlp = shape.post_mlp
        if shape.post_mlp:
            self.norm_mlp = nn.LayerNorm(shape.dim, NORM_EPS)
            self.post_mlp = FeedForward(shape.dim, nn.Tanh())

    def through(self, x_NDhw: Tensor) -> Tensor:
        """Tokens on a grid -> tokens (N, L, D)."""
        x_NLD = placed(x_NDhw, self.pos_emb)
        for block in self.blocks:
            x_NLD = block(x_NLD)
        return x_NLD + self.post_mlp(self.norm_mlp(x_NLD)) if self.has_post_mlp else x_NLD


class ConvNext(nn.Module):
    """x + gamma * pw2(gelu(pw1(norm(depthwise 7x7 of x)))), the norm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, NORM_EPS)
        self.pwconv1 = nn.Linear(channels, EXPANSION * channels)
        self.pwconv2 = nn.Linear(EXPANSION * channels, channels)
        self.gamma = nn.Parameter(torch.empty(channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NHWC = self.norm(self.dwconv(x_NCHW).permute(0, 2, 3, 1))
        y_NHWC = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y_NHWC)))
        added: Tensor = y_NHWC.permute(0, 3, 1, 2)
        return x_NCHW + added
