"""The streams of a schema under test: drawn samples, drawn masks, and a tiny model with random weights.

Tokens are drawn ids: masks and packing know nothing of values, so streams whose codec is not trained yet are
tested too.
"""

from collections.abc import Sequence
from functools import cached_property

import attrs
import numpy as np
import torch
from hypothesis import strategies as st

from fourm_runtime.assemble import empty_model, initialise
from fourm_runtime.batch import Batch, Column, Dense, Grid, Masked, Sequences
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import (
    AllToAll,
    Biased,
    BudgetEntry,
    Custom,
    From,
    MaskEntry,
    Mixture,
    expand,
)
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.allocation import Allocation, allocate
from fourm_schema.architecture import Architecture
from fourm_schema.lawbook.article import Draw
from fourm_schema.plan import Plan, Stream

MOST_SAMPLES = 5
BUDGETS = (1, 2, 7, 32, 64)
"""Tokens of a drawn budget; the smallest leaves most streams without any."""

TINY = Architecture(dim=16, heads=2, encoder_depth=1, decoder_depth=1)


@attrs.define(eq=False, slots=False, frozen=True)
class MaskedPlan:
    """Streams that can be masked.

    Attributes:
        plan: of the schema, without sequences of vectors, which cannot be masked yet.
    """

    plan: Plan

    @classmethod
    def of_plan(cls, plan: Plan) -> "MaskedPlan":
        """The part of a plan that can be masked."""
        kept = [stream for stream in plan.streams if not (stream.is_dense and stream.layout == "sequence")]
        return cls(attrs.evolve(plan, streams=tuple(kept)))

    @property
    def can_be_masked(self) -> bool:
        return bool(self.plan.inputs and self.plan.targets)

    @property
    def can_be_asked(self) -> bool:
        """Whether a mask can leave something to predict: where one token is all there is, it is shown."""
        return self.can_be_masked and (
            len(self.plan.streams) > 1
            or any(each.layout == "sequence" or each.length > 1 for each in self.plan.targets)
        )

    @property
    def not_tested(self) -> dict[str, str]:
        """Chapters of laws that cannot be tried on these streams, and why."""
        if self.can_be_asked:
            return {}
        if self.can_be_masked:
            return {"the model": "one token is all there is: shown, it leaves nothing to predict"}
        if not self.plan.streams:
            return {}
        lacking = "a target" if self.plan.inputs else "an input"
        why = f"no stream is {lacking}, so that nothing can be predicted from anything"
        return dict.fromkeys(("masks", "packing", "the model"), why)

    @cached_property
    def allocation(self) -> Allocation:
        return allocate(self.plan)

    @cached_property
    def model(self) -> AnyToAnyTransformer:
        """A model in float64 that has no parameter at a value where a fault could hide."""
        model = empty_model(self.plan, self.allocation, TINY)
        initialise(model, seed=0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not name.startswith("tables."):
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        return model.to(torch.float64)

    def batch(self, ids: Sequence[int], lacking: float) -> Batch:
        """Samples whose content depends on their ids alone, so that any batches of them can be compared.

        Args:
            ids: of the samples.
            lacking: chance that a sample lacks a stream.
        """
        made = [np.random.default_rng([7, abs(sample), int(sample < 0)]) for sample in ids]
        columns = {stream.name: self._column(stream, made, lacking) for stream in self.plan.streams}
        return Batch(np.array(ids, np.int64), columns)

    def _column(self, stream: Stream, made: Sequence[np.random.Generator], lacking: float) -> Column:
        present = np.array([rng.random() >= lacking for rng in made], np.bool_)
        if stream.is_dense:
            shape = (stream.length, stream.dense_dim or 0)
            return Dense(np.stack([rng.random(shape, np.float32) for rng in made]), present)
        if stream.layout == "grid":
            rows = [rng.integers(0, stream.vocab_size, stream.length) for rng in made]
            return Grid(np.stack(rows), present)
        first = self.plan.special(stream).size
        ids = [np.zeros(0, np.int64)]
        lengths, chunks = list[int](), list[int]()
        for rng, here in zip(made, present.tolist(), strict=True):
            length = int(rng.integers(0, min(stream.length, 40) + 1)) * here
            lengths.append(length)
            # A vocabulary may hold special ids only, where nothing is known of the words.
            ids.append(rng.integers(min(first, stream.vocab_size - 1), stream.vocab_size, length))
            while length:
                chunks.append(int(rng.integers(1, min(length, 9) + 1)))
                length -= chunks[-1]
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        held = np.array(chunks, np.int64) if stream.kind == "set" else None
        return Sequences(np.concatenate(ids), offsets, present, held)

    def mixture(self, draw: Draw) -> Mixture:
        """A drawn recipe: one of the presets, over budgets of drawn sizes."""
        most = [draw(st.sampled_from(BUDGETS)) for _ in range(2)]
        least = [draw(st.sampled_from([1, size])) for size in most]
        budget = BudgetEntry(input=(least[0], most[0]), target=(least[1], most[1]))
        return expand([self._preset(draw)], budget, self.plan)

    def _preset(self, draw: Draw) -> MaskEntry:
        shown = draw(st.sampled_from([stream.name for stream in self.plan.inputs]))
        alpha = draw(st.sampled_from([0.01, 0.5, 10.0]))
        modality = self.plan.stream(shown).modality
        others = any(stream.modality != modality for stream in self.plan.targets)
        match draw(st.sampled_from(["all", "custom", *(["from", "biased"] if others else [])])):
            case "from":
                return From(preset="from", stream=shown)
            case "biased":
                return Biased(preset="biased", stream=shown, alpha=alpha)
            case "custom":
                named = [
                    {each.name: alpha for each in side} for side in (self.plan.inputs, self.plan.targets)
                ]
                return Custom(preset="custom", input_alphas=named[0], target_alphas=named[1], keep="random")
        return AllToAll(preset="all_to_all", alpha=[alpha, 1.0])

    def drawn(self, draw: Draw, lacking: float | None = None) -> tuple[Batch, Mixture, int, int]:
        """Samples, a mixture, a seed and an epoch."""
        ids = draw(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=MOST_SAMPLES, unique=True))
        absent = draw(st.sampled_from([0.0, 0.3])) if lacking is None else lacking
        mixture = self.mixture(draw)
        return self.batch(ids, absent), mixture, draw(st.integers(0, 2**32)), draw(st.integers(0, 3))

    def masked(self, draw: Draw) -> Masked:
        """What drawn masks select of drawn samples."""
        batch, mixture, seed, epoch = self.drawn(draw)
        return Masker(self.plan, mixture, seed)(batch, epoch)


def can_be_masked(subject: MaskedPlan) -> bool:
    return subject.can_be_masked


def can_be_asked(subject: MaskedPlan) -> bool:
    return subject.can_be_asked


def has_sequences(subject: MaskedPlan) -> bool:
    return subject.can_be_masked and any(each.layout == "sequence" for each in subject.plan.targets)


def has_sets(subject: MaskedPlan) -> bool:
    return subject.can_be_masked and any(each.kind == "set" for each in subject.plan.streams)
