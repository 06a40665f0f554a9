"""What one forward pass shows and asks, sample by sample, turned into what packing takes.

A request can become several samples of one pass: one per guidance pass, one per iterative target.

Shapes: L tokens of a stream, C numbers per dense token, T tokens.
"""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import torch

from fourm_runtime.batch import Float32, Int32, Masked, MicroBatch, Selection
from fourm_runtime.packing import pack
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.plan import Plan, Stream


@attrs.frozen(eq=False)
class Tokens:
    """Visible tokens of one stream in one sample.

    Attributes:
        positions: (T,) cells of a grid, increasing, or ranks within a sequence.
        ids: (T,) local ids; for a dense stream the same numbers as `positions`.
        values: (L, C) of a dense stream, else None.
    """

    positions: Int32
    ids: Int32
    values: Float32 | None = None

    @classmethod
    def whole(cls, ids: Int32) -> "Tokens":
        """Every token of a grid or a sequence."""
        return cls(np.arange(len(ids), dtype=np.int32), ids)

    @classmethod
    def dense(cls, values_LC: Float32) -> "Tokens":
        """Every token of a dense stream."""
        cells = np.arange(len(values_LC), dtype=np.int32)
        return cls(cells, cells, values_LC)


@attrs.frozen(eq=False)
class Sample:
    """One encoder block and the decoder blocks that look at it.

    Attributes:
        shows: stream name -> visible tokens; streams without tokens may be missing.
        asks: grid stream name -> (T,) cells to predict, increasing.
    """

    shows: Mapping[str, Tokens]
    asks: Mapping[str, Int32]


def masked(samples: Sequence[Sample], plan: Plan) -> Masked:
    """Write samples as packing takes them: stream by stream."""
    inputs, targets, dense = {}, {}, {}
    for stream in plan.streams:
        shown = [(number, s.shows[stream.name]) for number, s in enumerate(samples) if stream.name in s.shows]
        asked = [(number, s.asks[stream.name]) for number, s in enumerate(samples) if stream.name in s.asks]
        if shown:
            inputs[stream.name] = Selection(
                _owners([(number, len(tokens.ids)) for number, tokens in shown]),
                np.concatenate([tokens.positions for _, tokens in shown]),
                np.concatenate([tokens.ids for _, tokens in shown]),
            )
            if stream.is_dense:
                dense[stream.name] = _dense(stream, shown, len(samples))
        if asked:
            cells = np.concatenate([cells for _, cells in asked])
            owners = _owners([(number, len(cells)) for number, cells in asked])
            targets[stream.name] = Selection(owners, cells, np.zeros(len(cells), np.int32))
    return Masked(len(samples), inputs, targets, dense)


def _owners(counts: Sequence[tuple[int, int]]) -> Int32:
    return np.repeat(np.array([number for number, _ in counts], np.int32), [count for _, count in counts])


def _dense(stream: Stream, shown: Sequence[tuple[int, Tokens]], size: int) -> Float32:
    values = np.zeros((size, stream.length, stream.dense_dim or 0), np.float32)
    for number, tokens in shown:
        assert tokens.values is not None, "a dense stream is shown by its numbers"
        values[number, : len(tokens.values)] = tokens.values
    return values


def packed(samples: Sequence[Sample], model: AnyToAnyTransformer) -> MicroBatch:
    """Pack samples into one micro-batch on the model's device."""
    shape = model.architecture
    (batch,) = pack(masked(samples, model.plan), model.plan, model.allocation, shape.registers)
    empty = [not any(len(tokens.ids) for tokens in sample.shows.values()) for sample in samples]
    if shape.null_is_silent and not shape.registers and any(empty):
        starts = np.cumsum(batch.encoder_lengths) - np.array(batch.encoder_lengths)
        batch = attrs.evolve(batch, silent=torch.from_numpy(starts[empty].astype(np.int64)))
    return batch.to(device_of(model))


def split(found: Mapping[str, torch.Tensor], samples: Sequence[Sample]) -> list[dict[str, torch.Tensor]]:
    """Give each sample what was found for the cells it asks for: stream name -> (T, ...), in their order."""
    own: list[dict[str, torch.Tensor]] = [{} for _ in samples]
    for name, rows in found.items():
        asking = [number for number, sample in enumerate(samples) if name in sample.asks]
        parts = torch.split(rows, [len(samples[number].asks[name]) for number in asking])
        for number, part in zip(asking, parts, strict=True):
            own[number][name] = part
    return own


def device_of(model: AnyToAnyTransformer) -> torch.device:
    """Where the model's parameters are."""
    return model.tables.mask_token.device
