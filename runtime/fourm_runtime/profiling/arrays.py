"""Images and vectors as they go by -> numbers by channel or dimension, classes of cells, odd values.

Shapes: N values of a block, H rows, W columns, K channels or dimensions.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.profiling.quantities import NumberGatherer
from fourm_runtime.profiling.record import Classes, Lengths, Part
from fourm_schema.modality import Categorical, Continuous, Direction, Image, Vector

Array = NDArray[np.generic]

MOST_CHANNELS = 16
MOST_DIMENSIONS = 64
"""Channels and dimensions that are told apart; more are looked at as one."""

BLANK = "of one value in all cells"
NOT_UNIT = "with cells that are no unit vectors"
CONSTANT_DIMENSIONS = "dimensions that never change"

_UNIT_SLACK = 0.02


class ClassMapGatherer:
    """Counts the classes of the cells of class maps."""

    def __init__(self, cell: Categorical) -> None:
        self._cell = cell
        self._counts = np.zeros(cell.class_count, np.int64)
        self._outside, self._blank = 0, 0

    def add(self, maps_NHW: Array) -> None:
        """Take in some maps."""
        cells: NDArray[np.int64] = maps_NHW.reshape(len(maps_NHW), -1).astype(np.int64)
        inside = (cells >= 0) & (cells < len(self._counts))
        self._counts += np.bincount(cells[inside], minlength=len(self._counts))
        self._outside += int((~inside).sum())
        self._blank += int((cells == cells[:, :1]).all(axis=1).sum())

    def finished(self) -> tuple[dict[str, Part], dict[str, int]]:
        """Parts, and odd values."""
        ignore = self._cell.ignore
        if isinstance(ignore, str):
            ignore = self._cell.class_names.index(ignore)
        counted = classes_of(dict(zip(self._cell.class_names, self._counts.tolist(), strict=True)))
        ignored = 0 if ignore is None else int(self._counts[ignore])
        found = Classes(counted.counts, counted.unseen, self._outside, ignored)
        return {"cells": found}, {BLANK: self._blank} if self._blank else {}


class ImageGatherer:
    """Gathers the numbers of images by channel."""

    def __init__(self, entry: Image) -> None:
        cell, self._channels = entry.cell, entry.channels
        ends = cell.range if isinstance(cell, Continuous) else None
        names: tuple[str, ...] = tuple(f"channel {k}" for k in range(self._channels))
        if isinstance(cell, Direction):
            names, ends = ("x", "y", "z"), (-1.0, 1.0)
        elif self._channels == 1:
            names = ("cells",)
        elif self._channels == 3 and isinstance(cell, Continuous):
            names = ("red", "green", "blue")
        elif self._channels > MOST_CHANNELS:
            names = (f"all {self._channels} channels",)
        self._width = len(names)
        self._numbers = NumberGatherer(names, [ends] * self._width)
        self._is_direction, self._blank, self._off = isinstance(cell, Direction), 0, 0

    def add(self, images: Array) -> None:
        """Take in some images, (N, H, W) or (N, H, W, K)."""
        self._numbers.add(images.reshape(-1, self._width))
        cells_NCK = images.reshape(len(images), -1, self._channels)
        same = cells_NCK == cells_NCK[:, :1]
        self._blank += int(same.all(axis=(1, 2)).sum())
        if self._is_direction:
            lengths = np.linalg.norm(cells_NCK.astype(np.float32), axis=-1)
            self._off += int((np.abs(lengths - 1) > _UNIT_SLACK).any(axis=1).sum())

    def finished(self) -> tuple[dict[str, Part], dict[str, int]]:
        """Parts, and odd values."""
        odd = {BLANK: self._blank, NOT_UNIT: self._off}
        return dict(self._numbers.finished()), {what: count for what, count in odd.items() if count}


class VectorGatherer:
    """Gathers the numbers of vectors by dimension; of sequences of vectors also how long they are."""

    def __init__(self, entry: Vector) -> None:
        ranges, labels = entry.range_of_each, entry.labels
        self._dim, self._limit = entry.dim * entry.steps, entry.max_length
        ends = (ranges or (None,) * entry.dim) * entry.steps
        is_each = self._dim <= MOST_DIMENSIONS
        self._width = self._dim if is_each else 1
        shared = ends[0] if len(set(ends)) == 1 else None
        self._numbers = NumberGatherer(
            labels if is_each else (f"all {self._dim} numbers",), ends if is_each else (shared,)
        )
        self._least, self._most = np.full(self._dim, np.inf), np.full(self._dim, -np.inf)
        self._lengths: Counter[int] = Counter()

    def add(self, vectors: Array, lengths: NDArray[np.int64] | None = None) -> None:
        """Take in some vectors, (N, ..., K); of sequences, all their vectors and how many each has."""
        numbers = vectors.reshape(-1, self._dim)
        if lengths is not None:
            self._lengths.update(lengths.tolist())
        if len(numbers):
            self._numbers.add(numbers.reshape(-1, self._width))
            self._least = np.minimum(self._least, numbers.min(axis=0))
            self._most = np.maximum(self._most, numbers.max(axis=0))

    def finished(self) -> tuple[dict[str, Part], dict[str, int]]:
        """Parts, and odd values."""
        parts: dict[str, Part] = dict(self._numbers.finished())
        if self._limit is not None:
            parts["vectors"] = Lengths(dict(sorted(self._lengths.items())), self._limit)
        fixed = int((self._least == self._most).sum()) if self._width == 1 < self._dim else 0
        return parts, {CONSTANT_DIMENSIONS: fixed} if fixed else {}


def classes_of(counts: dict[str, int], outside: int = 0) -> Classes:
    """Counts of all declared classes, the commonest first, those that never occur apart."""
    seen = sorted(((name, count) for name, count in counts.items() if count), key=lambda item: -item[1])
    return Classes(dict(seen), tuple(name for name, count in counts.items() if not count), outside)
