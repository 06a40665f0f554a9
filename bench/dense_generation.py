"""4M's own way to generate: the loops of its sampler, over the dense model. The baseline.

All of it as 4M's sampler does it (`fourm/models/generate.py` of the released code), on a working dictionary
that holds the inputs and every target of the request:

    grid     each step embeds all modalities whole, encodes, decodes the cells of the step (random order) or
             all open ones (MaskGIT), draws, and writes what it keeps back as input
    text     encodes once; each step runs the decoder over the whole prefix, with all its scores
    guided   two passes, one after the other, at every step, the second over a copy without the conditions

Targets come one after the other. What differs, in favour of this side: a text draws and keeps the ids that
ours may (words and the end token, the end token last), so nothing has to be merged; and nothing is shown of
it before it is there. And so that both sides draw the same tokens, random numbers are ours, from the same
generator; so is the rule of which cells MaskGIT keeps: the likeliest at temperature 1, equals in the order of
their cells (4M is sure of every cell at temperature 0, and takes the filtered and cooled probability above).

Shapes: B samples, M cells or tokens, V ids.
"""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from dense_model import Context, DenseModel
from dense_samples import Entry
from fourm_runtime.generation.causal import legal_ids
from fourm_runtime.generation.plan import TargetPlan
from fourm_runtime.generation.sampling import Sampling, draw_uniforms, request_generator
from fourm_schema.plan import Plan, Stream

Working = dict[str, Entry]


def given_pixels(values_BLC: Tensor) -> Entry:
    """A dense modality that is wholly visible."""
    shape = values_BLC.shape[:2]
    return Entry(
        values_BLC,
        torch.zeros(shape, dtype=torch.bool),
        torch.ones(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.int64),
    )


def empty_target(length: int, size: int) -> Entry:
    """A modality that is to be generated: nothing is visible, everything is asked for."""
    shape = (size, length)
    return Entry(
        torch.zeros(shape, dtype=torch.int64),
        torch.ones(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.int64),
    )


def without(working: Working, conditions: Sequence[str]) -> Working:
    """A copy of the dictionary that shows nothing of the conditions."""
    copied = {name: entry.copy() for name, entry in working.items()}
    for name in conditions:
        copied[name].tensor.zero_()
        copied[name].input_mask.fill_(True)
    return copied


@attrs.frozen
class DenseTarget:
    """What 4M's schedule says of one target.

    Attributes:
        plan: our plan of it; its scheme, counts, sampling and order are taken.
        guidance: weight w; 1 is none.
        conditions: what the other pass lacks.
    """

    plan: TargetPlan
    guidance: float = 1.0
    conditions: tuple[str, ...] = ()


