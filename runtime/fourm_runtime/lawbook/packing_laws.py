"""Laws of packing: every selected token stands in a micro-batch once, in the rows of its stream."""

import numpy as np
import torch
from hypothesis import assume
from hypothesis import strategies as st

from fourm_runtime.batch import Masked, MicroBatch
from fourm_runtime.lawbook.masked_plan import MaskedPlan, can_be_masked
from fourm_runtime.packing import pack
from fourm_schema.lawbook.article import Article, Draw, article, require


@article(can_be_masked)
def tokens_are_packed_once(subject: MaskedPlan, draw: Draw) -> None:
    """Every visible token stands in the encoder once, and every predicted one in the decoder once."""
    masked = subject.masked(draw)
    batches = _packed(subject, masked, draw)
    for name in subject.plan.names:
        wanted = masked.targets[name].size if name in masked.targets else 0
        found = sum(batch.heads[name].targets.numel() for batch in batches if name in batch.heads)
        require(found == wanted, f"{name}: {wanted} tokens are to be predicted, {found} are packed")
        shown = masked.inputs[name].size if name in masked.inputs else 0
        row = subject.allocation.streams[name]
        found = sum(int((batch.encoder.streams == row).sum()) for batch in batches)
        require(found == shown, f"{name}: {shown} tokens are visible, {found} are packed")


@article(can_be_masked)
def rows_are_those_of_the_stream(subject: MaskedPlan, draw: Draw) -> None:
    """A token's row in the tables is the offset of its stream and its id."""
    masked = subject.masked(draw)
    batches = _packed(subject, masked, draw)
    for stream in subject.plan.streams:
        if not stream.is_dense and stream.name in masked.inputs:
            here = subject.allocation.streams[stream.name]
            rows = torch.cat([batch.encoder.rows[batch.encoder.streams == here] for batch in batches])
            wanted = masked.inputs[stream.name].ids + subject.allocation.token_offset(stream)
            told = f"{stream.name}: rows {rows[:6].tolist()} in place of {wanted[:6].tolist()}"
            require(np.array_equal(rows.numpy(), wanted), told)


@article(can_be_masked)
def targets_are_the_selected_ids(subject: MaskedPlan, draw: Draw) -> None:
    """What a head is asked for are the ids that were selected, in the order of the samples."""
    masked = subject.masked(draw)
    batches = _packed(subject, masked, draw)
    for name, selection in masked.targets.items():
        parts = [batch.heads[name].targets for batch in batches if name in batch.heads]
        asked = torch.cat([torch.zeros(0, dtype=torch.int64), *parts]).tolist()
        require(
            asked == selection.ids.tolist(), f"{name}: {asked[:6]} in place of {selection.ids[:6].tolist()}"
        )


@article(can_be_masked)
def blocks_cover_the_tokens(subject: MaskedPlan, draw: Draw) -> None:
    """The blocks of a micro-batch cover each of its sequences, without a gap."""
    for batch in _packed(subject, subject.masked(draw), draw):
        causal = batch.decoder.size - batch.parallel_size
        for what, lengths, size in (
            ("encoder", batch.encoder_lengths, batch.encoder.size),
            ("parallel", batch.parallel_lengths, batch.parallel_size),
            ("parallel queries", batch.parallel_queries, batch.parallel_size),
            ("causal", batch.causal_lengths, causal),
            ("causal queries", batch.causal_queries, causal),
        ):
            require(sum(lengths) == size, f"{what}: blocks of {sum(lengths)} tokens for {size}")


@article(can_be_masked)
def samples_are_never_empty(subject: MaskedPlan, draw: Draw) -> None:
    """A sample that shows nothing has one null token, so that the decoder has something to look at."""
    masked = subject.masked(draw)
    (batch,) = pack(Masked(masked.size, {}, masked.targets), subject.plan, subject.allocation)
    require(batch.encoder_lengths == (1,) * masked.size, f"blocks of {batch.encoder_lengths} tokens")
    parts = (batch.encoder.rows, batch.encoder.positions, batch.encoder.streams)
    require(not any(bool(part.any()) for part in parts), "a null token is not null")


PACKING_LAWS: tuple[Article[MaskedPlan], ...] = (
    tokens_are_packed_once,
    rows_are_those_of_the_stream,
    targets_are_the_selected_ids,
    blocks_cover_the_tokens,
    samples_are_never_empty,
)


def _packed(subject: MaskedPlan, masked: Masked, draw: Draw) -> tuple[MicroBatch, ...]:
    """All samples in one micro-batch, or in several of a fixed size."""
    assume(masked.size)
    most = 1 + max(_most(masked, "inputs"), _most(masked, "targets"))
    capacity = draw(st.sampled_from([None, (most, most), (2 * most, 3 * most)]))
    return pack(masked, subject.plan, subject.allocation, capacity=capacity)


def _most(masked: Masked, side: str) -> int:
    counts = np.zeros(masked.size, np.int64)
    for selection in getattr(masked, side).values():
        counts += np.bincount(selection.samples, minlength=masked.size)
    return int(counts.max(initial=0))
