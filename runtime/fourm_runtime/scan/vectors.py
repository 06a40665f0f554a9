"""Arrays of one or more axes -> a vector, an image, or a plain word that they are neither."""

from collections import Counter
from collections.abc import Sequence

import attrs
import numpy as np

from fourm_runtime.scan.arrays import Array
from fourm_runtime.scan.images import propose_image
from fourm_runtime.scan.pictures import Cells
from fourm_runtime.scan.proposal import Proposal
from fourm_runtime.scan.ranges import outward
from fourm_schema.errors import DataError
from fourm_schema.select import BINS_MOST_NUMBERS

LONGEST_VECTOR = 2**20
WHOLE_BINS = 1024
"""Whole numbers of so wide a range still get a bin each."""


def propose_arrays(arrays: Sequence[Array]) -> Proposal:
    """Choose the entry for arrays of numbers, one per sample.

    Raises:
        DataError: if no kind of modality holds them.
    """
    filled = [array for array in arrays if array.size]
    if not filled:
        raise DataError("arrays", "are all empty")
    axes, _ = Counter(array.ndim for array in filled).most_common(1)[0]
    kept = [array for array in filled if array.ndim == axes]
    odd = len(arrays) - len(kept)
    what = f"mend the arrays that are empty or have not {axes} axes: {odd} of {len(arrays)}"
    by_hand = (what,) if odd else ()
    if axes in (2, 3):
        cells = Cells()
        for array in kept:
            cells.add(array)
        found = propose_image(cells)
        return attrs.evolve(found, by_hand=(*by_hand, *found.by_hand))
    if axes > 3:
        shape = "x".join(map(str, kept[0].shape))
        raise DataError("arrays", f"have {axes} axes ({shape}); declare each step of an axis as a modality")
    lengths = {array.size for array in kept}
    if len(lengths) > 1:
        what = f"have {min(lengths)} to {max(lengths)} numbers; a vector has a fixed length"
        raise DataError("arrays", what)
    found = _propose_vector(np.stack([array.reshape(-1) for array in kept]))
    return attrs.evolve(found, by_hand=(*by_hand, *found.by_hand), example=kept[0].reshape(-1).tolist())


def _propose_vector(numbers: Array) -> Proposal:
    """Choose the entry for vectors, (samples, dim)."""
    table = numbers.astype(np.float64)
    count, dim = table.shape
    if not 1 <= dim <= LONGEST_VECTOR:
        raise DataError("arrays", f"of {dim} numbers are no vectors")
    holes = ~np.isfinite(table)
    if holes.all(axis=0).any():
        raise DataError("arrays", "hold no number at some place in any sample")
    low = np.where(holes, np.inf, table).min(axis=0)
    high = np.where(holes, -np.inf, table).max(axis=0)
    entry: dict[str, object] = {"kind": "vector", "dim": dim}
    with_holes = int(holes.any(axis=1).sum())
    by_hand = (f"fill in NaN and infinity, found in {with_holes} of {count}",) if with_holes else ()
    if dim == 1 and bool((table[~holes] == np.round(table[~holes])).all()):
        first, last, bins = whole_bins(float(low[0]), float(high[0]))
        entry |= {"ranges": [first, last], "bins": bins}
        return Proposal(entry, (f"Whole numbers from {low[0]:g} to {high[0]:g}.",), by_hand=by_hand)
    if dim <= BINS_MOST_NUMBERS:
        entry["ranges"] = [list(outward(*ends)) for ends in zip(low.tolist(), high.tolist(), strict=True)]
        note = "Ranges are those seen, rounded outward; names: [...] and units: [...] can be added."
    else:
        entry["ranges"] = list(outward(float(low.min()), float(high.max())))
        note = f"{dim} numbers from {low.min():g} to {high.max():g}."
    return Proposal(entry, (note,), by_hand=by_hand)


def whole_bins(low: float, high: float) -> tuple[float, float, int]:
    """(low, high, bins) for whole numbers: a bin each if they are few enough, with the number in its middle.

    >>> whole_bins(0, 9), whole_bins(0, 8000)
    ((-0.5, 9.5, 10), (0, 8000, 256))
    """
    first, last = outward(low, high)
    if float(first).is_integer() and float(last).is_integer() and last - first < WHOLE_BINS:
        return first - 0.5, last + 0.5, int(last - first) + 1
    return first, last, 256
