"""What a fitted image tokenizer keeps of images it was not fitted on, in numbers and as a picture.

Shapes: N images, H rows, W columns, K channels.
"""

import io
import math
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from fourm_codecs.base import Array
from fourm_codecs.image_tokenizer import ImageTokenizer, value_range
from fourm_codecs.values import read_stack

Float64 = NDArray[np.float64]

SHOWN = 16
CHUNK = 64
LEAST_SIDE_PX = 64
GAP_PX = 2


@attrs.frozen
class RoundTrip:
    """What decode(encode(x)) kept of some images.

    Attributes:
        images: how many.
        rmse: root mean square error over all their numbers, in the modality's unit.
        rmse_quantile: the error of one image that `quantile` of them stay below, or at.
        quantile: which.
        psnr: peak signal-to-noise ratio in dB, the peak being the length of the range; None if all is kept.
        ids: size of the vocabulary.
        used_ids: ids that occurred at least once.
        perplexity: exp of the entropy of the ids, in nats: how many ids, evenly used, would say as much.
    """

    images: int
    rmse: float
    rmse_quantile: float
    quantile: float
    psnr: float | None
    ids: int
    used_ids: int
    perplexity: float

    @property
    def dead_ids(self) -> int:
        """Ids that never occurred."""
        return self.ids - self.used_ids

    @property
    def codebook_use(self) -> float:
        """Share of the ids that occurred."""
        return self.used_ids / self.ids


@attrs.frozen
class FitReport:
    """What came of a fit.

    Attributes:
        steps: of the whole fit.
        loss: mean of the last ten training losses in its metrics; squared error on the scale [-1, 1].
        held_out: the round trip of the images that were held out.
        weights: numbers that were learned.
    """

    steps: int
    loss: float
    held_out: RoundTrip
    weights: int


def round_trip(codec: ImageTokenizer, values: Sequence[object], quantile: float) -> RoundTrip:
    """Measure a codec on images.

    Raises:
        CodecError: if an image is not one the modality can hold.
    """
    assert len(values), "nothing can be measured on no images"
    squares, counts = list[Float64](), np.zeros(codec.vocab_size, np.int64)
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        tokens = codec.encode(chunk)
        difference = _stack(codec, chunk) - _stack(codec, codec.decode(tokens))
        squares.append(np.square(difference).reshape(len(chunk), -1).mean(axis=1))
        counts += np.bincount(tokens.ids, minlength=codec.vocab_size)
    square_N = np.concatenate(squares)
    rmse = math.sqrt(square_N.mean())
    low, high = value_range(codec.entry)
    shares = counts[counts > 0] / counts.sum()
    return RoundTrip(
        images=len(values),
        rmse=rmse,
        # The next value that occurred, not one between two: then the law holds for the share it names.
        rmse_quantile=float(np.quantile(np.sqrt(square_N), quantile, method="higher")),
        quantile=quantile,
        psnr=20 * math.log10((high - low) / rmse) if rmse else None,
        ids=codec.vocab_size,
        used_ids=int((counts > 0).sum()),
        perplexity=float(np.exp(-(shares * np.log(shares)).sum())),
    )


def picture(codec: ImageTokenizer, values: Sequence[object]) -> bytes:
    """A PNG with the first images in the upper row and what came back of each below it."""
    shown = values[:SHOWN]
    rows = [_stack(codec, shown), _stack(codec, codec.decode(codec.encode(shown)))]
    low, high = value_range(codec.entry)
    scale = max(1, math.ceil(LEAST_SIDE_PX / max(codec.entry.size)))
    strips = [np.concatenate([_framed(image, low, high, scale) for image in row], axis=1) for row in rows]
    file = io.BytesIO()
    Picture.fromarray(np.concatenate(strips)).save(file, format="PNG")
    return file.getvalue()


def _framed(image_HWK: Float64, low: float, high: float, scale: int) -> NDArray[np.uint8]:
    channels = image_HWK.shape[2]
    coloured = image_HWK if channels == 3 else np.repeat(image_HWK[..., :1], 3, axis=2)
    bytes_HW3 = np.rint((coloured - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    large = bytes_HW3.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.pad(large, ((GAP_PX, GAP_PX), (GAP_PX, GAP_PX), (0, 0)), constant_values=96)


def _stack(codec: ImageTokenizer, values: Sequence[object] | list[Array]) -> Float64:
    """Images (N, H, W, K) within their range."""
    shape = (*codec.entry.size, codec.entry.channels)
    return np.clip(read_stack(values, codec.modality, shape), *value_range(codec.entry))
