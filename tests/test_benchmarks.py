"""Benchmarks are run by hand; that they still run is seen here, at sizes that show nothing else."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))  # as python does for a script

from encoding import declared, draw
from encoding import measure as measure_encoding
from fourm_codecs.build import build_codec
from train_step import measure


def test_the_training_step_benchmark_compares_equal_losses() -> None:
    """It stops before it times anything if the two sides differ."""
    found = measure("native", pairs=1, small=True)

    assert found.loss_difference < 1e-5
    assert 0 < found.packed_bytes < found.dense_bytes
    for parts in (found.packed_parts, found.dense_parts):
        assert {"embed", "trunk", "heads", "optimizer"} <= parts.keys()


@pytest.mark.parametrize("name", ["boxes", "metadata", "palette"])
def test_the_encoding_benchmark_compares_equal_ids(name: str) -> None:
    """Its loop is a second way to write the ids, which stops if they differ from the codec's."""
    schema = declared()

    found = measure_encoding(build_codec(schema, name), draw(schema, name, 40, np.random.default_rng(1)), 1)

    assert found["tokens"] > 40 and found["ratio"] > 0 and found["decoded_rows_per_s"] > 0
