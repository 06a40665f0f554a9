"""Vector quantization: a code is the nearest row of a table, or of one table for each part of it.

Rows follow the mean of the latents that fall to them; a row that hardly any falls to starts again at a latent
of the batch. With several parts (product quantization) a code is cut into pieces of equal width, each with a
table and an id of its own.

Sources, all as `vector-quantize-pytorch` implements them: van den Oord et al. 2017,
https://arxiv.org/abs/1711.00937, equation 3 and appendix A.1 (moving averages); Yu et al. 2021,
https://arxiv.org/abs/2110.04627, section 3.2 (few numbers of a code, nearest in direction); Dhariwal et al.
2020, https://arxiv.org/abs/2005.00341, section 3.1 (rows that start again); Jegou et al. 2011, section 2.2
(products).

Shapes: as in `interface.py`.
"""

from torch import Tensor, nn

from fourm_codecs.quantizers.tables import COMMITMENT_WEIGHT, DECAY, TableQuantizer

PART_WIDTH = 8
"""Numbers of a part: few keep more rows in use."""


class VectorQuantizer(TableQuantizer):
    """The nearest rows of learned tables.

    Args:
        vocab_size: rows of each table.
        parts: T: 1, or how many ids a value is written in.
        cosine: nearest in direction, rows of length one; otherwise nearest in distance.

    Raises:
        CodecError: if there are fewer than two rows.
    """

    def __init__(self, vocab_size: int, parts: int = 1, cosine: bool = True) -> None:
        self.name, self._cosine = "vq" if parts == 1 else "pq", cosine
        super().__init__(vocab_size, parts * PART_WIDTH, parts)

    def tables(self, dead_below: float, from_latents: bool) -> nn.Module:
        # Here and not above: the package takes a second to load, which only learned codecs should cost.
        from vector_quantize_pytorch import VectorQuantize

        tables: nn.Module = VectorQuantize(
            dim=self.width,
            codebook_dim=PART_WIDTH,
            codebook_size=self.vocab_size,
            heads=self.ids_per_code,
            separate_codebook_per_head=self.ids_per_code > 1,
            use_cosine_sim=self._cosine,
            kmeans_init=from_latents,
            decay=DECAY,
            commitment_weight=COMMITMENT_WEIGHT,
            rotation_trick=False,
            threshold_ema_dead_code=dead_below,  # pyright: ignore[reportArgumentType]  # its default is an int
            sync_codebook=False,
        )
        return tables

    def codes_of(self, ids: Tensor) -> Tensor:
        self.check_ids(ids)
        flat = ids.reshape(1, -1) if self.ids_per_code == 1 else ids.reshape(1, -1, self.ids_per_code)
        codes: Tensor = self._tables.get_codes_from_indices(flat)  # type: ignore[operator]  # torch types any attribute of a module as Tensor
        return codes.reshape(*ids.shape[:-1], self.width)
