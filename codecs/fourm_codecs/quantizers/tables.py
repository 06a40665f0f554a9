"""What quantizers with learned tables share: rows that follow the latents, draws that a resumed fit repeats.

The tables of `vector-quantize-pytorch` draw their first rows, and the latents at which dead rows start again,
from the global generator. Each draw is made under a seed of its own, which the number of the update gives.

Shapes: as in `interface.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fourm_codecs.quantizers.interface import Quantized, Quantizer
from fourm_schema.errors import CodecError

DECAY = 0.97
COMMITMENT_WEIGHT = 0.25
DEAD = 0.1
"""A row that gets less than this part of an even share of the latents is dead."""

TRAINING_ONLY = ("initted", "cluster_size", "embed_avg", "updates")
"""Last parts of the names of buffers that only training needs: no part of a codec's files."""


class TableQuantizer(Quantizer):
    """A quantizer around tables of the package; subclasses say which.

    Args:
        vocab_size: rows of each table.
        width: Z.
        ids_per_code: T.

    Raises:
        CodecError: if there are fewer than two rows.
    """

    updates: Tensor

    def __init__(self, vocab_size: int, width: int, ids_per_code: int) -> None:
        super().__init__()
        if vocab_size < 2:
            raise CodecError(self.name, "a codebook has two codes or more", got=str(vocab_size))
        self.vocab_size, self.width, self.ids_per_code = vocab_size, width, ids_per_code
        self.register_buffer("updates", torch.zeros(1, dtype=torch.int64))
        self._seed = 0
        with draws_of(0):
            self._tables = self.tables(0.0, False)

    def tables(self, dead_below: float, from_latents: bool) -> nn.Module:
        """The package's module, its first rows drawn from the global generator.

        Args:
            dead_below: a row that fewer latents fall to, on the moving average, starts again.
            from_latents: the first rows are those that k-means finds in the latents of the first step.
        """
        raise AssertionError("a quantizer has tables")

    def draw(self, generator: torch.Generator, latents: int = 0) -> None:
        self._seed = int(torch.randint(2**31, (), generator=generator))
        with draws_of(self._seed):
            # Fewer latents than rows would give rows that are the same.
            self._tables = self.tables(DEAD * latents / self.vocab_size, latents >= self.vocab_size)

    def forward(self, latents: Tensor) -> Quantized:
        self.check_width(latents)
        flat = latents.reshape(1, -1, self.width)
        if not self.training:
            codes, ids, _ = self._tables(flat)
            return self._shaped(latents, codes, ids, latents.new_zeros(()))
        self.updates += 1
        with draws_of(self._seed, int(self.updates)):
            codes, ids, losses = self._tables(flat)
        return self._shaped(latents, codes, ids, losses.sum())

    def _shaped(self, latents: Tensor, codes: Tensor, ids: Tensor, loss: Tensor) -> Quantized:
        ids = ids.reshape(*latents.shape[:-1], self.ids_per_code)
        return Quantized(codes.reshape(latents.shape), ids, loss)


@contextmanager
def draws_of(seed: int, update: int = 0) -> Iterator[None]:
    """Let a package draw from the CPU's global generator, seeded for one update, and put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed((seed << 32) + update)
        yield
