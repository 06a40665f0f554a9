"""Packing lays out what was selected: once, in order, within capacity, with nothing in between."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.batch import Masked, MicroBatch
from fourm_runtime.packing import pack
from fourm_schema.allocation import allocate
from fourm_schema.errors import PlanError
from fourm_schema.plan import Plan
from tests.runtime.drawn_plans import masked_samples, plan_of, plans, stream

PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))


@given(plan=plans(), seed=st.integers(0, 99), size=st.integers(1, 6), registers=st.sampled_from([0, 2]))
def test_every_selected_token_is_packed_once(plan: Plan, seed: int, size: int, registers: int) -> None:
    """No token is lost or doubled, and the only others are null tokens, registers and tails."""
    masked = masked_samples(plan, size, seed)
    most = sum(each.length for each in plan.streams) + registers + 1
    for capacity in (None, (2 * most, 2 * most)):
        batches = pack(masked, plan, allocate(plan), registers, capacity)
        targets = sum(head.targets.numel() for batch in batches for head in batch.heads.values())
        streams = torch.cat([batch.encoder.streams for batch in batches])

        assert targets == sum(each.size for each in masked.targets.values())
        assert int((streams > 0).sum()) == sum(each.size for each in masked.inputs.values())
        for batch in batches:
            check_lengths(batch)
            assert capacity is None or (batch.encoder.size, batch.decoder.size) == capacity


def check_lengths(batch: MicroBatch) -> None:
    """Blocks cover each side without gap, and both sides speak of the same samples."""
    causal_size = batch.decoder.size - batch.parallel_size
    assert sum(batch.encoder_lengths) == batch.encoder.size
    assert sum(batch.parallel_lengths) == sum(batch.parallel_queries) == batch.parallel_size
    assert sum(batch.causal_lengths) == sum(batch.causal_queries) == causal_size
    assert len(batch.parallel_queries) == len(batch.causal_queries) == len(batch.encoder_lengths)


def test_micro_batches_hold_samples_in_order_and_fill_greedily() -> None:
    """The split is a function of the step alone, so that every rank and every resume makes the same."""
    masked = masked_samples(PLAN, 12, 3, absent=0.0)
    whole = pack(masked, PLAN, allocate(PLAN))[0]
    split = pack(masked, PLAN, allocate(PLAN), capacity=(60, 60))

    assert len(split) > 1
    for name, head in whole.heads.items():
        parts = [batch.heads[name].targets for batch in split if name in batch.heads]
        assert torch.equal(torch.cat(parts), head.targets)


def test_a_sample_that_shows_nothing_has_one_null_token() -> None:
    """It equals an unconditional pass; an empty context would leave the decoder nothing to attend to."""
    masked = masked_samples(PLAN, 1, 0)
    (batch,) = pack(Masked(1, {}, masked.targets), PLAN, allocate(PLAN))

    assert batch.encoder_lengths == (1,)
    assert not any(
        bool(part.any()) for part in (batch.encoder.rows, batch.encoder.positions, batch.encoder.streams)
    )


def test_a_sample_over_the_capacity_is_refused_with_its_numbers() -> None:
    """Cutting it would train on something else than the mask says."""
    masked = masked_samples(PLAN, 3, 3, absent=0.0)
    counts = sum(np.bincount(each.samples, minlength=3) for each in masked.inputs.values())
    over = int(np.argmax(counts > 4))

    with pytest.raises(PlanError) as refusal:
        pack(masked, PLAN, allocate(PLAN), capacity=(4, 99))
    assert str(refusal.value).startswith(
        f"sample {over} of the step: does not fit a micro-batch of 4 + 99 tokens"
    )
    assert "raise steps.micro_batch_tokens or lower the budgets" in str(refusal.value)
