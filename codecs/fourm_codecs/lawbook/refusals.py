"""What cannot be encoded: values with one thing wrong, and the error that each of them owes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from fourm_codecs.base import Array
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import Face, Subject
from fourm_schema.errors import CodecError
from fourm_schema.lawbook.article import Broken, Draw
from fourm_schema.modality import Set
from fourm_schema.set_fields import AngleField, AnyField, BoxField, NumberField, PointField, VectorField

Numeric = NumberField | AngleField | PointField | BoxField | VectorField


def require_refusal(tested: Subject, face: Face, batch: Any, what: str) -> str:
    """The message with which a batch is refused.

    Args:
        tested: whose values they are.
        face: what encodes them.
        batch: what is encoded.
        what: is wrong with it, in words.

    Raises:
        Broken: if it is not refused by a CodecError that names the modality.
    """
    try:
        face.rows(batch)
    except CodecError as fault:
        told = str(fault)
        if not told.startswith(tested.name):
            raise Broken(f"{what}: the message does not name the modality: {told}") from None
        return told
    except Exception as error:
        kind, said = type(error).__name__, str(error)
        raise Broken(f"{what} raises {kind}, not a CodecError: {said}; {_shown(batch)}") from None
    raise Broken(f"{what} is taken; {_shown(batch)}")


def _shown(batch: object) -> str:
    last = batch[-1] if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) else batch
    return f"the value: {show(last)}"


def drawn_array(tested: Subject, draw: Draw) -> Array:
    """A value of its own that may be written to, in float64."""
    return np.array(draw(tested.values), np.float64)


def with_number(tested: Subject, draw: Draw, number: float) -> object:
    """A drawn value with one number in it replaced: a cell of an array, or a number of a record."""
    if isinstance(tested.entry, Set):
        return with_field(tested, draw, Numeric, lambda field, value: _replaced(draw, value, number))
    array = drawn_array(tested, draw)
    assume(array.size)
    array.flat[draw(st.integers(0, array.size - 1))] = number
    return array


def with_field(
    tested: Subject, draw: Draw, kinds: Any, change: Callable[[AnyField, object], object]
) -> list[dict[str, object]]:
    """Drawn records, one field of one of them changed.

    Args:
        tested: the set.
        draw: draws.
        kinds: types of the fields that may be changed; the example is given up where none is present.
        change: the field and its value -> the value it gets.
    """
    assert isinstance(tested.entry, Set)
    value: Any = draw(tested.values)
    records = [dict(record) for record in value]
    fields = tested.entry.fields
    present = [
        (number, name)
        for number, record in enumerate(records)
        for name in record
        if isinstance(fields[name], kinds) and record[name] is not None
    ]
    assume(present)
    number, name = draw(st.sampled_from(present))
    records[number][name] = change(fields[name], records[number][name])
    return records


def _replaced(draw: Draw, value: object, number: float) -> object:
    if not isinstance(value, list):
        return number
    place = draw(st.integers(0, len(value) - 1))
    return [*value[:place], number, *value[place + 1 :]]
