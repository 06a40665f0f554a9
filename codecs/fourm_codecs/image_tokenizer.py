"""`vit-fsq` and its like: an image of numbers or directions becomes one learned id per patch.

A vision transformer turns patches into codes, a quantizer rounds these to ids, a second transformer turns
them back. Values come and go in the schema's units.

Shapes: N images, H rows, W columns, L patches (row by row), C numbers of a patch.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_codecs.base import Array, Json
from fourm_codecs.dense import DenseView
from fourm_codecs.fit_scores import angles, structural_similarity
from fourm_codecs.laws import Calibrated
from fourm_codecs.learned_codec import LearnedCodec, Tally
from fourm_codecs.learned_entry import check_network, quantizer_of, size_of
from fourm_codecs.patches import Resampling
from fourm_codecs.values import read_stack
from fourm_codecs.vit import Autoencoder
from fourm_schema.modality import Continuous, Direction, Image, Modality

METRIC = "root mean square error"
SHORTEST = 1e-6
"""A decoded vector shorter than this has no direction; it becomes +z, towards the viewer."""


@attrs.frozen(eq=False)
class ImageTokenizer(LearnedCodec[Image]):
    """One id per patch of an image of numbers or directions; decoded ones are in range, on the levels, of
    length one."""

    @classmethod
    def checked(cls, modality: str, entry: Modality) -> Image:
        return image_of_numbers(modality, entry)

    @classmethod
    def built(cls, modality: str, entry: Image, size: str) -> Autoencoder:
        return build_network(modality, entry, size)

    @classmethod
    def law_of(cls, entry: Image, quantile: float, error: float) -> Calibrated:
        return law_of(entry, quantile, error)

    @property
    def resampling(self) -> Resampling:
        return "unit" if isinstance(self.entry.cell, Direction) else "smooth"

    @property
    def view(self) -> DenseView:
        return view_of(self.modality, self.entry)

    @property
    def token_shape(self) -> tuple[int, int]:
        return self.entry.grid

    def meaning(self) -> Mapping[str, Json]:
        cell = self.entry.cell
        steps = cell.levels if isinstance(cell, Continuous) else None
        return {
            "image": [*self.entry.size, self.entry.channels],
            "patch": list(self.entry.patch),
            "cell": cell.type,
            "range": list(value_range(self.entry)),
            "levels": steps or 0,
        }

    def natural(self, outputs: Array) -> list[Array]:
        return natural(self.modality, self.entry, outputs.astype(np.float32))

    def errors(self, given: Sequence[object], back: Sequence[object]) -> NDArray[np.float64]:
        difference = self._stack(given) - self._stack(back)
        errors_N: NDArray[np.float64] = np.sqrt(np.square(difference).reshape(len(given), -1).mean(axis=1))
        return errors_N

    def tally(self, given: Sequence[object], back: Sequence[object]) -> Tally:
        ours, theirs = self._stack(given), self._stack(back)
        counted = {"images": float(len(given)), "square": np.square(self.errors(given, back)).sum()}
        if isinstance(self.entry.cell, Direction):
            counted["angle"] = angles(ours, theirs).mean(axis=(1, 2)).sum()
        else:
            low, high = value_range(self.entry)
            counted["similarity"] = structural_similarity(ours, theirs, high - low).sum()
        return {name: np.asarray(value, np.float64) for name, value in counted.items()}

    def scores(self, tally: Tally) -> dict[str, float | None]:
        images, low_high = float(tally["images"]), value_range(self.entry)
        rmse = math.sqrt(tally["square"] / images)
        if "angle" in tally:
            return {METRIC: rmse, "mean angular error in degrees": float(tally["angle"]) / images}
        psnr = 20 * math.log10((low_high[1] - low_high[0]) / rmse) if rmse else None
        return {METRIC: rmse, "PSNR in dB": psnr, "SSIM": float(tally["similarity"]) / images}

    def coloured(self, values: Sequence[object]) -> Iterator[NDArray[np.uint8]]:
        low, high = value_range(self.entry)
        for image_HWK in self._stack(values):
            shown = image_HWK if image_HWK.shape[2] == 3 else np.repeat(image_HWK[..., :1], 3, axis=2)
            yield np.rint((shown - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)

    def _stack(self, values: Sequence[object]) -> NDArray[np.float64]:
        """Images (N, H, W, K) within their range."""
        shape = (*self.entry.size, self.entry.channels)
        return np.clip(read_stack(values, self.modality, shape), *value_range(self.entry))


def image_of_numbers(modality: str, entry: Modality) -> Image:
    """The entry, if a codec `vit-...` can serve it.

    Raises:
        CodecError: if it is no image of numbers or directions.
    """
    can = isinstance(entry, Image) and isinstance(entry.cell, Continuous | Direction)
    check_network(modality, entry, "vit", "images of numbers or directions", can)
    assert isinstance(entry, Image), "others were refused"
    return entry


def build_network(
    modality: str, entry: Image, size: str, generator: torch.Generator | None = None
) -> Autoencoder:
    """The autoencoder of an entry, its first weights drawn, or unset without a generator.

    Raises:
        CodecError: if there is no such size, or no such codebook.
    """
    scale = size_of(size, modality, entry)
    patch_dim = entry.patch[0] * entry.patch[1] * entry.channels
    network = Autoencoder(entry.grid, patch_dim, quantizer_of(modality, entry), scale)
    if generator is not None:
        network.draw(generator)
    return network


def law_of(entry: Image, quantile: float, error: float) -> Calibrated:
    """What `quantile` of the images held out at fitting kept."""
    unit = entry.cell.unit if isinstance(entry.cell, Continuous) else None
    return Calibrated(METRIC, quantile, error, unit or "")


def value_range(entry: Image) -> tuple[float, float]:
    """Lowest and highest number of a cell."""
    return entry.cell.range if isinstance(entry.cell, Continuous) else (-1.0, 1.0)


def view_of(modality: str, entry: Image) -> DenseView:
    """Values <-> patches in [-1, 1]: the checks and the scale of a dense stream, cut into token patches."""
    return DenseView.of_image(
        entry.size, entry.patch, value_range(entry), entry.channels, entry.out_of_range, modality
    )


def natural(modality: str, entry: Image, patches_NLC: NDArray[np.float32]) -> list[Array]:
    """Values that the modality can hold, as near as may be to what the network gave."""
    low, high = value_range(entry)
    values = np.stack(view_of(modality, entry).decode(patches_NLC)).astype(np.float64)
    if isinstance(entry.cell, Direction):
        length = np.linalg.norm(values, axis=-1, keepdims=True)
        values = np.where(length > SHORTEST, values / np.maximum(length, SHORTEST), (0.0, 0.0, 1.0))
    values = np.clip(values, low, high)
    if isinstance(entry.cell, Continuous) and entry.cell.levels is not None:
        levels = np.linspace(low, high, entry.cell.levels)
        values = levels[np.rint((values - low) / (high - low) * (len(levels) - 1)).astype(np.int64)]
    return list(values.astype(np.float32))
