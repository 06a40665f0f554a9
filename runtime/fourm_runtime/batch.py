"""What travels between the rooms of the runtime: samples, what a mask selects of them, packed tokens.

    Batch        N samples as columns, one per stream          (data -> masking)
    Masked       what each sample shows and must predict       (masking or a request -> packing)
    MicroBatch   two flat token sequences, ready for the model (packing -> transformer)

Shapes: N samples, L tokens of a grid, C numbers per dense token, T tokens of a packed side. Everything
is NumPy until `MicroBatch`; ids stay local and small until packing adds a table's offset.
"""

from collections.abc import Mapping

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_runtime.transfer import to_device

Ints = NDArray[np.integer]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


@attrs.frozen(eq=False)
class Grid:
    """Token ids of an image-like or vector stream.

    Attributes:
        ids: (N, L) local ids; rows of absent samples hold anything.
        present: (N,) False where the sample lacks the modality.
    """

    ids: Ints
    present: Bools


@attrs.frozen(eq=False)
class Sequences:
    """Token ids of a text-like stream, end token included.

    Attributes:
        ids: (sum of lengths,) local ids, sample after sample.
        offsets: (N + 1,) sample n is ids[offsets[n] : offsets[n + 1]].
        present: (N,) False where the sample lacks the modality (its length is then 0).
        chunk_lengths: (chunks,) ids of each chunk, each >= 1, chunk after chunk; no chunk reaches over the
            end of its sample. A mask keeps or hides a chunk whole: an item of a set. None: every id alone.
    """

    ids: Ints
    offsets: Int64
    present: Bools
    chunk_lengths: Int64 | None = None


@attrs.frozen(eq=False)
class Dense:
    """Numbers of a dense stream, cut into tokens (patches) and normalised.

    Attributes:
        values: (N, L, C) float32.
        present: (N,) False where the sample lacks the modality.
    """

    values: Float32
    present: Bools


@attrs.frozen(eq=False)
class DenseSequences:
    """Numbers of a stream of vectors, as many as each sample has, normalised.

    Attributes:
        values: (sum of lengths, C) float32, sample after sample.
        offsets: (N + 1,) sample n is values[offsets[n] : offsets[n + 1]].
        present: (N,) False where the sample lacks the modality (its length is then 0).
    """

    values: Float32
    offsets: Int64
    present: Bools


Column = Grid | Sequences | Dense | DenseSequences

HIDDEN_RUN = -1
"""In place of an id of a sequence of vectors: a run of hidden ones, of which one vector of zeros is shown."""


@attrs.frozen(eq=False)
class Batch:
    """N samples: one column per stream that was asked for.

    Attributes:
        sample_ids: (N,) the number that seeds a sample's masks, whoever loads it and when.
        columns: stream name -> column; streams missing here count as absent everywhere.
    """

    sample_ids: Int64
    columns: Mapping[str, Column]

    @property
    def size(self) -> int:
        return len(self.sample_ids)


@attrs.frozen(eq=False)
class Selection:
    """Tokens of one stream that a mask chose, sample by sample.

    Attributes:
        samples: (T,) which sample of the batch, never decreasing.
        positions: (T,) cell of a grid (increasing within a sample), or rank within a sequence.
        ids: (T,) local ids to embed (input) or to predict (target); of a dense grid the same numbers as
            `positions`, of a sequence of vectors which of them is shown, or `HIDDEN_RUN`.
        previous: (T,) sequence targets only: the id that the decoder reads before it predicts `ids`.
    """

    samples: Int32
    positions: Int32
    ids: Int32
    previous: Int32 | None = None

    @property
    def size(self) -> int:
        return len(self.samples)


@attrs.frozen(eq=False)
class Masked:
    """What N samples show to the encoder and must predict in the decoder.

    Attributes:
        size: N.
        inputs, targets: stream name -> what was selected; a stream without tokens may be missing.
        dense: stream name -> what `inputs` of dense streams point into: (N, L, C) values by `positions`, or
            sequences of vectors by `ids`.
    """

    size: int
    inputs: Mapping[str, Selection]
    targets: Mapping[str, Selection]
    dense: Mapping[str, Float32 | DenseSequences] = attrs.field(factory=dict)

    def dense_values(self, name: str, samples: Ints, selection: Selection) -> Float32:
        """The numbers of selected tokens of a dense stream, (T, C); a hidden run is zeros.

        Args:
            name: the stream.
            samples: (T,) which sample each token of the selection is of.
            selection: some of its visible tokens.
        """
        found = self.dense[name]
        if isinstance(found, DenseSequences):
            shown = selection.ids != HIDDEN_RUN
            values = np.zeros((selection.size, found.values.shape[1]), np.float32)
            values[shown] = found.values[found.offsets[samples[shown]] + selection.ids[shown]]
            return values
        return np.ascontiguousarray(found[samples, selection.positions], dtype=np.float32)


