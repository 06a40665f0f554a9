"""Digits drawn from a caption and one measurement: does the drawing have as much ink as was asked for?"""

from collections.abc import Sequence

import attrs
import numpy as np
from scipy.stats import rankdata
from sklearn.svm import SVC

from digits import WORDS, Row, plain_caption
from evaluation import AT_A_TIME, drawing, image_of
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.generation.request import Prefix
from measures import DARKEST, Image, facts

LEVELS, TAIL = 5, 0.05
"""Amounts of ink, evenly spaced; a twentieth of the training digits lie beyond each end."""

DRAWS = 4
GUIDANCES = (1.0, 2.0)


@attrs.frozen(eq=False)
class Steered:
    """Digits drawn with a caption and an amount of ink as conditions.

    Attributes:
        guidance: scale of classifier-free guidance; 1 is none.
        levels: amounts of ink that were asked for, ascending.
        images: (digit, level, draw) -> an image.
        correlation: Spearman's rank correlation of the ink that was asked for with that of the image.
        right: share of images that are judged to be the right digit.
    """

    guidance: float
    levels: tuple[float, ...]
    images: list[list[list[Image]]]
    correlation: float
    right: float

    def mean_ink(self) -> list[float]:
        """Mean ink of the images of each level, 0 to 1."""
        inks = np.array([[np.mean(draws) for draws in levels] for levels in self.images]) / DARKEST
        return [float(ink) for ink in inks.mean(axis=0)]


def steer(model: AnyToAny, rows: Sequence[Row], judge: SVC, seed: int) -> list[Steered]:
    """Draw every digit in five amounts of ink, without guidance and with it.

    The record is given in part: the model first completes it (slant, extents, holes), then draws the digit at
    half its size, then as it is.

    Args:
        model: the trained model.
        rows: training samples; the amounts are among theirs.
        judge: tells the digit of an image.
        seed: of everything that is sampled.
    """
    inks = [facts(np.asarray(row["digit"]))["ink"] for row in rows]
    least, most = (float(np.quantile(inks, share)) for share in (TAIL, 1 - TAIL))
    levels = tuple(np.linspace(least, most, LEVELS).tolist())
    asked: list[dict[str, object]] = [
        {"caption": plain_caption(digit, draw), "facts": Prefix({"ink": level})}
        for digit in range(len(WORDS))
        for level in levels
        for draw in range(DRAWS)
    ]
    found = []
    for guidance in GUIDANCES:
        made = model.generate(asked, drawing(guidance), seed=seed, batch_size=AT_A_TIME)
        images = np.stack([image_of(one["digit"]) for one in made])
        grid = images.reshape(len(WORDS), len(levels), DRAWS, 8, 8)
        wanted = np.broadcast_to(np.array(levels)[None, :, None], grid.shape[:3]).reshape(-1)
        measured = images.mean(axis=(1, 2))
        digits = np.repeat(np.arange(len(WORDS)), len(levels) * DRAWS)
        right = float((judge.predict(images.reshape(len(images), -1)) == digits).mean())
        rank = float(np.corrcoef(rankdata(wanted), rankdata(measured))[0, 1])
        found.append(
            Steered(guidance, levels, [[[*draws] for draws in level] for level in grid], rank, right)
        )
    return found
