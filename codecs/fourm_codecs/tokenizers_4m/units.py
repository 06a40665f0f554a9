"""Values in the schema's units <-> the numbers that 4M's tokenizers were trained on.

| scale | values | numbers |
|---|---|---|
| `range` | images of numbers or directions | the entry's range (directions: as they are) brought to [-1, 1] |
| `depth` | depth maps | each map less its mean, over its deviation, of all but a tenth at each end |
| `mask` | masks of instances | the entry's range brought to [0, 1]; scores of 1 come back |
| `classes` | class maps | class numbers; scores of the classes come back |
| `raw` | feature maps and vectors | as they are |

Shapes: N values, H rows, W columns, C channels.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array
from fourm_codecs.dense import DenseView
from fourm_codecs.levels import LevelsCodec
from fourm_schema.modality import Categorical, Continuous, Direction, Features, Image, Vector

Scale = Literal["range", "depth", "mask", "classes", "raw"]
SCALES: tuple[Scale, ...] = get_args(Scale)

Float32 = NDArray[np.float32]

TRIMMED = 0.1
"""Share of a depth map's cells, at either end, that its mean and deviation leave out."""

SHORTEST = 1e-6
"""A decoded vector shorter than this has no direction; it becomes +z, towards the viewer."""


@attrs.frozen
class Units:
    """The way between values of a modality and numbers of a tokenizer.

    Attributes:
        modality: whose values they are.
        entry: what a value is.
        scale: as in the table above.
    """

    modality: str
    entry: Image | Vector
    scale: Scale

    def numbers(self, values: Sequence[object]) -> Float32 | NDArray[np.int64]:
        """Read values: float32 (N, C, H, W), vectors with H and W of 1; class maps int64 (N, H, W).

        Raises:
            CodecError: if a value has another shape, is not finite, or lies out of its range.
        """
        entry = self.entry
        if isinstance(entry, Vector):
            as_they_are = (0.0,) * entry.dim, (1.0,) * entry.dim
            view = DenseView.of_vector(
                entry.dim,
                entry.range_of_each,
                *as_they_are,
                entry.names or (),
                entry.out_of_range,
                self.modality,
            )
            return view.encode(values)[:, 0, :, None, None]
        if isinstance(entry.cell, Categorical):
            names = entry.cell.classes if isinstance(entry.cell.classes, int) else entry.cell.class_names
            maps = LevelsCodec.of_classes(*entry.size, names, self.modality)
            return maps.encode(values).ids.astype(np.int64).reshape(-1, *entry.size)
        view = DenseView.of_image(
            entry.size, entry.size, self._range(), entry.channels, entry.out_of_range, self.modality
        )
        found_NCHW: Float32 = np.ascontiguousarray(
            view.encode(values).reshape(-1, *entry.size, entry.channels).transpose(0, 3, 1, 2)
        )
        if self.scale == "mask":
            found_NCHW = (found_NCHW + np.float32(1)) / np.float32(2)
        elif self.scale == "depth":
            found_NCHW = np.stack([_standardised(one) for one in found_NCHW])
        return found_NCHW

    def values(self, numbers_NCHW: Float32) -> list[Array]:
        """Values that the modality can hold, as near as may be to what a decoder gave."""
        entry = self.entry
        if isinstance(entry, Vector):
            vectors = numbers_NCHW[:, :, 0, 0]
            if entry.range_of_each is not None:
                vectors = np.clip(vectors, *np.asarray(entry.range_of_each, np.float32).T)
            return list(vectors)
        if isinstance(entry.cell, Categorical):
            return list(numbers_NCHW.argmax(axis=1))
        images = numbers_NCHW.transpose(0, 2, 3, 1)
        if isinstance(entry.cell, Features):
            return list(images[..., 0] if entry.channels == 1 else images)
        found = images.astype(np.float64)
        if isinstance(entry.cell, Direction):
            length = np.linalg.norm(found, axis=-1, keepdims=True)
            found = np.where(length > SHORTEST, found / np.maximum(length, SHORTEST), (0.0, 0.0, 1.0))
            return list(np.clip(found, -1, 1).astype(np.float32))
        share = 1 / (1 + np.exp(-found)) if self.scale == "mask" else (found + 1) / 2
        return list(_in_range(share.clip(0, 1), entry.cell))

    def _range(self) -> tuple[float, float] | None:
        assert isinstance(self.entry, Image), "a vector has a range for each number"
        if isinstance(self.entry.cell, Continuous):
            return self.entry.cell.range
        return (-1.0, 1.0) if isinstance(self.entry.cell, Direction) else None


def _in_range(share_NHWC: NDArray[np.float64], cell: Continuous) -> Float32:
    """Shares of a range as numbers of it, on its levels where it has some; (N, H, W) of one channel."""
    low, high = cell.range
    if cell.levels is not None:
        share_NHWC = np.rint(share_NHWC * (cell.levels - 1)) / (cell.levels - 1)
    found: Float32 = (low + share_NHWC * (high - low)).astype(np.float32)
    return found[..., 0] if cell.channels == 1 else found


def _standardised(depth_CHW: Float32) -> Float32:
    """4M's truncated standardisation of one depth map, of shares of the range."""
    share = (depth_CHW.astype(np.float64) + 1) / 2
    ordered = np.sort(share, axis=None)
    middle = ordered[int(TRIMMED * ordered.size) : int((1 - TRIMMED) * ordered.size)]
    found: Float32 = ((share - middle.mean()) / np.sqrt(middle.var(ddof=1) + 1e-6)).astype(np.float32)
    return found
