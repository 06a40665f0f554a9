"""Samples per second of the masker, against a plain loop that masks one sample at a time.

    python bench/masking.py [--batch 512] [--seconds 3]

Both do the masking of 4M-21: 21 streams (12 token grids of 14 x 14 or 16 x 16 cells, 2 grids of 4 x 4,
RGB patches, 6 sequences), its seven-component mixture, 256 visible and 256 predicted tokens. Sequences
are as long as in real data: lengths drawn evenly from 1 to a third of the most. The loop is written as
one would write it first: NumPy's own generator, one sample and one stream at a time.
"""

import argparse
import sys
import time
from pathlib import Path

import attrs
import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in (".", "codecs", "runtime")]

from fourm_runtime.batch import Batch, Column, Dense, Grid, Sequences  # noqa: E402 - path set above
from fourm_runtime.masking.mask import Masker  # noqa: E402 - path set above
from fourm_runtime.masking.mixture import (  # noqa: E402 - path set above
    AllToAll,
    Biased,
    BudgetEntry,
    From,
    MaskEntry,
    Mixture,
    expand,
)
from fourm_schema.plan import Kind, Plan, Special, Stream, Vocabulary  # noqa: E402 - path set above

GRIDS = {f"map{number}": 196 for number in range(10)} | {"dino": 256, "imagebind": 256}
GLOBALS = {"dino_global": 16, "imagebind_global": 16}
SEQUENCES = {"caption": 256, "boxes": 256, "metadata": 40, "poses": 275, "palette": 23, "masks": 290}


def build_plan() -> Plan:
    """Build the 21 streams."""
    special = Special(pad=0, unknown=1, start=2, end=3, first_sentinel=4, sentinel_count=200)

    def token_stream(name: str, kind: Kind, length: int) -> Stream:
        grid = kind != "text"
        return Stream(
            name=f"{name}.tokens",
            modality=name,
            kind=kind,
            shown="tokens",
            role="both",
            layout="grid" if grid else "sequence",
            length=length,
            grid=(length,) if grid else None,
            dense_dim=None,
            vocabulary=f"{name}.tokens" if grid else "words",
            vocab_size=8192 if grid else 30000,
            codec="vit-fsq" if grid else "wordpiece",
            embedding="table",
            positions="sincos-1d",
            because=("", "", ""),
            loss_weight=1.0,
            column=f"{name}__tokens",
        )

    pixels = attrs.evolve(
        token_stream("rgb", "image", 196),
        name="rgb.pixels",
        shown="pixels",
        role="input",
        dense_dim=768,
        vocabulary=None,
        vocab_size=0,
    )
    grids = [token_stream(name, "image", length) for name, length in (GRIDS | GLOBALS).items()]
    texts = [token_stream(name, "text", length) for name, length in SEQUENCES.items()]
    return Plan("", (pixels, *grids, *texts), (Vocabulary("words", "wordpiece", 30000, special),))


def build_mixture(plan: Plan) -> Mixture:
    """Build the seven components of 4M-21, with a second text stream in the place of its T5 features."""
    masks: list[MaskEntry] = [
        AllToAll(preset="all_to_all", alpha=[0.01, 0.1, 1.0, 10.0], weight=4, keep={"palette": "binary"}),
        From(preset="from", stream="rgb.pixels", target_alpha=0.5, weight=1),
        Biased(preset="biased", stream="caption", weight=0.5),
        Biased(preset="biased", stream="boxes", weight=0.5),
    ]
    return expand(masks, BudgetEntry(input=256, target=256), plan)


