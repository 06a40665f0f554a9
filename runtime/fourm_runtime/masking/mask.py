"""Draws what every sample of a batch shows and must predict.

    Batch + (seed, epoch) -> budgets per stream -> cells of grids, spans of sequences -> Masked

A sample's mask depends on the seed, the epoch, the sample's id, the mixture and what the sample has:
never on its batch, on a rank or on a worker. Rows of all streams of one shape are drawn in one pass, so
the number of NumPy calls does not grow with the number of modalities.

Shapes: N samples, S streams of the plan, R (stream, sample) pairs that got a token.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

from fourm_runtime.batch import HIDDEN_RUN, Batch, Int32, Int64, Masked, Selection
from fourm_runtime.masking.budgets import Budgets, Odds, draw_budgets
from fourm_runtime.masking.columns import dense_values, extent, gather, select_cells
from fourm_runtime.masking.draws import Float64, derive, name_word, sample_keys, uniforms
from fourm_runtime.masking.grids import choose_cells
from fourm_runtime.masking.mixture import Component, Keep, Mixture, find, require
from fourm_runtime.masking.spans import LEAST_SENTINELS, Rows, mask_spans
from fourm_runtime.mixer import UInt64
from fourm_schema.errors import PlanError
from fourm_schema.plan import Plan, Stream

_NO_PLACES = -(2**30)
_KEEP_CODES: dict[Keep, int] = {"random": 0, "all": 1, "binary": 2}


class Masker:
    """Draws masks of one mixture over the streams of one plan.

    Args:
        plan: the streams.
        mixture: components and budgets, e.g. from `fourm_runtime.masking.mixture.expand`.
        seed: the run's seed.

    Raises:
        PlanError: if the mixture names what the plan does not have, shows a stream that is no input,
            predicts one that is no target, or a sequence's vocabulary has too few sentinels.
    """

    def __init__(self, plan: Plan, mixture: Mixture, seed: int) -> None:
        self.plan = plan
        self.mixture = mixture
        self.seed = seed
        self._streams = plan.streams
        self._words = np.array([name_word(stream.name) for stream in plan.streams], np.uint64)
        self._odds = _odds(plan, mixture, self._words)
        self._keep = np.array([_keep_codes(plan, component) for component in mixture.components])
        self._is_grid = np.array([stream.layout == "grid" for stream in plan.streams])
        self._lengths = np.array([stream.length for stream in plan.streams], np.int64)
        self._sentinels = np.array([_sentinels(plan, stream) for stream in plan.streams], np.int64)

    def __call__(self, batch: Batch, epoch: int | Int64) -> Masked:
        """Mask a batch.

        Args:
            batch: samples; streams of the plan that it lacks count as absent.
            epoch: how often the data was seen before; one number, or one per sample where a step
                crosses the end of an epoch.

        Returns:
            What to show and to predict. Streams without tokens are missing.

        Raises:
            DataError: if a column does not fit its stream.
        """
        keys = sample_keys(self.seed, epoch, batch.sample_ids)
        budgets = self._budgets(batch, keys)
        inputs: dict[str, Selection] = {}
        targets: dict[str, Selection] = {}
        self._mask_grids(batch, keys, budgets, inputs, targets)
        self._mask_sequences(batch, keys, budgets, inputs, targets)
        inputs, targets = self._in_order(inputs), self._in_order(targets)
        return Masked(batch.size, inputs, targets, dense_values(batch, inputs))

    def budgets(self, batch: Batch, epoch: int | Int64) -> Budgets:
        """Draw only the budgets that masking the batch would use, e.g. to draw a picture of them.

        Raises:
            DataError: if a column does not fit its stream.
        """
        return self._budgets(batch, sample_keys(self.seed, epoch, batch.sample_ids))

    def _budgets(self, batch: Batch, keys: UInt64) -> Budgets:
        present = np.zeros((batch.size, len(self._streams)), np.bool_)
        input_caps = np.zeros((batch.size, len(self._streams)), np.int64)
        for index, stream in enumerate(self._streams):
            has, sizes = extent(batch, stream)
            present[:, index] = has
            input_caps[:, index] = sizes
        target_caps = np.where(present, self._lengths, 0)
        return draw_budgets(self._odds, keys, present, input_caps, target_caps, self._is_grid)

    def _mask_grids(
        self,
        batch: Batch,
        keys: UInt64,
        budgets: Budgets,
        inputs: dict[str, Selection],
        targets: dict[str, Selection],
    ) -> None:
        base = derive(keys, name_word("cells"))
        for length in np.unique(self._lengths[self._is_grid]).tolist():
            members = np.flatnonzero(self._is_grid & (self._lengths == length))
            member, sample = _busy(budgets, members)
            stream = members[member]
            input_counts, target_counts = budgets.inputs[sample, stream], budgets.targets[sample, stream]
            row_keys = derive(base[sample], self._words[stream])
            shown, predicted = choose_cells(row_keys, length, input_counts, target_counts)
            for counts, cells, side in ((input_counts, shown, inputs), (target_counts, predicted, targets)):
                samples = np.repeat(sample, counts).astype(np.int32)
                streams = np.repeat(stream, counts)
                for index, part in _parts(streams, members):
                    name = self._streams[index].name
                    side[name] = select_cells(batch, name, samples[part], cells[part].astype(np.int32))

    def _mask_sequences(
        self,
        batch: Batch,
        keys: UInt64,
        budgets: Budgets,
        inputs: dict[str, Selection],
        targets: dict[str, Selection],
    ) -> None:
        members = np.flatnonzero(~self._is_grid)
        member, sample = _busy(budgets, members)
        if not len(sample):
            return
        stream = members[member]
        row_keys = derive(derive(keys, name_word("sequence"))[sample], self._words[stream])
        ids, offsets, chunk_lengths = gather(
            batch, [self._streams[index].name for index in members], member, sample
        )
        rows = Rows(
            ids,
            offsets,
            _keep_chances(self._keep[budgets.components[sample], stream], row_keys),
            budgets.inputs[sample, stream],
            budgets.targets[sample, stream],
            row_keys,
            self._sentinels[stream, 0],
            self._sentinels[stream, 1],
            chunk_lengths,
        )
        for selection, side in zip(mask_spans(rows), (inputs, targets), strict=True):
            for index, part in _parts(stream[selection.samples], members):
                side[self._streams[index].name] = Selection(
                    sample[selection.samples[part]].astype(np.int32),
                    selection.positions[part],
                    _ids(self._streams[index], selection.ids[part]),
                    None if selection.previous is None else selection.previous[part],
                )

    def _in_order(self, side: dict[str, Selection]) -> dict[str, Selection]:
        return {stream.name: side[stream.name] for stream in self._streams if stream.name in side}


def _odds(plan: Plan, mixture: Mixture, words: UInt64) -> Odds:
    components = mixture.components
    if not components:
        raise PlanError("mixture", "has no component", mend="give at least one")
    inputs = _alphas(plan, [component.input_alphas for component in components], "input")
    targets = _alphas(plan, [component.target_alphas for component in components], "target")
    weights = np.array([component.weight for component in components], np.float64)
    return Odds(weights, inputs, targets, mixture.input_budget, mixture.target_budget, words)


def _alphas(plan: Plan, sides: list[Mapping[str, float]], role: Literal["input", "target"]) -> Float64:
    allowed = plan.inputs if role == "input" else plan.targets
    alphas = np.zeros((len(sides), len(plan.streams)))
    for number, side in enumerate(sides):
        where = f"components[{number}].{role}_alphas"
        named = {find(plan, name, where).name: alpha for name, alpha in side.items()}
        require(plan, named, allowed, "cannot be shown" if role == "input" else "cannot be predicted", where)
        for name, alpha in named.items():
            alphas[number, plan.index(name)] = alpha
    return alphas


def _busy(budgets: Budgets, members: Int64) -> tuple[Int64, Int64]:
    """Places in `members`, and samples, of the (stream, sample) pairs that got a token; streams in order."""
    given = budgets.inputs[:, members] + budgets.targets[:, members]
    member, sample = np.nonzero(given.T)
    return member, sample


def _parts(streams: Int64, members: Int64) -> Iterator[tuple[int, slice]]:
    """Where each stream's tokens lie in an array ordered by stream; streams without tokens are left out."""
    firsts = np.searchsorted(streams, members)
    lasts = np.searchsorted(streams, members, side="right")
    for index, first, last in zip(members.tolist(), firsts.tolist(), lasts.tolist(), strict=True):
        if last > first:
            yield index, slice(first, last)


