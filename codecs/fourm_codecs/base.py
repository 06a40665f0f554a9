"""What every codec is: values in natural units <-> small integer ids, under a stated law.

Shapes: N values of a batch, L ids of one value.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.laws import Law
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality

Array = NDArray[np.generic]
FieldValue = float | int | str | list[float] | list[list[int]] | None
Record = dict[str, FieldValue]
"""One item of a set: field -> a number, a name or text, a list of numbers, the rows of a mask, or None where
it is absent."""

Value = Array | str | list[Record]
"""A value as codecs give it back: an array in the schema's units, a text, or the records of a set."""

Ids = NDArray[np.unsignedinteger]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def id_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Smallest unsigned integer type that holds every id of a vocabulary.

    >>> [str(id_dtype(size)) for size in (17, 256, 257, 30_000, 100_000)]
    ['uint8', 'uint8', 'uint16', 'uint16', 'uint32']
    """
    for dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        if vocab_size - 1 <= np.iinfo(dtype).max:
            return dtype
    return np.dtype(np.uint32)


@attrs.frozen(eq=False)
class TokenBatch:
    """Local ids of N values, laid end to end.

    Attributes:
        ids: (sum of lengths,) in the smallest unsigned type of the vocabulary.
        lengths: (N,) int64, how many ids each value has.
        chunk_lengths: (C,) int64, how many ids each chunk has, the chunks of all values end to end; None
            where values are not made of chunks. Masked spans start and end at the border of a chunk.
    """

    ids: Ids
    lengths: NDArray[np.int64]
    chunk_lengths: NDArray[np.int64] | None = None

    def __attrs_post_init__(self) -> None:
        self._check_lengths()
        if self.chunk_lengths is not None:
            self._check_chunks(self.chunk_lengths)

    def _check_lengths(self) -> None:
        flat = self.ids.ndim == 1 and self.lengths.ndim == 1
        if not flat or (self.lengths < 0).any() or int(self.lengths.sum()) != len(self.ids):
            raise CodecError(
                "tokens",
                "the lengths do not add up to the ids",
                got=f"ids of shape {self.ids.shape}, lengths {self.lengths.tolist()}",
            )

    def _check_chunks(self, chunk_lengths: NDArray[np.int64]) -> None:
        borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(chunk_lengths)])
        offsets = self.offsets
        if (
            (chunk_lengths <= 0).any()
            or borders[-1] != len(self.ids)
            or (borders[np.searchsorted(borders, offsets)] != offsets).any()
        ):
            raise CodecError(
                "tokens",
                "the chunks do not add up to the values",
                got=f"lengths {self.lengths.tolist()}, chunks {chunk_lengths.tolist()}",
            )

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[int] | NDArray[np.integer]],
        vocab_size: int,
        chunks: Sequence[Sequence[int]] | None = None,
    ) -> Self:
        """Lay rows of ids end to end.

        Args:
            rows: the ids of each value.
            vocab_size: every id is below it.
            chunks: the lengths of each value's chunks, where it is made of chunks.

        Raises:
            CodecError: if an id is not in [0, vocab_size); the message names its row and place.
        """
        arrays = [np.asarray(row) if len(row) else np.zeros(0, np.int64) for row in rows]
        for number, array in enumerate(arrays):
            _check_ids(array, number, vocab_size)
        dtype = id_dtype(vocab_size)
        flat = np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype)
        flat_chunks = None if chunks is None else np.array([n for row in chunks for n in row], np.int64)
        return cls(flat, np.array([len(array) for array in arrays], np.int64), flat_chunks)

    @classmethod
    def of_grid(cls, ids_NL: NDArray[np.integer], vocab_size: int) -> Self:
        """Lay a table of ids, one row per value, end to end; the ids are ours and in range."""
        count, length = ids_NL.shape
        return cls(ids_NL.reshape(-1).astype(id_dtype(vocab_size)), np.full(count, length, np.int64))

    @classmethod
    def joined(cls, batches: Sequence[Self]) -> Self:
        """The values of several batches of one codec, of which there is at least one."""
        if len(batches) == 1:
            return batches[0]
        chunks = [batch.chunk_lengths for batch in batches if batch.chunk_lengths is not None]
        return cls(
            np.concatenate([batch.ids for batch in batches]),
            np.concatenate([batch.lengths for batch in batches]),
            np.concatenate(chunks) if chunks else None,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(N + 1,) value n has ids[offsets[n] : offsets[n + 1]]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    def rows(self) -> list[Ids]:
        """The ids of each value."""
        bounds = self.offsets
        return [self.ids[start:stop] for start, stop in itertools.pairwise(bounds)]

    def chunks(self) -> list[list[int]] | None:
        """The lengths of each value's chunks; None where values are not made of chunks."""
        if self.chunk_lengths is None:
            return None
        borders = np.cumsum(self.chunk_lengths)
        splits = np.searchsorted(borders, self.offsets[1:-1], side="right")
        return [part.tolist() for part in np.split(self.chunk_lengths, splits)] if len(self) else []

    def same(self, other: "TokenBatch") -> bool:
        """Whether both hold the same ids, row by row, in the same type."""
        return (
            self.ids.dtype == other.ids.dtype
            and np.array_equal(self.lengths, other.lengths)
            and np.array_equal(self.ids, other.ids)
        )


