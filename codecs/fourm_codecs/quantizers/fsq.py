"""Finite scalar quantization: the codebook is a fixed grid, so there is nothing that could collapse.

Source: Mentzer et al. 2023, https://arxiv.org/abs/2309.15505, equations 1-3, as `vector-quantize-pytorch`
implements it. What we rely on stands in `tests/codecs/test_fsq.py`.

Shapes: (...) any leading axes, Z code dimensions (one per entry of `levels`).
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

        self.levels = levels
        self._grid = FSQ(levels=list(levels))

    @property
    def vocab_size(self) -> int:
        return math.prod(self.levels)

    @property
    def width(self) -> int:
        return len(self.levels)

    @property
    def codebook(self) -> list[int]:
        return list(self.levels)

    def forward(self, latents: Tensor) -> Quantized:
        """Round latents (..., Z) to the grid; tanh bounds them, so any finite numbers will do."""
        self.check_width(latents)
        flat = latents.reshape(1, -1, len(self.levels))
        codes, ids = self._grid(flat)
        return Quantized(
            codes.reshape(latents.shape), ids.reshape(latents.shape[:-1]).long(), latents.new_zeros(())
        )

    def codes_of(self, ids: Tensor) -> Tensor:
        """The code (..., Z) that each id stands for."""
        self.check_ids(ids)
        codes: Tensor = self._grid.indices_to_codes(ids.reshape(1, -1))
        return codes.reshape(*ids.shape, len(self.levels)).float()

    def ids_of(self, codes: Tensor) -> Tensor:
        """The id (...), int64, of each code that `codes_of` or `forward` gave."""
        self.check_width(codes)
        ids: Tensor = self._grid.codes_to_indices(codes)
        return ids.long()
