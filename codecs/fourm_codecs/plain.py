"""Values <-> JSON: how a value is written in a request, on the command line, or in an answer.

An image is a list of rows, a vector a list of numbers (or an object, where its numbers have names), a text
a string, a set a list of objects.
"""

import numpy as np

from fourm_codecs.base import FieldValue, Json, Record, Value
from fourm_codecs.values import Float64, read_stack
from fourm_schema.errors import CodecError, nearest
from fourm_schema.modality import Categorical, Image, Modality, Set, Vector


def to_json(value: Value) -> Json:
    """Write a value.

    >>> to_json(np.array([[1.0, 2.5]]))
    [[1.0, 2.5]]
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [{name: _plain(field) for name, field in record.items()} for record in value]
    written: Json = value.tolist()
    return written


def from_json(modality: str, entry: Modality, content: Json) -> Value:
    """Read a value of a declared modality; its codec or dense view then checks its range.

    Raises:
        CodecError: if the content has another form or shape than the entry says.
    """
    if isinstance(entry, Image):
        shape = (*entry.size, entry.channels) if entry.channels > 1 else entry.size
        image = _numbers(modality, content, shape)
        whole = isinstance(entry.cell, Categorical) and np.array_equal(image, np.round(image))
        return image.astype(np.int64) if whole else image
    if isinstance(entry, Vector):
        if isinstance(content, dict):
            content = _in_order(modality, entry.names or (), content)
        return _numbers(modality, content, entry.shape)
    if entry.kind == "text" and isinstance(content, str):
        return content
    if isinstance(entry, Set):
        return _records(modality, entry, content)
    raise CodecError(modality, "a value is a string", got=type(content).__name__)


def _records(modality: str, entry: Set, content: Json) -> list[Record]:
    if isinstance(content, dict) and entry.max_items == 1:
        content = [content]
    if not isinstance(content, list):
        raise CodecError(modality, "a value is a list of records", got=type(content).__name__)
    records: list[Record] = []
    for number, item in enumerate(content):
        if not isinstance(item, dict):
            raise CodecError(
                f"{modality}, item {number}", "is a record {field: value}", got=type(item).__name__
            )
        records.append(
            {name: _field(f"{modality}, item {number}, field {name!r}", item[name]) for name in item}
        )
    return records


def _plain(field: FieldValue) -> Json:
    """A field's value as JSON; users also give arrays, of which decoded values have none."""
    if isinstance(field, np.ndarray):
        written: Json = field.tolist()
        return written
    return (
        [[*item] if isinstance(item, list) else item for item in field] if isinstance(field, list) else field
    )


def _field(where: str, content: Json) -> FieldValue:
    if content is None or (isinstance(content, int | float | str) and not isinstance(content, bool)):
        return content
    if isinstance(content, list):
        numbers = [n for n in content if isinstance(n, int | float) and not isinstance(n, bool)]
        if len(numbers) == len(content):
            return [float(n) for n in numbers]
        rows = [row for row in content if isinstance(row, list)]
        cells = [cell for row in rows for cell in row if cell in (0, 1) and not isinstance(cell, str)]
        if len(rows) == len(content) and len(cells) == sum(map(len, rows)):
            return [[int(cell) for cell in row if isinstance(cell, int | float)] for row in rows]
    what = "is a number, a string, numbers or the rows of a mask"
    raise CodecError(where, what, got=str(content)[:60])


def _numbers(modality: str, content: Json, shape: tuple[int, ...]) -> Float64:
    if not isinstance(content, list):
        raise CodecError(modality, "a value is a list of numbers", got=type(content).__name__)
    numbers: Float64 = read_stack([content], modality, shape)[0]
    return numbers


def _in_order(modality: str, names: tuple[str, ...], content: dict[str, Json]) -> list[Json]:
    for name in content:
        if name not in names:
            raise CodecError(modality, f"has no number {name!r}", mend=nearest(name, names))
    missing = [name for name in names if name not in content]
    if missing:
        raise CodecError(modality, "lacks numbers", got=f"no {', '.join(missing)}")
    return [content[name] for name in names]
