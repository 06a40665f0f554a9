"""A YAML file as plain values that remember where they stood."""

import json
from collections.abc import Mapping

import attrs

from fourm_schema.errors import Fault

Path = tuple[str | int, ...]


@attrs.frozen
class Mark:
    """A place in the text; both numbers start at 1."""

    line: int
    column: int


@attrs.define
class Tree:
    """Values of a file, the places they stood at, and what is already known to be wrong.

    Attributes:
        data: mappings, lists and scalars as the file has them.
        values: path -> where the value starts.
        keys: path -> where the value's key starts.
        faults: what could not be read.
        overridden: path -> the override that put its value there.
        unreadable: the text is no YAML at all, so that nothing can be said about its content.
    """

    data: object = None
    values: dict[Path, Mark] = attrs.field(factory=dict)
    keys: dict[Path, Mark] = attrs.field(factory=dict)
    faults: list[Fault] = attrs.field(factory=list)
    overridden: dict[Path, str] = attrs.field(factory=dict)
    unreadable: bool = False

    def get(self, *path: str | int) -> object:
        """The value at a path, or None where the file has none."""
        found = self.data
        for step in path:
            found = child(found, step)
        return found

    def mapping(self, *path: str | int) -> Mapping[str, object]:
        """The mapping at a path; empty when there is something else or nothing."""
        found = self.get(*path)
        return found if isinstance(found, dict) else {}

    def items(self, *path: str | int) -> list[object]:
        """The list at a path; empty when there is something else or nothing."""
        found = self.get(*path)
        return found if isinstance(found, list) else []

    def mark(self, path: Path, at_key: bool = False) -> Mark | None:
        """Where a path stands: its value (or key), else the nearest parent that the file has."""
        first, second = (self.keys, self.values) if at_key else (self.values, self.keys)
        return next((marks[path] for marks in (first, second) if path in marks), None) or (
            self.mark(path[:-1], at_key=True) if path else None
        )

    def fault(self, path: Path, what: str, got: str = "", mend: str = "", *, at_key: bool = False) -> Fault:
        """Describe what is wrong at a path, with its line and column or the override that set it."""
        for length in range(len(path) + 1):
            if path[:length] in self.overridden:
                return Fault(f"{dotted(path)} (set by {self.overridden[path[:length]]!r})", what, got, mend)
        mark = self.mark(path, at_key)
        if mark is None:
            return Fault(dotted(path), what, got, mend)
        return Fault(dotted(path), what, got, mend, mark.line, mark.column)


def child(value: object, step: str | int) -> object:
    """What a mapping or a list holds under a key or an index; None where it holds nothing."""
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
        return value[step]
    return None


def dotted(path: Path) -> str:
    """Write a path as overrides write it: `modalities.digit.size`."""
    return ".".join(map(str, path)) or "(the whole file)"


def shown(value: object, limit: int = 60) -> str:
    """Write a value as YAML would, shortened: for the `got` of a fault."""
    if isinstance(value, dict):
        text = f"a mapping with {', '.join(map(str, value))}" if value else "an empty mapping"
    elif value is None:
        text = "nothing"
    elif isinstance(value, str):
        text = repr(value)
    else:
        text = json.dumps(value).replace("NaN", ".nan").replace("Infinity", ".inf")
    return text if len(text) <= limit else text[: limit - 3] + "..."
