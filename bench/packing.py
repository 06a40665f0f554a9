"""Time of a packed training step over a padded one: the same weights, the same samples.

    python bench/packing.py [--fill 0.7 --fill 0.9] [--pairs 9] [--json]

The network has width 384, 6 + 6 blocks and 6 heads; 4 samples show and are asked for up to 256 tokens
each. *Fill* is the share of real tokens in the padded batch, which is padded to its longest sample on
either side. The padded step is the padded model of `fourm_runtime.oracle` with fused attention and dense
boolean masks. A step is the forward pass, the loss and the backward pass; laying the batch out and the
optimizer are left out. Both run in turn in one process on one thread, and each pair of neighbours gives
one ratio.

Target: ratio <= fill + 0.10 at a fill of 0.7, and <= 1.05 at 0.9.
"""

import argparse
import json
import sys
from pathlib import Path

import attrs
import numpy as np
import torch

from pairs import interleave

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in (".", "codecs", "runtime")]

from fourm_runtime import oracle  # noqa: E402 - path set above
from fourm_runtime.assemble import assemble  # noqa: E402 - path set above
from fourm_runtime.attention import operator_name  # noqa: E402 - path set above
from fourm_runtime.batch import Int32, Masked, Selection  # noqa: E402 - path set above
from fourm_runtime.loss import loss_sums, stream_factors, target_counts, weighted  # noqa: E402 - path set above
from fourm_runtime.packing import pack  # noqa: E402 - path set above
from fourm_schema.architecture import architecture  # noqa: E402 - path set above
from fourm_schema.plan import Plan, Special, Stream, Vocabulary  # noqa: E402 - path set above

BUDGET, SAMPLES, WORDS = 256, 4, 1000


@attrs.frozen
class Timing:
    """One fill.

    Attributes:
        fill: real tokens over slots, both sides together.
        ratio: median over pairs of packed over padded CPU time.
        low, high: the smallest and the largest of those ratios.
        wall_ratio: the median for wall time.
        packed_s, padded_s: median CPU seconds of a step.
    """

    fill: float
    ratio: float
    low: float
    high: float
    wall_ratio: float
    packed_s: float
    padded_s: float


def build_plan() -> Plan:
    """A dense image, two token grids and a text, each long enough for any share of the budget."""
    grid = Stream(
        name="depth.tokens",
        modality="depth",
        kind="image",
        shown="tokens",
        role="both",
        layout="grid",
        length=BUDGET,
        grid=(16, 16),
        dense_dim=None,
        vocabulary="depth.tokens",
        vocab_size=512,
        codec="levels",
        embedding="table",
        positions="sincos-2d",
        because=("", "", ""),
        loss_weight=1.0,
        column="depth__tokens",
    )
    land = attrs.evolve(grid, name="land.tokens", modality="land", vocabulary="land.tokens")
    pixels = attrs.evolve(
        grid,
        name="rgb.pixels",
        modality="rgb",
        shown="pixels",
        role="input",
        dense_dim=48,
        vocabulary=None,
        vocab_size=0,
        codec="none",
    )
    text = attrs.evolve(
        grid,
        name="caption.tokens",
        modality="caption",
        kind="text",
        layout="sequence",
        grid=None,
        vocabulary="words",
        vocab_size=WORDS,
        codec="wordpiece",
        positions="sincos-1d",
    )
    special = Special(pad=0, unknown=1, start=2, end=3, first_sentinel=4, sentinel_count=130)
    return Plan("", (pixels, grid, land, text), (Vocabulary("words", "wordpiece", WORDS, special),))


def build_samples(plan: Plan, fill: float, rng: np.random.Generator) -> Masked:
    """Samples whose lengths are spread evenly up to the budget, with the wanted fill as their mean."""
    lengths = np.linspace(BUDGET * (2 * fill - 1), BUDGET, SAMPLES).round().astype(np.int64)

    def select(streams: tuple[Stream, ...], totals: np.ndarray, target: bool) -> dict[str, Selection]:
        selections = {}
        for place, stream in enumerate(streams):
            # Shares of nearly equal size that add up to the total.
            counts = totals * (place + 1) // len(streams) - totals * place // len(streams)
            positions: Int32 = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
            ids = rng.integers(0, max(stream.vocab_size, 1), len(positions)).astype(np.int32)
            selections[stream.name] = Selection(
                samples=np.repeat(np.arange(SAMPLES, dtype=np.int32), counts),
                positions=positions,
                ids=positions if stream.is_dense else ids,
                previous=ids if target and stream.layout == "sequence" else None,
            )
        return selections

    dense = {
        stream.name: rng.standard_normal((SAMPLES, stream.length, stream.dense_dim or 0)).astype(np.float32)
        for stream in plan.inputs
        if stream.is_dense
    }
    inputs = select(plan.inputs, lengths, target=False)
    return Masked(SAMPLES, inputs, select(plan.targets, np.roll(lengths, 2), target=True), dense)


def measure(fill: float, pairs: int) -> Timing:
    """Time packed and padded steps in turn."""
    plan = build_plan()
    model = assemble(plan, architecture("tiny"))
    masked = build_samples(plan, fill, np.random.default_rng(0))
    (batch,) = pack(masked, plan, model.allocation)
    padded = oracle.pad(masked, plan)
    counts = target_counts((batch,))
    factors = stream_factors(counts, plan)

    def packed_step() -> torch.Tensor:
        return weighted(loss_sums(model(batch), batch), factors)

    def padded_step() -> torch.Tensor:
        logits = oracle.forward(model, padded, softmax="sdpa")
        losses = [torch.nn.functional.cross_entropy(logits[name], padded.labels[name]) for name in logits]
        return torch.stack(losses).mean()

    difference = abs(float(packed_step().detach()) - float(padded_step().detach()))
    assert difference < 1e-4, f"the two models differ by {difference} in loss: there is nothing to compare"
    times = interleave(
        {
            "packed": lambda: torch.autograd.backward(packed_step()),
            "padded": lambda: torch.autograd.backward(padded_step()),
        },
        pairs,
        before=lambda: model.zero_grad(set_to_none=True),
    )
    slots = padded.encoder_mask.shape[0] * (padded.encoder_mask.shape[1] + padded.decoder_mask.shape[1])
    return Timing(
        fill=(batch.encoder.size + batch.decoder.size) / slots,
        ratio=times.ratio,
        low=times.low,
        high=times.high,
        wall_ratio=times.wall_ratio,
        packed_s=times.cpu("packed"),
        padded_s=times.cpu("padded"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fill", type=float, action="append", help="token fill to measure at (0.5 to 1)")
    parser.add_argument("--pairs", type=int, default=9, help="interleaved pairs of steps (default 9)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each fill")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.json:
        print(f"attention on cpu: {operator_name('cpu')}; {arguments.pairs} pairs, one thread, float32")
        print("fill   packed/padded (range)    wall   packed s  padded s")
    for fill in arguments.fill or [0.7, 0.9]:
        found = measure(fill, arguments.pairs)
        if arguments.json:
            print(json.dumps(attrs.asdict(found)))
        else:
            print(
                f"{found.fill:.2f}   {found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})"
                f"      {found.wall_ratio:.2f}   {found.packed_s:8.2f}  {found.padded_s:8.2f}"
            )


if __name__ == "__main__":
    main()
