"""How long `import fourm_schema` takes, beside a Python that imports nothing.

Run it from the root of the repository: `python bench/import_time.py`. It exits with status 1 if the import
adds more than the 0.4 s that the schema room promises. The best of several fresh interpreters is taken: what
else the machine does only ever adds time.
"""

import subprocess
import sys
import time

PROMISED_S = 0.4
RUNS = 9


def best_seconds(code: str) -> float:
    """Shortest wall time of `RUNS` fresh interpreters that run `code`."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> int:
    nothing, schema = best_seconds("pass"), best_seconds("import fourm_schema")
    print(f"python -c pass                 {nothing:6.3f} s")
    print(f"python -c import fourm_schema  {schema:6.3f} s")
    print(f"the import itself              {schema - nothing:6.3f} s  (promised: below {PROMISED_S} s)")
    return int(schema - nothing > PROMISED_S)


if __name__ == "__main__":
    sys.exit(main())
