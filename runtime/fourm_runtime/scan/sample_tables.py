"""Tables of samples -> modalities: one record of the plain columns, and one modality per other column."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from fourm_runtime.data.importing.sources.picture_files import PICTURES
from fourm_runtime.scan.columns import propose_values
from fourm_runtime.scan.files import Group, Kind
from fourm_runtime.scan.names import listed
from fourm_runtime.scan.proposal import Candidate, Findings, Proposal, Skipped, spread
from fourm_runtime.scan.records import is_label, is_number, propose_set, refuse_names
from fourm_runtime.scan.sample_files import look_at_files
from fourm_runtime.scan.tables import Table, read_table
from fourm_runtime.scan.vectors import propose_arrays
from fourm_schema.errors import DataError

MOST_FIELDS = 256
"""Columns of numbers that are still fields of one record; more are a vector."""

MOST_COLUMNS = 1000
_SHOWN = 5
_FILE_KEYS = {"file", "file_name", "filename", "file_path", "path", "image_path", "image_file", "img"}
_COUNTERS = {"index", "column_1", "unnamed: 0", "row"}

Owners = Mapping[str, Group]
"""Normalised path -> the group that the file belongs to."""


def look_at_table(group: Group, folder: Path, owners: Owners) -> tuple[Findings, list[Group]]:
    """Look at the columns of a table.

    Args:
        group: the files of the table.
        folder: that `init` was given.
        owners: the groups of all files.

    Returns:
        What was found, and the groups whose files the table names.

    Raises:
        DataError: if no row can be read, or it is the one object of a JSON file.
    """
    table, file = read_table(group.files), group.files[0]
    is_lines = file.suffix.lower() == ".jsonl"
    if file.suffix.lower() == ".json" and len(table.rows) == 1:
        raise DataError(group.name, "holds one object, not one per sample")
    if not table.columns:
        raise DataError(group.name, "has no columns")
    origin = listed((str(file.relative_to(folder)) for file in group.files), most=2)
    found = _Columns(group, table, folder, origin, owners)
    needs = []
    if table.is_bare:
        values = [value for value in table.columns["value"] if value is not None]
        found.add(group.name, values, propose_values(group.name, values), None, ("value",))
        needs.append(f'write each line of {origin} as {{"{group.name}": ...}}')
    else:
        for number, column in enumerate(table.columns):
            found.look_at(column, is_beyond=number >= MOST_COLUMNS)
        found.add_record()
    if not is_lines:
        needs.append(f"write the rows of {origin} as lines of a .jsonl")
    elif found.loose:
        needs.append(f"take {listed(found.loose, most=10)} out of {origin}: no modality")
    broken = [Skipped(line, "was left out") for line in table.broken[:_SHOWN]]
    if len(table.broken) > _SHOWN:
        more = len(table.broken) - _SHOWN
        broken.append(Skipped(f"{origin}: {more:,} lines more", "cannot be read either"))
    if broken:
        needs.append(f"mend the lines of {origin} that cannot be read")
    source = str(file) if is_lines and len(group.files) == 1 else ""
    findings = Findings(
        tuple(found.candidates), (*found.skipped, *broken), source, tuple(needs), (), (table, group.files)
    )
    return findings, found.covered


@attrs.define
class _Columns:
    """Gathers what the columns of one table are."""

    group: Group
    table: Table
    folder: Path
    origin: str
    owners: Owners
    candidates: list[Candidate] = attrs.field(factory=list)
    plain: list[str] = attrs.field(factory=list)
    skipped: list[Skipped] = attrs.field(factory=list)
    loose: list[str] = attrs.field(factory=list)
    covered: list[Group] = attrs.field(factory=list)

    def look_at(self, column: str, is_beyond: bool) -> None:
        """Decide what one column is."""
        values = [value for value in self.table.columns[column] if value is not None]
        try:
            if is_beyond:
                raise DataError(column, f"is one of more than {MOST_COLUMNS} columns")
            if not values:
                raise DataError(column, "never has a value")
            if column.lower() == "id" or _counts(column, values):
                raise DataError(column, "names the samples")
            if _is_plain(values):
                self.plain.append(column)
            elif files := _files_named(self.group.files[0].parent, values):
                self._add_files(column, files, len(values))
            elif all(isinstance(value, str) for value in values):
                refuse_names([str(value) for value in values])
                self.add(column, values, propose_values(column, values), key=column)
            else:
                self.add(column, values, propose_values(column, values), key=column)
        except DataError as error:
            self.skipped.append(Skipped(f"{self.origin}: {listed([column])}", error.faults[0].what))
            if column != "id":
                self.loose.append(column)

    def add(
        self,
        name: str,
        values: Sequence[object],
        proposal: Proposal,
        key: str | None,
        columns: tuple[str, ...] = (),
    ) -> None:
        """Take a proposal for some values of the table."""
        rows = f"{len(self.table.rows):,} rows"
        seen = f"{len(values):,} of {'' if self.table.is_whole else 'the first '}{rows}"
        origin = f"{self.origin}: {listed([key])}" if key else self.origin
        self.candidates.append(Candidate(name, origin, seen, proposal, len(values), key, columns=columns))

    def add_record(self) -> None:
        """Make the plain columns the fields of one record, or a vector if they are too many."""
        rows, plain = self.table.rows, self.plain
        if not plain:
            return
        if len(plain) <= MOST_FIELDS:
            found = propose_set([[{column: row.get(column) for column in plain}] for row in rows], one=True)
            shape = "{...}"
        else:
            numeric = [column for column in plain if all(is_number(row.get(column)) for row in rows)]
            others = [column for column in plain if column not in numeric]
            if others:
                why = f"with more than {MOST_FIELDS} plain columns, only those always numbers are taken"
                self.skipped.append(Skipped(f"{self.origin}: {listed(others)}", why))
                self.loose += others
            if not numeric:
                return
            table = np.array([[row[column] for column in numeric] for row in rows], np.float64)
            found, plain, shape = propose_arrays(list(table)), numeric, "[...]"
        need = f'write {listed(plain)} of each row as "{self.group.name}": {shape}'
        found = attrs.evolve(found, before=(need, *found.before))
        self.add(self.group.name, rows, found, key=None, columns=tuple(plain))

    def _add_files(self, column: str, files: list[Path], count: int) -> None:
        owners = [self.owners.get(os.path.normpath(file)) for file in files]
        owner = owners[0] if all(other == owners[0] for other in owners) else None
        name = owner.name if owner is not None and column.lower() in _FILE_KEYS else column
        kind: Kind = "array" if files[0].suffix.lower() == ".npy" else "picture"
        found = look_at_files(Group(kind, "", name, tuple(files)), self.folder)
        (candidate,), missing = found.candidates, count - len(files)
        notes, before = candidate.proposal.notes, candidate.proposal.before
        if missing:
            before = (f"mend {missing} values of {listed([column])} that name no file", *before)
        if owner is not None and len(owner.files) > len(set(files)):
            notes = (
                *notes,
                f"{len(owner.files) - len(set(files)):,} files beside these are not named there.",
            )
        proposal = attrs.evolve(candidate.proposal, notes=notes, before=before)
        origin = f"{self.origin}: {listed([column])}"
        self.candidates.append(attrs.evolve(candidate, origin=origin, key=column, proposal=proposal))
        self.skipped += found.skipped
        self.covered += {id(owner): owner for owner in owners if owner is not None}.values()


def _is_plain(values: Sequence[object]) -> bool:
    """Whether values go into the record: numbers, true and false, names of classes."""
    if all(isinstance(value, bool) for value in values) or all(map(is_number, values)):
        return True
    return all(isinstance(value, str) for value in values) and is_label([str(value) for value in values])


def _counts(column: str, values: Sequence[object]) -> bool:
    """Whether a column of whole numbers only tells samples apart."""
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return False
    is_named = column.lower() in _COUNTERS or column.lower().endswith("_id")
    return is_named and len(set(values)) == len(values) > 1


def _files_named(beside: Path, values: Sequence[object]) -> list[Path]:
    """The pictures and arrays that a column names, if it names any and hardly anything else."""
    endings = {os.path.splitext(value)[1].lower() if isinstance(value, str) else "" for value in values}
    if not (endings <= set(PICTURES) or endings == {".npy"}):
        return []
    files = [Path(os.path.normpath(beside / str(value))) for value in values]
    if not any(map(os.path.isfile, spread(files, 50))):
        return []
    return [file for file in files if os.path.isfile(file)]
