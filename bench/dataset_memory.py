"""Memory while a large dataset is imported, filled and encoded: it must not grow with the rows.

    python bench/dataset_memory.py [--rows 200000] [--json]

Samples of 3 KB are generated as they are read, imported, appended once more by half as many, given one more
modality from rows, and encoded. Resident memory is read after every 5,000 rows or so; growth is what the last
quarter of a step needed at most above what the second quarter needed at most. The first quarter is left out:
buffers are filled there. Exit status 1 if a step grows by more than 100 MB.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "codecs", "runtime")]

from fourm_codecs.build import build_codec  # noqa: E402 - path set above
from fourm_runtime.data.dataset import Dataset  # noqa: E402 - path set above
from fourm_schema.load import parse_schema  # noqa: E402 - path set above

PROMISED_MB = 100.0
EVERY = 5_000
YAML = """
version: 1
modalities:
  photo:
    kind: image
    size: 32
    patch: 8
    cell: {type: continuous, channels: 3, range: [0, 255], levels: 256}
    shown: [pixels]
  ids:
    kind: image
    size: 14
    patch: 1
    cell: {type: continuous, channels: 3, range: [0, 255], levels: 256}
    codec: ids
    vocab_size: 1024
  shape: {kind: vector, dim: 8, ranges: [0, 1], bins: 64}
"""
MORE = "  height: {kind: vector, dim: 4, ranges: [0, 1], bins: 16}\n"


class Gauge:
    """Resident memory of this process, in MB, as a step goes on."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def look(self, done: int) -> None:
        if done % EVERY < 256:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.found.append(pages * 4096 / 2**20)

    def growth(self) -> float:
        """The most of the last quarter above the most of the second one."""
        quarter = len(self.found) // 4
        return max(self.found[-quarter:]) - max(self.found[quarter : 2 * quarter])


def rows(count: int, gauge: Gauge, prefix: str = "") -> Iterator[dict[str, object]]:
    """Samples, one at a time."""
    rng = np.random.default_rng(0)
    for index in range(count):
        if index % EVERY == 0:
            gauge.look(index)
        yield {
            "id": f"{prefix}{index}",
            "photo": rng.integers(0, 256, (32, 32, 3), np.uint8),
            "ids": rng.integers(0, 1024, (14, 14), np.uint16),
            "shape": rng.random(8, np.float32),
        }


def heights(count: int, gauge: Gauge) -> Iterator[dict[str, object]]:
    """Values of a modality that is added later."""
    for index in range(count):
        if index % EVERY == 0:
            gauge.look(index)
        yield {"id": str(index), "height": [index / count] * 4}


def measure(folder: Path, count: int) -> dict[str, Gauge]:
    """Do each step, and watch memory."""
    gauges = {name: Gauge() for name in ("import", "append", "fill", "encode")}
    schema = parse_schema(YAML)
    dataset = Dataset.create(folder / "a.lance", schema, rows(count, gauges["import"]))
    dataset.append(rows(count // 2, gauges["append"], "more-"))
    dataset.add_modality(parse_schema(YAML + MORE))
    dataset.fill_rows(heights(count, gauges["fill"]))
    codecs = {name: build_codec(dataset.schema, name) for name in ("ids", "shape", "height")}
    dataset.encode(codecs, progress=lambda name, done, total: gauges["encode"].look(done))
    return gauges


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="samples of the import (default 200,000)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gauges = measure(Path(folder), arguments.rows)
    if arguments.json:
        print(json.dumps({name: gauge.found for name, gauge in gauges.items()}))
    else:
        for name, gauge in gauges.items():
            low, high = min(gauge.found), max(gauge.found)
            print(f"{name:7} {low:6.0f} to {high:6.0f} MB, grows by {gauge.growth():4.0f} MB")
    return int(any(gauge.growth() > PROMISED_MB for gauge in gauges.values()))


if __name__ == "__main__":
    sys.exit(main())
