"""What a quantizer is: latents -> codes of a finite codebook and their ids, and ids -> codes.

Shapes: (...) any leading axes, Z numbers of a code, T ids of a code.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fourm_schema.errors import CodecError


class Quantized(NamedTuple):
    """What came of latents.

    Attributes:
        codes: (..., Z), with gradients straight through to the latents.
        ids: (..., T) int64.
        loss: what the quantizer adds to the loss of a training step; 0 otherwise.
    """

    codes: Tensor
    ids: Tensor
    loss: Tensor


class Quantizer(nn.Module):
    """Base of all quantizers; each stands in a file of its own, with its source.

    In training one may move its codebook at each call; otherwise it changes nothing, and `codes_of(ids)` are
    the codes that gave the ids.

    Attributes:
        name: as in the names of codecs, e.g. `fsq`.
        vocab_size: ids are in [0, vocab_size).
        width: Z.
        ids_per_code: T.
    """

    name: str
    vocab_size: int
    width: int
    ids_per_code: int = 1

    @property
    def codebook(self) -> list[int]:
        """What a codec's settings say of the codebook."""
        return [self.vocab_size]

    def forward(self, latents: Tensor) -> Quantized:
        """Quantize latents (..., Z), any finite numbers.

        Raises:
            CodecError: if the last axis is not Z long.
        """
        raise AssertionError("a quantizer quantizes")

    def codes_of(self, ids: Tensor) -> Tensor:
        """The codes (..., Z), float32, of ids (..., T).

        Raises:
            CodecError: if the last axis is not T long, or an id is not in [0, vocab_size).
        """
        raise AssertionError("a quantizer has a code for each id")

    def draw(self, generator: torch.Generator, latents: int = 0) -> None:
        """Draw what it has of weights; most have none.

        Args:
            generator: what they are drawn from.
            latents: how many a training step will quantize; 0 for a quantizer that is not trained.
        """

    def check_width(self, codes: Tensor) -> None:
        """Refuse codes or latents of another width.

        Raises:
            CodecError: if the last axis is not Z long.
        """
        if codes.shape[-1] != self.width:
            raise CodecError(self.name, f"a code has {self.width} numbers", got=str(codes.shape[-1]))

    def check_ids(self, ids: Tensor) -> None:
        """Refuse ids that are not T for each code, or outside the vocabulary.

        Raises:
            CodecError: if the last axis is not T long, or an id is not in [0, vocab_size).
        """
        if ids.shape[-1:] != (self.ids_per_code,):
            what = f"the last axis of ids has the {self.ids_per_code} of a code"
            raise CodecError(self.name, what, got=f"shape {tuple(ids.shape)}")
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.vocab_size):
            got = f"ids from {int(ids.min())} to {int(ids.max())}"
            raise CodecError(self.name, f"an id is in [0, {self.vocab_size})", got=got)
