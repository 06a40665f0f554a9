"""Tables of Arrow: Parquet files, and what Hugging Face `datasets` saves to disk. One column per modality.

A picture is its bytes, or a struct {bytes, path} as `datasets` writes it. Numbers of classes with names
(`ClassLabel`) become names where the modality is a text or a record. Parquet is read in row groups, a few of
which are held; saved datasets are mapped.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fourm_runtime.data.importing.sources.decoding import adapted, read_value
from fourm_runtime.data.importing.sources.picture_files import decode_picture
from fourm_runtime.data.importing.sources.source import Reading, Source, absences, find_names
from fourm_runtime.data.layout import ID
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError
from fourm_schema.modality import Image, Set, Text

_HELD_BYTES = 384 * 2**20


class Chunks(Protocol):
    """Runs of rows of a table."""

    @property
    def counts(self) -> Sequence[int]:
        """Rows of each."""
        ...

    @property
    def most_bytes(self) -> int:
        """Memory of the largest; 0 where they are mapped."""
        ...

    def read(self, number: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one."""
        ...


class Tables(Source):
    """Rows of tables of the same columns.

    Args:
        place: what to call them.
        files: what they are read from.
        chunks: the rows, in runs.
        columns: modality -> column.
        schema: of the tables.
        reading: how to read.
    """

    def __init__(
        self,
        place: str,
        files: Sequence[Path],
        chunks: Chunks,
        columns: Mapping[str, str],
        schema: pa.Schema,
        reading: Reading,
    ) -> None:
        super().__init__(place, files)
        self._tables, self._columns = chunks, columns
        self._entries = reading.schema.modalities
        self._has_id = ID in schema.names and ID not in columns.values()
        self._read = [*dict.fromkeys(columns.values()), *([ID] if self._has_id else [])]
        self._names = class_labels(schema)
        self._counts = np.array(chunks.counts, np.int64)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._counts)])
        self._held: OrderedDict[int, pa.Table] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def chunks(self) -> NDArray[np.int64]:
        return self._counts

    @property
    def chunk_bytes(self) -> int:
        return self._tables.most_bytes

    def row(self, index: int) -> LocatedRow:
        number = int(np.searchsorted(self._starts, index, "right")) - 1
        table, inside = self._chunk(number), index - int(self._starts[number])
        place = f"{self.place} row {index}"
        row = LocatedRow({}, place=place)
        if self._has_id:
            row[ID] = table[ID][inside].as_py()
        for name, column in self._columns.items():
            try:
                value = table[column][inside].as_py()
            except (pa.ArrowException, ValueError) as error:
                raise DataError(f"{place}, {name}", "cannot be read", got=str(error)) from None
            if value is not None:
                row[name] = self._value(value, name, column, f"{place}, {name}")
        return row

    def _value(self, value: object, name: str, column: str, where: str) -> object:
        entry = self._entries[name]
        if isinstance(entry, Image):
            return _picture(value, entry, Path(self.place), where)
        labels = self._names.get(column)
        if labels is not None and isinstance(value, int) and isinstance(entry, Text | Set):
            if not 0 <= value < len(labels):
                raise DataError(where, f"a class is a number below {len(labels)}", got=str(value))
            value = labels[value]
        if isinstance(value, str) and isinstance(entry, Set) and value[:1] in "[{":
            try:
                return json.loads(value)
            except ValueError as error:
                raise DataError(where, "is no JSON", got=str(error)) from None
        return adapted(value, entry)

    def _chunk(self, number: int) -> pa.Table:
        table = self._held.get(number)
        if table is None:
            table = self._held[number] = self._tables.read(number, self._read)
            while len(self._held) > 1 and sum(held.nbytes for held in self._held.values()) > _HELD_BYTES:
                if not self._tables.most_bytes:
                    break
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return table


