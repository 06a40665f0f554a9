"""How long `import fourm_schema` takes, beside a Python that imports nothing.

Run it from the root of the repository: `python bench/import_time.py`. It exits with status 1 if the import
adds more than the 0.4 s that the schema room promises. The best of several fresh interpreters is taken: what
else the machine does only ever adds time. CPU time is printed beside it, for machines that are never idle.
"""

import argparse
import os
import subprocess
import sys
import time

import attrs

PROMISED_S = 0.4


@attrs.frozen
class Cost:
    """Seconds of one fresh interpreter: on the clock, and of the processor."""

    wall_s: float
    cpu_s: float


def best(code: str, runs: int) -> Cost:
    """Shortest times of fresh interpreters that run `code`."""
    costs = [_run(code) for _ in range(runs)]
    return Cost(min(cost.wall_s for cost in costs), min(cost.cpu_s for cost in costs))


def _run(code: str) -> Cost:
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    wall_s, after = time.perf_counter() - start, os.times()
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    return Cost(wall_s, cpu_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="fresh interpreters per line (default 9)")
    runs: int = parser.parse_args().runs
    nothing, schema = best("pass", runs), best("import fourm_schema", runs)
    added = Cost(schema.wall_s - nothing.wall_s, schema.cpu_s - nothing.cpu_s)
    lines = {
        "python -c pass": nothing,
        "python -c import fourm_schema": schema,
        "the import itself": added,
    }
    for name, cost in lines.items():
        print(f"{name:30} {cost.wall_s:6.3f} s wall  {cost.cpu_s:6.3f} s cpu")
    print(f"promised: below {PROMISED_S} s wall")
    return int(added.wall_s > PROMISED_S)


if __name__ == "__main__":
    sys.exit(main())
