"""Vector quantization: a table of codes, each the moving average of the latents nearest to it.

Source: van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, equation 3 and appendix A.1 (the table
follows the latents, without a gradient); codes that hardly any latent is near to start again at one, as in
Dhariwal et al. 2020, https://arxiv.org/abs/2005.00341, section 3.1. Packages draw such restarts from the
global generator; here they are drawn from the number of the update, so that a resumed fit draws the same.

Shapes: T tables, K codes of a table, Z numbers of a code, M latents of a table in one step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fourm_codecs.quantizers.interface import Quantized, Quantizer
from fourm_schema.errors import CodecError

WIDTH = 8
"""Z. Few numbers keep more codes in use (Yu et al. 2021, https://arxiv.org/abs/2110.04627, section 3.2)."""

DECAY = 0.99
COMMITMENT_WEIGHT = 0.25
DEAD = 0.1
"""A code with less than this part of an even share of the latents is dead."""


class VectorQuantizer(Quantizer):
    """Replace each latent by the nearest code of a table.

    Args:
        vocab_size: K.
        tables: T: 1 for all tokens of a value, or one for each token of it (product quantization, Jegou et
            al. 2011, section 2.2, on what a network made of the vector).
        width: Z.

    Raises:
        CodecError: if there are fewer than two codes.
    """

    name = "vq"
    table_TKZ: Tensor
    counts_TK: Tensor
    sums_TKZ: Tensor
    updates: Tensor

    def __init__(self, vocab_size: int, tables: int = 1, width: int = WIDTH) -> None:
        super().__init__()
        if vocab_size < 2:
            raise CodecError("vq", "a codebook has two codes or more", got=str(vocab_size))
        self.register_buffer("table_TKZ", torch.zeros(tables, vocab_size, width))
        self.register_buffer("counts_TK", torch.zeros(tables, vocab_size))
        self.register_buffer("sums_TKZ", torch.zeros(tables, vocab_size, width))
        self.register_buffer("updates", torch.zeros(1, dtype=torch.int64))

    @property
    def vocab_size(self) -> int:
        return self.table_TKZ.shape[1]

    @property
    def width(self) -> int:
        return self.table_TKZ.shape[2]

    def draw(self, generator: torch.Generator) -> None:
        """Draw codes; those of a first training step replace them."""
        self.table_TKZ.normal_(generator=generator)

    def forward(self, latents: Tensor) -> Quantized:
        """Replace latents (N, L, Z), L being T where there are several tables; in training, follow them.

        Raises:
            CodecError: if the latents have another shape.
        """
        self.check_width(latents)
        latents_TMZ = self._by_table(latents)
        if self.training and int(self.updates) == 0:
            self._start(latents_TMZ.detach())
        ids_TM = self._nearest(latents_TMZ.detach())
        ids = self._by_value(ids_TM, latents.shape[:-1])
        found = self.codes_of(ids)
        loss = latents.new_zeros(())
        if self.training:
            loss = COMMITMENT_WEIGHT * F.mse_loss(latents, found)
            self._follow(latents_TMZ.detach(), ids_TM)
        return Quantized(latents + (found - latents).detach(), ids, loss)

    def codes_of(self, ids: Tensor) -> Tensor:
        self.check_ids(ids)
        if len(self.table_TKZ) == 1:
            return self.table_TKZ[0][ids]
        self._check_length(ids.shape[-1])
        return self.table_TKZ[torch.arange(len(self.table_TKZ)), ids]

    def _check_length(self, length: int) -> None:
        if length != len(self.table_TKZ):
            raise CodecError("vq", f"a value has {len(self.table_TKZ)} tokens", got=str(length))

    def _by_table(self, latents: Tensor) -> Tensor:
        if len(self.table_TKZ) == 1:
            return latents.reshape(1, -1, self.width)
        self._check_length(latents.shape[-2])
        return latents.reshape(-1, *latents.shape[-2:]).transpose(0, 1)

    def _by_value(self, ids_TM: Tensor, shape: torch.Size) -> Tensor:
        return (ids_TM[0] if len(ids_TM) == 1 else ids_TM.transpose(0, 1)).reshape(shape)

    def _nearest(self, latents_TMZ: Tensor) -> Tensor:
        # The latent's own square is the same for every code.
        squares_TK = self.table_TKZ.square().sum(dim=2)
        products_TMK = latents_TMZ @ self.table_TKZ.transpose(1, 2)
        return (squares_TK[:, None] - 2 * products_TMK).argmin(dim=2)

    @torch.no_grad()
    def _start(self, latents_TMZ: Tensor) -> None:
        even = latents_TMZ.shape[1] / self.vocab_size
        for number, latents_MZ in enumerate(latents_TMZ):
            self.table_TKZ[number] = self._drawn(latents_MZ, number, self.vocab_size)
        self.counts_TK.fill_(even)
        self.sums_TKZ.copy_(self.table_TKZ * even)

    @torch.no_grad()
    def _follow(self, latents_TMZ: Tensor, ids_TM: Tensor) -> None:
        even = latents_TMZ.shape[1] / self.vocab_size
        for number, (latents_MZ, ids_M) in enumerate(zip(latents_TMZ, ids_TM, strict=True)):
            counts_K, sums_KZ = self.counts_TK[number], self.sums_TKZ[number]
            met_K = torch.bincount(ids_M, minlength=self.vocab_size).to(counts_K.dtype)
            met_KZ = torch.zeros_like(sums_KZ).index_add_(0, ids_M, latents_MZ)
            counts_K.lerp_(met_K, 1 - DECAY)
            sums_KZ.lerp_(met_KZ, 1 - DECAY)
            dead_K = counts_K < DEAD * even
            if dead_K.any():
                counts_K[dead_K] = even
                sums_KZ[dead_K] = even * self._drawn(latents_MZ, number, int(dead_K.sum()))
            self.table_TKZ[number] = sums_KZ / counts_K[:, None]
        self.updates += 1

    def _drawn(self, latents_MZ: Tensor, table: int, count: int) -> Tensor:
        """`count` of the latents, drawn anew at each update and for each table."""
        seed = int(self.updates) * len(self.table_TKZ) + table
        generator = torch.Generator().manual_seed(seed)
        if count <= len(latents_MZ):
            places = torch.randperm(len(latents_MZ), generator=generator)[:count]
        else:
            places = torch.randint(len(latents_MZ), (count,), generator=generator)
        return latents_MZ[places]