def build_batch(plan: Plan, size: int, rng: np.random.Generator) -> Batch:
    """Draw a batch in which every sample has every modality."""
    columns: dict[str, Column] = {}
    present = np.ones(size, np.bool_)
    for stream in plan.streams:
        if stream.is_dense:
            columns[stream.name] = Dense(np.zeros((size, stream.length, 4), np.float32), present)
        elif stream.layout == "grid":
            ids = rng.integers(0, stream.vocab_size, (size, stream.length), dtype=np.uint16)
            columns[stream.name] = Grid(ids, present)
        else:
            lengths = rng.integers(1, stream.length // 3 + 1, size)
            offsets = np.concatenate(([0], np.cumsum(lengths)))
            ids = rng.integers(204, stream.vocab_size, int(offsets[-1]), dtype=np.uint16)
            columns[stream.name] = Sequences(ids, offsets, present)
    return Batch(np.arange(size), columns)


def mask_one_by_one(plan: Plan, mixture: Mixture, batch: Batch, rng: np.random.Generator) -> int:
    """Mask a batch with a loop over samples and streams; returns the tokens it selected."""
    weights = np.array([component.weight for component in mixture.components])
    selected = 0
    for sample in range(batch.size):
        component = mixture.components[rng.choice(len(weights), p=weights / weights.sum())]
        shown = _share(component.input_alphas, mixture.input_budget, plan, {}, rng)
        wanted = _share(component.target_alphas, mixture.target_budget, plan, shown, rng)
        for stream in plan.streams:
            column = batch.columns[stream.name]
            inputs, targets = shown.get(stream.name, 0), wanted.get(stream.name, 0)
            if isinstance(column, Sequences):
                ids = column.ids[column.offsets[sample] : column.offsets[sample + 1]]
                scheme = component.keep.get(stream.name, "random")
                visible, predicted = _mask_sequence(ids.tolist(), inputs, targets, scheme, rng)
                selected += len(visible) + max(len(predicted) - 1, 0)
            else:
                ranks = np.argsort(np.argsort(rng.random(stream.length)))
                cells = np.flatnonzero(ranks < inputs)
                hidden = np.flatnonzero((ranks >= inputs) & (ranks < inputs + targets))
                if isinstance(column, Grid):
                    selected += len(column.ids[sample, cells]) + len(column.ids[sample, hidden])
                else:
                    selected += len(cells)
    return selected


def _share(
    alphas: dict[str, float] | object,
    bounds: tuple[int, int],
    plan: Plan,
    shown: dict[str, int],
    rng: np.random.Generator,
) -> dict[str, int]:
    assert isinstance(alphas, dict)
    names = [name for name, alpha in alphas.items() if alpha > 0]
    concentrations = np.array([alphas[name] for name in names])
    total = int(rng.integers(bounds[0], bounds[1] + 1))
    counts = np.floor(rng.dirichlet(concentrations) * total).astype(int)
    for _ in range(total - counts.sum()):
        counts[rng.dirichlet(concentrations).argmax()] += 1
    caps = []
    for name in names:
        stream = plan.stream(name)
        caps.append(stream.length - (shown.get(name, 0) if stream.layout == "grid" else 0))
    return dict(zip(names, np.minimum(counts, caps).tolist(), strict=True))


def _mask_sequence(
    ids: list[int], budget: int, target_budget: int, scheme: str, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    keep = {"random": rng.random(), "all": 1.0, "binary": float(rng.random() < 0.5)}[scheme]
    if budget == 0:
        return [], _spans(ids, [True] * len(ids))[1][:target_budget]
    while True:
        visible, target = _spans(ids, (rng.random(len(ids)) > keep).tolist())
        if len(visible) <= budget:
            break
        keep *= 0.9
    if len(target) > target_budget > 0:
        opens = [place for place, token in enumerate(target) if token < 204]
        start = opens[rng.integers(len(opens) - 1)]
        if len(target) - start < target_budget:
            start = next(place for place in opens if len(target) - place <= target_budget)
        target = target[start : start + target_budget]
    return visible, target if target_budget else []


def _spans(ids: list[int], hidden: list[bool]) -> tuple[list[int], list[int]]:
    visible: list[int] = []
    target: list[int] = []
    sentinel = 4
    for place, token in enumerate(ids):
        if hidden[place]:
            if place == 0 or not hidden[place - 1]:
                sentinel += 1
                visible.append(sentinel)
                target.append(sentinel)
            target.append(token)
        else:
            visible.append(token)
    return visible, [*target, sentinel + 1]


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=512, help="samples per call (default 512)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time to spend on each (default 3)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    plan = build_plan()
    mixture = build_mixture(plan)
    batch = build_batch(plan, arguments.batch, rng)
    masker = Masker(plan, mixture, seed=0)

    best, epoch, tokens, total = float("inf"), 0, 0, 0.0
    while total < arguments.seconds:
        start = time.perf_counter()
        masked = masker(batch, epoch)
        taken = time.perf_counter() - start
        best, total, epoch = min(best, taken), total + taken, epoch + 1
        tokens += sum(side.size for side in (*masked.inputs.values(), *masked.targets.values()))
    samples = epoch * batch.size
    print(f"masker    {samples / total:9.0f} samples/s, best call {batch.size / best:9.0f} samples/s")
    print(f"          {tokens / samples:9.1f} tokens selected per sample, {len(plan.streams)} streams")

    slow, slow_samples, slow_tokens = 0.0, 0, 0
    some = attrs.evolve(batch, sample_ids=batch.sample_ids[: min(64, batch.size)])
    while slow < arguments.seconds:
        start = time.perf_counter()
        slow_tokens += mask_one_by_one(plan, mixture, some, rng)
        slow, slow_samples = slow + time.perf_counter() - start, slow_samples + some.size
    print(
        f"plain loop{slow_samples / slow:9.0f} samples/s, {slow_tokens / slow_samples:.1f} tokens per sample"
    )
    print(f"ratio     {samples / total * slow / slow_samples:9.1f}")


if __name__ == "__main__":
    main()
