"""What a mask does to each token of a sample: visible, to be predicted, or neither.

Shapes: L tokens of a stream of one sample.
"""

import itertools
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from fourm_runtime.batch import (
    HIDDEN_RUN,
    Batch,
    Bools,
    Column,
    DenseSequences,
    Int32,
    Masked,
    Selection,
    Sequences,
)
from fourm_runtime.masking.budgets import Budgets
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.spans import target_sequence
from fourm_schema.plan import Stream

_MARK = 2**30


@attrs.frozen(eq=False)
class StreamDraw:
    """What a mask does to one stream of one sample.

    Attributes:
        stream: the stream.
        present: the sample has it.
        visible, predicted: (L,) what became of each of its tokens; L is 0 where it is absent.
        sentinels: (place, number) of each sentinel, in order: it stands before token `place`, at the end
            where that is L. Sequences only.
        input_budget, target_budget: tokens that were drawn for it.
        input_tokens, target_tokens: tokens that the encoder sees and the decoder predicts, sentinels
            included.
    """

    stream: Stream
    present: bool
    visible: Bools
    predicted: Bools
    sentinels: tuple[tuple[int, int], ...]
    input_budget: int
    target_budget: int
    input_tokens: int
    target_tokens: int

    @property
    def length(self) -> int:
        """Its tokens in this sample."""
        return len(self.visible)


@attrs.frozen(eq=False)
class MaskDraw:
    """One draw of a sample's mask.

    Attributes:
        component: which component of the mixture was drawn.
        input_budget, target_budget: tokens that its streams were to share.
        streams: by name, in the order of the plan.
    """

    component: int
    input_budget: int
    target_budget: int
    streams: Mapping[str, StreamDraw]

    @property
    def input_tokens(self) -> int:
        """Tokens that the encoder sees."""
        return sum(each.input_tokens for each in self.streams.values())

    @property
    def target_tokens(self) -> int:
        """Tokens that the decoder predicts."""
        return sum(each.target_tokens for each in self.streams.values())


def mask_draws(masker: Masker, batch: Batch, epochs: Sequence[int]) -> list[MaskDraw]:
    """Draw the masks of a batch, and say what became of every token.

    Args:
        masker: draws them.
        batch: the samples.
        epochs: how often each was seen before.

    Raises:
        DataError: if a column does not fit its stream.
    """
    seen = np.asarray(epochs, np.int64)
    budgets = masker.budgets(batch, seen)
    # A mask does not look at ids: places in their stead come out where the tokens went.
    masked = masker(Batch(batch.sample_ids, {name: _places(c) for name, c in batch.columns.items()}), seen)
    return [
        MaskDraw(
            component=int(budgets.components[sample]),
            input_budget=int(budgets.input_totals[sample]),
            target_budget=int(budgets.target_totals[sample]),
            streams={
                stream.name: _stream_draw(masker, stream, batch, masked, budgets, sample)
                for stream in masker.plan.streams
            },
        )
        for sample in range(batch.size)
    ]


def _places(column: Column) -> Column:
    if not isinstance(column, Sequences):
        return column
    lengths = np.diff(column.offsets)
    places = np.arange(len(column.ids)) - np.repeat(column.offsets[:-1], lengths)
    return attrs.evolve(column, ids=(_MARK + places).astype(np.int32))


def _stream_draw(
    masker: Masker, stream: Stream, batch: Batch, masked: Masked, budgets: Budgets, sample: int
) -> StreamDraw:
    column = batch.columns.get(stream.name)
    present = column is not None and bool(column.present[sample])
    length = stream.length if present else 0
    if isinstance(column, Sequences | DenseSequences):
        length = int(np.diff(column.offsets)[sample])
    shown, wanted = masked.inputs.get(stream.name), masked.targets.get(stream.name)
    index = masker.plan.index(stream.name)
    visible, predicted = np.zeros(length, np.bool_), np.zeros(length, np.bool_)
    sentinels: tuple[tuple[int, int], ...] = ()
    inputs, outputs = _of(stream, shown, sample), _of(stream, wanted, sample)
    if stream.is_dense and stream.layout == "sequence":
        # Hidden runs have no numbers of their own: the first that is shown is the first there is.
        runs = inputs == HIDDEN_RUN
        visible[inputs[~runs]] = True
        inputs = np.where(runs, np.cumsum(runs, dtype=np.int32), inputs + _MARK)
        sentinels = _sentinels(inputs, np.zeros(0, np.int32), 0, length)
    elif stream.layout == "sequence":
        first = masker.plan.special(stream).first_sentinel
        targets = np.zeros(0, np.int32) if wanted is None else target_sequence(wanted, sample)
        visible[inputs[inputs >= _MARK] - _MARK] = True
        predicted[targets[targets >= _MARK] - _MARK] = True
        sentinels = _sentinels(inputs, targets, first, length)
    else:
        visible[inputs] = True
        predicted[outputs] = True
    return StreamDraw(
        stream=stream,
        present=present,
        visible=visible,
        predicted=predicted,
        sentinels=sentinels,
        input_budget=int(budgets.inputs[sample, index]),
        target_budget=int(budgets.targets[sample, index]),
        input_tokens=len(inputs),
        target_tokens=len(outputs),
    )


def _of(stream: Stream, selection: Selection | None, sample: int) -> Int32:
    """The cells of a grid, or the ids of a sequence, that were selected of one sample."""
    if selection is None:
        return np.zeros(0, np.int32)
    first, last = np.searchsorted(selection.samples, [sample, sample + 1])
    return (selection.positions if stream.layout == "grid" else selection.ids)[first:last]


def _sentinels(inputs: Int32, targets: Int32, first: int, length: int) -> tuple[tuple[int, int], ...]:
    """Where sentinels stand: after the visible token before them, or before the predicted one after them."""
    found: dict[int, int] = {}
    after = 0
    for identity in inputs.tolist():
        if identity >= _MARK:
            after = identity - _MARK + 1
        else:
            found[identity - first] = after
    for identity, following in itertools.pairwise([*targets.tolist(), 0]):
        if identity < _MARK:
            place = following - _MARK if following >= _MARK else length
            found.setdefault(identity - first, place)
    return tuple(sorted((place, number) for number, place in found.items()))
