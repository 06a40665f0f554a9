"""What looking at files yields: entries that could be declared, with what was seen and what to mind."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import attrs

MOST_FILES = 200
"""Files of one modality that are opened."""

ItemT = TypeVar("ItemT")


@attrs.frozen
class Proposal:
    """An entry of the schema, and why it is this one.

    Attributes:
        entry: the keys of the modality, as the YAML file has them.
        notes: what was seen and what may have to be changed, in sentences.
        before: what must be done to the data before it can be imported under this entry.
        texts: strings that were seen, to choose the size of the vocabulary by.
    """

    entry: dict[str, object]
    notes: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


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
        key: its key in a file of samples; None where it is in none.
        files: its files, one per sample, where it has such.
    """

    name: str
    origin: str
    seen: str
    proposal: Proposal
    key: str | None = None
    files: tuple[Path, ...] = ()


@attrs.frozen
class Findings:
    """What one group of files came to.

    Attributes:
        candidates: the modalities in it.
        skipped: what is no part of them.
        source: the file, if `fourm data import` can read files of its kind.
        needs: what must be done to the file as a whole before it can be imported.
    """

    candidates: tuple[Candidate, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    source: Path | None = None
    needs: tuple[str, ...] = ()


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
        before_training: what its codec needs, or that this version has none; empty where it needs nothing.
    """

    name: str
    kind: str
    origin: str
    seen: str
    notes: tuple[str, ...]
    before_import: tuple[str, ...]
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
