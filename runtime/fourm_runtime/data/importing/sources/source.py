"""What every format of samples gives: rows by number, read when they are asked for.

A source knows how many rows it has before it reads a value, and reads any of them by its number. So rows can
be imported in a shuffled order, and an import that was cut off goes on at any of them.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError, nearest
from fourm_schema.schema import Schema

Missing = Literal["error", "null"]
Int64 = NDArray[np.int64]
Cut = Literal["paragraph", "line", "document"]


@attrs.frozen
class Reading:
    """How files are to be read.

    Attributes:
        schema: what a sample may hold.
        wanted: modalities to read; values of others are not opened.
        missing: whether samples that lack part of what the others have are refused ("error"), or simply lack
            it ("null").
        places: modality -> the folder or file that holds it, where that cannot be guessed.
        any_name: whether the files may hold arrays that are no modality.
        cut: what becomes one sample of a text.
        views: how many views the arrays of a sample hold, a row each; None if they hold one value.
        words: most words of one sample of a text; longer ones become several. None does not cut them.
    """

    schema: Schema
    wanted: frozenset[str]
    missing: Missing = "error"
    places: Mapping[str, Path] = attrs.field(factory=dict)
    any_name: bool = False
    cut: Cut = "paragraph"
    words: int | None = None
    views: int | None = None


class Source(ABC):
    """Samples in files.

    Args:
        place: what to call it in messages: the path that the user gave.
        files: what its samples are read from; if one changes, an import does not go on with it.

    Attributes:
        kind: name of the format that it was opened as.
        notes: what a user should know of the whole: what was left out, and why.
    """

    def __init__(self, place: str, files: Iterable[Path]) -> None:
        self.place = place
        self._files = tuple(files)
        self.notes: list[str] = []
        self.kind = ""

    @abstractmethod
    def __len__(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def row(self, index: int) -> LocatedRow:
        """Read one row.

        Raises:
            DataError: if the row is damaged; others can still be read.
        """

    @property
    def chunks(self) -> Int64:
        """Rows of each run of consecutive rows that are cheap to read together; they sum up to all."""
        return np.array([len(self)], np.int64)

    @property
    def chunk_bytes(self) -> int:
        """Memory that the largest such run takes when it is read; 0 where rows are read one by one."""
        return 0

    def rows(self, start: int = 0) -> Iterator[LocatedRow]:
        """The rows in the order of the files, from one of them on."""
        return map(self.row, range(start, len(self)))

    def digest(self) -> str:
        """Says by names, sizes and times of the files whether they are still the same."""
        seen = hashlib.sha256(f"{self.kind}\n{self.place}\n".encode())
        for file in self._files:
            about = file.stat()
            seen.update(json.dumps([str(file), about.st_size, about.st_mtime_ns]).encode())
        return seen.hexdigest()

    def content(self) -> str:
        """Digest of the bytes of the files: the same after they were moved, copied or written anew.

        The names of several files count, the name of one alone does not. What the files themselves name,
        pictures for example, does not count.
        """
        of_each = [(file.name, _bytes_digest(file)) for file in self._files]
        if len(of_each) == 1:
            return of_each[0][1]
        return hashlib.sha256(json.dumps([self.kind, *of_each]).encode()).hexdigest()


def _bytes_digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def names_outside(schema: Schema, modality: str) -> tuple[str, ...]:
    """Names under which files may hold a modality, the most telling first."""
    entry = schema.modalities[modality]
    told = (entry.source.field, entry.source.file) if entry.source else ()
    return tuple(dict.fromkeys([*(name for name in told if name), modality, *entry.aliases]))


def find_names(reading: Reading, available: Sequence[str], place: str, what: str) -> dict[str, str]:
    """Find which of the available names each wanted modality goes by.

    Args:
        reading: the schema and what of it is wanted.
        available: names that the files have, e.g. of columns.
        place: the source, for messages.
        what: what is named, in the plural, e.g. "columns".

    Returns:
        modality -> name; modalities that none is named after are left out.

    Raises:
        DataError: if none of them is found.
    """
    there = set(available)
    found = {
        modality: name
        for modality in reading.schema.modalities
        if modality in reading.wanted
        and (name := next((n for n in names_outside(reading.schema, modality) if n in there), None))
    }
    if not found:
        some = sorted(there)[:8]
        raise DataError(
            place,
            f"has no {what} that a modality is named after",
            got=", ".join(some) + (", ..." if len(there) > len(some) else "") or "none",
            mend="name one in the schema (source: {field: NAME}); modalities: "
            + ", ".join(reading.schema.modalities),
        )
    return found


def absences(reading: Reading, found: Iterable[str], unused: Iterable[str], what: str) -> list[str]:
    """Say what of the schema, and what of the files, found no counterpart."""
    known = set(found)
    lacking = [
        name
        for name, entry in reading.schema.modalities.items()
        if name in reading.wanted and name not in known and entry.derive is None
    ]
    left = sorted(unused)
    notes = [f"absent in all samples: {', '.join(lacking)}"] if lacking else []
    if left:
        notes.append(f"{what} left out: {', '.join(left[:8])}{', ...' if len(left) > 8 else ''}")
    return notes


def unknown_modality(reading: Reading, names: Iterable[str]) -> None:
    """Refuse names that are no modality.

    Raises:
        DataError: naming the first.
    """
    for name in names:
        if name not in reading.schema.modalities:
            mend = nearest(name, list(reading.schema.modalities))
            raise DataError(name, "is no modality of this schema", mend=mend)


def mismatch(place: str, lacking: Mapping[str, Sequence[str]], total: int) -> DataError:
    """The error of samples that lack what others have.

    Args:
        place: the source.
        lacking: part (a folder, a tar, an ending) -> keys of the samples that it lacks.
        total: how many samples there are in all.
    """
    told = [
        f"{part} lacks {len(keys):,} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
        for part, keys in lacking.items()
        if keys
    ]
    more = f"; and {len(told) - 8:,} more" if len(told) > 8 else ""
    return DataError(
        place,
        f"its parts do not hold the same samples, {total:,} in all",
        got="; ".join(told[:8]) + more,
        mend="complete them, or import the samples without these parts (--missing null)",
    )