class RowGroups:
    """The row groups of Parquet files.

    Args:
        files: with the same columns.

    Raises:
        DataError: if one is damaged, or has other columns than the first.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._spots: list[tuple[int, int]] = []
        self.counts: list[int] = []
        self.most_bytes = 0
        for number, file in enumerate(files):
            opened = _open_parquet(file)
            if not number:
                self.schema = opened.schema_arrow
            elif opened.schema_arrow.names != self.schema.names:
                got = f"{', '.join(opened.schema_arrow.names)} in place of {', '.join(self.schema.names)}"
                raise DataError(str(file), f"has other columns than {files[0].name}", got=got)
            about = opened.metadata
            for group in range(about.num_row_groups):
                self._spots.append((number, group))
                self.counts.append(about.row_group(group).num_rows)
                self.most_bytes = max(self.most_bytes, about.row_group(group).total_byte_size)

    def read(self, number: int, columns: Sequence[str]) -> pa.Table:
        file, group = self._spots[number]
        path = self._files[file]
        try:
            return _open_parquet(path).read_row_group(group, columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            got = str(error).splitlines()[0]
            raise DataError(f"{path} row group {group}", "cannot be read", got=got) from None


class Mapped:
    """Tables that are mapped into memory: those that `datasets` saves.

    Args:
        files: in order.

    Raises:
        DataError: if one is damaged.
    """

    most_bytes = 0

    def __init__(self, files: Sequence[Path]) -> None:
        self._tables = [_open_arrow(file) for file in files]
        self._table = pa.concat_tables(self._tables)
        self.schema = self._table.schema
        self.counts = [len(self._table)]

    def read(self, number: int, columns: Sequence[str]) -> pa.Table:
        assert number == 0, "they are one run"
        return self._table.select(list(columns))


def open_parquet(place: str, files: Sequence[Path], reading: Reading) -> Source:
    """Open Parquet files of the same columns.

    Raises:
        DataError: if one is damaged, or no column is named after a modality.
    """
    return _tables(place, files, RowGroups(files), reading)


def open_saved_dataset(path: Path, reading: Reading) -> Source:
    """Open a folder that `datasets.Dataset.save_to_disk` wrote.

    Raises:
        DataError: if it holds several splits, is damaged, or no column is named after a modality.
    """
    splits = path / "dataset_dict.json"
    if splits.is_file():
        names = _json(splits).get("splits")
        known = [str(name) for name in names] if isinstance(names, list) else []
        mend = "name one: " + ", ".join(str(path / name) for name in known)
        raise DataError(str(path), "holds several splits", mend=mend)
    listed = _json(path / "state.json").get("_data_files")
    names = [str(item["filename"]) for item in listed] if isinstance(listed, list) else []
    files = [path / name for name in names]
    if not files:
        raise DataError(str(path / "state.json"), "names no file of rows")
    return _tables(str(path), files, Mapped(files), reading)


def class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Column -> names of its classes, where `datasets` says them."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(text)["info"]["features"] if text else {}
        return {
            str(name): [str(label) for label in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and "names" in feature
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _tables(place: str, files: Sequence[Path], chunks: RowGroups | Mapped, reading: Reading) -> Source:
    names = chunks.schema.names
    columns = find_names(reading, names, place, "columns")
    source = Tables(place, files, chunks, columns, chunks.schema, reading)
    source.notes += absences(reading, columns, set(names) - {*columns.values(), ID}, "columns")
    return source


def _picture(value: object, entry: Image, place: Path, where: str) -> object:
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():
        data, path = value.get("bytes"), value.get("path")
        if data is None and isinstance(path, str):
            folder = place if place.is_dir() else place.parent
            return read_value(folder / path, entry, where)
        value = data
    if isinstance(value, bytes):
        return decode_picture(value, "the picture", entry, where)
    return adapted(value, entry)


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            str(file), "is no Parquet file that can be read", got=str(error).splitlines()[0]
        ) from None


def _open_arrow(file: Path) -> pa.Table:
    try:
        memory = pa.memory_map(str(file))
        return pa.ipc.open_stream(memory).read_all()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            str(file), "is no Arrow file that can be read", got=str(error).splitlines()[0]
        ) from None


def _json(file: Path) -> dict[str, object]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(str(file), "cannot be read", got=str(error)) from None
    return found if isinstance(found, dict) else {}
