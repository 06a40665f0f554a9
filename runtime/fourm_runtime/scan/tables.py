"""Tables of samples, read in part: CSV and TSV, JSON lines, JSON files.

A row is a mapping of column to value as JSON has them. Cells of CSV become numbers where a whole column is
numbers, lists where it is JSON, and None where they are empty.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from fourm_runtime.scan.arrays import first_line
from fourm_runtime.scan.names import listed
from fourm_schema.errors import DataError

MOST_ROWS = 5000
MOST_BYTES = 2**26
LARGEST_VALUE = 2**24

_ABSENT = {"", "na", "n/a", "nan", "null", "none"}
_WHOLE = re.compile(r"[-+]?(0|[1-9]\d{0,14})")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?")
_ZERO_FIRST = re.compile(r"0\d+")


@attrs.frozen
class Table:
    """Some rows of a table.

    Attributes:
        rows: the first rows of its files.
        is_whole: whether these are all.
        is_bare: lines hold values, not objects: the one column has no name.
        broken: lines and files that could not be read.
        readers: column of CSV -> how a cell of it is read.
    """

    rows: tuple[dict[str, object], ...]
    is_whole: bool
    is_bare: bool = False
    broken: tuple[str, ...] = ()
    readers: Mapping[str, Callable[[str], object]] = attrs.field(factory=dict)

    @property
    def columns(self) -> dict[str, list[object]]:
        """Column -> its values, None where a row lacks it."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: [row.get(name) for row in self.rows] for name in names}


def read_table(files: Sequence[Path]) -> Table:
    """Read the first rows of a table that may stand in several files.

    Raises:
        DataError: if no row can be read.
    """
    rows: list[dict[str, object]] = []
    bare: list[object] = []
    broken: list[str] = []
    cut: list[Path] = []
    values = _values(files, broken, cut)
    for value in itertools.islice(values, MOST_ROWS):
        if isinstance(value, dict):
            rows.append(value)
        else:
            bare.append(value)
    is_whole = next(values, values) is values and not cut
    if rows and bare:
        broken.append(f"{len(bare)} lines are no objects")
    if not rows and not bare:
        raise DataError(files[0].name, broken[0] if broken else "has no rows")
    readers: dict[str, Callable[[str], object]] = {}
    if files[0].suffix.lower() in (".csv", ".tsv"):
        readers = _readers(rows)
        rows = [_typed(row, readers) for row in rows]
    held = tuple(rows) or tuple({"value": value} for value in bare)
    return Table(held, is_whole, not rows, tuple(broken), readers)


def every_row(files: Sequence[Path], table: Table) -> Iterator[dict[str, object]]:
    """All rows of a table, read as those that were looked at; lines that cannot be read are left out.

    Args:
        files: of the table.
        table: what was seen of them.
    """
    if table.is_whole:
        yield from table.rows
        return
    for file in files:
        ending = file.suffix.lower()
        if ending == ".jsonl":
            with file.open(encoding="utf-8-sig") as lines:
                for line in lines:
                    yield from (_as_row(value, table) for value in _json_lines(file, line))
        elif ending == ".json":
            # It has no border at which it could be read in parts.
            yield from (_as_row(value, table) for value in _json_file(file, file.read_text("utf-8-sig")))
        else:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                head = lines.readline()
                lines.seek(0)
                yield from (_as_row(value, table) for value in _csv_lines(file, head, lines))


def _as_row(value: object, table: Table) -> dict[str, object]:
    if isinstance(value, dict):
        return _typed(value, table.readers) if table.readers else value
    return {"value": value} if table.is_bare and not isinstance(value, DataError) else {}


def _values(files: Sequence[Path], broken: list[str], cut: list[Path]) -> Iterator[object]:
    """The rows of some files; lines that cannot be read, and files that are too large, go into the lists."""
    for file in files:
        try:
            head, is_all = _head(file)
            cut += [] if is_all else [file]
            for value in _READERS[file.suffix.lower()](file, head):
                if isinstance(value, DataError):
                    broken.append(str(value))
                else:
                    yield value
        except (OSError, ValueError, RecursionError, csv.Error) as error:
            broken.append(f"{file.name}: cannot be read: {first_line(error)}")


