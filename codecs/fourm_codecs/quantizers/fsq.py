"""Finite scalar quantization: the codebook is a fixed grid, so there is nothing that could collapse.

Source: Mentzer et al. 2023, https://arxiv.org/abs/2309.15505, equations 1-3, as `vector-quantize-pytorch`
implements it. What we rely on stands in `tests/codecs/test_fsq.py`.

Shapes: (...) any leading axes, Z code dimensions (one per entry of `levels`).
"""

import math

import torch
from torch import Tensor, nn

from fourm_schema.errors import CodecError


class FiniteScalarQuantizer(nn.Module):
    """Round each code dimension to one of `levels[z]` values in [-1, 1]. It has no weights.

    Args:
        levels: values of each dimension, 3 or more.

    Raises:
        CodecError: if a dimension has fewer levels.
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        if not levels or min(levels) < 3:
            raise CodecError("fsq", "every code dimension has 3 levels or more", got=str(levels))
        # Here and not above: the package takes a second to load, which only learned codecs should cost.
        from vector_quantize_pytorch import FSQ

        self.levels = levels
        self._grid = FSQ(levels=list(levels))

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size)."""
        return math.prod(self.levels)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Round latents to the grid; gradients pass the rounding straight through.

        Args:
            latents: float (..., Z), any finite numbers; tanh bounds them.

        Returns:
            codes (..., Z) in [-1, 1], and their ids (...), int64.

        Raises:
            CodecError: if the last axis is not one number per entry of `levels`.
        """
        self._check_width(latents)
        flat = latents.reshape(1, -1, len(self.levels))
        codes, ids = self._grid(flat)
        return codes.reshape(latents.shape), ids.reshape(latents.shape[:-1]).long()

    def codes_of(self, ids: Tensor) -> Tensor:
        """The code (..., Z) that each id stands for.

        Raises:
            CodecError: if an id is not in [0, vocab_size).
        """
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.vocab_size):
            got = f"ids from {int(ids.min())} to {int(ids.max())}"
            raise CodecError("fsq", f"an id is in [0, {self.vocab_size})", got=got)
        codes: Tensor = self._grid.indices_to_codes(ids.reshape(1, -1))
        return codes.reshape(*ids.shape, len(self.levels)).to(torch.float32)

    def ids_of(self, codes: Tensor) -> Tensor:
        """The id (...), int64, of each code that `codes_of` or `forward` gave."""
        self._check_width(codes)
        ids: Tensor = self._grid.codes_to_indices(codes)
        return ids.long()

    def _check_width(self, codes: Tensor) -> None:
        if codes.shape[-1] != len(self.levels):
            raise CodecError(
                "fsq", f"a code has {len(self.levels)} numbers, one per entry of {self.levels}",
                got=str(codes.shape[-1]),
            )  # fmt: skip
