"""What a fitted codec keeps of values it was not fitted on, in numbers and as a picture.

Shapes: N values, H rows, W columns.
"""

import io
import math
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from fourm_codecs.learned import AnyLearned
from fourm_codecs.learned_codec import Tally

SHOWN = 16
CHUNK = 64
LEAST_SIDE_PX = 64
GAP_PX = 2


@attrs.frozen
class RoundTrip:
    """What decode(encode(x)) kept of some values.

    Attributes:
        values: how many.
        metric: of the codec's law, e.g. `root mean square error`.
        error: the metric over all values together, in the modality's unit.
        error_quantile: the metric of one value that `quantile` of them stay below, or at.
        quantile: which.
        scores: other scores of this type of value, by name; None where one has no value (a PSNR if all is
            kept).
        ids: size of the vocabulary.
        used_ids: ids that occurred at least once.
        perplexity: exp of the entropy of the ids, in nats: how many ids, evenly used, would say as much.
    """

    values: int
    metric: str
    error: float
    error_quantile: float
    quantile: float
    scores: dict[str, float | None]
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

    def health(self) -> str:
        """How much of the codebook is in use, in words.

        >>> RoundTrip(1, "error", 0.25, 0.25, 0.95, {}, 1024, 24, 12.5).health()
        '24 of 1,024 ids used, 1,000 dead; perplexity 12.5'
        """
        return (
            f"{self.used_ids:,} of {self.ids:,} ids used, {self.dead_ids:,} dead; "
            f"perplexity {self.perplexity:,.1f}"
        )

    def describe(self) -> str:
        """The metric and the scores in words.

        >>> RoundTrip(1, "error", 0.25, 0.25, 0.95, {"PSNR in dB": None}, 2, 1, 1.0).describe()
        'error 0.25, PSNR in dB without limit'
        """
        found = {self.metric: self.error, **self.scores}
        return ", ".join(
            f"{name} {'without limit' if value is None else f'{value:.3g}'}" for name, value in found.items()
        )


@attrs.frozen
class FitReport:
    """What came of a fit.

    Attributes:
        steps: of the whole fit.
        loss: mean of the last ten training losses in its metrics.
        held_out: the round trip of the values that were held out.
        weights: numbers that were learned.
    """

    steps: int
    loss: float
    held_out: RoundTrip
    weights: int


def round_trip(codec: AnyLearned, values: Sequence[object], quantile: float) -> RoundTrip:
    """Measure a codec on values.

    Raises:
        CodecError: if a value is not one the modality can hold.
    """
    assert len(values), "nothing can be measured on no values"
    errors, counts = list[NDArray[np.float64]](), np.zeros(codec.vocab_size, np.int64)
    tally: Tally = {}
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        tokens = codec.encode(chunk)
        back = codec.decode(tokens)
        errors.append(codec.errors(chunk, back))
        tally = {name: tally.get(name, 0) + part for name, part in codec.tally(chunk, back).items()}
        counts += np.bincount(tokens.ids, minlength=codec.vocab_size)
    scores = codec.scores(tally)
    error = scores.pop(codec.law.metric)
    assert error is not None, "the metric of a law always has a value"
    shares = counts[counts > 0] / counts.sum()
    return RoundTrip(
        values=len(values),
        metric=codec.law.metric,
        error=error,
        # The next value that occurred, not one between two: then the law holds for the share it names.
        error_quantile=float(np.quantile(np.concatenate(errors), quantile, method="higher")),
        quantile=quantile,
        scores=scores,
        ids=codec.vocab_size,
        used_ids=int((counts > 0).sum()),
        perplexity=float(np.exp(-(shares * np.log(shares)).sum())),
    )


def picture(codec: AnyLearned, values: Sequence[object]) -> bytes:
    """A PNG with the first values in the upper row and what came back of each below it."""
    shown = values[:SHOWN]
    # Coloured together: what colours follow from (a feature's components) must be the same for both rows.
    coloured = list(codec.coloured([*shown, *codec.decode(codec.encode(shown))]))
    rows = [coloured[: len(shown)], coloured[len(shown) :]]
    strips = [np.concatenate([_framed(image) for image in row], axis=1) for row in rows]
    file = io.BytesIO()
    Picture.fromarray(np.concatenate(strips)).save(file, format="PNG")
    return file.getvalue()


def _framed(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = max(1, math.ceil(LEAST_SIDE_PX / max(image_HW3.shape[:2])))
    large = image_HW3.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.pad(large, ((GAP_PX, GAP_PX), (GAP_PX, GAP_PX), (0, 0)), constant_values=96)
