"""The records of a set as they are stored: checked field by field, and written as JSON.

They are stored as they were given, so that no bin is chosen before tokens are made: a codec with more bins
encodes them anew.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from fourm_codecs.fields_4m import field_forms
from fourm_codecs.set_codes import learned_fields, raw_values
from fourm_codecs.set_values import form_of
from fourm_schema.errors import CodecError, DataError, nearest
from fourm_schema.modality import Modality, Set, Text
from fourm_schema.released_forms import form_of_fields


class Checker(Protocol):
    """Reads the values of one field."""

    def read(self, value: object, where: str) -> object:
        """Read a value.

        Raises:
            CodecError: if the field cannot hold it.
        """
        ...


class RecordCheck:
    """Checks the values of one set, and writes them as JSON.

    Args:
        entry: the declared set.
    """

    def __init__(self, entry: Set) -> None:
        self._entry = entry
        clip = entry.out_of_range == "clip"
        released = form_of_fields(entry.fields) if entry.dialect else None
        self._forms: dict[str, Checker] = {}
        if released is not None:
            self._forms.update(field_forms(entry, released))
        elif entry.dialect is None:
            # Texts and what is in learned codes are checked without their vocabulary and codecs, which are
            # learned from these very records.
            learned = learned_fields(entry)
            for name, field in entry.fields.items():
                if name in learned:
                    self._forms[name] = raw_values(name, learned[name], clip, "set")
                elif field.type != "text":
                    self._forms[name] = form_of(name, field, None, clip, "set")

    def __call__(self, value: object, where: str) -> str:
        """Check one set.

        Args:
            value: a list of records {field: value}; a single record where `max_items` is 1.
            where: the place, for messages.

        Returns:
            the records as JSON.

        Raises:
            DataError: if the schema does not admit the value.
        """
        entry = self._entry
        if isinstance(value, Mapping) and entry.max_items == 1:
            value = [value]
        if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
            got = type(value).__name__
            raise DataError(where, "a set is a list of records {field: value}", got=got)
        if len(value) > entry.max_items and entry.out_of_range == "error":
            mend = "raise max_items, or set `out_of_range: clip` to keep the first"
            what = f"a set has at most {entry.max_items} records"
            raise DataError(where, what, got=str(len(value)), mend=mend)
        for number, item in enumerate(value):
            self._check_names(item, f"{where}[{number}]")
        try:
            text = json.dumps([dict(item) for item in value], allow_nan=False, default=_plain)
        except (TypeError, ValueError) as error:
            what = "a record holds numbers, texts and lists of them"
            raise DataError(where, what, got=str(error)) from None
        for number, record in enumerate(json.loads(text)):
            self._check_values(record, f"{where}[{number}]")
        return text

    def _check_names(self, item: Mapping[object, object], where: str) -> None:
        for name in item:
            if name not in self._entry.fields:
                mend = nearest(str(name), list(self._entry.fields))
                raise DataError(f"{where}.{name}", "is no field of this set", mend=mend)
        for name, field in self._entry.fields.items():
            if item.get(name) is None and not field.optional:
                mend = "give it, or declare `optional: true`"
                raise DataError(f"{where}.{name}", "is missing", mend=mend)

    def _check_values(self, record: dict[str, object], where: str) -> None:
        for name, value in record.items():
            place = f"{where}.{name}"
            if value is None:
                continue
            if self._entry.fields[name].type == "text" and not isinstance(value, str):
                raise DataError(place, "a text is a string", got=type(value).__name__)
            if name in self._forms:
                try:
                    self._forms[name].read(value, place)
                except CodecError as error:
                    fault = error.faults[0]
                    raise DataError(fault.where, fault.what, fault.got, fault.mend) from None


def texts_of(modality: Modality, stored: list[str] | str | None) -> Iterator[str]:
    """The strings in one stored value: the alternatives of a text, the text fields of a set's records."""
    if isinstance(modality, Text):
        yield from stored or ()
    elif isinstance(modality, Set) and isinstance(stored, str):
        names = [name for name, field in modality.fields.items() if field.type == "text"]
        for record in json.loads(stored):
            yield from (record[name] for name in names if record.get(name) is not None)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__}")
