"""`vit-feature-fsq` and its like: a map of feature vectors becomes one learned id per patch, mostly a cell.

Channels are brought to mean 0 and deviation 1, measured on the training values and stored with the weights;
a layer of its own reads and writes each cell.

Shapes: N maps, H rows, W columns, L patches (row by row), K channels.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array, Json
from fourm_codecs.dense import DenseView
from fourm_codecs.fit_scores import cosines
from fourm_codecs.laws import Calibrated
from fourm_codecs.learned_codec import LearnedCodec, Tally
from fourm_codecs.learned_entry import check_network, quantizer_of, size_of
from fourm_codecs.patches import Resampling
from fourm_codecs.values import read_stack
from fourm_codecs.vit import FeatureAutoencoder
from fourm_schema.modality import Features, Image, Modality

METRIC = "mean cosine distance"
LARGEST = float(np.finfo(np.float32).max)


@attrs.frozen(eq=False)
class FeatureTokenizer(LearnedCodec[Image]):
    """One id per patch of a feature map."""

    @classmethod
    def checked(cls, modality: str, entry: Modality) -> Image:
        can = isinstance(entry, Image) and isinstance(entry.cell, Features)
        check_network(modality, entry, "vit-feature", "images of features", can)
        assert isinstance(entry, Image), "others were refused"
        return entry

    @classmethod
    def built(cls, modality: str, entry: Image, size: str) -> FeatureAutoencoder:
        scale, codes = size_of(size, modality, entry), quantizer_of(modality, entry)
        return FeatureAutoencoder(entry.grid, entry.patch[0] * entry.patch[1], entry.channels, codes, scale)

    @classmethod
    def law_of(cls, entry: Image, quantile: float, error: float) -> Calibrated:
        return Calibrated(METRIC, quantile, error)

    @property
    def resampling(self) -> Resampling:
        return "smooth"

    @property
    def view(self) -> DenseView:
        return DenseView.of_image(
            self.entry.size, self.entry.patch, None, self.entry.channels, modality=self.modality
        )

    @property
    def token_shape(self) -> tuple[int, int]:
        return self.entry.grid

    def meaning(self) -> Mapping[str, Json]:
        return {"image": [*self.entry.size, self.entry.channels], "patch": list(self.entry.patch)}

    def natural(self, outputs: Array) -> list[Array]:
        # A mean and a deviation near the end of float32 may add up to what lies beyond.
        return [np.clip(value, -LARGEST, LARGEST) for value in self.view.decode(outputs.astype(np.float32))]

    def errors(self, given: Sequence[object], back: Sequence[object]) -> NDArray[np.float64]:
        similar_NHW = cosines(self._stack(given), self._stack(back))
        errors_N: NDArray[np.float64] = 1 - similar_NHW.mean(axis=(1, 2))
        return errors_N

    def tally(self, given: Sequence[object], back: Sequence[object]) -> Tally:
        apart = np.abs(self._stack(given) - self._stack(back)).mean(axis=(1, 2, 3))
        sums = {"images": len(given), "distance": self.errors(given, back).sum(), "apart": apart.sum()}
        return {name: np.asarray(value, np.float64) for name, value in sums.items()}

    def scores(self, tally: Tally) -> dict[str, float | None]:
        images = float(tally["images"])
        distance = float(tally["distance"]) / images
        return {
            METRIC: distance,
            "cosine similarity": 1 - distance,
            "mean absolute error": float(tally["apart"]) / images,
        }

    def coloured(self, values: Sequence[object]) -> Iterator[NDArray[np.uint8]]:
        """Their first three principal components as red, green and blue, each stretched to its range."""
        maps = self._stack(values)
        table = maps.reshape(-1, self.entry.channels)
        table = table - table.mean(axis=0)
        _, _, axes = np.linalg.svd(table, full_matrices=False)
        shown = np.zeros((len(table), 3))
        shown[:, : min(3, len(axes))] = table @ axes[:3].T
        low, high = shown.min(axis=0), shown.max(axis=0)
        bytes_R3 = np.rint((shown - low) / np.maximum(high - low, 1e-12) * 255).astype(np.uint8)
        yield from bytes_R3.reshape(*maps.shape[:3], 3)

    def _stack(self, values: Sequence[object]) -> NDArray[np.float64]:
        """Maps (N, H, W, K)."""
        return read_stack(values, self.modality, (*self.entry.size, self.entry.channels))
