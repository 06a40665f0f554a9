"""What a schema comes to: the streams a model will see, and why each is treated as it is.

A *modality* is a value a user has. A *stream* is one way the model sees it: shown dense
(`digit.pixels`) or as tokens (`digit.tokens`). Plans are frozen records: cattrs turns them into
plain dicts for JSON and checkpoints and back.
"""

from collections.abc import Iterable
from typing import Literal

import attrs

from fourm_schema.errors import PlanError, nearest

Kind = Literal["image", "vector", "set", "text"]
Shown = Literal["pixels", "values", "tokens"]
Role = Literal["input", "target", "both"]
Layout = Literal["grid", "sequence"]


@attrs.frozen
class Special:
    """Ids of a sequence's vocabulary that stand for no content. Sentinel k is `first_sentinel + k`.

    Sentinels open the masked spans of a sequence (T5, Raffel et al. 2020, section 3.1.4, as 4M uses
    them). Their number is derived from the longest sequence, so that a span never lacks one.
    """

    pad: int
    unknown: int
    start: int
    end: int
    first_sentinel: int
    sentinel_count: int

    @property
    def size(self) -> int:
        """How many ids are taken before the first word."""
        return self.first_sentinel + self.sentinel_count


@attrs.frozen
class Vocabulary:
    """The ids that sequence streams write in; `size` counts the special ids too.

    A word vocabulary (`wordpiece`) is declared and may be shared by several texts; that of a set
    (`grammar`) is named after its one stream and follows from the schema.
    """

    name: str
    kind: Literal["wordpiece", "grammar"]
    size: int
    special: Special


@attrs.frozen
class Stream:
    """One way the model sees a modality.

    Attributes:
        name: `modality.shown`, e.g. `digit.tokens`.
        modality: the declared name.
        kind: the modality's kind.
        shown: `tokens` (discrete ids), or dense: `pixels` (image) and `values` (vector).
        role: what the stream may be; dense streams are inputs only.
        layout: `grid` streams have fixed positions and are predicted in parallel; `sequence` streams
            have positions by rank, are masked by spans and predicted left to right.
        length: tokens of a grid, or the most tokens of a sequence (its end token included).
        grid: (rows, columns) of an image, (length,) of a vector, None for a sequence.
        dense_dim: numbers per token of a dense stream, else None.
        vocabulary: name of the id space: the shared word vocabulary of a text, the stream's own name
            for a set or a token grid, None when dense.
        vocab_size: ids in that space; 0 when dense.
        codec, embedding, positions: the selected (or overridden) means, by name.
        because: the reason for each of the three, in that order.
        loss_weight: weight of this stream's mean loss in the total.
        column: name of the dataset column that holds the stream's tokens (or raw dense values).
        views: alternative values per sample (several captions); one is drawn each time a sample is seen.
        row_space: whose rows of the tables it uses, if not those of its vocabulary.
        position_rows: rows of its position table, if not as many as follow from its length.
        target_positions: target tokens that have a position each, if not all; later ones take position 0.
        aliases: other names it goes by.
    """

    name: str
    modality: str
    kind: Kind
    shown: Shown
    role: Role
    layout: Layout
    length: int
    grid: tuple[int, ...] | None
    dense_dim: int | None
    vocabulary: str | None
    vocab_size: int
    codec: str
    embedding: str
    positions: Literal["sincos-2d", "sincos-1d", "learned-1d"]
    because: tuple[str, str, str]
    loss_weight: float
    column: str
    views: int = 1
    row_space: str | None = None
    position_rows: int | None = None
    target_positions: int | None = None
    aliases: tuple[str, ...] = ()

    @property
    def is_dense(self) -> bool:
        return self.dense_dim is not None

    @property
    def can_be_input(self) -> bool:
        return self.role in ("input", "both")

    @property
    def can_be_target(self) -> bool:
        return self.role in ("target", "both")

    @property
    def id_space(self) -> str | None:
        """Whose rows of the vocabulary tables the stream's ids are; None when dense."""
        return self.row_space or self.vocabulary

    @property
    def target_ranks(self) -> int:
        """Target tokens with a position of their own; the decoder gives those after them position 0."""
        return self.target_positions or self.position_count

    @property
    def position_count(self) -> int:
        """Position rows the stream needs: its cells, or every rank a masked sequence can reach.

        A sequence of n tokens masked span by span becomes at most n + ceil(n / 2) + 1 target tokens;
        2 (n + 1) rows hold any of them (the length 4M reserves too).
        """
        if self.position_rows is not None:
            return self.position_rows
        return self.length if self.layout == "grid" else 2 * (self.length + 1)


@attrs.frozen
class Plan:
    """Streams and vocabularies of a schema, in the order of the file.

    Attributes:
        schema_hash: hash of the schema that was resolved (see `fourm_schema.digest`).
        streams: every stream.
        vocabularies: the word vocabularies that texts and texts of sets are written in, then the vocabulary
            of each set.
    """

    schema_hash: str
    streams: tuple[Stream, ...]
    vocabularies: tuple[Vocabulary, ...]

    def stream(self, name: str) -> Stream:
        """Find a stream by its name or an alias, or a modality's default stream by the modality's name.

        The default is the token stream where there is one, else the dense stream.

        Raises:
            PlanError: if nothing has that name; the message lists what has.
        """
        matches = [stream for stream in self.streams if stream.name == name] or sorted(
            (stream for stream in self.streams if name in (stream.modality, *stream.aliases)),
            key=lambda stream: stream.is_dense,
        )
        if not matches:
            raise PlanError(name, "is no stream or modality of this schema", mend=nearest(name, self.names))
        return matches[0]

    @property
    def names(self) -> list[str]:
        return [stream.name for stream in self.streams]

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.streams if stream.can_be_input)

    @property
    def targets(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.streams if stream.can_be_target)

    def index(self, name: str) -> int:
        """Place of the stream in `streams`; the order in which a packed sample lays its streams."""
        return self.names.index(self.stream(name).name)

    def special(self, stream: Stream) -> Special:
        """Special ids of a sequence stream's vocabulary."""
        for vocabulary in self.vocabularies:
            if vocabulary.name == stream.vocabulary:
                return vocabulary.special
        raise PlanError(stream.name, "has no special ids", mend="only sequence streams do")

    def of_modality(self, modality: str) -> Iterable[Stream]:
        """The streams of a modality, by its name or one of its aliases."""
        return (stream for stream in self.streams if modality in (stream.modality, *stream.aliases))
