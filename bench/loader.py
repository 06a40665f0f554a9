"""Rows per second from a dataset on disk into packed, masked batches, beside the limits and a tar reader.

    python bench/loader.py [--rows 100000] [--epochs 3] [--threads 1] [--tar-rows 4000] [--quick] [--json]

It writes 100,000 rows of 12 grids and 8 texts (see `bench/token_rows.py`) into a temporary folder and reads
them in one process, in the order of a run, 256 samples a step:

    packed     a prefetch thread reads, masks and packs steps of up to 256 + 256 tokens a sample
    unmasked   the same samples in the same order as a batch of whole columns, on this thread
    scan       the same columns block by block in the order of the file, as Arrow tables: what Lance can do
    memcpy     a copy of as many bytes
    tars       the first rows again, as 4M stores them: a tar per modality and thousand rows, .npy and .json,
               read with the `webdataset` package in lockstep, decoded, and stacked into batches of 256;
               without masks, so it stands against `unmasked`

The last four run in turn, a pool of blocks or a batch at a time. Rates are given per second on the clock,
and per second of the processor over all threads: the second is what a busy machine leaves of a figure, and is
what counts. Memory is that of the process after every epoch above that after imports, the writing included.

Promises: packed >= 5,000 rows, and unmasked >= 20 times tars, per second of the processor; at most 1 GiB more
memory, and no more after the last epoch than before it. Exit status 1 where one is broken; --quick only shows
that the script works, and promises nothing.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import attrs
import numpy as np
from webdataset.compat import WebDataset

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "codecs", "runtime")]

from fourm_runtime.batch import Batch, Grid, Sequences  # noqa: E402 - path set above
from fourm_runtime.data.dataset import Dataset  # noqa: E402 - path set above
from fourm_runtime.data.order import Order  # noqa: E402 - path set above
from fourm_runtime.data.prefetch import Prefetch  # noqa: E402 - path set above
from fourm_runtime.data.reader import BLOCK_ROWS, Reader  # noqa: E402 - path set above
from fourm_runtime.masking.mask import Masker  # noqa: E402 - path set above
from fourm_runtime.masking.mixture import AllToAll, BudgetEntry, expand  # noqa: E402 - path set above
from fourm_runtime.training.preparation import Preparation, PreparedStep  # noqa: E402 - path set above
from fourm_schema.allocation import allocate  # noqa: E402 - path set above
from fourm_schema.schema import Schema  # noqa: E402 - path set above
from token_rows import ids_of, token_schema, write_lance, write_tars  # noqa: E402 - path set above

STEP, BUDGET = 256, 256
ROWS_PER_SECOND, TIMES_TARS, MEBIBYTES = 5000.0, 20.0, 1024.0
FLAT = 0.05
"""Growth of memory over the last epoch that counts as none, as a share of what the process has."""


@attrs.frozen
class Rate:
    """How fast rows went by.

    Attributes:
        wall: rows per second on the clock.
        cpu: rows per second of the processor, all threads together.
    """

    wall: float
    cpu: float


@attrs.frozen
class Found:
    """What was measured.

    Attributes:
        rates: by way.
        tokens: visible and predicted tokens of a sample, on average.
        bytes_per_row: of the token columns.
        scan_share, memcpy_share: packed over scan and over memcpy, per second of the processor.
        times_tars, low, high: unmasked over tars, per second of the processor: median, least and most of the
            rounds.
        memory: MiB above those after imports, after each epoch.
        base: MiB after imports.
    """

    rates: dict[str, Rate]
    tokens: tuple[float, float]
    bytes_per_row: float
    scan_share: float
    memcpy_share: float
    times_tars: float
    low: float
    high: float
    memory: tuple[float, ...]
    base: float

    @property
    def is_flat(self) -> bool:
        return len(self.memory) < 2 or self.memory[-1] - self.memory[-2] < FLAT * (
            self.base + self.memory[-1]
        )

    @property
    def broken(self) -> list[str]:
        """The promises that do not hold."""
        promises = {
            f"packed >= {ROWS_PER_SECOND:,.0f} rows/CPU s": self.rates["packed"].cpu >= ROWS_PER_SECOND,
            f"unmasked >= {TIMES_TARS:.0f} times tars": self.times_tars >= TIMES_TARS,
            f"memory <= {MEBIBYTES:,.0f} MiB": max(self.memory) <= MEBIBYTES,
            "memory flat": self.is_flat,
        }
        return [name for name, kept in promises.items() if not kept]


class Clock:
    """Adds up what several rounds of each way took."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[tuple[int, float, float]]] = {}

    def time(self, way: str, work: Callable[[], int]) -> None:
        """Time work that says how many rows it did."""
        cpu, wall = time.process_time(), time.perf_counter()
        rows = work()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        self.rounds.setdefault(way, []).append((rows, *spent))

    def rate(self, way: str) -> Rate:
        rows, wall, cpu = (sum(column) for column in zip(*self.rounds[way], strict=True))
        return Rate(rows / wall, rows / cpu)

    def ratios(self, way: str, other: str) -> list[float]:
        """CPU seconds a row of the other way over those of the first, round by round, in ascending order."""
        pairs = zip(self.rounds[way], self.rounds[other], strict=True)
        return sorted((theirs[2] / theirs[0]) / (ours[2] / ours[0]) for ours, theirs in pairs)


