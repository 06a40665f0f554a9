"""Files of samples -> rows: JSON lines with values inline or in files beside them, and NumPy archives.

    samples.jsonl   {"id": "a", "digit": "a.png", "shape": [0.1, 0.2], "caption": ["a one", "the digit 1"]}
    samples.npz     digit (N, 8, 8), caption (N,) of strings, digit__present (N,) where some lack it, id (N,)

A modality's `source.field` in the schema renames its key. Nothing is read by unpickling.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Pictures
from PIL import ImageOps, UnidentifiedImageError

from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError, nearest
from fourm_schema.modality import Categorical, Image, Modality, Vector
from fourm_schema.schema import Schema

PRESENT = "__present"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def read_rows(
    path: Path | str, schema: Schema, needed: Collection[str] | None = None
) -> Iterator[LocatedRow]:
    """Read a file of samples, one row at a time.

    Args:
        path: a `.jsonl` or `.npz` file.
        schema: what the samples may hold; values are checked against it where they are stored.
        needed: modalities that the caller wants; files that lines name for others are not opened, and whether
            arrays of other names may be there is left to the caller. None takes all of the schema.

    Returns:
        rows that know the file and line they came from.

    Raises:
        DataError: if the file, a line of it or a file that it names cannot be read.
    """
    file = Path(path)
    known = (".jsonl", ".npz")
    if file.suffix not in known:
        got = file.suffix or "a name without an ending"
        raise DataError(str(file), "is no file of samples", got=got, mend=f"known: {', '.join(known)}")
    if not file.is_file():
        raise DataError(str(file), "there is no such file")
    if file.suffix == ".npz":
        return _read_archive(file, schema, any_name=needed is not None)
    return _read_lines(file, schema, schema.modalities if needed is None else needed)


def _read_lines(file: Path, schema: Schema, needed: Collection[str]) -> Iterator[LocatedRow]:
    keys = _keys(schema)
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{file} line {number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(place, "is no JSON", got=str(error), mend="one object a line") from None
            if not isinstance(record, dict):
                mend = "one object {modality: value} a line"
                raise DataError(place, "is no JSON object", got=type(record).__name__, mend=mend)
            row = LocatedRow({keys.get(str(key), str(key)): record[key] for key in record}, place=place)
            for name, value in row.items():
                modality = schema.modalities.get(name) if name in needed else None
                if isinstance(value, str) and isinstance(modality, Image | Vector):
                    row[name] = read_value(file.parent / value, modality, f"{place}, {name}")
            yield row


def _read_archive(file: Path, schema: Schema, any_name: bool) -> Iterator[LocatedRow]:
    arrays = _load(file)
    keys = _keys(schema)
    columns: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    masks = {}
    for key, array in arrays.items():
        name = keys.get(key.removesuffix(PRESENT), key.removesuffix(PRESENT))
        if name != "id" and name not in schema.modalities and not any_name:
            mend = nearest(name, list(schema.modalities))
            raise DataError(f"{file} array {key!r}", "is no modality of this schema", mend=mend)
        if array.ndim == 0:
            raise DataError(
                f"{file} array {key!r}", "its first axis counts the samples", got="a single number"
            )
        if key.endswith(PRESENT):
            masks[name] = array.astype(bool)
        else:
            columns[name] = array
    lengths = {name: len(array) for name, array in columns.items()}
    lengths |= {name + PRESENT: len(array) for name, array in masks.items()}
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise DataError(str(file), "arrays have as many rows as there are samples", got=got)
    for index in range(next(iter(lengths.values()), 0)):
        row = LocatedRow({}, place=f"{file} row {index}")
        for name, array in columns.items():
            if name not in masks or masks[name][index]:
                row[name] = _plain(array[index])
        yield row


def read_value(
    file: Path, modality: Image | Vector, where: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Read one image or vector from its own file.

    Args:
        file: a `.npy` array, or a picture.
        modality: what it is; it says how a palette is read, as class numbers or as colours.
        where: the place that names the file, for messages.

    Raises:
        DataError: if there is no such file, or it holds nothing of the kind.
    """
    if not file.is_file():
        raise DataError(where, "there is no such file", got=str(file))
    ending = file.suffix.lower()
    if ending == ".npy":
        try:
            return np.asarray(np.load(file, allow_pickle=False))
        except (ValueError, OSError, EOFError) as error:
            raise DataError(where, f"{file.name} is no plain array", got=str(error).splitlines()[0]) from None
    if ending not in PICTURES or isinstance(modality, Vector):
        known = ".npy" if isinstance(modality, Vector) else ", ".join((".npy", *PICTURES))
        raise DataError(where, f"a value's file is one of {known}", got=file.name)
    try:
        with Pictures.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
            keeps = isinstance(modality.cell, Categorical) or modality.channels != 3 or upright.mode == "RGB"
            return np.asarray(upright if keeps else upright.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Pictures.DecompressionBombError) as error:
        raise DataError(where, f"{file.name} is no picture that can be read", got=str(error)) from None


def _load(file: Path) -> Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, AttributeError) as error:
        mend = "save plain arrays: numbers, or strings of a fixed width"
        raise DataError(
            str(file), "is no archive of plain arrays", got=str(error).splitlines()[0], mend=mend
        ) from None


def _keys(schema: Schema) -> dict[str, str]:
    """Key in the file -> modality, where they differ."""

    def key(name: str, modality: Modality) -> str:
        return (modality.source and modality.source.field) or name

    return {key(name, modality): name for name, modality in schema.modalities.items()}


def _plain(value: object) -> object:
    """A string or the alternatives of one; empty strings fill the rows of fewer alternatives up."""
    array = np.asarray(value)
    if array.dtype.kind != "U":
        return value
    return str(array) if array.ndim == 0 else [str(text) for text in array if text]
