"""How far an import has come, in the folder of its dataset, so that a killed one goes on.

    photos.lance/import/journal.jsonl      what is imported; then a line per file that was written
    photos.lance/import/quarantine.jsonl   what could not be stored, a line per fault

The journal is only appended to. Its last line may be torn by a kill; then the file that it would have named
is written again. It goes when the dataset is committed; a report stays in its place.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import attrs

from fourm_runtime.data import staged_files, store
from fourm_schema.errors import DataError

FOLDER = "import"
QUARANTINE = "quarantine.jsonl"
REPORT = "report.json"
_JOURNAL = "journal.jsonl"


@attrs.frozen
class Progressed:
    """Where an import stands.

    Attributes:
        position: rows of the source that were dealt with.
        stored: samples among them that were stored.
        quarantined: rows of the source among them that could not be.
        quarantine_bytes: bytes of the quarantine file that belong to them.
    """

    position: int = 0
    stored: int = 0
    quarantined: int = 0
    quarantine_bytes: int = 0


class Journal:
    """The journal of one import; hold the dataset's lock as long as it is used.

    Args:
        path: the dataset's folder.
        about: what is imported and how; an import of something else does not go on with it. None takes the
            one that was cut off, whatever it is.

    Attributes:
        at: where the import stands.
        fragments: what it wrote.

    Raises:
        DataError: if an import of something else was cut off here.
    """

    def __init__(self, path: Path, about: Mapping[str, object] | None) -> None:
        self._path, self._folder = path, path / FOLDER
        self.at = Progressed()
        self.fragments: list[store.FragmentMetadata] = []
        self.resumed = False
        told = json.loads(json.dumps(about))
        lines = _whole_lines(self._folder / _JOURNAL)
        if lines:
            if about is not None:
                _same(path, json.loads(lines[0]), told)
            for line in lines[1:]:
                record = json.loads(line)
                self.at = Progressed(**record["at"])
                self.fragments += [staged_files.fragment_of(item) for item in record["fragments"]]
            self.resumed = True
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.resumed:
            self._write([told])
        else:
            # A line torn by a kill must not stand before the next.
            self._write([json.loads(line) for line in lines])
        self._drop_debris()

    def quarantine(self) -> IO[bytes]:
        """The quarantine file, what was written after the last line of the journal cut off."""
        file = self._folder / QUARANTINE
        handle = file.open("r+b" if file.is_file() else "w+b")
        handle.truncate(self.at.quarantine_bytes)
        handle.seek(0, os.SEEK_END)
        return handle

    def add(self, at: Progressed, fragments: list[store.FragmentMetadata]) -> None:
        """Write down that files are complete."""
        record = {"at": attrs.asdict(at), "fragments": [staged_files.fragment_text(f) for f in fragments]}
        with (self._folder / _JOURNAL).open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.at = at
        self.fragments += fragments

    def is_committed(self) -> bool:
        """Whether the dataset has what this import wrote: the kill came between the commit and its end."""
        if not self.fragments or not store.exists(self._path):
            return False
        there = store.open_version(self._path).get_fragments()
        names = {file.path for fragment in there for file in fragment.data_files()}
        return any(file.path in names for file in self.fragments[0].files)

    def finish(self, report: Mapping[str, object]) -> None:
        """Leave a report in place of the journal."""
        _replace(self._folder / REPORT, json.dumps(report, indent=2).encode() + b"\n")
        if not (self._folder / QUARANTINE).stat().st_size:
            (self._folder / QUARANTINE).unlink()
        (self._folder / _JOURNAL).unlink()

    def abandon(self) -> None:
        """Take back all that was written."""
        shutil.rmtree(self._folder)
        staged_files.remove_unless_used(self._path, staged_files.files_of(self.fragments))
        if not store.exists(self._path):
            shutil.rmtree(self._path, ignore_errors=True)

    def _write(self, records: list[object]) -> None:
        _replace(self._folder / _JOURNAL, b"".join(json.dumps(r).encode() + b"\n" for r in records))

    def _drop_debris(self) -> None:
        """Remove files that a kill left half written; only where no version can refer to any."""
        if store.exists(self._path):
            return
        kept = {file.path for fragment in self.fragments for file in fragment.files}
        for file in (self._path / "data").glob("*"):
            if file.name not in kept:
                file.unlink()


def is_unfinished(path: Path) -> bool:
    """Whether an import into this folder was cut off."""
    return (path / FOLDER / _JOURNAL).is_file()


def _whole_lines(file: Path) -> list[bytes]:
    return file.read_bytes().split(b"\n")[:-1] if file.is_file() else []


def _replace(file: Path, data: bytes) -> None:
    fresh = file.with_suffix(".new")
    with fresh.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)


def _same(path: Path, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    other = [key for key in now if before.get(key) != now[key]]
    if other:
        raise DataError(
            str(path),
            "an import of something else was cut off here",
            got=f"another {', '.join(other)}; it read {before.get('path')}",
            mend="run that one again, or begin anew with --restart",
        )
