"""Ids that were made elsewhere: a value is its token ids already.

For modalities whose tokenizer is not at hand, such as the streams of an imported model. Ids of a grid are an
array of its shape; those of a text are a row of any length, without the end id, which the codec adds.

Shapes: N values of a batch.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array, Json, Parts, TokenBatch, grid_of
from fourm_codecs.laws import Lossless
from fourm_schema.errors import CodecError
from fourm_schema.modality import Image, Modality, Text, Vector
from fourm_schema.plan import Plan, Stream
from fourm_schema.resolve import PQ_TOKENS


def sequence_settings(plan: Plan, stream: Stream) -> dict[str, Json]:
    """What a text's entry does not say of its ids: how many there are, and which one ends a text."""
    if stream.layout == "grid":
        return {}
    return {"vocab_size": stream.vocab_size, "end": plan.special(stream).end}


@attrs.frozen
class IdsCodec:
    """Takes ids as they are.

    Attributes:
        modality: whose ids it takes.
        vocab_size: ids are in [0, vocab_size).
        token_shape: (rows, columns) of an image, (length,) of a vector, None of a text.
        max_tokens: most ids of a text, its end id included; 0 of a grid.
        end: the id that closes a text; -1 of a grid.
        entry: the schema entry it was built from.
    """

    modality: str
    vocab_size: int
    token_shape: tuple[int, ...] | None
    max_tokens: int = 0
    end: int = -1
    entry: Modality | None = attrs.field(default=None, eq=False, repr=False)
    name: str = attrs.field(default="ids", init=False)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts) -> Self:
        """The codec of a declared image, vector or text."""
        if isinstance(entry, Text):
            return cls._of_text(modality, entry, parts.settings)
        if not isinstance(entry, Image | Vector) or entry.vocab_size is None:
            raise CodecError(
                modality, "ids are for images and vectors with a vocab_size, and for texts", got=entry.kind
            )
        shape = entry.grid if isinstance(entry, Image) else (entry.tokens or PQ_TOKENS,)
        return cls(modality, entry.vocab_size, shape, entry=entry)

    @classmethod
    def _of_text(cls, modality: str, entry: Text, settings: Mapping[str, Json]) -> Self:
        size, end = settings.get("vocab_size"), settings.get("end")
        if not isinstance(size, int) or not isinstance(end, int) or not 0 <= end < size:
            raise CodecError(
                modality, "lacks the size of its vocabulary or its end id", got=str(dict(settings))
            )
        return cls(modality, size, None, entry.max_tokens, end, entry)

    @property
    def parts(self) -> Parts:
        if self.token_shape is not None:
            return Parts()
        return Parts(settings={"vocab_size": self.vocab_size, "end": self.end})

    @property
    def law(self) -> Lossless:
        return Lossless()

    def encode(self, values: Sequence[object] | Array) -> TokenBatch:
        """Check ids and lay them end to end.

        Raises:
            CodecError: if a value is no array of whole numbers of the right shape, or an id is out of range.
        """
        rows = [self._row(value, f"{self.modality}, value {number}") for number, value in enumerate(values)]
        return TokenBatch.of(rows, self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[NDArray[np.int64]]:
        """Give ids back: in the shape of the grid, or those of a text before its first end id, if there is
        one, and not more than have room before it."""
        if self.token_shape is None:
            most = self.max_tokens - 1
            return [_before(row.astype(np.int64), self.end)[:most] for row in tokens.rows()]
        length = int(np.prod(self.token_shape))
        return list(grid_of(tokens, self.modality, length, self.vocab_size).reshape(-1, *self.token_shape))

    def _row(self, value: object, where: str) -> NDArray[np.int64]:
        wanted = (
            "x".join(map(str, self.token_shape)) + " token ids" if self.token_shape else "a row of token ids"
        )
        if isinstance(value, str) or value is None:
            mend = (
                "give it a tokenizer to write texts"
                if isinstance(value, str)
                else "leave it out of the batch"
            )
            raise CodecError(where, f"a value is {wanted}", got=type(value).__name__, mend=mend)
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as fault:
            raise CodecError(where, f"a value is {wanted}", got=str(fault)) from None
        if array.size == 0 and self.token_shape is None:
            array = array.astype(np.int64)
        fits = array.ndim == 1 if self.token_shape is None else array.shape == self.token_shape
        if array.dtype.kind not in "iu" or not fits:
            got = f"{array.dtype} of shape {'x'.join(map(str, array.shape)) or 'one number'}"
            raise CodecError(where, f"a value is {wanted}", got=got)
        outside = (array < 0) | (array >= self.vocab_size)
        if outside.any():
            raise CodecError(
                where, f"an id of this vocabulary is in [0, {self.vocab_size})", got=str(array[outside][0])
            )
        ids: NDArray[np.int64] = array.astype(np.int64).reshape(-1)
        return ids if self.token_shape is not None else self._closed(ids, where)

    def _closed(self, ids: NDArray[np.int64], where: str) -> NDArray[np.int64]:
        if len(ids) >= self.max_tokens or (ids == self.end).any():
            raise CodecError(
                where,
                f"has at most {self.max_tokens - 1} ids before its end, which is added",
                got=f"{len(ids)} ids" + (", the end id among them" if (ids == self.end).any() else ""),
            )
        return np.append(ids, self.end)


def _before(ids: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    stops = np.flatnonzero(ids == end)
    return ids[: stops[0]] if len(stops) else ids
