"""One modality under test: its codec, its dense view, and the values that its entry allows."""

import math
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import attrs
import numpy as np
from hypothesis import strategies as st

from fourm_codecs.base import Array, Codec, StoredCodec, TokenBatch
from fourm_codecs.dense import DenseView
from fourm_codecs.sets import SetCodec
from fourm_codecs.sets_4m import RecordTextCodec
from fourm_codecs.store import load_codec, save_codec
from fourm_schema.lawbook.article import Draw
from fourm_schema.lawbook.search import LARGE
from fourm_schema.modality import Image, Modality, Set, Text, Vector
from fourm_schema.plan import Stream

DrawnSet = SetCodec | RecordTextCodec


@attrs.frozen
class Face:
    """One way in which values are encoded.

    Attributes:
        what: what they become.
        rows: values -> what each of them becomes.
    """

    what: str
    rows: Callable[[Sequence[object]], Sequence[Array]]


@attrs.define(eq=False, slots=False, frozen=True)
class Subject:
    """A modality under test.

    Attributes:
        name: of the modality.
        values: draws its values.
        entry: what the schema says of it; None for a codec that is tested by itself.
        codec: of its token stream, if it has one.
        view: of its dense stream, if it has one.
        stream: the token stream.
        dense_stream: the dense one.
        rebuilt: builds the codec once more, and that of another entry; None where it cannot be built anew.
    """

    name: str
    values: st.SearchStrategy[object]
    entry: Modality | None = None
    codec: Codec | None = None
    view: DenseView | None = None
    stream: Stream | None = None
    dense_stream: Stream | None = None
    rebuilt: Callable[[Modality], StoredCodec] | None = None

    @property
    def numbers(self) -> int:
        """Numbers of one value, about."""
        if isinstance(self.entry, Image):
            return self.entry.cell_count * self.entry.channels
        if isinstance(self.entry, Vector):
            return math.prod(self.entry.shape) * (self.entry.max_length or 1)
        return math.prod(self.codec.token_shape or (1,)) if self.codec else 1

    @cached_property
    def batches(self) -> st.SearchStrategy[list[object]]:
        """One to a few values."""
        return st.lists(self.values, min_size=1, max_size=2 if self.numbers >= LARGE else 3)

    @cached_property
    def faces(self) -> tuple[Face, ...]:
        """The ways in which it is encoded."""
        found = []
        if self.codec is not None:
            codec = self.codec
            found.append(Face("ids", lambda values: codec.encode(values).rows()))
        if self.view is not None:
            view = self.view
            found.append(
                Face("dense tokens", self._rows_of_sequences)
                if self.is_sequence_of_vectors
                else Face("dense tokens", lambda values: list(view.encode(values)))
            )
        return tuple(found)

    @property
    def is_sequence_of_vectors(self) -> bool:
        return isinstance(self.entry, Vector) and self.entry.max_length is not None

    @property
    def is_array(self) -> bool:
        """Whether a value is an array of numbers in the schema's units."""
        return isinstance(self.entry, Image | Vector) and self.entry.codec != "ids"

    @property
    def has_ids_for_values(self) -> bool:
        return self.entry is not None and self.entry.codec == "ids"

    @property
    def clips(self) -> bool:
        return self.entry is not None and self.entry.out_of_range == "clip"

    @property
    def sets(self) -> tuple[Set, DrawnSet]:
        """The declared set and its codec; it is one."""
        assert isinstance(self.entry, Set) and isinstance(self.codec, DrawnSet), "it is a set"
        return self.entry, self.codec

    @cached_property
    def loaded(self) -> StoredCodec:
        """Its codec, saved and loaded: once, since what is saved and loaded is the same each time."""
        assert isinstance(self.codec, StoredCodec), "it can be saved"
        with tempfile.TemporaryDirectory() as folder:
            save_codec(self.codec, Path(folder) / "codec")
            return load_codec(Path(folder) / "codec")

    def code(self) -> Codec:
        """Its codec; it has one."""
        assert self.codec is not None, "it has a token stream"
        return self.codec

    def drawn_ids(self, draw: Draw) -> TokenBatch:
        """One row of any ids of its vocabulary, as long as its codec's rows may be."""
        codec = self.code()
        if codec.token_shape is not None:
            count = math.prod(codec.token_shape)
            if count > 64:
                # Too many to draw one by one.
                rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
                row = rng.integers(0, codec.vocab_size, count).tolist()
                return TokenBatch.of([row], codec.vocab_size)
            least = most = count
        else:
            least, most = 0, min(24, self.stream.length if self.stream else 24)
        ids = st.lists(st.integers(0, codec.vocab_size - 1), min_size=least, max_size=most)
        return TokenBatch.of([draw(ids)], codec.vocab_size)

    def _rows_of_sequences(self, values: Sequence[object]) -> list[Array]:
        """A value is a sequence of vectors; each of them is one dense token."""
        assert self.view is not None
        return [self.view.encode(list(np.asarray(value)))[:, 0] for value in values]


def has_codec(tested: Subject) -> bool:
    return tested.codec is not None


def has_declared_codec(tested: Subject) -> bool:
    return tested.codec is not None and tested.entry is not None


def has_view(tested: Subject) -> bool:
    return tested.view is not None


def has_array(tested: Subject) -> bool:
    return tested.is_array and not tested.is_sequence_of_vectors


def is_set(tested: Subject) -> bool:
    return isinstance(tested.entry, Set) and isinstance(tested.codec, DrawnSet)


def is_native_set(tested: Subject) -> bool:
    return isinstance(tested.entry, Set) and isinstance(tested.codec, SetCodec)


def is_text(tested: Subject) -> bool:
    return isinstance(tested.entry, Text) and tested.codec is not None and tested.entry.codec != "ids"


def is_sequence(tested: Subject) -> bool:
    return tested.codec is not None and tested.codec.token_shape is None


def keeps_ids(tested: Subject) -> bool:
    return tested.codec is not None and tested.codec.law.keeps_ids


def is_stored(tested: Subject) -> bool:
    return isinstance(tested.codec, StoredCodec) and tested.codec.entry is not None
