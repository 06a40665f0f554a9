"""Single samples: what a dataset holds of a row, by its number or its name."""

from pathlib import Path

import numpy as np
import pytest

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.samples import read_samples, rows_of
from fourm_schema.errors import DataError
from tests.runtime.data_samples import SCHEMA, codecs_of, samples


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twenty samples, all encoded but the class maps."""
    rows = ({"id": f"s{number}", **row} for number, row in enumerate(samples(20)))
    made = Dataset.create(tmp_path_factory.mktemp("data") / "few.lance", SCHEMA, rows, rows_per_fragment=8)
    codecs = codecs_of(SCHEMA, made.texts("caption"))
    made.encode({name: codec for name, codec in codecs.items() if name != "classes"})
    return made


def test_a_sample_is_what_was_given_and_its_tokens_are_counted(dataset: Dataset) -> None:
    given = list(samples(20))
    for sample in read_samples(dataset, [11, 3, 11]):
        row = given[sample.row]
        assert sample.name == f"s{sample.row}"
        for name in SCHEMA.modalities:
            value, stored = row.get(name), sample.values[name]
            assert (value is None) == (stored is None)
            assert value is None or np.array_equal(np.asarray(stored), np.asarray(value))
        caption = row.get("caption")
        counts = sample.tokens["caption.tokens"]
        assert (counts is None) == (caption is None)
        assert counts is None or (len(counts) == len(np.atleast_1d(np.asarray(caption))) and min(counts) > 1)
        assert sample.tokens["digit.tokens"] == (None if row["digit"] is None else (16,))
        assert sample.tokens["classes.tokens"] is None


def test_samples_are_found_by_name_in_the_order_asked_for_or_by_row(dataset: Dataset) -> None:
    """A sample may be called 3 and stand in row 7: its name comes first."""
    assert rows_of(dataset, ["s17", "s2", "s17"]) == [17, 2, 17]
    assert rows_of(dataset, ["3"]) == [3]


@pytest.mark.parametrize("name", ["s20", "20", "-1"])
def test_an_unknown_sample_is_told_with_what_there_is(dataset: Dataset, name: str) -> None:
    with pytest.raises(
        DataError, match=rf"no sample '{name}'; give a row from 0 to 19, or an id such as s0, s1"
    ):
        rows_of(dataset, [name])


def test_a_row_that_is_not_there_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"has rows 0 to 19; got 20"):
        read_samples(dataset, [0, 20])


def test_an_empty_dataset_has_no_samples(tmp_path: Path) -> None:
    empty = Dataset.create(tmp_path / "empty.lance", SCHEMA)

    assert read_samples(empty, []) == []
    with pytest.raises(DataError, match="has no sample '0'"):
        rows_of(empty, ["0"])
