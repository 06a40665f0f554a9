"""Exact levels: an image whose cells take few values becomes one id per cell, and nothing is lost.

Shapes: N images, H rows, W columns, V levels.
"""

from collections.abc import Sequence
from typing import Literal, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array, Parts, TokenBatch, grid_of
from fourm_codecs.laws import Lossless
from fourm_codecs.values import read_stack, refuse_where, show
from fourm_schema.errors import CodecError
from fourm_schema.modality import Categorical, Continuous, Image, Modality

FLOAT32_ROUNDING = float(np.finfo(np.float32).eps)


@attrs.frozen
class LevelsCodec:
    """One id per cell: the number of the level (or class) that the cell holds.

    Build it with `of_range` or `of_classes`.

    Attributes:
        modality: whose images it takes.
        height, width: of an image, in cells.
        table: (V,) value of each id.
        classes: names of the classes; empty for a continuous image.
        out_of_range: `clip` snaps a value to the nearest level, `error` refuses it; an unknown class
            has no nearest one, so class maps refuse it whatever their entry says.
        entry: the schema entry it was built from.
    """

    modality: str
    height: int
    width: int
    table: tuple[float, ...]
    categorical: bool = False
    classes: tuple[str, ...] = ()
    out_of_range: Literal["error", "clip"] = "error"
    entry: Modality | None = attrs.field(default=None, eq=False, repr=False)
    name: str = attrs.field(default="levels", init=False)

    @classmethod
    def of_range(
        cls,
        height: int,
        width: int,
        low: float,
        high: float,
        levels: int,
        out_of_range: Literal["error", "clip"] = "error",
        modality: str = "image",
    ) -> Self:
        """A continuous image whose values lie on `levels` evenly spaced levels of [low, high].

        Raises:
            CodecError: if the levels are too close for a float32 to tell them apart.

        >>> LevelsCodec.of_range(2, 2, 0, 16, 17).encode([[[0, 16], [7, 1]]]).ids.tolist()
        [0, 16, 7, 1]
        """
        if levels < 2 or not low < high or not np.isfinite(high - low):
            raise CodecError(
                modality,
                "levels need two ends in ascending order and at least two levels",
                got=f"{levels} levels of [{show(low)}, {show(high)}]",
            )
        table = np.linspace(low, high, levels)
        if (high - low) / (levels - 1) <= 8 * FLOAT32_ROUNDING * max(abs(low), abs(high)):
            raise CodecError(
                modality,
                "its levels are too close for a float32 to tell them apart",
                got=f"{levels} levels of [{show(low)}, {show(high)}]",
                mend="use fewer levels, or move the range towards zero",
            )
        return cls(modality, height, width, tuple(table.tolist()), out_of_range=out_of_range)

    @classmethod
    def of_classes(
        cls, height: int, width: int, classes: Sequence[str] | int, modality: str = "image"
    ) -> Self:
        """A class map: integers 0, 1, .. below the number of classes.

        >>> LevelsCodec.of_classes(1, 3, ["sea", "land"]).encode([[[1, 0, 0]]]).ids.tolist()
        [1, 0, 0]
        """
        names = () if isinstance(classes, int) else tuple(classes)
        table = tuple(map(float, range(classes if isinstance(classes, int) else len(names))))
        return cls(modality, height, width, table, categorical=True, classes=names)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts | None = None) -> Self:
        """The codec of a declared image with `patch: 1` and counted levels or classes."""
        del parts  # the entry says it all
        cell = entry.cell if isinstance(entry, Image) and entry.patch == (1, 1) else None
        if isinstance(entry, Image) and isinstance(cell, Categorical):
            names = cell.classes if isinstance(cell.classes, int) else cell.class_names
            codec = cls.of_classes(entry.height, entry.width, names, modality)
        elif isinstance(entry, Image) and isinstance(cell, Continuous) and entry.level_count:
            ends, count = cell.range, entry.level_count
            codec = cls.of_range(entry.height, entry.width, *ends, count, entry.out_of_range, modality)
        else:
            raise CodecError(
                modality,
                "exact levels are for images with patch 1 whose one channel has `levels`, or `classes`",
                mend="set patch: 1 and cell.levels, or leave codec out",
            )
        return attrs.evolve(codec, entry=entry)

    @property
    def vocab_size(self) -> int:
        return len(self.table)

    @property
    def token_shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def parts(self) -> Parts:
        return Parts(tensors={"table": self._levels_V})

    @property
    def law(self) -> Lossless:
        return Lossless(rounding=2 * self._tolerance)

    @property
    def _levels_V(self) -> NDArray[np.float64]:
        return np.asarray(self.table, np.float64)

    @property
    def _tolerance(self) -> float:
        """How far a value may be from its level: a float32 cannot hold 0.1, but holds every integer."""
        levels_V = self._levels_V
        if np.array_equal(levels_V.astype(np.float32).astype(np.float64), levels_V):
            return 0.0
        return FLOAT32_ROUNDING * float(np.abs(levels_V).max())

    def encode(self, values: Sequence[object] | Array) -> TokenBatch:
        """Turn images (H, W) or (H, W, 1) in the schema's units into ids, row by row.

        Raises:
            CodecError: if an image has another shape, or a cell is NaN, out of range or off the levels.
        """
        cells_NHW = read_stack(values, self.modality, (self.height, self.width))
        order_V = np.argsort(self._levels_V)
        sorted_V = self._levels_V[order_V]
        # A cell belongs to the level on whose side of the midpoint it lies.
        nearest_NHW = np.searchsorted((sorted_V[:-1] + sorted_V[1:]) / 2, cells_NHW)
        if self.out_of_range == "error":
            off_NHW = ~(np.abs(cells_NHW - sorted_V[nearest_NHW]) <= self._tolerance)
            refuse_where(
                off_NHW,
                self.modality,
                lambda place: self._fault(float(cells_NHW[place]), float(sorted_V[nearest_NHW[place]])),
            )
        ids_NHW = order_V[nearest_NHW]
        return TokenBatch.of_grid(ids_NHW.reshape(-1, self.height * self.width), self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[Array]:
        """Turn ids into images (H, W): float32, or int64 for a class map.

        Raises:
            CodecError: if a row does not have H * W ids below `vocab_size`.
        """
        ids_NL = grid_of(tokens, self.modality, self.height * self.width, self.vocab_size)
        levels_V: Array = self._levels_V.astype(np.int64 if self.categorical else np.float32)
        return list(levels_V[ids_NL].reshape(-1, self.height, self.width))

    def _fault(self, value: float, nearest: float) -> tuple[str, str, str]:
        if self.categorical:
            classes = f"it has {len(self.table)} classes"
            if self.classes:
                classes = "known: " + ", ".join(f"{i} {name}" for i, name in enumerate(self.classes))
            return "there is no such class", show(value), classes
        low, high = show(self.table[0]), show(self.table[-1])
        clip = "or set `out_of_range: clip`"
        if not self.table[0] <= value <= self.table[-1]:
            return f"values lie in [{low}, {high}]", show(value), f"rescale it, {clip} to bound it"
        what = f"values lie on {len(self.table)} levels of [{low}, {high}]"
        return what, show(value), f"the nearest level is {show(nearest)}; round it, {clip} to snap it"