def _check_ids(ids: NDArray[np.integer], row: int, vocab_size: int) -> None:
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise CodecError(
            f"tokens, row {row}", "ids are a flat row of integers", got=f"{ids.dtype} of shape {ids.shape}"
        )
    outside = (ids < 0) | (ids >= vocab_size)
    if outside.any():
        place = int(outside.argmax())
        raise CodecError(
            f"tokens, row {row}, place {place}",
            f"an id of this vocabulary is in [0, {vocab_size})",
            got=str(int(ids[place])),
        )


def grid_of(tokens: TokenBatch, modality: str, length: int, vocab_size: int) -> NDArray[np.int64]:
    """Read a batch whose every value has `length` ids as a table (N, L) of int64.

    Raises:
        CodecError: if a row has another length, or an id lies outside the vocabulary.
    """
    wrong = tokens.lengths != length
    if wrong.any():
        row = int(wrong.argmax())
        raise CodecError(
            f"{modality}, row {row}",
            f"one value has exactly {length} ids",
            got=f"{int(tokens.lengths[row])}",
        )
    ids_NL = tokens.ids.astype(np.int64).reshape(len(tokens), length)
    outside = ids_NL >= vocab_size
    if outside.any():
        row, place = (int(i) for i in np.argwhere(outside)[0])
        raise CodecError(
            f"{modality}, row {row}, place {place}",
            f"an id of this codec is in [0, {vocab_size})",
            got=str(int(ids_NL[row, place])),
        )
    return ids_NL


@runtime_checkable
class Codec(Protocol):
    """Turns values of one modality into ids and back.

    Attributes:
        name: the codec's name in the selection table, e.g. `levels`.
        modality: whose values it takes; every error names it.
        vocab_size: ids are in [0, vocab_size).
        token_shape: shape of one value's ids, (rows, columns) or (length,); None when lengths differ.
        law: what decode(encode(x)) keeps of x.
    """

    @property
    def name(self) -> str: ...

    @property
    def modality(self) -> str: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def token_shape(self) -> tuple[int, ...] | None: ...

    @property
    def law(self) -> Law: ...

    def encode(self, values: Sequence[object]) -> TokenBatch:
        """Turn values into ids.

        Raises:
            CodecError: if a value is not one the modality can hold.
        """
        ...

    def decode(self, tokens: TokenBatch) -> Sequence[Value]:
        """Turn ids into values; every sequence of in-range ids of the right length has one."""
        ...


@attrs.frozen
class Parts:
    """What a codec is made of besides its schema entry.

    Attributes:
        vocabulary: the shared word vocabulary, for codecs of text.
        tensors: what was fitted or stored, by name; empty for a codec that follows from its entry alone.
        settings: what gives the tensors their meaning, by name, as plain data; lists, not tuples.
    """

    vocabulary: WordVocabulary | None = None
    tensors: Mapping[str, Array] = attrs.field(factory=dict)
    settings: Mapping[str, Json] = attrs.field(factory=dict)


@runtime_checkable
class StoredCodec(Codec, Protocol):
    """A codec that `build_codec` can build and `save_codec` can write; plugins provide this too.

    Attributes:
        entry: the schema entry it was built from; None if it was built from plain arguments.
        parts: its vocabulary, tensors and settings, everything that gives its ids their meaning.
    """

    @property
    def entry(self) -> Modality | None: ...

    @property
    def parts(self) -> Parts: ...


class CodecClass(Protocol):
    """The class of a `StoredCodec`."""

    def from_entry(self, modality: str, entry: Modality, parts: Parts) -> StoredCodec:
        """Build the codec of a declared modality.

        Args:
            modality: its name.
            entry: what the schema says of it.
            parts: the vocabulary where it has one; tensors and settings when it is loaded from files.
        """
        ...
