"""The encoder of a trained model on its own: what it makes of values, as features.

Shapes: T visible tokens of a sample, D width.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fourm_runtime.generation.samples import Sample, packed
from fourm_runtime.generation.values import Values
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.errors import RequestError

Features = NDArray[np.float32]


class Encoder:
    """Turns values into features; nothing is predicted.

    Args:
        model: its encoder is used; the decoder never runs.
        values: encodes what is given.
    """

    def __init__(self, model: AnyToAnyTransformer, values: Values) -> None:
        self.model, self._values = model, values

    @property
    def dim(self) -> int:
        """D, numbers of a feature."""
        return self.model.architecture.dim

    def embed(
        self, inputs: Mapping[str, object] | Sequence[Mapping[str, object]], *, batch_size: int = 16
    ) -> Features:
        """One feature per sample: the mean of its tokens' features.

        Args:
            inputs: values of one sample, or of several, as in `AnyToAny.generate`.
            batch_size: samples that are encoded side by side.

        Returns:
            (N, D) float32.

        Raises:
            RequestError: naming every value that cannot be encoded, or a sample that gives none.
        """
        found = [tokens.mean(0) for tokens in self.tokens(inputs, batch_size=batch_size)]
        return np.stack(found) if found else np.zeros((0, self.dim), np.float32)

    def tokens(
        self, inputs: Mapping[str, object] | Sequence[Mapping[str, object]], *, batch_size: int = 16
    ) -> list[Features]:
        """The features of each token: one (T, D) per sample, registers left out.

        Tokens stand in the order of the plan's streams, and within one in that of its cells or ranks.

        Args:
            inputs, batch_size: as `embed`.

        Raises:
            RequestError: as `embed`.
        """
        if batch_size < 1:
            raise RequestError("batch_size", "must be 1 or more", got=str(batch_size))
        samples = self._samples([inputs] if isinstance(inputs, Mapping) else list(inputs))
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                starts = range(0, len(samples), batch_size)
                return [one for start in starts for one in self._run(samples[start : start + batch_size])]
        finally:
            self.model.train(training)

    def _samples(self, inputs: Sequence[Mapping[str, object]]) -> list[Sample]:
        shown = self._values.shown(inputs)
        for index, tokens in enumerate(shown):
            if not tokens:
                raise RequestError(f"sample {index}", "gives nothing", mend="give a value of some modality")
        return [Sample(tokens, {}) for tokens in shown]

    def _run(self, samples: Sequence[Sample]) -> list[Features]:
        batch = packed(samples, self.model)
        registers = self.model.architecture.registers
        parts = torch.split(self.model.features(batch), list(batch.encoder_lengths))
        return [part[registers:].float().cpu().numpy() for part in parts]
