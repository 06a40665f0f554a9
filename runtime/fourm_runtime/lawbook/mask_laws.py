"""Laws of masks: what is selected is there, is selected once, fits its budget, and depends on no other."""

import itertools

import attrs
import numpy as np
from hypothesis import strategies as st

from fourm_runtime.batch import Batch, Column, Grid, Masked, Selection, Sequences
from fourm_runtime.lawbook.masked_plan import MaskedPlan, can_be_masked, has_sequences, has_sets
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.spans import is_sentinel, merge, target_sequence
from fourm_schema.lawbook.article import Article, Draw, article, require

View = dict[str, tuple[list[int], ...]]


@article(can_be_masked)
def budgets_are_kept(subject: MaskedPlan, draw: Draw) -> None:
    """No sample shows, or is asked for, more tokens than its budgets."""
    batch, mixture, seed, epoch = subject.drawn(draw)
    masked = Masker(subject.plan, mixture, seed)(batch, epoch)
    for what, side, most in (
        ("visible", masked.inputs, mixture.input_budget[1]),
        ("predicted", masked.targets, mixture.target_budget[1]),
    ):
        used = np.zeros(batch.size, np.int64)
        for selection in side.values():
            used += np.bincount(selection.samples, minlength=batch.size)
        require(used.max() <= most, f"a sample has {used.max()} {what} tokens, {most} at most")


@article(can_be_masked)
def shown_is_not_asked(subject: MaskedPlan, draw: Draw) -> None:
    """No cell of a grid is both visible and to be predicted, and none is selected twice."""
    masked = subject.masked(draw)
    for stream in subject.plan.streams:
        if stream.layout == "grid":
            sides = [side[stream.name] for side in (masked.inputs, masked.targets) if stream.name in side]
            cells = [each.samples.astype(np.int64) * stream.length + each.positions for each in sides]
            flat = np.concatenate([np.zeros(0, np.int64), *cells])
            doubled = len(flat) - len(np.unique(flat))
            require(not doubled, f"{stream.name}: {doubled} cells are selected twice")


@article(can_be_masked)
def selected_ids_stand_there(subject: MaskedPlan, draw: Draw) -> None:
    """What is selected of a grid is the id that stands at its place."""
    batch, mixture, seed, epoch = subject.drawn(draw)
    masked = Masker(subject.plan, mixture, seed)(batch, epoch)
    for name, selection in _selections(masked):
        column = batch.columns[name]
        if isinstance(column, Grid):
            there = column.ids[selection.samples, selection.positions]
            require(np.array_equal(there, selection.ids), f"{name}: other ids are selected than stand there")


@article(can_be_masked)
def absent_is_never_selected(subject: MaskedPlan, draw: Draw) -> None:
    """Nothing is selected of a modality that a sample lacks."""
    batch, mixture, seed, epoch = subject.drawn(draw, lacking=0.5)
    masked = Masker(subject.plan, mixture, seed)(batch, epoch)
    for name, selection in _selections(masked):
        there = batch.columns[name].present[selection.samples]
        require(there.all(), f"{name}: tokens are selected of a sample that lacks it")


@article(can_be_masked)
def selections_fit_their_stream(subject: MaskedPlan, draw: Draw) -> None:
    """Positions lie within the stream's length, ids within its vocabulary, and both are int32."""
    masked = subject.masked(draw)
    for name, selection in _selections(masked):
        stream = subject.plan.stream(name)
        most = stream.length if stream.layout == "grid" else stream.position_count
        place = int(selection.positions.max(initial=-1))
        require(place < most, f"{name}: position {place} of {most}")
        if not stream.is_dense:
            identity = int(selection.ids.max(initial=-1))
            require(identity < stream.vocab_size, f"{name}: id {identity} of {stream.vocab_size}")
        dtypes = {str(part.dtype) for part in (selection.samples, selection.positions, selection.ids)}
        require(dtypes == {"int32"}, f"{name}: selected as {dtypes}")


@article(can_be_masked)
def roles_are_kept(subject: MaskedPlan, draw: Draw) -> None:
    """A stream that is an input only is never predicted, and one that is a target only never shown."""
    masked = subject.masked(draw)
    for name in masked.inputs:
        require(subject.plan.stream(name).can_be_input, f"{name} is shown, and is a target only")
    for name in masked.targets:
        require(subject.plan.stream(name).can_be_target, f"{name} is predicted, and is an input only")


@article(can_be_masked)
def masks_repeat(subject: MaskedPlan, draw: Draw) -> None:
    """The same seed, epoch and sample give the same mask, from a masker made anew."""
    batch, mixture, seed, epoch = subject.drawn(draw)
    one, other = (Masker(subject.plan, mixture, seed)(batch, epoch) for _ in range(2))
    for sample in range(batch.size):
        require(
            _view(one, sample) == _view(other, sample), f"sample {batch.sample_ids[sample]} is masked anew"
        )


