"""Benchmarks are run by hand; that they still run is seen here, at sizes that show nothing else."""

import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

from fourm_runtime.batch import Grid, Sequences
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.reader import Reader
from fourm_schema.resolve import resolve

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


def test_the_loader_benchmark_reads_the_same_rows_by_every_way(tmp_path: Path) -> None:
    """Rows come back whole from Lance and from tars, and every promise is looked at."""
    pytest.importorskip("webdataset", reason="the extra `bench` is not installed")
    import loader
    from token_rows import draw_rows, token_schema

    found = loader.measure(rows=1024, epochs=2, threads=2, tar_rows=256, rounds=1, folder=tmp_path)
    assert set(found.rates) == {"packed", "unmasked", "scan", "memcpy", "tars"}
    assert all(0 < tokens <= loader.BUDGET for tokens in found.tokens)
    assert found.bytes_per_row > 12 * 196 * 2
    assert attrs.evolve(found, times_tars=19.9, memory=(900.0, 1200.0)).broken[-3:] == [
        "unmasked >= 20 times tars",
        "memory <= 1,024 MiB",
        "memory flat",
    ]

    schema = token_schema()
    names = {stream.name: stream.modality for stream in resolve(schema).streams}
    _, columns = next(draw_rows(schema, 1024))
    batch = next(loader.read_tars(tmp_path / "tars", schema, names))
    with Reader(Dataset.open(tmp_path / "rows.lance"), resolve(schema)) as reader:
        stored = reader.batch(np.arange(loader.STEP)).columns
    for name, column in columns.items():
        truth = column[: loader.STEP].flatten().to_numpy() if "grid" in name else None
        ours = stored[name]
        assert isinstance(ours, Grid | Sequences)
        assert np.array_equal(ours.ids, batch[name])
        assert truth is None or np.array_equal(ours.ids.reshape(-1), truth)
