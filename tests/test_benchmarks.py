"""Benchmarks are run by hand; that they still run is seen here, at sizes that show nothing else."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))  # as python does for a script

from train_step import measure


def test_the_training_step_benchmark_compares_equal_losses() -> None:
    """It stops before it times anything if the two sides differ."""
    found = measure("native", pairs=1, small=True)

    assert found.loss_difference < 1e-5
    assert 0 < found.packed_bytes < found.dense_bytes
    for parts in (found.packed_parts, found.dense_parts):
        assert {"embed", "trunk", "heads", "optimizer"} <= parts.keys()
