"""How far an import has come, so that a killed one goes on.

    photos.lance/import/journal.jsonl      what is imported; then a line per file that was written
    photos.lance/import/quarantine.jsonl   what could not be stored, a line per fault

Of a dataset in an object store they lie in a folder of this machine: `photos.lance.import/journal.jsonl`.

The journal is only appended to. Its last line may be torn by a kill; then the file that it would have named
is written again. It goes when the dataset is committed; a report stays in its place.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import attrs

from fourm_runtime.data import staged_files, store
from fourm_runtime.data.location import Location
from fourm_schema.errors import DataError

RECORD = b"fourm.import"
"""Key of a dataset's metadata: how it was imported, and the import's `run`."""
QUARANTINE = "quarantine.jsonl"
REPORT = "report.json"
_JOURNAL = "journal.jsonl"
_NEW = ".new"
_FRESH = Path(_JOURNAL).with_suffix(_NEW).name


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
    """The journal of one import; hold its lock as long as it is used.

    Files that it names and that are gone meanwhile, by a clean-up for example, are written again, and all
    that came after them.

    Args:
        place: the dataset.
        folder: where the journal lies.
        about: what is imported and how; an import of something else does not go on with it. None takes the
            one that was cut off, whatever it is.

    Attributes:
        at: where the import stands.
        fragments: what it wrote.
        run: its own name, by which the version that it made is known.

    Raises:
        DataError: if an import of something else was cut off here.
    """

    def __init__(self, place: Location, folder: Path, about: Mapping[str, object] | None) -> None:
        self._place, self._folder = place, folder
        self.at = Progressed()
        self.fragments: list[store.FragmentMetadata] = []
        told = json.loads(json.dumps(about))
        lines = [json.loads(line) for line in _whole_lines(folder / _JOURNAL)]
        self.resumed = bool(lines)
        if lines and about is not None:
            _same(place, lines[0], told)
        head = lines[0] if lines else {**(told or {}), "run": uuid.uuid4().hex}
        self.run: str = head["run"]
        parts = [[staged_files.fragment_of(item) for item in line["fragments"]] for line in lines[1:]]
        whole = len(parts)
        if about is not None and not self.is_committed():
            whole = next(
                (n for n, part in enumerate(parts) if not staged_files.are_whole(place, part)), whole
            )
            lost = [fragment for part in parts[whole:] for fragment in part]
            if lost:
                staged_files.remove_unless_used(place, staged_files.files_of(lost))
        if whole:
            self.at = Progressed(**lines[whole]["at"])
        self.fragments = [fragment for part in parts[:whole] for fragment in part]
        folder.mkdir(parents=True, exist_ok=True)
        # A line torn by a kill must not stand before the next.
        self._write([head, *lines[1 : whole + 1]])
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
        """Whether the dataset has what this import wrote: the kill came between the commit and its end.

        Others may have appended and merged files since.
        """
        if not store.exists(self._place):
            return False
        record = (store.open_version(self._place).schema.metadata or {}).get(RECORD)
        return record is not None and json.loads(record).get("run") == self.run

    def finish(self, report: Mapping[str, object]) -> None:
        """Leave a report in place of the journal."""
        _replace(self._folder / REPORT, json.dumps(report, indent=2).encode() + b"\n")
        quarantine = self._folder / QUARANTINE
        if quarantine.is_file() and not quarantine.stat().st_size:
            quarantine.unlink()
        (self._folder / _JOURNAL).unlink()

    def abandon(self) -> None:
        """Take back all that was written; the journal last, so that what a kill leaves is still known."""
        staged_files.remove_unless_used(self._place, staged_files.files_of(self.fragments))
        self._drop_debris(all_of_it=True)
        for name in (REPORT, QUARANTINE, _JOURNAL):
            (self._folder / name).unlink(missing_ok=True)
        if not any(self._folder.iterdir()):
            self._folder.rmdir()
        if self._place.folder is not None and not store.exists(self._place):
            shutil.rmtree(self._place.folder, ignore_errors=True)

    def _write(self, records: list[object]) -> None:
        _replace(self._folder / _JOURNAL, b"".join(json.dumps(r).encode() + b"\n" for r in records))

    def _drop_debris(self, all_of_it: bool = False) -> None:
        """Remove files that a kill left half written, or all; only where no version can refer to any."""
        if self._place.folder is None or store.exists(self._place):
            return
        fragments = [] if all_of_it else self.fragments
        kept = {file.path for fragment in fragments for file in fragment.files}
        for file in (self._place.folder / "data").glob("*"):
            if file.name not in kept:
                file.unlink()


def folder_of(place: Location) -> Path:
    """Where the journal of an import lies if nothing else is said.

    >>> folder_of(Location("s3://bucket/photos.lance"))
    PosixPath('photos.lance.import')
    """
    if place.folder is not None:
        return place.folder / "import"
    return Path(place.uri.rstrip("/").rpartition("/")[2] + ".import")


def is_unfinished(folder: Path) -> bool:
    """Whether the import whose journal lies in this folder was cut off."""
    return (folder / _JOURNAL).is_file()


def is_hardly_begun(place: Path, folder: Path) -> bool:
    """Whether a folder holds nothing but what an import leaves that is killed before its journal is there."""
    others = [entry for entry in place.iterdir() if entry != folder or not entry.is_dir()]
    return not others and all(entry.name == _FRESH for entry in folder.glob("*"))


def _whole_lines(file: Path) -> list[bytes]:
    return file.read_bytes().split(b"\n")[:-1] if file.is_file() else []


def _replace(file: Path, data: bytes) -> None:
    fresh = file.with_suffix(_NEW)
    with fresh.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)


def _same(place: Location, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    other = [key for key in now if before.get(key) != now[key]]
    if other:
        raise DataError(
            str(place),
            "an import of something else was cut off here",
            got=f"another {', '.join(other)}; it read {before.get('path')}",
            mend="run that one again, or begin anew with --restart",
        )