def read_json(file: Path) -> object:
    """Read the value of one sample.

    Raises:
        DataError: if it is no JSON, or too large to be one sample's.
    """
    try:
        if file.stat().st_size > LARGEST_VALUE:
            raise ValueError(f"larger than {LARGEST_VALUE // 2**20} MiB")
        value: object = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(file.name, f"is no JSON of one sample: {first_line(error)}") from None
    if value is None:
        raise DataError(file.name, "is null")
    return value


def _head(file: Path) -> tuple[str, bool]:
    """The first lines of a file, and whether they are all."""
    with file.open("rb") as lines:
        head = lines.read(MOST_BYTES)
        is_all = not lines.read(1)
    return (head if is_all else head[: head.rfind(b"\n") + 1]).decode("utf-8-sig"), is_all


def _json_lines(file: Path, head: str) -> Iterator[object]:
    for number, line in enumerate(head.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield DataError(f"{file.name} line {number}", "is no JSON")


def _json_file(file: Path, head: str) -> Iterator[object]:
    value = json.loads(head)
    yield from value if isinstance(value, list) else [value]


def _csv_rows(file: Path, head: str) -> Iterator[object]:
    return _csv_lines(file, head.partition("\n")[0], io.StringIO(head, newline=""))


def _csv_lines(file: Path, head: str, lines: Iterable[str]) -> Iterator[object]:
    mark = "\t" if file.suffix.lower() == ".tsv" else max(",;\t|", key=head.count)
    rows = csv.reader(lines, delimiter=mark)
    first = next(rows, [])
    names = [cell.strip() or f"column_{number}" for number, cell in enumerate(first, start=1)]
    if names and all(map(_NUMBER.fullmatch, names)):
        # The first line is a sample: there is no header.
        names = [f"column_{number}" for number in range(1, len(first) + 1)]
        yield dict(zip(names, first, strict=True))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than one column is called {listed(twice)}")
    for row in rows:
        if len(row) == len(names):
            yield dict(zip(names, row, strict=True))
        elif row:
            yield DataError(f"{file.name} line {rows.line_num}", f"has {len(row)} cells, not {len(names)}")


_READERS: dict[str, Callable[[Path, str], Iterator[object]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_lines,
    ".json": _json_file,
}


def _readers(rows: Sequence[dict[str, object]]) -> dict[str, Callable[[str], object]]:
    """How the cells of each column of a CSV file are read: as what all of them are."""
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [str(row.get(name) or "").strip() for row in rows]
        found[name] = _type_of([cell for cell in cells if cell.lower() not in _ABSENT])
    return found


def _typed(row: Mapping[str, object], readers: Mapping[str, Callable[[str], object]]) -> dict[str, object]:
    """A row of a CSV file with its cells as values."""
    typed: dict[str, object] = {}
    for name, read in readers.items():
        cell = str(row.get(name) or "").strip()
        try:
            typed[name] = None if cell.lower() in _ABSENT else read(cell)
        except ValueError:
            # A row far down may break what the first thousands keep: the import says so.
            typed[name] = cell
    return typed


def _type_of(cells: Sequence[str]) -> Callable[[str], object]:
    """How the cells of a column are read; as text if one of them is nothing else."""
    if not cells or any(map(_ZERO_FIRST.fullmatch, cells)):
        return str
    if all(map(_WHOLE.fullmatch, cells)):
        return int
    if all(map(_NUMBER.fullmatch, cells)):
        return float
    if all(cell.lower() in ("true", "false") for cell in cells):
        return lambda cell: cell.lower() == "true"
    if all(cell[0] in "[{" for cell in cells):
        try:
            for cell in cells:
                json.loads(cell)
        except (ValueError, RecursionError):
            return str
        return json.loads
    return str
