"""Uniform bins: each number of a short vector becomes the id of the bin it falls into.

Shapes: N vectors, D dimensions. All dimensions share the ids [0, bins); positions tell them apart. A value
that repeats along axes is so many vectors, and as many times D ids.
"""

import math
from collections.abc import Sequence
from typing import Literal, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array, Parts, TokenBatch, grid_of
from fourm_codecs.laws import Bounded
from fourm_codecs.levels import FLOAT32_ROUNDING
from fourm_codecs.values import read_stack, refuse_where, show
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality, Vector


@attrs.frozen
class BinsCodec:
    """Uniform bins per dimension; decoding gives bin centres, at most half a bin away.

    Attributes:
        modality: whose vectors it takes.
        ranges: (low, high) of each dimension, both ends included.
        bins: per dimension.
        units: of each dimension, "" where there is none.
        names: of the dimensions, for messages; empty to number them.
        out_of_range: `clip` moves a value to the nearer end of its range, `error` refuses it.
        axes: lengths of the axes that a value repeats along, which come before its dimensions.
        entry: the schema entry it was built from.
    """

    modality: str
    ranges: tuple[tuple[float, float], ...]
    bins: int
    units: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    out_of_range: Literal["error", "clip"] = "error"
    axes: tuple[int, ...] = ()
    entry: Modality | None = attrs.field(default=None, eq=False, repr=False)
    name: str = attrs.field(default="bins", init=False)

    def __attrs_post_init__(self) -> None:
        for place, (low, high) in enumerate(self.ranges):
            what = ""
            if not low < high or not np.isfinite(high - low):
                what = "a range needs two ends in ascending order"
            elif (high - low) / self.bins <= 8 * FLOAT32_ROUNDING * max(abs(low), abs(high)):
                what = "its bins are too fine for a float32 to tell them apart"
            if what or self.bins < 2:
                raise CodecError(
                    f"{self.modality} {self._place((place,))}",
                    what or "needs at least two bins",
                    got=f"{self.bins} bins of [{show(low)}, {show(high)}]",
                    mend="use fewer bins, or move the range towards zero" if "fine" in what else "",
                )

    @classmethod
    def of_range(cls, dim: int, low: float, high: float, bins: int, modality: str = "vector") -> Self:
        """The same range for every dimension.

        >>> BinsCodec.of_range(3, 0, 1, 4).encode([[0, 0.5, 1]]).ids.tolist()
        [0, 2, 3]
        """
        return cls(modality, ((low, high),) * dim, bins)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts | None = None) -> Self:
        """The codec of a declared vector with `ranges`."""
        del parts  # the entry says it all
        ranges = entry.range_of_each if isinstance(entry, Vector) else None
        if not isinstance(entry, Vector) or ranges is None:
            raise CodecError(
                modality, "bins need a vector with ranges", mend="give ranges, one [lo, hi] per number"
            )
        units, names = entry.units or (), entry.names or ()
        axes = tuple(entry.axes.values())
        return cls(modality, ranges, entry.bins, units, names, entry.out_of_range, axes, entry)

    @property
    def dim(self) -> int:
        return len(self.ranges)

    @property
    def vocab_size(self) -> int:
        return self.bins

    @property
    def token_shape(self) -> tuple[int]:
        return (math.prod(self.axes) * self.dim,)

    @property
    def parts(self) -> Parts:
        return Parts(tensors={"ranges": np.asarray(self.ranges, np.float64)})

    @property
    def law(self) -> Bounded:
        low_D, high_D = self._ends
        rounding_D = 2 * FLOAT32_ROUNDING * np.maximum(np.abs(low_D), np.abs(high_D))
        return Bounded(
            error=tuple((self._width_D / 2).tolist()),
            unit=self.units or ("",) * self.dim,
            rounding=tuple(rounding_D.tolist()),
        )

    @property
    def _ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ends_D2 = np.asarray(self.ranges, np.float64)
        return ends_D2[:, 0], ends_D2[:, 1]

    @property
    def _width_D(self) -> NDArray[np.float64]:
        low_D, high_D = self._ends
        return (high_D - low_D) / self.bins

    def encode(self, values: Sequence[object] | Array) -> TokenBatch:
        """Turn vectors (D,) in the schema's units into D ids each; (*axes, D) where they repeat.

        Raises:
            CodecError: if a vector has another length, or a number is NaN or out of its range.
        """
        numbers_ND = read_stack(values, self.modality, (*self.axes, self.dim), self._place)
        low_D, high_D = self._ends
        if self.out_of_range == "error":
            # float32 values may sit one rounding outside an end that float32 cannot hold.
            slack_D = FLOAT32_ROUNDING * np.maximum(np.abs(low_D), np.abs(high_D))
            outside_ND = (numbers_ND < low_D - slack_D) | (numbers_ND > high_D + slack_D)
            refuse_where(
                outside_ND,
                self.modality,
                lambda place: self._fault(float(numbers_ND[place]), place[-1]),
                name_place=self._place,
            )
        inside_ND = np.clip(numbers_ND, low_D, high_D)
        ids_ND = np.floor((inside_ND - low_D) / self._width_D).astype(np.int64)
        rows = np.minimum(ids_ND, self.bins - 1).reshape(len(ids_ND), *self.token_shape)
        return TokenBatch.of_grid(rows, self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[Array]:
        """Turn ids into vectors (D,) float32 of bin centres.

        Raises:
            CodecError: if a row does not have D ids below `bins`.
        """
        rows = grid_of(tokens, self.modality, self.token_shape[0], self.vocab_size)
        ids_ND = rows.reshape(len(rows), *self.axes, self.dim)
        low_D, _ = self._ends
        centres_ND: Array = (low_D + (ids_ND + 0.5) * self._width_D).astype(np.float32)
        return list(centres_ND)

    def _place(self, place: tuple[int, ...]) -> str:
        if not self.names:
            return f"at {list(place)}"
        steps = f" at {list(place[:-1])}" if self.axes else ""
        return f"{self.names[place[-1]]!r}{steps}"

    def _fault(self, value: float, dimension: int) -> tuple[str, str, str]:
        low, high = self.ranges[dimension]
        unit = self.units[dimension] if self.units else ""
        what = f"lies in [{show(low)}, {show(high)}] {unit}".strip()
        return what, show(value), "rescale it, or set `out_of_range: clip` to bound it"