@article(can_be_masked)
def masks_know_no_batch(subject: MaskedPlan, draw: Draw) -> None:
    """A sample's mask is the same alone as in any batch: a run can go on with other batches and ranks."""
    batch, mixture, seed, epoch = subject.drawn(draw)
    masker = Masker(subject.plan, mixture, seed)
    together = masker(batch, epoch)
    place = draw(st.integers(0, batch.size - 1))
    alone = masker(_of_sample(batch, place), epoch)
    told = (
        f"sample {batch.sample_ids[place]} is masked otherwise alone than as number {place} of {batch.size}"
    )
    require(_view(together, place) == _view(alone, 0), told)


@article(has_sequences)
def sequences_are_split_without_loss(subject: MaskedPlan, draw: Draw) -> None:
    """Where a target was not cut to its budget, visible and predicted part make the sequence again."""
    batch, mixture, seed, epoch = subject.drawn(draw)
    masker = Masker(subject.plan, mixture, seed)
    masked, budgets = masker(batch, epoch), masker.budgets(batch, epoch)
    for stream in subject.plan.streams:
        column = batch.columns[stream.name]
        if isinstance(column, Sequences) and stream.name in masked.targets:
            special = subject.plan.special(stream)
            for sample in range(batch.size):
                ids = column.ids[column.offsets[sample] : column.offsets[sample + 1]]
                target = target_sequence(masked.targets[stream.name], sample)
                shown = masked.inputs.get(stream.name)
                visible = np.array([special.first_sentinel + 1])
                if shown is not None and (shown.samples == sample).any():
                    visible = shown.ids[shown.samples == sample]
                runs = int(is_sentinel(visible, special).sum())
                whole = len(ids) - len(visible) + 2 * runs + 1
                room = budgets.targets[sample, subject.plan.index(stream.name)]
                if len(ids) and 1 < whole <= room:
                    back = merge(visible, target, special).tolist()
                    require(back == ids.tolist(), f"{stream.name}: {ids.tolist()} is put together as {back}")


@article(has_sets)
def items_are_masked_whole(subject: MaskedPlan, draw: Draw) -> None:
    """Of a set, an item is visible as a whole or not at all."""
    batch, mixture, seed, epoch = subject.drawn(draw)
    masked = Masker(subject.plan, mixture, seed)(batch, epoch)
    for name, selection in masked.inputs.items():
        column = batch.columns[name]
        if isinstance(column, Sequences) and column.chunk_lengths is not None:
            special = subject.plan.special(subject.plan.stream(name))
            borders = np.concatenate(([0], np.cumsum(column.chunk_lengths)))
            for sample in range(batch.size):
                first, last = column.offsets[sample : sample + 2].tolist()
                starts = borders[np.searchsorted(borders, first) : np.searchsorted(borders, last) + 1]
                ids = column.ids[first:last].tolist()
                items = [ids[a - first : b - first] for a, b in itertools.pairwise(starts)]
                shown = selection.ids[selection.samples == sample]
                runs = np.split(shown, np.flatnonzero(is_sentinel(shown, special)))
                kept = [run[is_sentinel(run[:1], special).sum() :].tolist() for run in runs]
                require(
                    all(_is_run_of_items(run, items) for run in kept),
                    f"{name}: of the items {items}, {[run for run in kept if run]} is visible",
                )


MASK_LAWS: tuple[Article[MaskedPlan], ...] = (
    budgets_are_kept,
    shown_is_not_asked,
    selected_ids_stand_there,
    absent_is_never_selected,
    selections_fit_their_stream,
    roles_are_kept,
    masks_repeat,
    masks_know_no_batch,
    sequences_are_split_without_loss,
    items_are_masked_whole,
)


def _selections(masked: Masked) -> list[tuple[str, Selection]]:
    return [*masked.inputs.items(), *masked.targets.items()]


def _is_run_of_items(run: list[int], items: list[list[int]]) -> bool:
    """Whether ids are those of neighbouring items, one behind the other."""
    if not run:
        return True
    for start in range(len(items)):
        joined = list[int]()
        for item in items[start:]:
            joined += item
            if joined == run:
                return True
    return False


def _view(masked: Masked, sample: int) -> View:
    """All that a mask says of one sample."""
    found: View = {}
    for side, selections in (("input", masked.inputs), ("target", masked.targets)):
        for name, selection in selections.items():
            own = selection.samples == sample
            if own.any():
                previous = [] if selection.previous is None else selection.previous[own].tolist()
                parts = selection.positions[own].tolist(), selection.ids[own].tolist(), previous
                found[f"{side} {name}"] = parts
    return found


def _of_sample(batch: Batch, place: int) -> Batch:
    """One sample of a batch."""
    columns: dict[str, Column] = {}
    for name, column in batch.columns.items():
        present = column.present[place : place + 1]
        if isinstance(column, Grid):
            columns[name] = attrs.evolve(column, ids=column.ids[place : place + 1], present=present)
        elif isinstance(column, Sequences):
            first, last = column.offsets[place : place + 2].tolist()
            chunks = column.chunk_lengths
            if chunks is not None:
                ends = np.cumsum(chunks)
                chunks = chunks[(ends > first) & (ends <= last)]
            columns[name] = Sequences(column.ids[first:last], np.array([0, last - first]), present, chunks)
        else:
            columns[name] = attrs.evolve(column, values=column.values[place : place + 1], present=present)
    return Batch(batch.sample_ids[place : place + 1], columns)
