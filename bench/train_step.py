"""Time and memory of a training step, against 4M's own way of running one.

    python bench/train_step.py [--pairs 12] [--case untied] [--case native] [--small] [--json]

Size tiny (width 384, 6 + 6 blocks, 6 heads, gated, without biases), the modalities of 4M-21, 8 samples of
up to 256 + 256 tokens, masked by its mixture. float32, one thread. The baseline is `dense_model.py`: 4M's
padded model; that both have the same loss on the same samples is checked first. A step is forward, loss,
backward, clipping and AdamW, of the same kind on both sides (`dense_sides.py`). Ours also lays its batch
out; the baseline gets its working dictionary ready-made.

    untied   an imported model: tables and heads apart for every modality, 343 million parameters
    native   a model as it is declared here: one word vocabulary for all texts, the head tied; the baseline
             has the same numbers in 4M's layout, 343 million again

Both sides run in turn on the same batches, several of them; each pair of neighbours gives one ratio of CPU
time. Activation bytes are the most that PyTorch's allocator held at one time of forward and backward pass,
less parameters, gradients and moments. Parts are from one step of each side that was cut into pieces.

Exit status 1 if a step is less than 1.7 (untied) or 2 (native) times as fast as the baseline's, or keeps more
than half of its bytes. `--small` is a quick look at a network that shows neither, and promises nothing.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import torch

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in (".", "codecs", "runtime")]

from dense_draws import BUDGET, build_plan, draw  # noqa: E402 - path set above
from dense_model import DenseModel  # noqa: E402 - path set above
from dense_samples import working_dict  # noqa: E402 - path set above
from dense_sides import DenseSide, PackedSide, Side  # noqa: E402 - path set above
from fourm_runtime.assemble import empty_model, initialise  # noqa: E402 - path set above
from fourm_schema.allocation import allocate  # noqa: E402 - path set above
from fourm_schema.architecture import architecture  # noqa: E402 - path set above
from pairs import interleave  # noqa: E402 - path set above

PROMISED = {"untied": 1.7, "native": 2.0}
PROMISED_BYTES = 0.5
SAMPLES, BATCHES = 8, 12
SAME = 1e-5


@attrs.frozen
class Found:
    """One case.

    Attributes:
        case: `untied` or `native`.
        packed_parameters, dense_parameters: of either side.
        tokens: visible and predicted tokens of a sample, on average, both sides of the model together.
        loss_difference: largest relative difference of the two losses before the first step.
        ratio: median over pairs of dense over packed CPU time.
        low, high: the smallest and the largest of them.
        wall_ratio: the median for wall time.
        packed_s, dense_s: median CPU seconds of a step.
        packed_bytes, dense_bytes: activations.
        packed_parts, dense_parts: CPU seconds of the parts of one step.
    """

    case: str
    packed_parameters: int
    dense_parameters: int
    tokens: float
    loss_difference: float
    ratio: float
    low: float
    high: float
    wall_ratio: float
    packed_s: float
    dense_s: float
    packed_bytes: int
    dense_bytes: int
    packed_parts: dict[str, float]
    dense_parts: dict[str, float]

    @property
    def kept(self) -> bool:
        """Whether the promise holds."""
        return self.ratio >= PROMISED[self.case] and self.packed_bytes <= PROMISED_BYTES * self.dense_bytes


def build(case: str, small: bool) -> tuple[PackedSide, DenseSide, float]:
    """Both sides over the same weights and samples, and the mean tokens of a sample."""
    untied = case == "untied"
    plan = build_plan(untied, most_ids=600 if small else None)
    shape = attrs.evolve(architecture("nano" if small else "tiny"), tie_head=not untied)
    model = empty_model(plan, allocate(plan), shape)
    initialise(model, seed=0)
    size = 2 if small else SAMPLES
    drawn = draw(plan, size, 2 if small else BATCHES)
    selections = [s for _, masked in drawn for s in (*masked.inputs.values(), *masked.targets.values())]
    tokens = sum(selection.size for selection in selections) / (size * len(drawn))
    packed = PackedSide(model, [masked for _, masked in drawn])
    samples = [working_dict(masked, plan, batch) for batch, masked in drawn]
    return packed, DenseSide(DenseModel(model), samples, BUDGET), tokens


def steps_of(side: Side) -> Callable[[], None]:
    """A step of a side, on the next batch at each call."""
    numbers = itertools.count()
    return lambda: side.step(next(numbers))


def measure(case: str, pairs: int, small: bool) -> Found:
    """Time steps of both sides in turn."""
    packed, dense, tokens = build(case, small)
    losses = [(packed.loss(number), dense.loss(number)) for number in range(len(packed.batches))]
    difference = max(abs(one - other) / other for one, other in losses)
    assert difference < SAME, f"the two models differ by {difference} in loss: there is nothing to compare"
    # The first step of each, which is not timed, makes the moments.
    times = interleave({"dense": steps_of(dense), "packed": steps_of(packed)}, pairs)
    return Found(
        case=case,
        packed_parameters=sum(p.numel() for p in packed.model.parameters()),
        dense_parameters=sum(p.numel() for p in dense.model.parameters()),
        tokens=tokens,
        loss_difference=difference,
        ratio=times.ratio,
        low=times.low,
        high=times.high,
        wall_ratio=times.wall_ratio,
        packed_s=times.cpu("packed"),
        dense_s=times.cpu("dense"),
        packed_bytes=packed.activation_bytes(0),
        dense_bytes=dense.activation_bytes(0),
        packed_parts=packed.parts(0),
        dense_parts=dense.parts(0),
    )


def tell(found: Found) -> None:
    """Print one case."""
    parameters = (found.packed_parameters / 1e6, found.dense_parameters / 1e6)
    print(
        f"{found.case}: {parameters[0]:.1f} and {parameters[1]:.1f} million parameters, "
        f"{found.tokens:.0f} of {2 * BUDGET} tokens per sample"
    )
    for name, seconds, size, parts in (
        ("packed", found.packed_s, found.packed_bytes, found.packed_parts),
        ("dense", found.dense_s, found.dense_bytes, found.dense_parts),
    ):
        split = ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
        print(f"  {name:7}{seconds:7.2f} s  {size / 1e6:8.0f} MB of activations   ({split} s)")
    print(
        f"  ratio  {found.ratio:7.2f}    ({found.low:.2f} to {found.high:.2f}, wall {found.wall_ratio:.2f}; "
        f"promised {PROMISED[found.case]}), bytes {found.packed_bytes / found.dense_bytes:.2f}"
    )


def main() -> int:
    """Measure the cases asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=BATCHES, help="interleaved pairs of steps (default 12)")
    parser.add_argument("--case", action="append", choices=list(PROMISED), help="default: both")
    parser.add_argument("--small", action="store_true", help="a small network, 2 samples, 600 ids")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = True
    for case in arguments.case or list(PROMISED):
        found = measure(case, arguments.pairs, arguments.small)
        kept &= arguments.small or found.kept
        if arguments.json:
            print(json.dumps(attrs.asdict(found)))
        else:
            tell(found)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
