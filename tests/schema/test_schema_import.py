"""Importing the schema room is cheap and brings none of the heavy rooms along."""

import json
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "numpy", "lance", "pyarrow", "tokenizers", "xformers", "fourm_codecs", "fourm_runtime")

LISTED = f"""
import json, sys
import fourm_schema
schema = fourm_schema.load_schema("modalities.yaml")
plan = fourm_schema.resolve(schema)
fourm_schema.allocate(plan), fourm_schema.json_schema()
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def test_declaring_and_planning_loads_no_heavy_package(root: Path) -> None:
    """`fourm validate` must answer at once, on a machine without torch."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED], cwd=root, capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == []


def test_the_import_benchmark_tells_both_times(root: Path) -> None:
    """The promise of 0.4 s is measured against a Python that imports nothing."""
    done = subprocess.run(
        [sys.executable, "bench/import_time.py", "--runs", "1"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )

    told = done.stdout.splitlines()[:3]
    assert [line.split("  ")[0] for line in told] == [
        "python -c pass",
        "python -c import fourm_schema",
        "the import itself",
    ]
