"""`mlp-pq` and `mlp-rvq`: a vector becomes a few learned ids, each from a codebook of its own.

A residual network turns the vector into one code. `mlp-pq` cuts the code into as many parts as there are ids,
and takes for each the nearest row, in distance, of a table for that part (product quantization, on what the
network made of the vector). `mlp-rvq` takes the row nearest to the whole code, then to what that left, and
so on.

Numbers are brought to mean 0 and deviation 1, measured on the training values and stored with the weights.

Shapes: N vectors, D numbers of a vector.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array, Json
from fourm_codecs.code_network import Standard
from fourm_codecs.dense import DenseView
from fourm_codecs.fit_scores import cosines
from fourm_codecs.laws import Calibrated
from fourm_codecs.learned_codec import LearnedCodec, Tally
from fourm_codecs.learned_entry import check_network, quantizer_of, size_of
from fourm_codecs.mlp import VectorAutoencoder
from fourm_codecs.values import read_stack
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality, Vector
from fourm_schema.resolve import PQ_TOKENS

METRIC = "cosine distance"
LARGEST = float(np.finfo(np.float32).max)
STRONGEST = 3.0
"""Deviations from the mean that are drawn in full colour."""


@attrs.frozen(eq=False)
class VectorTokenizer(LearnedCodec[Vector]):
    """`tokens` ids of a vector; a decoded one is in its ranges, where it has them."""

    @classmethod
    def checked(cls, modality: str, entry: Modality) -> Vector:
        check_network(modality, entry, "mlp", "vectors", isinstance(entry, Vector))
        assert isinstance(entry, Vector), "others were refused"
        if entry.axes or entry.max_length is not None:
            got = "axes" if entry.axes else "max_length"
            raise CodecError(
                modality, "codecs mlp-... are for single vectors, not for sequences of them", got
            )
        return entry

    @classmethod
    def built(cls, modality: str, entry: Vector, size: str) -> VectorAutoencoder:
        return VectorAutoencoder(entry.dim, quantizer_of(modality, entry), size_of(size, modality, entry))

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

    def coloured(self, values: Sequence[object]) -> Iterator[NDArray[np.uint8]]:
        """Their numbers as a square, row by row: red above what was measured as their mean, blue below it."""
        scale = self.network.scale
        assert isinstance(scale, Standard), "networks of vectors have a scale"
        mean_D, deviation_D = scale.mean.numpy(), scale.deviation.numpy()
        side = math.ceil(math.sqrt(self.entry.dim))
        for vector_D in self._stack(values):
            share = np.zeros(side * side)
            share[: self.entry.dim] = ((vector_D - mean_D) / deviation_D / STRONGEST).clip(-1, 1)
            faded = 1 - np.abs(share)
            red, blue = np.where(share < 0, faded, 1.0), np.where(share > 0, faded, 1.0)
            image_S3 = np.rint(255 * np.stack([red, faded, blue], axis=-1)).astype(np.uint8)
            yield image_S3.reshape(side, side, 3)

    def _stack(self, values: Sequence[object]) -> NDArray[np.float64]:
        return read_stack(values, self.modality, (self.entry.dim,))
