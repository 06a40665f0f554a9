"""Plain text, cut into samples by a stated rule.

    paragraph   lines up to the next blank line; line breaks inside become spaces
    line        each line that is not blank
    document    each file

With `words`, what is longer than so many words becomes several samples of at most so many. Sixteen bytes of
memory a sample say where it lies.
"""

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from fourm_runtime.data.importing.sources.plain_files import open_plain
from fourm_runtime.data.importing.sources.source import Reading, Source, absences, names_outside
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError
from fourm_schema.modality import Text

_WORD = re.compile(rb"\S+")
_MOST_OPEN = 128


class TextCorpus(Source):
    """Pieces of text files.

    Args:
        place: what to call them.
        files: plain or compressed.
        modality: the text that they are samples of.
        reading: how they are cut.
    """

    def __init__(self, place: str, files: Sequence[Path], modality: str, reading: Reading) -> None:
        super().__init__(place, files)
        self._modality, self._joins = modality, reading.cut == "paragraph"
        self._paths = files
        starts, sizes, counts = array("q"), array("q"), list[int]()
        for path in files:
            with open_plain(path) as file:
                for start, end in _cut(file, reading):
                    starts.append(start)
                    sizes.append(end - start)
            counts.append(len(starts))
        self._spots = np.array([starts, sizes], np.int64).T if starts else np.zeros((0, 2), np.int64)
        self._ends = np.array(counts, np.int64)
        self._opened: dict[int, IO[bytes]] = {}
        self._rule = f"{reading.cut} {reading.words}"

    def __len__(self) -> int:
        return len(self._spots)

    def digest(self) -> str:
        return f"{super().digest()} {self._rule}"

    def row(self, index: int) -> LocatedRow:
        number = int(np.searchsorted(self._ends, index, "right"))
        path = self._paths[number]
        inside = index - (int(self._ends[number - 1]) if number else 0)
        place = f"{path} piece {inside}"
        start, size = (int(value) for value in self._spots[index])
        data = os.pread(self._open(number).fileno(), size, start)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(place, "is no text in UTF-8", got=str(error)) from None
        text = " ".join(text.split()) if self._joins else text.strip()
        name = path.name if len(self._paths) > 1 else path.stem
        return LocatedRow({"id": f"{name}:{inside}", self._modality: text}, place=place)

    def _open(self, number: int) -> IO[bytes]:
        if number not in self._opened:
            if len(self._opened) >= _MOST_OPEN:
                self._opened.pop(next(iter(self._opened))).close()
            self._opened[number] = open_plain(self._paths[number])
        return self._opened[number]


def open_text(place: str, files: Sequence[Path], reading: Reading) -> Source:
    """Open text files as samples of the schema's only text, or of the one whose source is `text`.

    Raises:
        DataError: if a file is missing, or the schema does not say which text they are.
    """
    texts = [
        name
        for name, entry in reading.schema.modalities.items()
        if isinstance(entry, Text) and name in reading.wanted and entry.derive is None
    ]
    named = [name for name in texts if "text" in names_outside(reading.schema, name)]
    chosen = texts if len(texts) == 1 else named
    if len(chosen) != 1:
        raise DataError(
            place,
            "is text, and the schema does not say of which modality",
            got=f"texts: {', '.join(texts) or 'none'}",
            mend="give the one that it is `source: {field: text}`",
        )
    source = TextCorpus(place, files, chosen[0], reading)
    source.notes += absences(reading, chosen, [], "")
    return source


def _cut(file: IO[bytes], reading: Reading) -> Iterator[tuple[int, int]]:
    """First and last byte of each piece."""
    spans = {"paragraph": _paragraphs, "line": _lines, "document": _document}[reading.cut](file)
    if reading.words is None:
        yield from spans
        return
    for start, end in spans:
        yield from _pieces(file, start, end, reading.words)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    place = 0
    for line in file:
        if line.strip():
            yield place, place + len(line)
        place += len(line)


def _paragraphs(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    place, start = 0, -1
    for line in file:
        if line.strip():
            start = place if start < 0 else start
        elif start >= 0:
            yield start, place
            start = -1
        place += len(line)
    if start >= 0:
        yield start, place


def _document(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    size = os.fstat(file.fileno()).st_size
    if size:
        yield 0, size


def _pieces(file: IO[bytes], start: int, end: int, words: int) -> Iterator[tuple[int, int]]:
    """Cut a span into runs of so many words."""
    data = os.pread(file.fileno(), end - start, start)
    first, count, last = 0, 0, 0
    for word in _WORD.finditer(data):
        if count == words:
            yield start + first, start + last
            first, count = word.start(), 0
        if count == 0:
            first = word.start()
        count, last = count + 1, word.end()
    if count:
        yield start + first, start + last
