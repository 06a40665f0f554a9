"""4M's working dictionary: what a padded model is given, built from what a mask selected.

    name -> Entry(tensor, input_mask, target_mask, decoder_attention_mask)

One entry per modality, every one at its full length whatever the mask chose: all cells of a grid, and
2 (longest + 1) ids of a text, the visible ones first and the ones to predict after them. As in 4M a mask is
True where a token is *not* used.

Shapes: B samples, L tokens of a modality at full length, C numbers of a dense token.
"""

from collections.abc import Mapping

import attrs
import numpy as np
import torch
from torch import Tensor

from fourm_runtime.batch import Batch, Dense, Grid, Int64, Masked, Selection
from fourm_schema.plan import Plan, Stream


@attrs.frozen(eq=False)
class Entry:
    """One modality of B samples.

    Attributes:
        tensor: (B, L) int64 ids, or (B, L, C) float32 values of a dense modality.
        input_mask: (B, L) bool, True where the encoder does not see the token.
        target_mask: (B, L) bool, True where the decoder does not predict it.
        decoder_attention_mask: (B, L) int64, how many more keys a target may see than the one before it: a
            grid's first target opens all of them, each target of a text opens itself.
    """

    tensor: Tensor
    input_mask: Tensor
    target_mask: Tensor
    decoder_attention_mask: Tensor

    def copy(self) -> "Entry":
        """The same in tensors of its own: 4M copies its dictionary for each guided step."""
        return Entry(
            self.tensor.clone(),
            self.input_mask.clone(),
            self.target_mask.clone(),
            self.decoder_attention_mask.clone(),
        )


WorkingDict = Mapping[str, Entry]
"""Stream name -> entry; its order is that of the modalities in the model."""


def full_length(stream: Stream) -> int:
    """L: cells of a grid, vectors of a sequence of vectors, or room for both halves of a masked text."""
    return stream.length if stream.layout == "grid" or stream.is_dense else 2 * (stream.length + 1)


def empty_entry(stream: Stream, size: int) -> Entry:
    """A modality that `size` samples neither show nor are asked for, as 4M fills in what a dataset lacks."""
    length = full_length(stream)
    shape = (size, length) if stream.dense_dim is None else (size, length, stream.dense_dim)
    return Entry(
        torch.zeros(shape, dtype=torch.int64 if stream.dense_dim is None else torch.float32),
        torch.ones(size, length, dtype=torch.bool),
        torch.ones(size, length, dtype=torch.bool),
        torch.zeros(size, length, dtype=torch.int64),
    )


def working_dict(masked: Masked, plan: Plan, batch: Batch | None = None) -> dict[str, Entry]:
    """Write out what a mask selected, in the order of the plan.

    Args:
        masked: what each sample shows and must predict.
        plan: its streams.
        batch: the samples it was drawn from; it gives the ids that the mask did not select, which a padded
            model embeds all the same. Without it they are 0.
    """
    return {stream.name: _entry(stream, masked, batch) for stream in plan.streams}


def _entry(stream: Stream, masked: Masked, batch: Batch | None) -> Entry:
    entry = empty_entry(stream, masked.size)
    shown, wanted = masked.inputs.get(stream.name), masked.targets.get(stream.name)
    column = None if batch is None else batch.columns.get(stream.name)
    if isinstance(column, Grid):
        entry.tensor.copy_(torch.from_numpy(column.ids.astype(np.int64)))
    elif isinstance(column, Dense):
        entry.tensor.copy_(torch.from_numpy(column.values))
    if shown is not None and shown.size:
        place = (_long(shown.samples), _long(shown.positions))
        entry.input_mask[place] = False
        if stream.is_dense:
            entry.tensor[place] = torch.from_numpy(masked.dense_values(stream.name, shown.samples, shown))
        else:
            entry.tensor[place] = _long(shown.ids)
    if wanted is not None and wanted.size:
        if stream.layout == "grid":
            _ask_grid(entry, wanted)
        else:
            _ask_text(entry, wanted)
    return entry


def _ask_grid(entry: Entry, wanted: Selection) -> None:
    place = (_long(wanted.samples), _long(wanted.positions))
    entry.tensor[place] = _long(wanted.ids)
    entry.target_mask[place] = False
    samples, first = np.unique(wanted.samples, return_index=True)
    counts = np.diff(np.append(first, wanted.size))
    entry.decoder_attention_mask[_long(samples), _long(wanted.positions[first])] = torch.from_numpy(counts)


def _ask_text(entry: Entry, wanted: Selection) -> None:
    """Targets follow the visible ids; the decoder reads each and predicts the one after it."""
    assert wanted.previous is not None, "a sequence target carries the ids that precede it"
    visible = (~entry.input_mask).sum(1).numpy()
    samples = wanted.samples.astype(np.int64)
    read = visible[samples] + wanted.positions
    for places, ids in ((read, wanted.previous), (read + 1, wanted.ids)):
        place = (_long(samples), _long(places))
        entry.tensor[place] = _long(ids)
        entry.target_mask[place] = False
        entry.decoder_attention_mask[place] = 1


def _long(numbers: np.ndarray[tuple[int, ...], np.dtype[np.integer]] | Int64) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int64))
