"""What knowing only the position is worth: the loss of answering with the frequencies of the ids there.

The frequencies of a grid are counted over every cell of the held-out samples, asked or not: counted over
the few cells that are asked, they would know the answers too well. A sequence has positions only once it is
masked, so its are counted over the targets.

Shapes: T targets, C tokens that are counted.
"""

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.batch import Column, Grid, Selection

Keys = NDArray[np.int64]


@attrs.define
class Baseline:
    """Collects the targets of one stream, and what its frequencies are counted over."""

    _asked: list[Keys] = attrs.field(factory=list)
    _counted: list[Keys] = attrs.field(factory=list)

    def add(self, targets: Selection, column: Column | None) -> None:
        """Take note of a batch.

        Args:
            targets: what is asked of the stream.
            column: the stream's tokens of the same samples.
        """
        keys = _keys(targets.positions, targets.ids)
        self._asked.append(keys)
        if isinstance(column, Grid):
            cells = column.ids[column.present]
            positions = np.broadcast_to(np.arange(cells.shape[1]), cells.shape)
            keys = _keys(positions.reshape(-1), cells.reshape(-1))
        self._counted.append(keys)

    def loss(self) -> float:
        """Mean loss of the targets under the frequencies, in nats."""
        return frequency_loss(np.concatenate(self._asked), np.concatenate(self._counted))


def frequency_loss(asked_T: Keys, counted_C: Keys) -> float:
    """Mean of -log p(id | position), with p as counted.

    Args:
        asked_T: position << 32 | id of each target; each occurs in `counted_C`.
        counted_C: the same of each token that is counted.

    >>> tokens = np.array([0 << 32 | 3, 0 << 32 | 4, 1 << 32 | 5, 1 << 32 | 5])
    >>> round(frequency_loss(tokens, tokens), 4)
    0.3466
    """
    of_id = _count(asked_T, counted_C)
    at_position = _count(asked_T >> 32, counted_C >> 32)
    return float(np.mean(np.log(at_position) - np.log(of_id)))


def _keys(positions: NDArray[np.integer], ids: NDArray[np.integer]) -> Keys:
    return positions.astype(np.int64) << 32 | ids.astype(np.int64)


def _count(asked: Keys, counted: Keys) -> NDArray[np.int64]:
    """How often each asked key was counted."""
    known, counts = np.unique(counted, return_counts=True)
    return counts[np.searchsorted(known, asked)].astype(np.int64)
