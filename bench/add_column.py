"""Seconds and bytes of adding a token column, while another process appends.

    python bench/add_column.py [--rows 100000] [--appends 20] [--json]

A dataset of grids of 14 x 14 ids is written, as a tokenizer made them; its token column is added, 196 ids of
16 bits a sample. Meanwhile a second process appends, with pauses. Then every row must be there once, and each
sample of the first import have its ids. The column's own bytes are compared with the files that its encoding
wrote, and all the manifests and transactions of both processes. Exit status 1 if these are more than 1.2
times as many, or if one of the two fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "codecs", "runtime")]

from fourm_codecs.build import build_codec  # noqa: E402 - path set above
from fourm_runtime.data.dataset import Dataset  # noqa: E402 - path set above
from fourm_schema.load import parse_schema  # noqa: E402 - path set above

PROMISED = 1.2
SIDE = 14
APPENDED = 200
PAUSE_S = 0.1
SCHEMA = parse_schema(
    f"""
    version: 1
    modalities:
      field:
        kind: image
        size: {SIDE}
        patch: 1
        cell: {{type: continuous, channels: 3, range: [0, 255], levels: 256}}
        codec: ids
        vocab_size: 1024
    """
)


def rows(count: int, seed: int, prefix: str) -> Iterator[dict[str, object]]:
    """Samples of drawn numbers."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        yield {"id": f"{prefix}{index}", "field": rng.integers(0, 1024, (SIDE, SIDE), np.uint16)}


def append(path: Path, times: int) -> None:
    """The other process: it says when each append begins and has ended."""
    dataset = Dataset.open(path)
    for turn in range(times):
        begun = time.time()
        dataset.append(rows(APPENDED, 1 + turn, f"more-{turn}-"), once=f"turn {turn}")
        print(begun, time.time(), flush=True)
        time.sleep(PAUSE_S)


def measure(folder: Path, count: int, appends: int) -> dict[str, float]:
    """Add the column beside the other process.

    Returns:
        seconds and bytes; `ratio` is that of all that was written to the column's own.
    """
    path = folder / "fields.lance"
    dataset = Dataset.create(path, SCHEMA, rows(count, 0, "first-"))
    codecs = {"field": build_codec(SCHEMA, "field")}
    before = _bytes(path, "_versions") + _bytes(path, "_transactions")
    command = [sys.executable, __file__, "--append-to", str(path), "--appends", str(appends)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None, "it was asked for"
        times = [other.stdout.readline()]
        begun, wall, cpu = time.time(), time.perf_counter(), time.process_time()
        dataset.encode(codecs, ["field"])
        wall, cpu, ended = time.perf_counter() - wall, time.process_time() - cpu, time.time()
        times += other.stdout.readlines()
        failed = other.wait()
    column = sum(file.stat().st_size for file in (path / "data").glob("field__tokens-*"))
    shared = _bytes(path, "_versions") + _bytes(path, "_transactions") - before
    spans = [tuple(map(float, line.split())) for line in times if line.strip()]
    latest = Dataset.open(path)
    table = latest.arrow.to_table(columns=["id", "field__tokens"])
    first = np.array([name.startswith("first-") for name in table["id"].to_pylist()])
    encoded = np.asarray(table["field__tokens"].is_valid())
    own = int(encoded.sum()) * SIDE * SIDE * 2
    return {
        "rows": count,
        "seconds": wall,
        "cpu_seconds": cpu,
        "own_bytes": own,
        "column_bytes": column,
        "manifest_bytes": shared,
        "ratio": (column + shared) / own,
        "appends": len(spans),
        "appends_meanwhile": sum(end > begun and start < ended for start, end in spans),
        "failed": int(
            bool(failed)
            or len(set(table["id"].to_pylist())) != count + appends * APPENDED
            or latest.rows != count + appends * APPENDED
            or not encoded[first].all()
        ),
    }


def _bytes(path: Path, folder: str) -> int:
    return sum(file.stat().st_size for file in (path / folder).iterdir() if file.is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="samples (default 100,000)")
    parser.add_argument("--appends", type=int, default=20, help="by the other process (default 20)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--append-to", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.append_to is not None:
        append(arguments.append_to, arguments.appends)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.rows, arguments.appends)
    if arguments.json:
        print(json.dumps(found))
    else:
        print(f"{found['rows']:,} rows: {found['seconds']:.2f} s, {found['cpu_seconds']:.2f} s of CPU")
        print(f"{found['column_bytes']:,} bytes of column, {found['manifest_bytes']:,} of manifests")
        print(f"{found['ratio']:.3f} times the column's own bytes")
        print(f"{found['appends']} appends, {found['appends_meanwhile']} of them meanwhile")
    return int(bool(found["failed"]) or found["ratio"] > PROMISED or found["appends"] != arguments.appends)


if __name__ == "__main__":
    sys.exit(main())
