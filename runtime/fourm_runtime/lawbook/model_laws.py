"""Laws of the model over the plan's streams, on a tiny one with random weights, in float64."""

import numpy as np
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from fourm_runtime import oracle
from fourm_runtime.batch import DenseSequences, Float32, Masked, Selection
from fourm_runtime.lawbook.masked_plan import TINY, MaskedPlan, can_be_asked
from fourm_runtime.packing import pack
from fourm_schema.lawbook.article import Article, Draw, article, only_where, require

TOLERANCE = 1e-9
"""Of float64, relative to the largest number: sums are added up in another order."""

NOTHING_ASKED = "nothing is left to predict under any mask that was drawn"

Logits = dict[str, Tensor]


@article(can_be_asked)
def packed_is_padded(subject: MaskedPlan, draw: Draw) -> None:
    """The logits of packed samples are those of samples that are padded and masked, with the same weights."""
    masked = _asked(subject, draw)
    _require_near(_logits(subject, masked), _padded(subject, masked), "packed", "padded")


@article(can_be_asked)
def gradients_are_those_of_padded_samples(subject: MaskedPlan, draw: Draw) -> None:
    """The gradients of packed samples are those of samples that are padded and masked."""
    masked = _asked(subject, draw)
    names, parameters = zip(*subject.model.named_parameters(), strict=True)
    found = []
    for logits in (_logits(subject, masked, gradients=True), _padded(subject, masked, gradients=True)):
        loss = torch.stack([torch.logsumexp(each, -1).sum() for each in logits.values()]).sum()
        found.append(torch.autograd.grad(loss, parameters, allow_unused=True))
    for name, one, other in zip(names, *found, strict=True):
        if one is not None or other is not None:
            both = [torch.zeros_like(parameters[names.index(name)]) if g is None else g for g in (one, other)]
            off = float((both[0] - both[1]).abs().max())
            # Some gradients are 0 for every input, and come out as rounding.
            largest = max(float(both[1].abs().max()), 1e-3)
            require(
                off <= 1e-7 * largest, f"{name}: gradients differ by {off:.3g}, the largest is {largest:.3g}"
            )


@article(can_be_asked)
def micro_batches_are_one_batch(subject: MaskedPlan, draw: Draw) -> None:
    """Samples split over micro-batches of a fixed size have the logits they have in one."""
    masked = _asked(subject, draw)
    counts = [_counts(masked, side) for side in ("inputs", "targets")]
    capacity = tuple(int(max(each.max(), 1)) + draw(st.integers(0, 9)) for each in counts)
    split = _logits(subject, masked, (capacity[0], capacity[1]))
    _require_near(split, _logits(subject, masked), "split", "together")


@article(can_be_asked)
def samples_do_not_see_each_other(subject: MaskedPlan, draw: Draw) -> None:
    """A sample's logits are the same alone as packed beside others."""
    masked = _asked(subject, draw)
    sample = draw(st.integers(0, masked.size - 1))
    together = _logits(subject, masked)
    own = {name: logits[_own(masked.targets[name], sample)] for name, logits in together.items()}
    alone = Masked(
        1,
        {name: _of(selection, sample) for name, selection in masked.inputs.items()},
        {name: _of(selection, sample) for name, selection in masked.targets.items()},
        {name: _dense_of(values, sample) for name, values in masked.dense.items()},
    )
    kept = {name: logits for name, logits in own.items() if len(logits)}
    assume(kept)
    _require_near(_logits(subject, alone), kept, "alone", "beside others")


@article(can_be_asked)
def logits_are_as_wide_as_the_vocabulary(subject: MaskedPlan, draw: Draw) -> None:
    """Each predicted token has one finite logit per id of its stream."""
    masked = _asked(subject, draw)
    for name, logits in _logits(subject, masked).items():
        wanted = (masked.targets[name].size, subject.plan.stream(name).vocab_size)
        require(tuple(logits.shape) == wanted, f"{name}: logits of shape {tuple(logits.shape)}, not {wanted}")
        require(bool(torch.isfinite(logits).all()), f"{name}: a logit is not finite")


MODEL_LAWS: tuple[Article[MaskedPlan], ...] = (
    packed_is_padded,
    gradients_are_those_of_padded_samples,
    micro_batches_are_one_batch,
    samples_do_not_see_each_other,
    logits_are_as_wide_as_the_vocabulary,
)


def _asked(subject: MaskedPlan, draw: Draw) -> Masked:
    """Drawn masks that ask for something."""
    masked = subject.masked(draw)
    only_where(any(selection.size for selection in masked.targets.values()), NOTHING_ASKED)
    return masked


def _logits(
    subject: MaskedPlan, masked: Masked, capacity: tuple[int, int] | None = None, gradients: bool = False
) -> Logits:
    with torch.set_grad_enabled(gradients):
        batches = pack(masked, subject.plan, subject.allocation, TINY.registers, capacity)
        parts = [subject.model(batch) for batch in batches]
    return {
        name: torch.cat([logits[name] for logits in parts if name in logits])
        for name in subject.plan.names
        if any(name in logits for logits in parts)
    }


def _padded(subject: MaskedPlan, masked: Masked, gradients: bool = False) -> Logits:
    with torch.set_grad_enabled(gradients):
        padded = oracle.pad(masked, subject.plan, TINY.registers)
        return oracle.forward(subject.model, padded)


def _require_near(found: Logits, wanted: Logits, how: str, otherwise: str) -> None:
    require(
        found.keys() == wanted.keys(), f"{how}: logits of {sorted(found)}, {otherwise}: of {sorted(wanted)}"
    )
    for name, logits in wanted.items():
        off = float((found[name] - logits).abs().max())
        largest = max(float(logits.abs().max()), 1e-6)
        told = f"{name}: logits {how} and {otherwise} differ by {off:.3g}, the largest is {largest:.3g}"
        require(off <= TOLERANCE * largest, told)


def _counts(masked: Masked, side: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    counts = np.zeros(masked.size, np.int64)
    for selection in getattr(masked, side).values():
        counts += np.bincount(selection.samples, minlength=masked.size)
    return counts


def _own(selection: Selection, sample: int) -> Tensor:
    return torch.from_numpy(selection.samples == sample)


def _of(selection: Selection, sample: int) -> Selection:
    own = selection.samples == sample
    return Selection(
        np.zeros(int(own.sum()), np.int32),
        selection.positions[own],
        selection.ids[own],
        None if selection.previous is None else selection.previous[own],
    )


def _dense_of(values: Float32 | DenseSequences, sample: int) -> Float32 | DenseSequences:
    """The numbers of one sample."""
    if isinstance(values, DenseSequences):
        first, last = (int(bound) for bound in values.offsets[sample : sample + 2])
        bounds = np.array([0, last - first], np.int64)
        return DenseSequences(values.values[first:last], bounds, values.present[sample : sample + 1])
    return values[sample : sample + 1]
