"""What looking at files yields: entries that could be declared, with what was seen and what to mind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from fourm_runtime.scan.tables import Table

MOST_FILES = 200
"""Files of one modality that are opened."""

ItemT = TypeVar("ItemT")


@attrs.frozen
class Proposal:
    """An entry of the schema, and why it is this one.

    Attributes:
        entry: the keys of the modality, as the YAML file has them.
        notes: what was seen and what may have to be changed, in sentences.
        before: how values must be written to be imported under this entry; a file of samples that is drafted
            has them so.
        by_hand: what must be done to the data first, and what only a person can do.
        texts: strings that were seen, to choose the size of the vocabulary by.
        keys: of a set: field -> key that it has in the records, where that is another.
        example: a value as it was seen; None where there is none to show.
        is_lines: of texts in files: each line is one.
    """

    entry: dict[str, object]
    notes: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    keys: Mapping[str, str] = attrs.field(factory=dict)
    example: object = None
    is_lines: bool = False


@attrs.frozen
class Skipped:
    """Something that was found and is no part of the draft.

    Attributes:
        what: files, a column or a field.
        why: the reason, in words.
    """

    what: str
    why: str


@attrs.frozen
class Candidate:
    """A modality that was found, before it has its final name.

    Attributes:
        name: what it could be called.
        origin: where it was found.
        seen: how much of it was looked at.
        proposal: its entry.
        total: how many samples seem to have it.
        key: its key in a file of samples; None where it is in none.
        files: its files, one per sample, where it has such.
        samples: of each file, the sample that it is of; empty where a table says that.
        columns: columns of a table that together are one value of it; empty where it has one column.
    """

    name: str
    origin: str
    seen: str
    proposal: Proposal
    total: int = 0
    key: str | None = None
    files: tuple[Path, ...] = ()
    samples: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@attrs.frozen
class Findings:
    """What one group of files came to.

    Attributes:
        candidates: the modalities in it.
        skipped: what is no part of them.
        source: what `fourm data import` is given to read it as it is; empty if it cannot.
        needs: how it must be written as a whole to be imported; a file of samples that is drafted is so.
        by_hand: what must be done to it as a whole, and what only a person can do.
        table: its rows, where it is a table, and the files that they stand in.
    """

    candidates: tuple[Candidate, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    source: str = ""
    needs: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    table: tuple[Table, tuple[Path, ...]] | None = None


@attrs.frozen
class Found:
    """A modality of the draft.

    Attributes:
        name: in the draft.
        kind: image, vector, set or text.
        origin: where its values were found.
        seen: how much of them was looked at.
        notes: what was seen, and what may have to be changed.
        before_import: what must be done to the data first.
        written: how the drafted file of samples has the values, where that is not how they were found.
        before_training: what its codec needs, or that this version has none; empty where it needs nothing.
    """

    name: str
    kind: str
    origin: str
    seen: str
    notes: tuple[str, ...]
    before_import: tuple[str, ...]
    written: tuple[str, ...]
    before_training: str


def spread(items: Sequence[ItemT], most: int) -> list[ItemT]:
    """At most so many items, evenly spaced, the first among them.

    >>> spread("abcdefgh", 3)
    ['a', 'c', 'f']
    """
    count = min(len(items), most)
    return [items[k * len(items) // count] for k in range(count)]


def share(seen: int, total: int, unit: str) -> str:
    """Say of how many something was seen.

    >>> share(200, 5311, "files"), share(1, 1, "files")
    ('200 of 5,311 files', '1 of 1 files')
    """
    return f"{seen:,} of {total:,} {unit}"
