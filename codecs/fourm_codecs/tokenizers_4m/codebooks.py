"""How a latent finds its id, and an id its code, in 4M's tokenizers.

Shapes: N samples, C numbers of a latent, h x w places; K ids, B codebooks, J = C / B numbers of a code.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Table(nn.Module):
    """The buffers of one codebook: what training kept beside the codes is kept, and not used."""

    embed: Tensor

    def __init__(self, size: int, dim: int, averaged: bool) -> None:
        super().__init__()
        self.register_buffer("initted", torch.empty(1))
        self.register_buffer("cluster_size", torch.empty(size))
        self.register_buffer("embed", torch.empty(size, dim))
        if averaged:
            self.register_buffer("embed_avg", torch.empty(size, dim))


class Codebook(nn.Module):
    """One id per latent: the code with the largest cosine, or the nearest one.

    Args:
        size: K.
        dim: C.
        cosine: compare by cosine; else by distance.
        norm_latents: bring latents to length 1 first.
    """

    def __init__(self, size: int, dim: int, cosine: bool, norm_latents: bool) -> None:
        super().__init__()
        self.cosine, self.norm_latents = cosine, norm_latents
        self._codebook = _Table(size, dim, averaged=not cosine)

    def ids_of(self, z_NChw: Tensor) -> Tensor:
        """Ids (N, h, w)."""
        z_NhwC, codes_KC = z_NChw.permute(0, 2, 3, 1), self._codebook.embed
        if self.norm_latents or self.cosine:
            z_NhwC = F.normalize(z_NhwC, dim=-1)
        if self.cosine:
            return (z_NhwC @ F.normalize(codes_KC, dim=-1).T).argmax(dim=-1)
        # -|z - e|^2 less |z|^2, which is the same for every code.
        return (2 * z_NhwC @ codes_KC.T - codes_KC.square().sum(dim=1)).argmax(dim=-1)

    def codes_of(self, ids_Nhw: Tensor) -> Tensor:
        """Codes (N, C, h, w): the rows as they are stored, whose length is 1 only nearly."""
        return self._codebook.embed[ids_Nhw].permute(0, 3, 1, 2)


class _Mix(nn.Module):
    """A matrix for each codebook."""

    def __init__(self, books: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(books, dim, dim))

    def forward(self, codes_BKJ: Tensor) -> Tensor:
        return torch.einsum("bkj,bji->bki", codes_BKJ, self.weight)


class Memcodes(nn.Module):
    """B ids per latent, one for each part of it: attention to the codes, of which the first alone counts."""

    def __init__(self, books: int, size: int, dim: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.empty(books, size, dim // books))
        self.to_k, self.to_v = _Mix(books, dim // books), _Mix(books, dim // books)

    def ids_of(self, z_NChw: Tensor) -> Tensor:
        """Ids (N, B, h, w)."""
        books, _, dim = self.codes.shape
        z_NBJhw = z_NChw.reshape(len(z_NChw), books, dim, *z_NChw.shape[2:])
        scores: Tensor = torch.einsum("nbjhw,bkj->nbkhw", z_NBJhw * dim**-0.5, self.to_k(self.codes))
        return scores.argmax(dim=2)

    def codes_of(self, ids_NBhw: Tensor) -> Tensor:
        """Codes (N, C, h, w)."""
        values_BKJ = self.to_v(self.codes)
        book_B = torch.arange(len(values_BKJ))[None, :, None, None]
        found_NBhwJ: Tensor = values_BKJ[book_B, ids_NBhw]
        return found_NBhwJ.permute(0, 1, 4, 2, 3).flatten(1, 2)
