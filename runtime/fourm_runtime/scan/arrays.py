"""Arrays of NumPy files, read in part: nothing is unpickled, and no file is held whole in memory if large."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fourm_schema.errors import DataError

Array = NDArray[np.generic]

LARGE = 2**28
"""Bytes of an archive's array, from which on only its first rows are read."""


def open_array(file: Path) -> Array:
    """Open a `.npy` file; its numbers are read from the disk when they are looked at.

    Raises:
        DataError: if it is none, or its values are no numbers or strings.
    """
    try:
        # A memory map needs a byte at least, and is of no use to small files.
        mapped: Literal["r"] | None = "r" if file.stat().st_size > 2**20 else None
        return checked(np.asarray(np.load(file, mmap_mode=mapped, allow_pickle=False)), file.name)
    except DataError:
        raise
    # Damaged headers raise whatever the reader stumbles over.
    except Exception as error:
        raise DataError(file.name, f"is no plain array: {first_line(error)}") from None


def archive_rows(file: Path, most: int) -> Iterator[tuple[str, Array | DataError, int]]:
    """Read some rows of every array of a `.npz` archive.

    Args:
        file: the archive.
        most: rows of each array that are wanted.

    Returns:
        (name, rows, length of the first axis) of each array, or (name, what is wrong with it, 0).

    Raises:
        DataError: if it is no archive.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(file.name, f"is no archive of arrays: {first_line(error)}") from None
    for name in names:
        key = name.removesuffix(".npy")
        try:
            array, total = _some_rows(file, name, most)
            if array.ndim == 0:
                raise ValueError("a single number; its first axis should count the samples")
            yield key, checked(array, key), total
        except DataError as error:
            yield key, error, 0
        except Exception as error:
            yield key, DataError(key, f"is no plain array: {first_line(error)}"), 0


def _some_rows(file: Path, name: str, most: int) -> tuple[Array, int]:
    with zipfile.ZipFile(file) as archive, archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        if archive.getinfo(name).file_size > LARGE and version in ((1, 0), (2, 0)):
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _header_2_0
            shape, is_fortran, dtype = read(stream)
            if not is_fortran and not dtype.hasobject and shape and shape[0] > most:
                count = most * int(np.prod(shape[1:], dtype=np.int64))
                data = stream.read(count * dtype.itemsize)
                return np.frombuffer(data, dtype, count).reshape(most, *shape[1:]), shape[0]
    with zipfile.ZipFile(file) as archive, archive.open(name) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    total = len(array) if array.ndim else 0
    return (array[np.arange(min(most, total)) * total // most] if total > most else array), total


_header_2_0 = np.lib.format.read_array_header_2_0


def checked(array: Array, name: str) -> Array:
    """The array, if it holds numbers or strings.

    Raises:
        DataError: if it holds something else.
    """
    if array.dtype.kind not in "biufU":
        raise DataError(name, f"holds values of type {array.dtype}, neither numbers nor strings")
    return array


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its name where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]
