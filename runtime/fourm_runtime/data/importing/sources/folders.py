"""One folder per modality: files of one name, without its ending, are one sample.

rgb/a.png      depth/a.npy      caption/a.txt
rgb/x/b.png    depth/x/b.npy    caption/x/b.txt
"""

import os
from collections.abc import Mapping
from pathlib import Path

from fourm_runtime.data.importing.sources.decoding import endings_of, read_value
from fourm_runtime.data.importing.sources.source import (
    Reading,
    Source,
    absences,
    find_names,
    mismatch,
    unknown_modality,
)
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError


class Folders(Source):
    """Files in folders; their names are held in memory.

    Args:
        place: what to call them.
        parts: modality -> key -> file.
        reading: whether samples may lack parts.
    """

    def __init__(self, place: str, parts: Mapping[str, Mapping[str, Path]], reading: Reading) -> None:
        super().__init__(place, [file for files in parts.values() for file in files.values()])
        self._parts = parts
        self._entries = reading.schema.modalities
        self._keys = sorted({key for files in parts.values() for key in files})
        lacking = {name: [key for key in self._keys if key not in files] for name, files in parts.items()}
        if any(lacking.values()):
            if reading.missing == "error":
                raise mismatch(place, lacking, len(self._keys))
            self.notes += [
                f"{name} lacks {len(keys):,} of the samples, which are absent there"
                for name, keys in lacking.items()
                if keys
            ]

    def __len__(self) -> int:
        return len(self._keys)

    def row(self, index: int) -> LocatedRow:
        key = self._keys[index]
        row = LocatedRow({"id": key}, place=f"{self.place} sample {key!r}")
        for name, files in self._parts.items():
            if key in files:
                row[name] = read_value(files[key], self._entries[name], f"{files[key]}, {name}")
        return row


def open_folders(path: Path, reading: Reading) -> Source:
    """Open a folder of folders.

    Raises:
        DataError: if no folder is named after a modality, files have one name but for the ending, or samples
            lack what others have.
    """
    unknown_modality(reading, reading.places)
    subfolders = {sub.name: sub for sub in sorted(path.iterdir()) if sub.is_dir()}
    subfolders |= reading.places
    names = find_names(reading, list(subfolders), str(path), "folders")
    parts = {
        modality: files_by_key(subfolders[name], endings_of(reading.schema.modalities[modality]))
        for modality, name in names.items()
    }
    for modality, files in parts.items():
        if not files:
            endings = ", ".join(endings_of(reading.schema.modalities[modality]))
            raise DataError(
                str(subfolders[names[modality]]), f"holds no file of {modality}", mend=f"known: {endings}"
            )
    source = Folders(str(path), parts, reading)
    source.notes += absences(reading, names, subfolders.keys() - set(names.values()), "folders")
    return source


def files_by_key(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Key (the name without its ending, folders before it included) -> file, for all files with such endings.

    Raises:
        DataError: if two files have one key, or there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(str(folder), "there is no such folder")
    found: dict[str, Path] = {}
    for inside, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(inside, name)
            if name.startswith(".") or file.suffix.lower() not in endings:
                continue
            key = file.relative_to(folder).with_suffix("").as_posix()
            if key in found:
                raise DataError(str(folder), "has two files of one sample", got=f"{found[key]} and {file}")
            found[key] = file
    return found