@attrs.frozen(eq=False)
class DenseTokens:
    """Dense tokens of a micro-batch: `values` (T_s, C) become the content of tokens `index` (T_s,)."""

    values: torch.Tensor
    index: torch.Tensor


@attrs.frozen(eq=False)
class Side:
    """One packed sequence of tokens: rows of the tables, as `fourm_schema.allocation` gives them.

    Attributes:
        rows: (T,) int32, row of the vocabulary table; 0 where content comes from elsewhere.
        positions: (T,) int32, row of the position tables laid end to end.
        streams: (T,) int32, row of the stream-embedding table.
    """

    rows: torch.Tensor
    positions: torch.Tensor
    streams: torch.Tensor

    @property
    def size(self) -> int:
        return int(self.rows.shape[0])


@attrs.frozen(eq=False)
class Head:
    """The target tokens of one stream.

    Attributes:
        index: (T_s,) int64, where in the decoder's sequence they stand.
        targets: (T_s,) int64 local ids to predict.
    """

    index: torch.Tensor
    targets: torch.Tensor


@attrs.frozen(eq=False)
class JoinedKeys:
    """What the decoder's blocks see where streams are not kept apart.

    Attributes:
        index: (K,) int64, decoder tokens whose keys each block sees, block after block: those of the
            sample's streams before it, then its own.
        parallel_lengths, causal_lengths: how many each block of a region sees.
    """

    index: torch.Tensor
    parallel_lengths: tuple[int, ...]
    causal_lengths: tuple[int, ...]


@attrs.frozen(eq=False)
class MicroBatch:
    """Two flat sequences and the lengths of their blocks. No padding, no mask.

    The encoder's sequence has one block per sample. The decoder's has two regions: first the parallel
    targets (grids), then the causal ones (sequences); within each, samples in order, and within a
    sample one block per stream, since streams do not see each other in the decoder's self-attention.

    Attributes:
        encoder: the visible tokens. A sample that shows nothing has one null token (all rows 0).
        dense: stream name -> dense tokens of the encoder.
        registers: (N * R,) int64, encoder tokens that hold the R learned registers, sample after sample.
        encoder_lengths: tokens of each sample, in order, registers included; each >= 1.
        decoder: the target tokens; `rows` is 0 in the parallel region (a mask token stands there).
        parallel_size: tokens of the parallel region.
        parallel_lengths, causal_lengths: block lengths of self-attention in each region.
        parallel_queries, causal_queries: target tokens of each sample in each region (cross-attention);
            as many entries as `encoder_lengths`, zeros included.
        heads: stream name -> its targets, in the order of the plan.
        joined: what blocks see of each other, for models whose decoder does not keep streams apart.
        left_to_right: blocks of the parallel region are causal too.
        silent: (K,) int64, encoder tokens that add nothing where the decoder looks at them.
    """

    encoder: Side
    dense: Mapping[str, DenseTokens]
    registers: torch.Tensor
    encoder_lengths: tuple[int, ...]
    decoder: Side
    parallel_size: int
    parallel_lengths: tuple[int, ...]
    causal_lengths: tuple[int, ...]
    parallel_queries: tuple[int, ...]
    causal_queries: tuple[int, ...]
    heads: Mapping[str, Head]
    joined: JoinedKeys | None = None
    left_to_right: bool = False
    silent: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> "MicroBatch":
        """Copy every tensor to a device; lengths stay on the host, so nothing ever waits for them."""

        def side(tokens: Side) -> Side:
            return Side(*(to_device(t, device) for t in (tokens.rows, tokens.positions, tokens.streams)))

        return attrs.evolve(
            self,
            encoder=side(self.encoder),
            decoder=side(self.decoder),
            registers=to_device(self.registers, device),
            dense={
                name: DenseTokens(to_device(tokens.values, device), to_device(tokens.index, device))
                for name, tokens in self.dense.items()
            },
            heads={
                name: Head(to_device(head.index, device), to_device(head.targets, device))
                for name, head in self.heads.items()
            },
            joined=self.joined and attrs.evolve(self.joined, index=to_device(self.joined.index, device)),
            silent=None if self.silent is None else to_device(self.silent, device),
        )
