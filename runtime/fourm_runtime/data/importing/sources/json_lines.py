"""JSON lines: one object {modality: value} a line; an image or vector may be a file beside."""

import json
from array import array
from pathlib import Path

import numpy as np

from fourm_runtime.data.importing.sources.decoding import read_value
from fourm_runtime.data.importing.sources.plain_files import open_plain
from fourm_runtime.data.importing.sources.source import Reading, Source
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError
from fourm_schema.modality import Image, Modality, Vector
from fourm_schema.schema import Schema


class JsonLines(Source):
    """Lines of a `.jsonl` file. Sixteen bytes of memory a line say where each begins.

    Args:
        path: the file, plain or compressed (`.jsonl.gz`).
        reading: values of modalities that are not wanted are passed on as they stand.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(str(path), [path])
        self._folder = path.parent
        self._file = open_plain(path)
        self._keys = keys_of(reading.schema)
        self._files = (path,)
        self._from_files = {
            name: entry
            for name, entry in reading.schema.modalities.items()
            if name in reading.wanted and isinstance(entry, Image | Vector)
        }
        starts, numbers, start = array("q"), array("q"), 0
        for number, line in enumerate(self._file, start=1):
            if line.strip():
                starts.append(start)
                numbers.append(number)
            start += len(line)
        self._starts = np.frombuffer(starts, np.int64) if starts else np.zeros(0, np.int64)
        self._numbers = np.frombuffer(numbers, np.int64) if numbers else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, index: int) -> LocatedRow:
        place = f"{self.place} line {self._numbers[index]}"
        self._file.seek(int(self._starts[index]))
        try:
            record = json.loads(self._file.readline())
        except (ValueError, RecursionError) as error:
            raise DataError(place, "is no JSON", got=str(error), mend="one object a line") from None
        if not isinstance(record, dict):
            mend = "one object {modality: value} a line"
            raise DataError(place, "is no JSON object", got=type(record).__name__, mend=mend)
        row = LocatedRow({self._keys.get(str(key), str(key)): record[key] for key in record}, place=place)
        for name, entry in self._from_files.items():
            value = row.get(name)
            if isinstance(value, str):
                row[name] = read_value(self._folder / value, entry, f"{place}, {name}")
        return row


def keys_of(schema: Schema) -> dict[str, str]:
    """Key in a record -> modality, where they differ."""

    def key(name: str, modality: Modality) -> str:
        return (modality.source and modality.source.field) or name

    return {key(name, modality): name for name, modality in schema.modalities.items()}
