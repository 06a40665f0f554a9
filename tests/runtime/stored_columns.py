"""What the columns of a dataset hold, as plain lists."""

from fourm_runtime.data.dataset import Dataset
from tests.runtime.data_samples import PLAN

TOKENS = [stream for stream in PLAN.streams if not stream.is_dense]


def columns(dataset: Dataset) -> dict[str, list[object]]:
    """Every token column of a dataset, as plain lists."""
    table = dataset.arrow.to_table(columns=[stream.column for stream in TOKENS])
    return {name: table[name].to_pylist() for name in table.column_names}


def raw(dataset: Dataset, name: str) -> list[object]:
    return list(dataset.arrow.to_table(columns=[name])[name].to_pylist())
