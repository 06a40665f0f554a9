"""`mlp-pq`: a vector becomes a few learned ids, each from a codebook of its own (product quantization).

Numbers are brought to mean 0 and deviation 1, measured on the training values and stored with the weights.

Shapes: N vectors, D numbers of a vector.
"""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array, Json
from fourm_codecs.dense import DenseView
from fourm_codecs.fit_scores import cosines
from fourm_codecs.laws import Calibrated
from fourm_codecs.learned_codec import LearnedCodec, Tally, size_of
from fourm_codecs.mlp import VectorAutoencoder
from fourm_codecs.quantizers.choice import build_quantizer
from fourm_codecs.values import read_stack
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality, Vector
from fourm_schema.resolve import LEARNED_VOCAB_SIZES, PQ_TOKENS

METRIC = "cosine distance"
LARGEST = float(np.finfo(np.float32).max)


@attrs.frozen(eq=False)
class VectorTokenizer(LearnedCodec[Vector]):
    """`tokens` ids of a vector; a decoded one is in its ranges, where it has them."""

    name: str = attrs.field(default="mlp-pq", init=False)

    @classmethod
    def checked(cls, modality: str, entry: Modality) -> Vector:
        if not isinstance(entry, Vector):
            raise CodecError(modality, "mlp-pq is for vectors", got=entry.kind)
        if entry.axes or entry.max_length is not None:
            got = "axes" if entry.axes else "max_length"
            raise CodecError(modality, "mlp-pq is for single vectors, not for sequences of them", got=got)
        return entry

    @classmethod
    def built(cls, modality: str, entry: Vector, size: str, quantizer: str | None) -> VectorAutoencoder:
        scale, tokens = size_of(size, modality, cls.codec_name()), entry.tokens or PQ_TOKENS
        vocab_size = entry.vocab_size or LEARNED_VOCAB_SIZES[cls.codec_name()]
        codes = build_quantizer(quantizer or "vq", vocab_size, modality, tables=tokens)
        return VectorAutoencoder(entry.dim, tokens, codes, scale)

    @classmethod
    def law_of(cls, entry: Vector, quantile: float, error: float) -> Calibrated:
        return Calibrated(METRIC, quantile, error)

    @property
    def view(self) -> DenseView:
        # As they are: the network scales them, and what it has learned must not follow the file's mean.
        view = DenseView.of_vector(
            self.entry.dim,
            self.entry.range_of_each,
            (0.0,) * self.entry.dim,
            (1.0,) * self.entry.dim,
            self.entry.names or (),
            self.entry.out_of_range,
            self.modality,
        )
        return view

    @property
    def token_shape(self) -> tuple[int]:
        return (self.entry.tokens or PQ_TOKENS,)

    def meaning(self) -> Mapping[str, Json]:
        ranges = self.entry.range_of_each or ()
        return {"dim": self.entry.dim, "ranges": [[low, high] for low, high in ranges]}

    def natural(self, outputs: Array) -> list[Array]:
        ranges = np.asarray(self.entry.range_of_each or ((-LARGEST, LARGEST),) * self.entry.dim)
        numbers = np.stack(self.view.decode(outputs.astype(np.float32)))
        return list(np.clip(numbers, ranges[:, 0], ranges[:, 1]).astype(np.float32))

    def errors(self, given: Sequence[object], back: Sequence[object]) -> NDArray[np.float64]:
        return 1 - cosines(self._stack(given), self._stack(back))

    def tally(self, given: Sequence[object], back: Sequence[object]) -> Tally:
        apart = np.abs(self._stack(given) - self._stack(back)).mean(axis=1).sum()
        sums = {"values": len(given), "distance": self.errors(given, back).sum(), "apart": apart}
        return {name: np.asarray(value, np.float64) for name, value in sums.items()}

    def scores(self, tally: Tally) -> dict[str, float | None]:
        values = float(tally["values"])
        distance = float(tally["distance"]) / values
        return {
            METRIC: distance,
            "cosine similarity": 1 - distance,
            "mean absolute error": float(tally["apart"]) / values,
        }

    def _stack(self, values: Sequence[object]) -> NDArray[np.float64]:
        return read_stack(values, self.modality, (self.entry.dim,))
