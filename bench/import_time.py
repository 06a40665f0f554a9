"""How long `import fourm_schema` takes, beside a Python that imports nothing.

Run it from the root of the repository: `python bench/import_time.py`. It exits with status 1 if the import
adds more than the 0.4 s that the schema room promises. The best of several fresh interpreters is taken: what
else the machine does only ever adds time.
"""

import argparse
import subprocess
import sys
import time

PROMISED_S = 0.4


def best_seconds(code: str, runs: int) -> float:
    """Shortest wall time of fresh interpreters that run `code`."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="fresh interpreters per line (default 9)")
    runs: int = parser.parse_args().runs
    nothing, schema = best_seconds("pass", runs), best_seconds("import fourm_schema", runs)
    print(f"python -c pass                 {nothing:6.3f} s")
    print(f"python -c import fourm_schema  {schema:6.3f} s")
    print(f"the import itself              {schema - nothing:6.3f} s  (promised: below {PROMISED_S} s)")
    return int(schema - nothing > PROMISED_S)


if __name__ == "__main__":
    sys.exit(main())
