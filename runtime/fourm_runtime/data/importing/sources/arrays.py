"""NumPy arrays and IDX files: an array a modality, whose first axis counts the samples.

    samples.npz     digit (N, 8, 8), caption (N,) of strings, digit__present (N,) where some lack it, id (N,)
    folder/         digit.npy, caption.npy
    folder/train-*  train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz   (modalities `images` and
    `labels`)

Arrays are mapped, not read: a row costs its own bytes. Nothing is read by unpickling.
"""

import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fourm_runtime.data.importing.sources.decoding import adapted, plain
from fourm_runtime.data.importing.sources.json_lines import keys_of
from fourm_runtime.data.importing.sources.plain_files import open_plain
from fourm_runtime.data.importing.sources.source import Reading, Source, absences, find_names
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError, nearest

PRESENT = "__present"
IDX_NAME = re.compile(r"(?:(?P<split>[^-]+)-)?(?P<name>.+)-idx\d-(?:ubyte|byte|short|int|float|double)")
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}

Array = NDArray[np.generic]


class Arrays(Source):
    """Arrays of one length.

    Args:
        place: what to call them.
        files: what they are mapped from.
        columns: modality (or `id`) -> values of all samples.
        masks: modality -> which samples have it; others have it always.
        schema_of: says how a single number is read.
    """

    def __init__(
        self,
        place: str,
        files: list[Path],
        columns: Mapping[str, Array],
        masks: Mapping[str, Array],
        reading: Reading,
    ) -> None:
        super().__init__(place, files)
        self._columns, self._masks, self._entries = columns, masks, reading.schema.modalities
        lengths = {name: len(array) for name, array in columns.items()}
        lengths |= {name + PRESENT: len(array) for name, array in masks.items()}
        if len(set(lengths.values())) > 1:
            got = ", ".join(f"{name} {count}" for name, count in lengths.items())
            raise DataError(place, "arrays have as many rows as there are samples", got=got)
        self._length = next(iter(lengths.values()), 0)

    def __len__(self) -> int:
        return self._length

    def row(self, index: int) -> LocatedRow:
        row = LocatedRow({}, place=f"{self.place} row {index}")
        for name, array in self._columns.items():
            if name not in self._masks or self._masks[name][index]:
                value, entry = plain(array[index]), self._entries.get(name)
                row[name] = value if entry is None else adapted(value, entry)
        return row


def open_archive(path: Path, reading: Reading) -> Source:
    """Open a `.npz` file.

    Raises:
        DataError: if it is damaged, or its arrays are none of the schema's.
    """
    keys = keys_of(reading.schema)
    columns, masks = dict[str, Array](), dict[str, Array]()
    for key, array in _members(path):
        name = keys.get(key.removesuffix(PRESENT), key.removesuffix(PRESENT))
        if name != "id" and name not in reading.schema.modalities and not reading.any_name:
            mend = nearest(name, list(reading.schema.modalities))
            raise DataError(f"{path} array {key!r}", "is no modality of this schema", mend=mend)
        if array.ndim == 0:
            raise DataError(
                f"{path} array {key!r}", "its first axis counts the samples", got="a single number"
            )
        if key.endswith(PRESENT):
            masks[name] = array.astype(bool)
        else:
            columns[name] = array
    return Arrays(str(path), [path], columns, masks, reading)


def open_array_files(place: str, files: list[Path], reading: Reading) -> Source:
    """Open `.npy` and IDX files; a file's name says which modality it holds.

    Raises:
        DataError: if one is damaged, or none is named after a modality.
    """
    named: dict[str, Path] = {}
    for file in files:
        name = array_name(file)
        if name in named:
            mend = f"name the files of one split, e.g. {file.parent / file.name.split('-')[0]}-*"
            raise DataError(place, f"has two arrays {name!r}", got=f"{named[name]} and {file}", mend=mend)
        named[name] = file
    masked = {name.removesuffix(PRESENT) for name in named if name.endswith(PRESENT)}
    names = find_names(reading, [name for name in named if not name.endswith(PRESENT)], place, "arrays")
    columns = {modality: map_array(named[name]) for modality, name in names.items()}
    if "id" in named:
        columns["id"] = map_array(named["id"])
    for name, array in columns.items():
        if array.ndim == 0:
            raise DataError(
                str(named[names.get(name, name)]), "its first axis counts the samples", got="a single number"
            )
    masks = {
        modality: map_array(named[name + PRESENT]).astype(bool)
        for modality, name in names.items()
        if name in masked
    }
    used = {*names.values(), *(f"{name}{PRESENT}" for name in names.values()), "id"}
    source = Arrays(place, [named[name] for name in named if name in used], columns, masks, reading)
    source.notes += absences(reading, names, named.keys() - used, "arrays")
    return source


