"""Dense tokens: images and vectors that the model sees as numbers, not as ids.

Values are cut into patches and brought to the scale of the network. A patch is flattened row by row with
its channels fastest, (ph, pw, c), the order of 4M's patch projection.

Shapes: N values, H rows, W columns, K channels, L patches of an image (row by row), C = ph * pw * K numbers
of a patch; a vector is one token (L = 1) of C = dim numbers, or one per step where it repeats along axes.
"""

import math
from collections.abc import Sequence
from typing import Literal, Self, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array
from fourm_codecs.values import read_stack, refuse_where, show
from fourm_schema.errors import CodecError
from fourm_schema.modality import Continuous, Direction, Image, Modality, Vector

Float32 = NDArray[np.float32]
_T = TypeVar("_T", bound=np.generic)
Ranges = tuple[tuple[float, float], ...]


@attrs.frozen
class DenseView:
    """Values in natural units <-> dense tokens.

    Build it with `of_image`, `of_vector` or, for a declared modality, `from_entry`.

    Attributes:
        modality: whose values it takes.
        shape: of a value, (H, W, K) or (*axes, dim).
        patch: (height, width) of a patch; None for a vector.
        ranges: (low, high) per channel or number; None where any finite number is allowed.
        centre, scale: per channel or number: a token holds (value - centre) / scale.
        names: of the numbers of a vector, for messages.
        out_of_range: `clip` moves a value to the nearer end of its range, `error` refuses it.
    """

    modality: str
    shape: tuple[int, ...]
    patch: tuple[int, int] | None
    ranges: Ranges | None
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    names: tuple[str, ...] = ()
    out_of_range: Literal["error", "clip"] = "error"

    def __attrs_post_init__(self) -> None:
        if any(not scale > 0 for scale in self.scale):
            raise CodecError(
                self.modality,
                "a scale is positive",
                got=str(self.scale),
                mend="mind std and the range's order",
            )
        if self.patch is not None and (self.shape[0] % self.patch[0] or self.shape[1] % self.patch[1]):
            raise CodecError(
                self.modality,
                f"patches of {self.patch[0]}x{self.patch[1]} do not tile it",
                got=f"{self.shape[0]}x{self.shape[1]} cells",
            )

    @classmethod
    def of_image(
        cls,
        size: tuple[int, int],
        patch: tuple[int, int],
        value_range: tuple[float, float] | None,
        channels: int = 1,
        out_of_range: Literal["error", "clip"] = "error",
        modality: str = "image",
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> Self:
        """An image brought to mean 0 and deviation 1 where these are given (one per channel), else its range
        to [-1, 1]; without a range it is taken as it is.

        >>> view = DenseView.of_image((2, 4), (2, 2), (0, 8))
        >>> view.encode([[[0, 1, 2, 3], [4, 5, 6, 8]]])[0].tolist()
        [[-1.0, -0.75, 0.0, 0.25], [-0.5, -0.25, 0.5, 1.0]]
        """
        ranges = (value_range,) * channels if value_range else None
        centre, scale = (0.0,) * channels, (1.0,) * channels
        if mean is not None or std is not None:
            centre, scale = mean or centre, std or scale
        elif ranges:
            centre, scale = _unit_interval(ranges)
        return cls(modality, (*size, channels), patch, ranges, centre, scale, (), out_of_range)

    @classmethod
    def of_vector(
        cls,
        dim: int,
        ranges: Ranges | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        names: tuple[str, ...] = (),
        out_of_range: Literal["error", "clip"] = "error",
        modality: str = "vector",
        axes: tuple[int, ...] = (),
    ) -> Self:
        """A vector brought to mean 0 and deviation 1 where these are given, else its ranges to [-1, 1]."""
        centre, scale = (0.0,) * dim, (1.0,) * dim
        if mean is not None or std is not None:
            centre, scale = mean or centre, std or scale
        elif ranges is not None:
            centre, scale = _unit_interval(ranges)
        return cls(modality, (*axes, dim), None, ranges, centre, scale, names, out_of_range)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality) -> Self:
        """The dense view of a declared image or vector.

        Raises:
            CodecError: if its values are no numbers to show: a text, a set, a class map.
        """
        if isinstance(entry, Vector):
            return cls.of_vector(
                entry.dim,
                entry.range_of_each,
                entry.mean_of_each,
                entry.std_of_each,
                entry.names or (),
                entry.out_of_range,
                modality,
                tuple(entry.axes.values()),
            )
        if not isinstance(entry, Image) or entry.cell.type == "categorical":
            kind = "class map" if isinstance(entry, Image) else entry.kind
            raise CodecError(modality, f"a {kind} cannot be shown dense", mend="show it as tokens")
        value_range = None
        if isinstance(entry.cell, Continuous):
            value_range = entry.cell.range
        elif isinstance(entry.cell, Direction):
            value_range = (-1.0, 1.0)
        return cls.of_image(
            entry.size,
            entry.dense_patch,
            value_range,
            entry.channels,
            entry.out_of_range,
            modality,
            _of_each(entry.mean, entry.channels),
            _of_each(entry.std, entry.channels),
        )

    @property
    def token_count(self) -> int:
        """L."""
        return math.prod(self.shape) // self.token_dim

    @property
    def token_dim(self) -> int:
        """C."""
        return self.shape[-1] if self.patch is None else self.patch[0] * self.patch[1] * self.shape[2]

    def encode(self, values: Sequence[object] | Array) -> Float32:
        """Turn values in the schema's units into dense tokens.

        Args:
            values: (H, W, K), (H, W) when K is 1, or (dim,) each; an (N, ...) array is a batch too.

        Returns:
            (N, L, C) float32.

        Raises:
            CodecError: if a value has another shape, is not finite, or lies out of its range.
        """
        numbers = read_stack(values, self.modality, self.shape, self._place)
        if self.ranges is not None:
            low, high = np.asarray(self.ranges, np.float64).T
            if self.out_of_range == "error":
                # float32 values may sit one rounding outside an end that float32 cannot hold.
                slack = np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))
                outside = (numbers < low - slack) | (numbers > high + slack)
                refuse_where(outside, self.modality, lambda place: self._fault(numbers, place), self._place)
            numbers = np.clip(numbers, low, high)
        refuse_where(
            ~np.isfinite(numbers),
            self.modality,
            lambda place: ("a value is finite", str(numbers[place]), "mask it out or fill it in"),
            self._place,
        )
        return self.patches(((numbers - np.asarray(self.centre)) / np.asarray(self.scale)).astype(np.float32))

    def decode(self, tokens_NLC: Float32) -> list[Float32]:
        """Turn dense tokens back into values in the schema's units, (H, W) when K is 1.

        Raises:
            CodecError: if the tokens have another shape.
        """
        if tokens_NLC.ndim != 3 or tokens_NLC.shape[1:] != (self.token_count, self.token_dim):
            raise CodecError(
                self.modality,
                f"dense tokens have shape (N, {self.token_count}, {self.token_dim})",
                got=str(tokens_NLC.shape),
            )
        numbers = self.assemble(tokens_NLC.astype(np.float64))
        values = (numbers * np.asarray(self.scale) + np.asarray(self.centre)).astype(np.float32)
        if self.patch is not None and self.shape[2] == 1:
            values = values[..., 0]
        return list(values)

    def patches(self, values: NDArray[_T]) -> NDArray[_T]:
        """Cut (N, H, W, K) into (N, L, C), or lay (N, *axes, dim) as (N, L, dim); no number changes."""
        if self.patch is None:
            return values.reshape(len(values), self.token_count, self.token_dim)
        (height, width, channels), (ph, pw) = self.shape, self.patch
        blocks = values.reshape(-1, height // ph, ph, width // pw, pw, channels)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(len(values), self.token_count, self.token_dim)

    def assemble(self, tokens_NLC: NDArray[_T]) -> NDArray[_T]:
        """Undo `patches`."""
        if self.patch is None:
            return tokens_NLC.reshape(len(tokens_NLC), *self.shape)
        (height, width, channels), (ph, pw) = self.shape, self.patch
        blocks = tokens_NLC.reshape(-1, height // ph, width // pw, ph, pw, channels)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(len(tokens_NLC), height, width, channels)

    def _place(self, place: tuple[int, ...]) -> str:
        if self.patch is None and self.names:
            steps = f" at {list(place[:-1])}" if place[:-1] else ""
            return f"{self.names[place[-1]]!r}{steps}"
        inner = place[:2] if self.patch is not None and self.shape[2] == 1 else place
        return f"at {list(inner)}"

    def _fault(self, numbers: NDArray[np.float64], place: tuple[int, ...]) -> tuple[str, str, str]:
        assert self.ranges is not None
        low, high = self.ranges[place[-1]]
        what = f"lies in [{show(low)}, {show(high)}]"
        return what, show(float(numbers[place])), "rescale it, or set `out_of_range: clip` to bound it"


def _of_each(given: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    return given * channels if given is not None and len(given) == 1 else given


def _unit_interval(ranges: Ranges) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Centre and scale that bring each range to [-1, 1]."""
    return tuple((low + high) / 2 for low, high in ranges), tuple((high - low) / 2 for low, high in ranges)
