"""Single samples of a dataset: everything it holds of a few rows, for people to look at."""

from collections.abc import Mapping, Sequence

import attrs
import pyarrow as pa

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.encoding import raw_values
from fourm_runtime.data.layout import ID
from fourm_schema.errors import DataError
from fourm_schema.plan import Stream

_SCAN_ROWS = 65_536


@attrs.frozen(eq=False)
class Sample:
    """One sample.

    Attributes:
        row: its row in this version of the dataset.
        name: its id.
        values: modality -> raw value as it was given, None where it is absent.
        tokens: token stream -> ids of each alternative text, of the whole set or of the grid; None where it
            is absent or not encoded.
    """

    row: int
    name: str
    values: Mapping[str, object]
    tokens: Mapping[str, tuple[int, ...] | None]


def read_samples(dataset: Dataset, rows: Sequence[int]) -> list[Sample]:
    """Read a few samples whole.

    Args:
        dataset: the version to read.
        rows: their rows.

    Raises:
        DataError: if the dataset has no such row.
    """
    count = dataset.rows
    for row in rows:
        if not 0 <= row < count:
            has = f"has rows 0 to {count - 1}" if count else "has no rows"
            raise DataError(str(dataset.path), has, got=str(row))
    names = dataset.schema.modalities
    streams = [stream for stream in dataset.token_streams if stream.column in dataset.arrow.schema.names]
    columns = [ID, *names, *(stream.column for stream in streams)]
    table = dataset.arrow.take(pa.array(rows, pa.int64()), columns=columns)
    values = {name: raw_values(entry, table[name]) for name, entry in names.items()}
    tokens = {
        stream.name: [_lengths(stream, ids) for ids in table[stream.column].to_pylist()] for stream in streams
    }
    absent = [stream.name for stream in dataset.token_streams if stream not in streams]
    return [
        Sample(
            row=row,
            name=str(name),
            values={modality: values[modality][place] for modality in names},
            tokens={
                **{stream: counts[place] for stream, counts in tokens.items()},
                **dict.fromkeys(absent),
            },
        )
        for place, (row, name) in enumerate(zip(rows, table[ID].to_pylist(), strict=True))
    ]


def rows_of(dataset: Dataset, names: Sequence[str]) -> list[int]:
    """The rows of samples, by their ids; the first row where several have one id.

    Args:
        dataset: the version to read.
        names: ids of samples; one that no sample has may be the number of a row.

    Raises:
        DataError: if there are neither such samples nor such rows.
    """
    wanted, found, start = set(names), dict[str, int](), 0
    for batch in dataset.arrow.to_batches(columns=[ID], batch_size=_SCAN_ROWS, scan_in_order=True):
        if len(found) == len(wanted):
            break
        ids = batch.column(0).to_pylist()
        for place, name in enumerate(ids):
            if name in wanted:
                found.setdefault(name, start + place)
        start += len(ids)
    return [found[name] if name in found else _row(dataset, name) for name in names]


def _row(dataset: Dataset, name: str) -> int:
    count = dataset.rows
    if name.isdecimal() and int(name) < count:
        return int(name)
    first = [sample.name for sample in read_samples(dataset, range(min(count, 3)))]
    mend = f"give a row from 0 to {count - 1}, or an id such as {', '.join(first)}" if count else ""
    raise DataError(str(dataset.path), f"has no sample {name!r}", mend=mend)


def _lengths(stream: Stream, ids: list[object] | None) -> tuple[int, ...] | None:
    """How many ids one row has, by alternative; the chunks of a set are counted together."""
    if ids is None:
        return None
    if stream.layout == "grid":
        return (len(ids),)
    parts = tuple(len(part) for part in ids if isinstance(part, list))
    return (sum(parts),) if stream.kind == "set" else parts
