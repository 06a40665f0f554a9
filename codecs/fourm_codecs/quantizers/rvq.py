"""Residual vector quantization: the second table writes what the first left, and so on.

Source: Zeghidour et al. 2021, https://arxiv.org/abs/2107.03312, algorithm 1, as `vector-quantize-pytorch`
implements it.

Shapes: as in `interface.py`.
"""

from torch import Tensor, nn

from fourm_codecs.quantizers.tables import COMMITMENT_WEIGHT, DECAY, TableQuantizer

WIDTH = 64


class ResidualQuantizer(TableQuantizer):
    """A code is a sum of rows, one of each table; each id says what those before it left.

    Args:
        vocab_size: rows of each table.
        steps: T.

    Raises:
        CodecError: if there are fewer than two rows.
    """

    name = "rvq"

    def __init__(self, vocab_size: int, steps: int) -> None:
        super().__init__(vocab_size, WIDTH, steps)

    def tables(self, dead_below: float, from_latents: bool) -> nn.Module:
        # Here and not above: the package takes a second to load, which only learned codecs should cost.
        from vector_quantize_pytorch import ResidualVQ

        tables: nn.Module = ResidualVQ(
            dim=self.width,
            num_quantizers=self.ids_per_code,
            codebook_size=self.vocab_size,
            kmeans_init=from_latents,
            decay=DECAY,
            commitment_weight=COMMITMENT_WEIGHT,
            rotation_trick=False,
            threshold_ema_dead_code=dead_below,
            sync_codebook=False,
        )
        return tables

    def codes_of(self, ids: Tensor) -> Tensor:
        self.check_ids(ids)
        codes: Tensor = self._tables.get_output_from_indices(ids.reshape(1, -1, self.ids_per_code))  # type: ignore[operator]  # torch types any attribute of a module as Tensor
        return codes.reshape(*ids.shape[:-1], self.width)