class DenseSampler:
    """4M's sampler.

    Args:
        model: the dense model.
        plan: its streams.
    """

    def __init__(self, model: DenseModel, plan: Plan) -> None:
        self._model, self._plan = model, plan

    def generate(self, given: Working, targets: Sequence[DenseTarget], chain: bool) -> dict[str, Tensor]:
        """Generate targets, one after the other.

        Args:
            given: the inputs.
            targets: what to generate, in order.
            chain: targets see those before them.

        Returns:
            Stream name -> (B, L) ids; behind the end of a text stands anything.
        """
        size = len(next(iter(given.values())).tensor)
        empty = {t.plan.stream: empty_target(sum(t.plan.counts), size) for t in targets}
        working = {**given, **empty}
        made: dict[str, Tensor] = {}
        for target in targets:
            name = target.plan.stream
            stream = self._plan.stream(name)
            if target.plan.scheme == "autoregressive":
                made[name] = self._text(working, target, stream)
            else:
                made[name] = self._grid(working, target, stream)
            working[name] = empty_target(sum(target.plan.counts), size)
            if chain:
                working[name].tensor.copy_(made[name])
                working[name].input_mask.copy_(self._behind_end(made[name], stream))
        return made

    def _behind_end(self, ids_BL: Tensor, stream: Stream) -> Tensor:
        """True behind the end token of a text."""
        if stream.layout == "grid":
            return torch.zeros_like(ids_BL, dtype=torch.bool)
        ends = ids_BL == self._plan.special(stream).end
        return (ends.cumsum(1) - ends.long()) > 0

    def _passes(self, working: Working, target: DenseTarget) -> list[tuple[float, Working]]:
        if target.guidance == 1.0:
            return [(1.0, working)]
        other = without(working, target.conditions)
        return [(target.guidance, working), (1 - target.guidance, other)]

    def _grid(self, working: Working, target: DenseTarget, stream: Stream) -> Tensor:
        plan, entry = target.plan, working[stream.name]
        assert len(entry.tensor) == 1, "grids are generated for one sample at a time"
        generator = request_generator(0, 0, stream.name)
        order = torch.tensor(plan.order or range(stream.length))
        assert plan.scheme == "maskgit" or plan.order or len(plan.counts) == 1, "which cells is chance"
        start = 0
        for count, how in zip(plan.counts, plan.sampling, strict=True):
            # Of all cells that are left, or of those whose turn it is.
            chosen = None if plan.scheme == "maskgit" else order[start : start + count].sort().values[None]
            cells, total = torch.zeros(0), torch.zeros(())
            for weight, shown in self._passes(working, target):
                cells, logits = self._model.decode_grid(shown, stream.name, self._model.encode(shown), chosen)
                total = total + weight * logits[0]
            ids, confidence = draw(total, draw_uniforms(len(total), generator), how)
            kept = torch.arange(len(ids))
            if plan.scheme == "maskgit":
                kept = confidence.sort(descending=True, stable=True).indices[:count]
            fixed = cells[0, kept]
            entry.tensor[0, fixed] = ids[kept]
            entry.input_mask[0, fixed] = False
            entry.target_mask[0, fixed] = True
            start += count
        return entry.tensor.clone()

    def _text(self, working: Working, target: DenseTarget, stream: Stream) -> Tensor:
        special, (length,) = self._plan.special(stream), target.plan.counts
        legal = torch.from_numpy(legal_ids(self._plan, stream))
        only_end = torch.zeros_like(legal)
        only_end[special.end] = True
        passes = self._passes(working, target)
        contexts: list[tuple[float, Context]] = [(w, self._model.encode(shown)) for w, shown in passes]
        size = len(working[stream.name].tensor)
        ids = torch.full((size, 1), special.first_sentinel + 1)
        for step in range(length):
            total = torch.zeros(())
            for weight, context in contexts:
                total = total + weight * self._model.decode_text(stream.name, ids, context)[:, -1]
            allowed = legal if step < length - 1 else only_end
            following = total.masked_fill(~allowed, -torch.inf).argmax(-1)
            ids = torch.cat([ids, following[:, None]], 1)
            if bool((ids == special.end).any(1).all()):
                break
        made = torch.full((size, length), special.end)
        made[:, : ids.shape[1] - 1] = ids[:, 1:]
        return made


def draw(logits_MV: Tensor, uniforms_M: Tensor, how: Sampling) -> tuple[Tensor, Tensor]:
    """Draw an id per row, filtered by `top_p` as 4M does it: (M,) ids, and their unfiltered probabilities.

    4M's steps, one for one: sort, cumulate, shift, restore the order by sorting the indices, forbid, draw.
    What is summed up is float64, so that the two sides' rounding does not decide which id a random number
    falls on; and that number is looked up among the cumulated chances, where 4M draws one for every id.
    """
    shares = logits_MV.double().softmax(-1)
    if how.temperature == 0:
        ids = logits_MV.argmax(-1)
    else:
        filtered = logits_MV
        if how.top_p < 1:
            ordered, order = logits_MV.sort(-1, descending=True)
            removed = ordered.double().softmax(-1).cumsum(-1) > how.top_p
            # The one that reaches it stays.
            removed[:, 1:] = removed[:, :-1].clone()
            removed[:, 0] = False
            filtered = logits_MV.masked_fill(removed.gather(-1, order.argsort(-1)), -torch.inf)
        chances = (filtered.double() / how.temperature).softmax(-1).cumsum(-1)
        ids = torch.searchsorted(chances, uniforms_M[:, None] * chances[:, -1:], right=True).squeeze(-1)
    return ids, shares.gather(-1, ids[:, None]).squeeze(-1)
