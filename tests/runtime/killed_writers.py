"""What the processes do that tests kill while they write a dataset."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fourm_runtime.data import store
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.importer import ImportSettings, import_source
from fourm_runtime.data.importing.sources.opening import open_source
from fourm_runtime.data.importing.sources.source import Reading
from fourm_schema.load import parse_schema
from tests.runtime.data_samples import codecs_of, samples

MOMENTS = {"first batch": 1, "second fragment": 3, "third column": 7, "before commit": 0, "append": 0}
"""When a process ends itself, and after how many calls of `progress` that is; 0 if it does not count them."""


def import_lines(
    declared: str, source: Path, path: Path, rows_per_fragment: int = 300, max_bad: float = 0.1
) -> None:
    """Import a file, in fragments that are small enough for many moments between them."""
    schema = parse_schema(declared)
    opened = open_source(str(source), Reading(schema, frozenset(schema.modalities)))
    how = ImportSettings(rows_per_fragment=rows_per_fragment, max_bad=max_bad)
    import_source(path, schema, opened, how)


def die(*_: object, **__: object) -> None:
    """End this process as a system does that runs out of memory: nothing can be tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def encode_until(path: Path, moment: str) -> None:
    """Encode a dataset, and die at a moment of it."""
    dataset = Dataset.open(path)
    codecs = codecs_of(dataset.schema, dataset.texts("caption"))

    def rows() -> Iterator[dict[str, object]]:
        yield from samples(3000)
        die()

    if moment == "before commit":
        store.LanceDataset.commit = die  # type: ignore[assignment, method-assign]  # of this process, which ends with it
    elif moment == "append":
        dataset.append(rows())
    calls = list[object]()

    def progress(*call: object) -> None:
        calls.append(call)
        if len(calls) == MOMENTS[moment]:
            die()

    dataset.encode(codecs, progress=progress)


CHANGES = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
"""What Python does with files, by the names of its audit events; Lance's own writes are none of these."""


def import_until(change: int, declared: str, source: Path, path: Path, *settings: Any) -> None:
    """As `import_lines`, and die before the change to files below `path` of this number, counted from 1."""
    left = change

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in CHANGES and str(arguments[0]).startswith(str(path)):
            left -= 1
            if left == 0:
                die()

    sys.addaudithook(count)
    import_lines(declared, source, path, *settings)