def array_name(file: Path) -> str:
    """The name of what a file of one array holds.

    >>> array_name(Path("train-images-idx3-ubyte.gz")), array_name(Path("digit.npy"))
    ('images', 'digit')
    """
    found = IDX_NAME.match(file.name)
    return found["name"] if found else file.name.removesuffix(".npy")


def is_array_file(file: Path) -> bool:
    """Whether a file's name is that of an array of all samples."""
    return file.suffix == ".npy" or IDX_NAME.match(file.name) is not None


def map_array(file: Path) -> Array:
    """Map a `.npy` or IDX file into memory.

    Raises:
        DataError: if it is damaged or cut off.
    """
    with open_plain(file) as opened:
        return (_map_npy if file.suffix == ".npy" else _map_idx)(opened, str(file))


def _map_idx(file: IO[bytes], where: str) -> Array:
    """An IDX file: two zeros, a type, the number of axes, their lengths, then the numbers."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES:
        raise DataError(where, "is no IDX file", got=f"it begins with {head.hex(' ') or 'nothing'}")
    lengths = file.read(4 * head[3])
    if len(lengths) < 4 * head[3]:
        raise DataError(where, "is cut off in its head")
    shape = struct.unpack(f">{head[3]}i", lengths)
    return _map(file, np.dtype(_IDX_TYPES[head[2]]), shape, False, where)


def _map_npy(file: IO[bytes], where: str) -> Array:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError) as error:
        raise _no_plain_array(where, str(error)) from None
    if dtype.hasobject:
        raise _no_plain_array(where, "Object arrays cannot be loaded: they are pickled")
    return _map(file, dtype, shape, fortran, where)


def _map(
    file: IO[bytes], dtype: np.dtype[np.generic], shape: tuple[int, ...], fortran: bool, where: str
) -> Array:
    start = file.tell()
    size = file.seek(0, 2) - start
    wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size < wanted:
        raise DataError(where, "is cut off", got=f"{size:,} of {wanted:,} bytes", mend="restore the file")
    if not wanted:
        return np.zeros(shape, dtype)
    order = "F" if fortran else "C"
    return np.memmap(file, dtype, "r", start, shape, order)  # type: ignore[call-overload, no-any-return]  # its stubs lack files without a name


def _members(path: Path) -> list[tuple[str, Array]]:
    """The arrays of an archive, each unpacked to a file without a name."""
    if not path.is_file():
        raise DataError(str(path), "there is no such file")
    found: list[tuple[str, Array]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as packed, tempfile.TemporaryFile() as unpacked:
                    shutil.copyfileobj(packed, unpacked, 2**20)
                    unpacked.flush()
                    unpacked.seek(0)
                    found.append((member.filename.removesuffix(".npy"), _map_npy(unpacked, str(path))))
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise _no_archive(path, str(error)) from None
    except DataError as error:
        if "plain array" not in error.faults[0].what:
            raise
        raise _no_archive(path, error.faults[0].got) from None
    return found


def _no_plain_array(where: str, got: str) -> DataError:
    mend = "save numbers, or strings of a fixed width; nothing is unpickled"
    return DataError(where, "is no plain array", got=got.splitlines()[0], mend=mend)


def _no_archive(path: Path, got: str) -> DataError:
    mend = "save plain arrays: numbers, or strings of a fixed width"
    return DataError(str(path), "is no archive of plain arrays", got=got.splitlines()[0], mend=mend)
