"""Arrays whose first axis counts the samples -> modalities: archives, and array files by themselves."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fourm_runtime.data.sources.arrays import PRESENT
from fourm_runtime.scan.arrays import Array, archive_rows, open_array
from fourm_runtime.scan.files import Group
from fourm_runtime.scan.names import listed
from fourm_runtime.scan.proposal import MOST_FILES, Candidate, Findings, Skipped, share, spread
from fourm_runtime.scan.sample_files import propose_mixed
from fourm_schema.errors import DataError

MOST_ARCHIVES = 8


def look_at_arrays(group: Group, folder: Path) -> Findings:
    """Look at some rows of each array; what cannot be read is said in the findings."""
    is_stack = group.kind == "stack"
    chosen = spread(group.files, MOST_ARCHIVES)
    origin = listed((str(file.relative_to(folder)) for file in group.files), most=2)
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
            found = propose_mixed(arrays)
        except DataError as error:
            skipped[key] = error.faults[0].what
            continue
        where = origin if is_stack else f"{origin}: {listed([key])}"
        spans = f" in {len(chosen)} of {len(group.files)} files" if len(group.files) > 1 else ""
        seen = share(len(arrays), totals[key], f"samples{spans}")
        candidates.append(Candidate(key, where, seen, found, key))
    loose = [key for key in skipped if key != "id"]
    needs = [f"put {origin} and the other arrays into one .npz"] if is_stack else []
    if loose and not is_stack:
        needs.append(f"take {listed(loose)} out of {origin}: no modality")
    if broken:
        needs.append(f"mend {listed(broken)}, which cannot be read")
    return Findings(
        tuple(candidates),
        (
            *(Skipped(name, why) for name, why in broken.items()),
            *(Skipped(f"{origin}: {listed([key])}", why) for key, why in skipped.items()),
        ),
        group.files[0] if not is_stack and len(group.files) == 1 else None,
        tuple(needs),
    )


def _stack(file: Path) -> Iterator[tuple[str, Array | DataError, int]]:
    array = open_array(file)
    if array.ndim == 0:
        raise DataError(file.name, "holds a single number")
    total = len(array)
    yield file.stem, array[np.array(spread(range(total), MOST_FILES), np.int64)], total
