"""Exponential moving average of the weights (Polyak and Juditsky 1992, as deep networks use it).

The decay warms up, min(decay, (1 + n) / (10 + n)) after n updates, so that a short run's average is not
mostly its first weights.
"""

from collections.abc import Mapping

import torch
from torch import nn

from fourm_schema.errors import CheckpointError

_WARMUP = 10


class AveragedWeights:
    """A second copy of a model's parameters that follows them slowly.

    Args:
        model: what is followed; its current parameters are the first average.
        decay: share of the old average that one update keeps, e.g. 0.999.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._sources = dict(model.named_parameters())
        self.weights = {name: source.detach().clone() for name, source in self._sources.items()}

    def restore(self, weights: Mapping[str, torch.Tensor], updates: int) -> None:
        """Put back what a checkpoint kept.

        Raises:
            CheckpointError: if the weights are not those of this model.
        """
        wrong = [
            name
            for name in sorted({*self.weights, *weights})
            if name not in weights
            or name not in self.weights
            or weights[name].shape != self.weights[name].shape
        ]
        if wrong:
            raise CheckpointError(
                "training/average.safetensors",
                f"holds the average of another model: {', '.join(wrong)}",
                mend="resume from another checkpoint of the run",
            )
        for name, average in self.weights.items():
            average.copy_(weights[name])
        self.updates = updates

    def current_decay(self) -> float:
        """Decay of the next update."""
        return min(self.decay, (1 + self.updates) / (_WARMUP + self.updates))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model's weights, once per optimizer step."""
        share = 1 - self.current_decay()
        for name, source in self._sources.items():
            self.weights[name].lerp_(source.detach(), share)
        self.updates += 1
