"""What the networks of learned codecs have in common: encode to codes, decode, a loss, first weights.

Shapes: N values, L codes of a value, T ids of a code, Z numbers of a code.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import skip_init

from fourm_codecs.quantizers.interface import Quantized, Quantizer
from fourm_codecs.quantizers.tables import TRAINING_ONLY
from fourm_schema.errors import CodecError

FARTHEST = 100.0
"""Deviations from the mean that a network is shown at most."""

LEAST_DEVIATION = 1e-6

Also = Callable[[Tensor, Tensor], Tensor]
"""Outputs and inputs of a network -> what is added to its loss."""


class CodeNetwork(nn.Module):
    """Values -> codes -> values. Its input is a batch of what the codec's view gives, whatever its shape."""

    quantizer: Quantizer

    def encode(self, inputs: Tensor) -> Quantized:
        """Codes, with gradients straight through the quantizer, and their ids (N, L, T)."""
        raise AssertionError("a network encodes")

    def decode(self, codes_NLZ: Tensor) -> Tensor:
        """What the codec reads values from."""
        raise AssertionError("a network decodes")

    def compare(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """How far what was decoded is from what was put in; falls as the fit goes on."""
        raise AssertionError("a network has a loss")

    def forward(self, inputs: Tensor, also: Also | None = None) -> Tensor:
        """The loss of a batch: of what comes back, of the quantizer, and what else is asked for."""
        quantized = self.encode(inputs)
        outputs = self.decode(quantized.codes)
        loss = self.compare(outputs, inputs) + quantized.loss
        return loss if also is None else loss + also(outputs, inputs)

    def measure(self, values: Iterable[NDArray[np.generic]]) -> None:
        """Take from training values, a batch at a time, what the network has to know; most need nothing."""

    @torch.no_grad()
    def draw(self, generator: torch.Generator, codes: int = 0) -> None:
        """First weights: Xavier-uniform matrices (Glorot and Bengio 2010, equation 16), zero biases.

        Norms keep their ones.

        Args:
            generator: what they are drawn from.
            codes: how many codes a training step has; 0 for a network that is not trained.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = math.sqrt(6 / (module.in_features + module.out_features))
                module.weight.uniform_(-bound, bound, generator=generator)
                module.bias.zero_()
            elif isinstance(module, Quantizer):
                module.draw(generator, codes)

    def weights(self) -> dict[str, Tensor]:
        """What a codec's files hold: all that its ids follow from, and nothing of how it was trained."""
        state: dict[str, Tensor] = self.state_dict()
        return {name: held for name, held in state.items() if name.split(".")[-1] not in TRAINING_ONLY}


class Standard(nn.Module):
    """Numbers with mean 0 and deviation 1, channel by channel, as measured on the training values.

    Args:
        channels: how many numbers stand beside one another on the last axis.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def measure(self, rows: Iterable[NDArray[np.generic]]) -> None:
        """Measure tables (R, channels).

        Raises:
            CodecError: if they are too large for a float32 to hold their deviation.
        """
        count, mean, squares = 0, np.zeros(len(self.mean)), np.zeros(len(self.mean))
        for table in rows:
            # Chan et al. 1983, equation 2.1: no difference of two large sums.
            numbers = table.astype(np.float64)
            shift = numbers.mean(axis=0) - mean
            total = count + len(numbers)
            squares += np.square(numbers - numbers.mean(axis=0)).sum(axis=0)
            squares += np.square(shift) * count * len(numbers) / total
            mean, count = mean + shift * len(numbers) / total, total
        deviation = np.maximum(np.sqrt(squares / max(1, count)), LEAST_DEVIATION)
        if not np.isfinite([*mean, *deviation]).all():
            raise CodecError("fit", "the values are too large to be measured", mend="rescale them")
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(deviation))

    def forward(self, numbers: Tensor) -> Tensor:
        """(numbers - mean) / deviation, `FARTHEST` at most."""
        return ((numbers - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)

    def undo(self, numbers: Tensor) -> Tensor:
        """Back to what was measured."""
        return numbers * self.deviation + self.mean


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer whose weights are unset: its own first ones would be drawn from the global generator."""
    layer = skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]  # torch gives it no types
    assert isinstance(layer, nn.Linear)
    return layer


def split(numbers: Tensor, width: int) -> Tensor:
    """Cut the last axis into parts of a width: (..., P * width) to (..., P, width)."""
    return numbers.reshape(*numbers.shape[:-1], -1, width)
