"""Datasets of token ids that were made elsewhere: stored as they are, encoded as themselves."""

from pathlib import Path

import numpy as np
import pytest

from fourm_codecs.build import build_codec
from fourm_runtime.batch import Grid
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.reader import Reader
from fourm_schema.errors import DataError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

SCHEMA = Schema.model_validate(
    {
        "version": 1,
        "modalities": {
            "depth": {
                "kind": "image",
                "size": 32,
                "patch": 16,
                "cell": {"type": "continuous", "range": [0, 1]},
                "codec": "ids",
                "vocab_size": 8192,
            },
            "feature": {"kind": "vector", "dim": 768, "codec": "ids", "vocab_size": 100, "tokens": 3},
        },
    }
)
ROWS: list[dict[str, object]] = [
    {"id": "a", "depth": [[1, 2], [3, 8191]], "feature": [7, 8, 99]},
    {"id": "b", "depth": np.array([[0, 0], [5, 5]], np.int16), "feature": None},
]


def test_ids_are_stored_and_read_as_tokens(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "ids.lance", SCHEMA, ROWS)
    dataset.encode({name: build_codec(SCHEMA, name) for name in SCHEMA.modalities})
    with Reader(dataset, resolve(SCHEMA)) as reader:
        columns = reader.batch([1, 0]).columns

    depth, feature = columns["depth.tokens"], columns["feature.tokens"]
    assert isinstance(depth, Grid) and isinstance(feature, Grid)
    assert depth.ids.tolist() == [[0, 0, 5, 5], [1, 2, 3, 8191]]
    assert feature.present.tolist() == [False, True] and feature.ids[1].tolist() == [7, 8, 99]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2], [3, 8192]], r"token ids are whole numbers in \[0, 8191\]; got 8192"),
        ([[1, 2], [3, 0.5]], r"token ids are whole numbers in \[0, 8191\]; got 0.5"),
        ([[1, 2, 3]], r"a value has shape 2x2; got 1x3"),
    ],
)
def test_what_is_no_id_is_refused(value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.create(tmp_path / "ids.lance", SCHEMA, [{"id": "a", "depth": value}])
