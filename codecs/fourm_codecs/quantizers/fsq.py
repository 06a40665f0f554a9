"""Finite scalar quantization: the codebook is a fixed grid, so there is nothing that could collapse.

Source: Mentzer et al. 2023, https://arxiv.org/abs/2309.15505, equations 1-3, as `vector-quantize-pytorch`
implements it. What we rely on stands in `tests/codecs/test_fsq.py`.

Shapes: as in `interface.py`; a code has a number for each entry of `levels`.
"""

import math

from torch import Tensor

from fourm_codecs.quantizers.interface import Quantized, Quantizer
from fourm_schema.errors import CodecError


class FiniteScalarQuantizer(Quantizer):
    """Round each code dimension to one of `levels[z]` values in [-1, 1]. It has no weights.

    Args:
        levels: values of each dimension, 3 or more.

    Raises:
        CodecError: if a dimension has fewer levels.
    """

    name = "fsq"

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        if not levels or min(levels) < 3:
            raise CodecError("fsq", "every code dimension has 3 levels or more", got=str(levels))
        # Here and not above: the package takes a second to load, which only learned codecs should cost.
        from vector_quantize_pytorch import FSQ

        self.levels, self.vocab_size, self.width = levels, math.prod(levels), len(levels)
        self._grid = FSQ(levels=list(levels))

    @property
    def codebook(self) -> list[int]:
        return list(self.levels)

    def forward(self, latents: Tensor) -> Quantized:
        """Round latents (..., Z) to the grid; tanh bounds them, so any finite numbers will do."""
        self.check_width(latents)
        codes, ids = self._grid(latents.reshape(1, -1, self.width))
        ids = ids.reshape(*latents.shape[:-1], 1).long()
        return Quantized(codes.reshape(latents.shape), ids, latents.new_zeros(()))

    def codes_of(self, ids: Tensor) -> Tensor:
        self.check_ids(ids)
        codes: Tensor = self._grid.indices_to_codes(ids.reshape(1, -1))
        return codes.reshape(*ids.shape[:-1], self.width).float()

    def ids_of(self, codes: Tensor) -> Tensor:
        """The ids (..., 1), int64, of codes that `codes_of` or `forward` gave."""
        self.check_width(codes)
        ids: Tensor = self._grid.codes_to_indices(codes)
        return ids.long()[..., None]
