"""Arrays whose first axis counts the samples -> modalities: archives, and files of one array each.

Of arrays in several splits (`train-images-idx3-ubyte`, `t10k-images-idx3-ubyte`) one is looked at: `train`,
or else the first; the others are for later.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fourm_runtime.data.importing.sources.arrays import IDX_NAME, PRESENT, array_name, map_array
from fourm_runtime.scan.arrays import Array, archive_rows, checked, open_array
from fourm_runtime.scan.files import Group
from fourm_runtime.scan.names import listed
from fourm_runtime.scan.proposal import MOST_FILES, Candidate, Findings, Proposal, Skipped, share, spread
from fourm_runtime.scan.records import propose_field
from fourm_runtime.scan.sample_files import propose_mixed
from fourm_schema.errors import DataError

MOST_ARCHIVES = 8


def look_at_arrays(group: Group, folder: Path) -> Findings:
    """Look at some rows of each array; what cannot be read is said in the findings."""
    is_stack = group.kind == "stack"
    split, others = _split(group) if is_stack else ("", ())
    files = [file for file in group.files if file not in others]
    chosen = spread(files, MOST_ARCHIVES)
    origin = listed((str(file.relative_to(folder)) for file in files), most=2)
    rows: dict[str, list[Array]] = {}
    totals: dict[str, int] = {}
    skipped: dict[str, str] = {}
    broken: dict[str, str] = {}
    for file in chosen:
        try:
            opened = list(_stack(file) if is_stack else archive_rows(file, MOST_FILES // len(chosen)))
        except DataError as error:
            broken[str(file.relative_to(folder))] = error.faults[0].what
            continue
        for key, array, total in opened:
            if isinstance(array, DataError):
                skipped[key] = array.faults[0].what
            elif key == "id":
                skipped[key] = "names the samples"
            elif not key.endswith(PRESENT):
                rows.setdefault(key, []).extend(np.asarray(row) for row in array)
                totals[key] = totals.get(key, 0) + total
    candidates = []
    for key, arrays in rows.items():
        try:
            found = _propose(key, arrays)
        except DataError as error:
            skipped[key] = error.faults[0].what
            continue
        where = origin if is_stack else f"{origin}: {listed([key])}"
        spans = f" in {len(chosen)} of {len(files)} files" if len(files) > 1 else ""
        seen = share(len(arrays), totals[key], f"samples{spans}")
        candidates.append(Candidate(key, where, seen, found, totals[key], key))
    loose = [key for key in skipped if key != "id"]
    needs = []
    if loose and not is_stack:
        needs.append(f"take {listed(loose)} out of {origin}: no modality")
    if broken:
        needs.append(f"mend {listed(broken)}, which cannot be read")
    return Findings(
        tuple(candidates),
        (
            *(Skipped(str(file.relative_to(folder)), f"another split than {split!r}") for file in others),
            *(Skipped(name, why) for name, why in broken.items()),
            *(Skipped(f"{origin}: {listed([key])}", why) for key, why in skipped.items()),
        ),
        _source(files, split, is_stack),
        by_hand=tuple(needs),
    )


def _split(group: Group) -> tuple[str, tuple[Path, ...]]:
    """The split to look at, and the files of the others."""
    splits = {file: found["split"] or "" for file in group.files if (found := IDX_NAME.match(file.name))}
    if len(set(splits.values())) < 2:
        return next(iter(splits.values()), ""), ()
    chosen = "train" if "train" in splits.values() else min(splits.values())
    return chosen, tuple(file for file, split in splits.items() if split != chosen)


def _source(files: list[Path], split: str, is_stack: bool) -> str:
    """What reads these arrays, and those beside them."""
    if is_stack:
        folder = files[0].parent
        return str(folder / f"{split}-*") if split else str(folder)
    return str(files[0]) if len(files) == 1 else ""


def _propose(name: str, arrays: list[Array]) -> Proposal:
    """As `propose_mixed`; numbers of classes, one per sample, are a record."""
    if all(array.ndim == 0 and array.dtype.kind in "iu" for array in arrays):
        field, _ = propose_field(name, [int(array) for array in arrays])
        if field["type"] == "category":
            entry: dict[str, object] = {"kind": "set", "max_items": 1, "fields": {"label": field}}
            note = "Numbers of classes. Write the names of the classes as a list in place of their number."
            return Proposal(entry, (note,), example=[{"label": int(arrays[0])}])
    return propose_mixed(arrays)


def _stack(file: Path) -> Iterator[tuple[str, Array | DataError, int]]:
    array = checked(map_array(file), file.name) if IDX_NAME.match(file.name) else open_array(file)
    if array.ndim == 0:
        raise DataError(file.name, "holds a single number")
    total = len(array)
    yield array_name(file), array[np.array(spread(range(total), MOST_FILES), np.int64)], total
