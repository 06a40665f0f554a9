"""What a verb prints: JSON for programs, tables for people, one red panel for an error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from fourm_schema.errors import Fault, FourmError


def show_json(record: object) -> None:
    """Print a plain record as JSON on stdout."""
    json.dump(record, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their column names; columns of numbers are set flush right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    held = [[_cell(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        is_number = bool(held) and all(row[number][:1].isdigit() or row[number] == "-" for row in held)
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=number == 0)
    for row in held:
        table.add_row(*map(Text, row))
    if title:
        print(title)
    Console().print(table)


def show_error(error: FourmError) -> None:
    """Print every fault of an error in a red panel on stderr."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    Console(stderr=True).print(
        Panel(Text(str(error)), title=_family(error), title_align="left", border_style="red")
    )


def _family(error: FourmError) -> str:
    """Name of the error as `fourm_schema.errors` lists it; modules may have narrower ones of their own."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == FourmError.__module__)


def fault_record(fault: Fault) -> dict[str, object]:
    """A fault as a plain record."""
    import attrs

    return attrs.asdict(fault)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