def _keep_chances(codes: Int64, keys: UInt64) -> Float64:
    """Keep probabilities at the first try: even in (0, 1), always 1, or 0 or 1."""
    points = uniforms(derive(keys, name_word("keep")), np.uint64(0))
    halves = (points < 0.5).astype(np.float64)
    return np.choose(codes, [points, np.ones_like(points), halves])


def _keep_codes(plan: Plan, component: Component) -> list[int]:
    return [_KEEP_CODES[component.keep.get(stream.name, "random")] for stream in plan.streams]


def _ids(stream: Stream, ids: Int32) -> Int32:
    """Ids as a selection has them: of a sequence of vectors, every hidden run is shown alike."""
    return np.maximum(ids, np.int32(HIDDEN_RUN)) if stream.is_dense else ids


def _sentinels(plan: Plan, stream: Stream) -> tuple[int, int]:
    if stream.layout == "grid":
        return 0, 0
    if stream.is_dense:
        # Vectors have no ids that stand for runs: below 0 none can be taken for the place of a vector.
        return _NO_PLACES, stream.length + LEAST_SENTINELS
    special = plan.special(stream)
    if special.sentinel_count < LEAST_SENTINELS:
        raise PlanError(
            f"vocabularies.{stream.vocabulary}.sentinels",
            f"must be at least {LEAST_SENTINELS} to mask {stream.name!r}",
            str(special.sentinel_count),
            "leave it out, and it is derived from the longest sequence",
        )
    return special.first_sentinel, special.sentinel_count
