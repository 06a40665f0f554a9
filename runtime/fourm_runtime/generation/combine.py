"""Several samples of one target become one result.

`vote` asks, token by token, what most samples say, as self-consistency does for answers (Wang et al. 2022,
section 2); `best` keeps the sample that the model itself finds likeliest; `join` lays the samples end to end,
as 4M-21 does to get many instances from sequences that hold a few (Bachmann et al. 2024, appendix).

Shapes: S samples, T tokens.
"""

import math
from collections.abc import Sequence
from typing import Literal, assert_never

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.batch import Int32

Combine = Literal["vote", "best", "join"]
COMBINES: dict[Combine, str] = {"vote": "voted", "best": "the likeliest kept", "join": "joined"}
"""Way -> what it does, in words."""


@attrs.frozen(eq=False)
class Produced:
    """Tokens of one generated stream.

    Attributes:
        ids: (T,) local ids, in the order of the grid's cells or of the sequence; the items of a set in the
            order that its schema asks for.
        confidence: (T,) probability that the model gave to each id when it was drawn (at temperature 1,
            guidance included); 1 for ids that were given. Voted: the share of samples that drew the id.
        lengths: tokens of each sample, where several were joined.
    """

    ids: Int32
    confidence: NDArray[np.float32]
    lengths: tuple[int, ...] = ()

    @property
    def parts(self) -> list[Int32]:
        """The ids of each sample that was joined, or of the only one."""
        return np.split(self.ids, np.cumsum(self.lengths)[:-1].tolist()) if self.lengths else [self.ids]


def combine(how: Combine, samples: Sequence[Produced]) -> Produced:
    """Make one result of several samples.

    Args:
        how: `vote` needs samples of equal length.
        samples: at least one.
    """
    if how == "vote":
        return _vote(samples)
    if how == "best":
        # The first of equals: which sample wins must not depend on how a kernel sorts.
        return max(samples, key=_likelihood)
    if how == "join":
        return Produced(
            np.concatenate([one.ids for one in samples]),
            np.concatenate([one.confidence for one in samples]),
            tuple(len(one.ids) for one in samples),
        )
    assert_never(how)


def _vote(samples: Sequence[Produced]) -> Produced:
    """The id that most samples drew; of ids with as many, the one that they were surer of."""
    ids_ST = np.stack([one.ids for one in samples])
    sure_ST = np.stack([one.confidence for one in samples]).astype(np.float64)
    agree_SST = ids_ST[:, None] == ids_ST[None, :]
    votes_ST = agree_SST.sum(1)
    sums_ST = (agree_SST * sure_ST[None, :]).sum(1)
    # Sums lie below S + 1, so they decide between equal votes only; argmax takes the first of equals.
    winner_T = (votes_ST * (len(samples) + 1) + sums_ST).argmax(0)
    places = np.arange(ids_ST.shape[1])
    shares = votes_ST[winner_T, places] / len(samples)
    return Produced(ids_ST[winner_T, places], shares.astype(np.float32))


def _likelihood(sample: Produced) -> float:
    """Mean log probability of a token: so that a long sequence is not worse for being long."""
    return math.fsum(np.log(np.maximum(sample.confidence.astype(np.float64), 1e-300))) / len(sample.ids)
