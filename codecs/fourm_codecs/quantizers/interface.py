"""What a quantizer is: latents -> codes of a finite codebook and their ids, and ids -> codes.

Shapes: N values, L tokens of a value, Z numbers of a code.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fourm_schema.errors import CodecError


class Quantized(NamedTuple):
    """What came of latents.

    Attributes:
        codes: (N, L, Z), with gradients straight through to the latents.
        ids: (N, L) int64.
        loss: what the quantizer adds to the loss of a training step; 0 otherwise.
    """

    codes: Tensor
    ids: Tensor
    loss: Tensor


class Quantizer(nn.Module):
    """Base of all quantizers; each stands in a file of its own, with its source."""

    name: str

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size)."""
        raise AssertionError("a quantizer says how many ids it has")

    @property
    def width(self) -> int:
        """Z."""
        raise AssertionError("a quantizer says how many numbers a code has")

    @property
    def codebook(self) -> list[int]:
        """What a codec's settings say of the codebook."""
        return [self.vocab_size]

    def forward(self, latents: Tensor) -> Quantized:
        """Quantize latents (N, L, Z), any finite numbers.

        Raises:
            CodecError: if the last axis is not Z long.
        """
        raise AssertionError("a quantizer quantizes")

    def codes_of(self, ids: Tensor) -> Tensor:
        """The codes (N, L, Z), float32, of ids (N, L).

        Raises:
            CodecError: if an id is not in [0, vocab_size).
        """
        raise AssertionError("a quantizer has a code for each id")

    def draw(self, generator: torch.Generator) -> None:
        """Draw what it has of weights; most have none."""

    def check_width(self, codes: Tensor) -> None:
        """Refuse codes or latents of another width.

        Raises:
            CodecError: if the last axis is not Z long.
        """
        if codes.shape[-1] != self.width:
            raise CodecError(self.name, f"a code has {self.width} numbers", got=str(codes.shape[-1]))

    def check_ids(self, ids: Tensor) -> None:
        """Refuse ids outside the vocabulary.

        Raises:
            CodecError: if one is not in [0, vocab_size).
        """
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.vocab_size):
            got = f"ids from {int(ids.min())} to {int(ids.max())}"
            raise CodecError(self.name, f"an id is in [0, {self.vocab_size})", got=got)
