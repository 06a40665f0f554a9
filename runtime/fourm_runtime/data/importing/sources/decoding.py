"""One value in its own file, or in a member of an archive -> what a modality can be given."""

import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.data.importing.sources.picture_files import PICTURES, decode_picture
from fourm_schema.errors import DataError
from fourm_schema.modality import Image, Modality, Set, Text, Vector
from fourm_schema.set_fields import CategoryField

Array = NDArray[np.generic]


def endings_of(modality: Modality) -> tuple[str, ...]:
    """Endings of the files that can hold a value of the modality."""
    if isinstance(modality, Image):
        return (".npy", *PICTURES, ".json")
    if isinstance(modality, Vector):
        return (".npy", ".json", ".cls")
    return (".txt", ".json", ".npy") if isinstance(modality, Text) else (".json", ".cls")


def read_value(file: Path, modality: Modality, where: str) -> object:
    """Read one value from its own file.

    Args:
        file: an array, a picture, a text or JSON.
        modality: what it is; it says how a palette is read, as class numbers or as colours.
        where: the place that names the file, for messages.

    Raises:
        DataError: if there is no such file, or it holds nothing of the kind.
    """
    if not file.is_file():
        raise DataError(where, "there is no such file", got=str(file))
    if file.suffix.lower() not in endings_of(modality):
        raise _unknown_ending(file.name, modality, where)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(where, f"{file.name} cannot be read", got=str(error)) from None
    return decode_value(data, file.name, modality, where)


def decode_value(data: bytes, name: str, modality: Modality, where: str) -> object:
    """Read one value from the bytes of its file.

    Args:
        data: all bytes of the file.
        name: of the file, for its ending and for messages.
        modality: what it is.
        where: the place that names the file, for messages.

    Raises:
        DataError: if it holds nothing of the kind. Nothing is ever unpickled.
    """
    ending = Path(name).suffix.lower()
    if ending not in endings_of(modality):
        raise _unknown_ending(name, modality, where)
    if ending == ".npy":
        return plain(_array(data, name, where))
    if ending in (".txt", ".cls"):
        text = _text(data, name, where)
        return adapted(_number(text, name, where), modality) if ending == ".cls" else text.strip()
    if ending == ".json":
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DataError(where, f"{name} is no JSON", got=str(error)) from None
    assert isinstance(modality, Image), "only images are read from pictures"
    return decode_picture(data, name, modality, where)


def adapted(value: object, modality: Modality) -> object:
    """A single number or name as a value of the modality, where that is the only way to read it.

    A number is a vector of one, an image of one cell, or, in a set of one record with one field, that record;
    a number of a class becomes its name.
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return value
    if isinstance(modality, Vector) and not isinstance(value, str):
        return [value]
    if isinstance(modality, Image) and not isinstance(value, str) and modality.size == (1, 1):
        return [[value]]
    if isinstance(modality, Set) and modality.max_items == 1 and len(modality.fields) == 1:
        ((name, field),) = modality.fields.items()
        if isinstance(field, CategoryField) and isinstance(value, int) and not isinstance(field.classes, int):
            value = field.names[value] if 0 <= value < len(field.names) else value
        return [{name: value}]
    return value


def plain(value: object) -> object:
    """A string or the alternatives of one; empty strings fill the rows of fewer alternatives up."""
    array = np.asarray(value)
    if array.dtype.kind != "U":
        return value
    return str(array) if array.ndim == 0 else [str(text) for text in array if text]


def _array(data: bytes, name: str, where: str) -> Array:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise DataError(
            where,
            f"{name} is no plain array",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            mend="save numbers, or strings of a fixed width; nothing is unpickled",
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(where, f"{name} is no plain array", got="an archive of several")
    return array


def _text(data: bytes, name: str, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(where, f"{name} is no text in UTF-8", got=str(error)) from None


def _number(text: str, name: str, where: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise DataError(where, f"{name} holds one number", got=repr(text[:40])) from None


def _unknown_ending(name: str, modality: Modality, where: str) -> DataError:
    return DataError(where, f"a value's file is one of {', '.join(endings_of(modality))}", got=name)
