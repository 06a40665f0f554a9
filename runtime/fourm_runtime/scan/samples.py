"""What was found -> a file of samples that `fourm data import` reads: one line per sample.

Pictures and arrays are named, not copied; texts and records stand in the line, in the form that the drafted
entries ask for. Where there is a table, its rows are the samples; else files of one name are one sample.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from fourm_runtime.scan.proposal import Candidate, Findings
from fourm_runtime.scan.sample_files import read_text
from fourm_runtime.scan.tables import Table, every_row, read_json
from fourm_schema.errors import DataError
from fourm_schema.modality import Image, Modality, Set, Text, Vector
from fourm_schema.set_fields import BoxField, CategoryField

Row = dict[str, object]


@attrs.frozen
class SamplesFile:
    """How the lines of a file of samples are made.

    Attributes:
        modalities: name -> what was found, and the entry that was drafted for it.
        table: rows that are the samples, and their files; None where files alone are.
    """

    modalities: Mapping[str, tuple[Candidate, Modality]]
    table: tuple[Table, tuple[Path, ...]] | None

    def lines(self, beside: Path) -> Iterator[Row]:
        """The samples.

        Args:
            beside: the folder that the file will lie in: files are named from there.
        """
        files = {
            name: dict(zip(candidate.samples, candidate.files, strict=True))
            for name, (candidate, _) in self.modalities.items()
            if candidate.samples
        }
        if self.table is None:
            for sample in sorted({sample for held in files.values() for sample in held}):
                yield {"id": sample, **self._of_files(sample, files, beside)}
            return
        table, paths = self.table
        folder, taken = paths[0].parent, dict[str, int]()
        for number, row in enumerate(every_row(paths, table)):
            line = self._of_row(row, folder, beside)
            sample = self._name(row, number)
            line |= self._of_files(sample, files, beside)
            taken[sample] = taken.get(sample, 0) + 1
            if line:
                yield {"id": sample if taken[sample] == 1 else f"{sample}#{taken[sample]}", **line}

    def write(self, file: Path) -> int:
        """Write the file; give back how many samples it has.

        Raises:
            DataError: if it cannot be written.
        """
        count = 0
        try:
            with file.open("w", encoding="utf-8") as out:
                for line in self.lines(file.parent):
                    out.write(json.dumps(line) + "\n")
                    count += 1
        except OSError as error:
            raise DataError(str(file), "cannot be written", got=error.strerror or str(error)) from None
        return count

    def _of_files(self, sample: str, files: Mapping[str, Mapping[str, Path]], beside: Path) -> Row:
        found: Row = {}
        for name, held in files.items():
            if sample in held:
                candidate, entry = self.modalities[name]
                value = _in_file(held[sample], entry, candidate, beside)
                if value is not None:
                    found[name] = value
        return found

    def _of_row(self, row: Mapping[str, object], folder: Path, beside: Path) -> Row:
        found: Row = {}
        for name, (candidate, entry) in self.modalities.items():
            if candidate.samples:
                continue
            if candidate.key is not None:
                raw = row.get(candidate.key)
                if isinstance(entry, Image | Vector) and isinstance(raw, str):
                    file = folder / raw
                    raw = _named(file, beside) if file.is_file() else None
            elif isinstance(entry, Vector):
                raw = [row.get(column) for column in candidate.columns]
            elif candidate.columns == ("value",):
                raw = row.get("value")
            else:
                raw = {column: row.get(column) for column in candidate.columns}
            value = as_declared(entry, raw, candidate.proposal.keys)
            if value is not None:
                found[name] = value
        return found

    def _name(self, row: Mapping[str, object], number: int) -> str:
        """What a row is called: its id, else the file that it names, else its number."""
        if row.get("id") is not None:
            return str(row["id"])
        for candidate, entry in self.modalities.values():
            raw = row.get(candidate.key or "")
            if isinstance(entry, Image | Vector) and isinstance(raw, str):
                return Path(raw).with_suffix("").as_posix()
        return str(number)


def samples_file(
    pieces: Sequence[Findings], modalities: Mapping[str, tuple[Candidate, Modality]]
) -> SamplesFile | None:
    """How the findings become lines; None where they are arrays of all samples, or several tables.

    Args:
        pieces: all that was found.
        modalities: name -> one of the candidates in them, and its entry.
    """
    tables = [piece.table for piece in pieces if piece.table is not None and piece.candidates]
    if len(tables) > 1:
        return None
    for candidate, _ in modalities.values():
        in_table = bool(tables) and (candidate.key is not None or bool(candidate.columns))
        if not candidate.samples and not in_table:
            return None
    return SamplesFile(modalities, tables[0] if tables else None)


def as_declared(entry: Modality, value: object, keys: Mapping[str, str]) -> object:
    """A value as its entry has it: fields by their names, classes as numbers, nothing that is no number.

    Args:
        entry: that was drafted from such values.
        value: as it was found.
        keys: field -> its key in the records, where that is another.

    Returns:
        the value; None if there is nothing of it.
    """
    if isinstance(entry, Text):
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list):
            return None
        held = [text for text in texts if isinstance(text, str) and text]
        return (held[0] if entry.views == 1 and len(held) == 1 else held) or None
    if isinstance(entry, Vector) and isinstance(value, list):
        return None if any(item is None for item in value) else value
    if not isinstance(entry, Set) or value is None:
        return value
    is_several = isinstance(value, list) and (entry.max_items > 1 or all(map(_is_record, value)))
    items = value if isinstance(value, list) and is_several else [value]
    records = [_record(entry, item, keys) for item in items]
    kept = [record for record in records if record is not None]
    return kept if kept or not items else None


def _record(entry: Set, item: object, keys: Mapping[str, str]) -> Row | None:
    """One record; None where a field is missing that must not be."""
    if not isinstance(item, Mapping):
        (name,) = list(entry.fields)[:1]
        item = {name: item}
    found: Row = {}
    for name, field in entry.fields.items():
        value = item.get(keys.get(name, name))
        if isinstance(value, bool) and isinstance(field, CategoryField):
            value = int(value)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if isinstance(value, list) and isinstance(field, BoxField) and _is_inside_out(field, value):
            value = None
        if value is not None:
            found[name] = value
        elif not field.optional:
            return None
    return found or None


def _is_record(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_inside_out(field: BoxField, box: Sequence[object]) -> bool:
    numbers = [float(number) for number in box if isinstance(number, int | float)]
    if len(numbers) != 4:
        return True
    x0, y0, x1, y1 = field.corners(numbers)
    return x0 > x1 or y0 > y1


def _in_file(file: Path, entry: Modality, candidate: Candidate, beside: Path) -> object:
    """What a file of one sample holds: its name, where it is a picture or an array."""
    try:
        if file.suffix.lower() == ".txt":
            text = read_text(file)
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            return as_declared(entry, lines if candidate.proposal.is_lines else text.strip(), {})
        if file.suffix.lower() == ".json":
            return as_declared(entry, read_json(file), candidate.proposal.keys)
    except DataError:
        return None
    return _named(file, beside)


def _named(file: Path, beside: Path) -> str:
    return Path(os.path.relpath(file, beside)).as_posix()
