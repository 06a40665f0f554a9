"""`vit-class-fsq` and its like: a class map becomes one learned id per patch.

A learned vector stands for the class of each cell; a vision transformer turns patches of these into codes, a
second one turns codes into a score of each class at each cell, of which the highest is decoded. A binary map
is a mask.

Shapes: N maps, H rows, W columns, L patches (row by row), P cells of a patch, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array, Json
from fourm_codecs.dense import DenseView
from fourm_codecs.fit_scores import confusion, mean_iou
from fourm_codecs.laws import Calibrated
from fourm_codecs.learned_codec import LearnedCodec, Tally
from fourm_codecs.learned_entry import check_network, quantizer_of, size_of
from fourm_codecs.levels import LevelsCodec
from fourm_codecs.patches import Resampling
from fourm_codecs.vit import ClassAutoencoder
from fourm_schema.modality import Categorical, Image, Modality

METRIC = "share of wrong cells"

# Colours of a golden-ratio walk round the hue circle: neighbours in number are far apart in hue.
HUE_STEP = 0.618034


@attrs.frozen
class ClassView:
    """Class maps -> patches of class numbers.

    Attributes:
        cells: reads maps, and refuses what is no class.
        patches: cuts them.
    """

    cells: LevelsCodec
    patches: DenseView

    @property
    def token_count(self) -> int:
        return self.patches.token_count

    @property
    def token_dim(self) -> int:
        return self.patches.token_dim

    def read(self, values: Sequence[object]) -> NDArray[np.int64]:
        """Maps (N, H, W).

        Raises:
            CodecError: if one has another shape, or a cell holds no class.
        """
        ids = self.cells.encode(values).ids
        return ids.reshape(len(values), self.cells.height, self.cells.width).astype(np.int64)

    def encode(self, values: Sequence[object]) -> NDArray[np.int32]:
        return self.patches.patches(self.read(values).astype(np.int32))


@attrs.frozen(eq=False)
class ClassTokenizer(LearnedCodec[Image]):
    """One id per patch of a class map; decoded ones hold classes."""

    @classmethod
    def checked(cls, modality: str, entry: Modality) -> Image:
        can = isinstance(entry, Image) and isinstance(entry.cell, Categorical)
        check_network(modality, entry, "vit-class", "images of classes", can)
        assert isinstance(entry, Image), "others were refused"
        return entry

    @classmethod
    def built(cls, modality: str, entry: Image, size: str) -> ClassAutoencoder:
        scale, codes = size_of(size, modality, entry), quantizer_of(modality, entry)
        cells, classes = entry.patch[0] * entry.patch[1], _classes(entry).class_count
        return ClassAutoencoder(entry.grid, cells, classes, codes, scale, ignored(_classes(entry)))

    @classmethod
    def law_of(cls, entry: Image, quantile: float, error: float) -> Calibrated:
        return Calibrated(METRIC, quantile, error)

    @property
    def resampling(self) -> Resampling:
        return "nearest"

    @property
    def view(self) -> ClassView:
        height, width = self.entry.size
        names = _classes(self.entry).classes
        known = names if isinstance(names, int) else _classes(self.entry).class_names
        patches = DenseView.of_image(self.entry.size, self.entry.patch, None, modality=self.modality)
        return ClassView(LevelsCodec.of_classes(height, width, known, self.modality), patches)

    @property
    def token_shape(self) -> tuple[int, int]:
        return self.entry.grid

    def meaning(self) -> Mapping[str, Json]:
        return {
            "image": list(self.entry.size),
            "patch": list(self.entry.patch),
            "classes": _classes(self.entry).class_count,
        }

    def natural(self, outputs: Array) -> list[Array]:
        classes_NLP = outputs.argmax(axis=-1)
        return list(self.view.patches.assemble(classes_NLP)[..., 0])

    def errors(self, given: Sequence[object], back: Sequence[object]) -> NDArray[np.float64]:
        ours, theirs = self.view.read(given), self.view.read(back)
        counted = ours != ignored(_classes(self.entry))
        wrong = ((ours != theirs) & counted).sum(axis=(1, 2))
        errors_N: NDArray[np.float64] = wrong / np.maximum(1, counted.sum(axis=(1, 2)))
        return errors_N

    def tally(self, given: Sequence[object], back: Sequence[object]) -> Tally:
        counts = confusion(self.view.read(given), self.view.read(back), _classes(self.entry).class_count)
        return {"confusion": counts.astype(np.float64)}

    def scores(self, tally: Tally) -> dict[str, float | None]:
        ignore = ignored(_classes(self.entry))
        counts = tally["confusion"].copy()
        if ignore is not None:
            counts[ignore] = 0
        right = np.trace(counts) / counts.sum() if counts.any() else 1.0
        return {METRIC: 1 - float(right), "mean IoU": mean_iou(counts, ignore)}

    def coloured(self, values: Sequence[object]) -> Iterator[NDArray[np.uint8]]:
        colours_K3 = palette(_classes(self.entry).class_count)
        for classes_HW in self.view.read(values):
            image_HW3: NDArray[np.uint8] = colours_K3[classes_HW]
            yield image_HW3


def ignored(cell: Categorical) -> int | None:
    """Number of the class whose cells do not count."""
    return cell.class_names.index(cell.ignore) if isinstance(cell.ignore, str) else cell.ignore


def palette(count: int) -> NDArray[np.uint8]:
    """Colours (count, 3): black for class 0, then hues as far apart as may be.

    >>> palette(2).tolist()
    [[0, 0, 0], [40, 95, 230]]
    """
    hues = (np.arange(count) * HUE_STEP)[:, None] % 1
    # Sawtooth waves a third of the circle apart: the corners of HSV.
    waves = np.clip(np.abs((hues * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    colours: NDArray[np.uint8] = np.rint(230 - 190 * (1 - waves)).astype(np.uint8)
    colours[0] = 0
    return colours


def _classes(entry: Image) -> Categorical:
    assert isinstance(entry.cell, Categorical), "checked when it was built"
    return entry.cell