def resident_mib() -> float:
    """Memory of this process in MiB."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def read_tars(folder: Path, schema: Schema, columns: dict[str, str]) -> Iterator[dict[str, np.ndarray]]:
    """Batches of the tars of all modalities in lockstep, for ever: stream -> ids; texts end to end.

    Args:
        folder: a folder per modality.
        schema: the modalities.
        columns: stream -> modality.
    """
    while True:
        readers: dict[str, Iterator[dict[str, object]]] = {}
        for stream, modality in columns.items():
            shards = [str(path) for path in sorted((folder / modality).glob("*.tar"))]
            opened = WebDataset(shards, shardshuffle=False, empty_check=False)
            readers[stream] = cast("Iterator[dict[str, object]]", opened.decode())
        rows: list[tuple[dict[str, object], ...]] = []
        for samples in zip(*readers.values(), strict=True):
            keys = {sample["__key__"] for sample in samples}
            assert len(keys) == 1, "tars in lockstep hold the same samples"
            rows.append(samples)
            if len(rows) == STEP:
                ids = {
                    stream: [ids_of(samples[place]) for samples in rows]
                    for place, stream in enumerate(readers)
                }
                yield {
                    stream: np.stack(parts) if "grid" in stream else np.concatenate(parts)
                    for stream, parts in ids.items()
                }
                rows = []


def measure(rows: int, epochs: int, threads: int, tar_rows: int, rounds: int, folder: Path) -> Found:
    """Write the rows, read them by every way, and measure."""
    base, schema = resident_mib(), token_schema()
    write_lance(folder / "rows.lance", schema, rows)
    write_tars(folder / "tars", schema, tar_rows)
    dataset = Dataset.open(folder / "rows.lance")
    plan, order, clock = dataset.plan, Order(dataset.rows, seed=0), Clock()
    masks = [AllToAll.model_validate({"preset": "all_to_all", "alpha": [0.01, 0.1, 1.0, 10.0]})]
    mixture = expand(masks, BudgetEntry(input=BUDGET, target=BUDGET), plan)
    per_epoch = rows // STEP
    columns = [stream.column for stream in plan.streams]
    tokens = np.zeros(2)
    memory: list[float] = []
    with Reader(dataset, plan) as reader:
        prepare = Preparation(reader, order, Masker(plan, mixture, 0), plan, allocate(plan), STEP).prepare

        def take(steps: Iterator[PreparedStep], count: int) -> int:
            for _, step in zip(range(count), steps, strict=False):
                tokens[:] += step.tokens_in, sum(step.targets.values())
            return count * STEP

        for epoch in range(epochs):
            first = epoch * per_epoch
            with Prefetch(prepare, first, first + per_epoch, ahead=4, threads=threads) as steps:
                clock.time("packed", lambda: take(steps, per_epoch))
            memory.append(resident_mib() - base)
    mean = tokens / (epochs * per_epoch * STEP)

    tars = read_tars(folder / "tars", schema, {stream.name: stream.modality for stream in plan.streams})
    blocks = rows // BLOCK_ROWS
    with Reader(dataset, plan) as reader:
        size = _batch_bytes(reader.batch(order.step(0, STEP)[1])) / STEP
    # A pool of blocks at once: what fits a cache is copied ten times as fast, and is no memory.
    source = np.ones(int(size * order.pool * order.block), np.uint8)
    target = np.zeros_like(source)
    step = block = 0
    next(tars)
    with Reader(dataset, plan) as reader:

        def unmasked() -> int:
            nonlocal step
            # As many steps as a pool of blocks feeds, so that each round reads as much as it uses.
            for _ in range(order.pool * order.block // STEP):
                epoch_of, which = order.step(step, STEP)
                reader.batch(which, epoch_of)
                step += 1
            return order.pool * order.block

        def scan() -> int:
            nonlocal block
            for _ in range(order.pool):
                start = block % max(blocks, 1) * BLOCK_ROWS
                dataset.arrow.take(np.arange(start, min(start + BLOCK_ROWS, rows)).tolist(), columns=columns)
                block += 1
            return order.pool * min(BLOCK_ROWS, rows)

        def memcpy() -> int:
            np.copyto(target, source)
            return order.pool * order.block

        def tar_batch() -> int:
            next(tars)
            return STEP

        for _ in range(rounds):
            for way, work in {
                "unmasked": unmasked,
                "scan": scan,
                "memcpy": memcpy,
                "tars": tar_batch,
            }.items():
                clock.time(way, work)
    rates = {way: clock.rate(way) for way in clock.rounds}
    ratios = clock.ratios("unmasked", "tars")
    return Found(
        rates=rates,
        tokens=(float(mean[0]), float(mean[1])),
        bytes_per_row=size,
        scan_share=rates["packed"].cpu / rates["scan"].cpu,
        memcpy_share=rates["packed"].cpu / rates["memcpy"].cpu,
        times_tars=float(np.median(ratios)),
        low=ratios[0],
        high=ratios[-1],
        memory=tuple(memory),
        base=base,
    )


def _batch_bytes(batch: Batch) -> int:
    return sum(
        column.ids.size * column.ids.itemsize
        for column in batch.columns.values()
        if isinstance(column, Grid | Sequences)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="prefetch threads")
    parser.add_argument("--tar-rows", type=int, default=4000, help="rows that are written as tars too")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the ways that run in turn")
    parser.add_argument("--quick", action="store_true", help="small, to see that it works")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    if told.quick:
        told.rows, told.epochs, told.tar_rows, told.rounds = 1536, 2, 512, 1
    with tempfile.TemporaryDirectory() as folder:
        found = measure(told.rows, told.epochs, told.threads, told.tar_rows, told.rounds, Path(folder))
    if told.json:
        print(json.dumps(attrs.asdict(found)))
    else:
        report(found)
    if found.broken and not told.quick:
        print(f"broken: {'; '.join(found.broken)}", file=sys.stderr)
        return 1
    return 0


def report(found: Found) -> None:
    """Print what was measured."""
    print(f"{'way':<10} {'rows/s':>12} {'rows/CPU s':>12} {'us CPU/row':>12}")
    for way, rate in found.rates.items():
        print(f"{way:<10} {rate.wall:>12,.0f} {rate.cpu:>12,.0f} {1e6 / rate.cpu:>12.1f}")
    shown, asked = found.tokens
    print(f"a sample: {found.bytes_per_row:,.0f} bytes, {shown:.0f} + {asked:.0f} tokens packed")
    print(f"packed is {found.scan_share:.1%} of scan and {found.memcpy_share:.2%} of memcpy, by CPU")
    print(f"unmasked is {found.times_tars:.0f} times tars, by CPU ({found.low:.0f} to {found.high:.0f})")
    grown = ", ".join(f"{mib:+.0f}" for mib in found.memory)
    print(f"memory: {found.base:.0f} MiB after imports; after each epoch {grown}")


if __name__ == "__main__":
    sys.exit(main())
