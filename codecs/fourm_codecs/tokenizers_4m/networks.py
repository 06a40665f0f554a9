"""Encoders and decoders of 4M's tokenizers, under the names that their tensors have.

Shapes: N samples, C channels, H rows, W columns; D width, L tokens on a grid of h x w; P side of a patch.
"""

from torch import Tensor, nn

from fourm_codecs.tokenizers_4m.blocks import ConvNext, Trunk
from fourm_codecs.tokenizers_4m.design import Mlp, Vit


class VitEncoder(Trunk):
    """Images or feature maps (N, C, H, W) -> tokens on a grid (N, D, h, w)."""

    def __init__(self, shape: Vit, channels: int) -> None:
        super().__init__(shape)
        self.proj = nn.Conv2d(channels, shape.dim, shape.patch, shape.patch)
        self.out_dim = shape.dim

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NDhw = self.proj(x_NCHW)
        return self.through(x_NDhw).transpose(1, 2).reshape(x_NDhw.shape)


class VitDecoder(Trunk):
    """Tokens on a grid (N, D, h, w) -> images or feature maps (N, C, H, W)."""

    def __init__(self, shape: Vit, channels: int) -> None:
        super().__init__(shape)
        self.patch, self.channels, self.in_dim = shape.patch, channels, shape.dim
        self.out_proj = nn.Linear(shape.dim, channels * shape.patch**2)
        self.has_out_conv = shape.out_conv
        if shape.out_conv:
            self.out_conv = nn.Sequential(ConvNext(channels), ConvNext(channels))

    def forward(self, x_NDhw: Tensor) -> Tensor:
        count, _, rows, columns = x_NDhw.shape
        patches = self.out_proj(self.through(x_NDhw))
        # A patch has its channels first, unlike those of the model's pixels.
        patches = patches.reshape(count, rows, columns, self.channels, self.patch, self.patch)
        x_NCHW: Tensor = patches.permute(0, 3, 1, 4, 2, 5).reshape(
            count, self.channels, rows * self.patch, columns * self.patch
        )
        return self.out_conv(x_NCHW) if self.has_out_conv else x_NCHW


class MlpBlock(nn.Module):
    """The layers of one block; named as they are since they are numbered in the files."""

    def __init__(self, shape: Mlp) -> None:
        super().__init__()
        hidden = shape.dim * shape.expansion
        self.block = nn.Sequential(nn.Linear(shape.dim, hidden), nn.GELU(), nn.Linear(hidden, shape.dim))


class BottleneckMlp(nn.Module):
    """Vectors (N, C, h, w) -> vectors, each place for itself: x + W2 gelu(W1 norm(x)), block after block."""

    def __init__(self, shape: Mlp, inputs: int, outputs: int) -> None:
        super().__init__()
        self.in_dim, self.out_dim = inputs, outputs
        self.linear_in, self.linear_out = nn.Linear(inputs, shape.dim), nn.Linear(shape.dim, outputs)
        self.blocks = nn.ModuleList(MlpBlock(shape) for _ in range(shape.depth))
        self.layernorms = nn.ModuleList(nn.LayerNorm(shape.dim) for _ in range(shape.depth))

    def forward(self, x_NChw: Tensor) -> Tensor:
        x_NhwC = self.linear_in(x_NChw.permute(0, 2, 3, 1))
        for norm, layers in zip(self.layernorms, self.blocks, strict=True):
            assert isinstance(layers, MlpBlock), "the list holds these"
            x_NhwC = x_NhwC + layers.block(norm(x_NhwC))
        found: Tensor = self.linear_out(x_NhwC)
        return found.permute(0, 3, 1, 2)
