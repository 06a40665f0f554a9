"""Groups of files with one sample each -> a modality: pictures, arrays, texts, JSON values."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from fourm_runtime.scan.arrays import Array, first_line, open_array
from fourm_runtime.scan.columns import propose_values
from fourm_runtime.scan.files import Group
from fourm_runtime.scan.images import propose_image
from fourm_runtime.scan.names import listed
from fourm_runtime.scan.pictures import Cells
from fourm_runtime.scan.proposal import MOST_FILES, Candidate, Findings, Proposal, Skipped, share, spread
from fourm_runtime.scan.tables import read_json
from fourm_runtime.scan.texts import propose_text, word_count
from fourm_runtime.scan.vectors import propose_arrays
from fourm_schema.errors import DataError

Broken = dict[Path, str]
ValueT = TypeVar("ValueT")

_LONGEST_TEXT = 2**20
_LONGEST_LINE = 60
_MOST_LINES = 16


def look_at_files(group: Group, folder: Path) -> Findings:
    """Look at some files of a group.

    Args:
        group: files of one kind, one per sample.
        folder: that `init` was given; what is said of the files is relative to it.

    Raises:
        DataError: if none can be read, or no kind of modality holds what they hold.
    """
    chosen = spread(group.files, MOST_FILES)
    proposal, broken = _READERS[group.kind](chosen)
    skipped = tuple(Skipped(str(file.relative_to(folder)), what) for file, what in list(broken.items())[:5])
    if len(broken) > len(skipped):
        more = len(broken) - len(skipped)
        skipped += (Skipped(f"{more:,} more files of {group.place or group.name}", "cannot be read either"),)
    if proposal is None:
        raise DataError(group.name, f"none of {len(chosen)} can be read; the first {skipped[0].why}")
    seen = share(len(chosen) - len(broken), len(group.files), "files")
    by_hand = (f"mend or remove {len(broken)} of {len(chosen)} files",) if broken else ()
    proposal = attrs.evolve(proposal, by_hand=(*by_hand, *proposal.by_hand))
    origin = f"{group.place}/" if group.place else listed((f.name for f in group.files), most=2)
    total = len(group.files)
    found = Candidate(group.name, origin, seen, proposal, total, files=group.files, samples=group.keys)
    return Findings((found,), skipped)


def propose_pictures(files: Sequence[Path]) -> tuple[Proposal | None, Broken]:
    """Choose the entry for picture files, or nothing if none can be read; and say which cannot."""
    cells = Cells()
    _, broken = _read(files, cells.add_file)
    return (propose_image(cells) if len(broken) < len(files) else None), broken


def _propose_array_files(files: Sequence[Path]) -> tuple[Proposal | None, Broken]:
    arrays, broken = _read(files, open_array)
    return propose_mixed(arrays) if arrays else None, broken


def propose_mixed(arrays: Sequence[Array]) -> Proposal:
    """Choose the entry for arrays of numbers or of strings, one per sample.

    Raises:
        DataError: if no kind of modality holds them.
    """
    if not arrays:
        raise DataError("arrays", "hold no sample")
    if all(array.dtype.kind == "U" for array in arrays):
        texts = [[str(text) for text in array.reshape(-1) if text] for array in arrays if array.ndim < 2]
        if not any(texts):
            raise DataError("arrays", "hold no text, or tables of texts")
        return propose_text([views for views in texts if views])
    if any(array.dtype.kind == "U" for array in arrays):
        raise DataError("arrays", "hold numbers in some samples and texts in others")
    return propose_arrays(arrays)


def _propose_text_files(files: Sequence[Path]) -> tuple[Proposal | None, Broken]:
    texts, broken = _read(files, read_text)
    if not texts:
        return None, broken
    if all(_is_number(word) for text in texts for word in text.split()):
        what = "hold numbers, no words; save them as .npy, or boxes as objects in a .jsonl"
        raise DataError("texts", what)
    lines = [[line.strip() for line in text.splitlines() if line.strip()] for text in texts]
    is_list = max(map(len, lines)) <= _MOST_LINES and all(
        word_count(line) <= _LONGEST_LINE for views in lines for line in views
    )
    found = propose_text(lines if is_list else [[text] for text in texts])
    is_lines = is_list and max(map(len, lines)) > 1
    how = "a text per line" if is_lines else "one text each"
    return attrs.evolve(found, notes=(*found.notes, f"Files are read as {how}."), is_lines=is_lines), broken


def _propose_json_files(files: Sequence[Path]) -> tuple[Proposal | None, Broken]:
    values, broken = _read(files, read_json)
    return propose_values(files[0].parent.name, values) if values else None, broken


_READERS: dict[str, Callable[[Sequence[Path]], tuple[Proposal | None, Broken]]] = {
    "picture": propose_pictures,
    "array": _propose_array_files,
    "text": _propose_text_files,
    "json": _propose_json_files,
}


def _read(files: Sequence[Path], read: Callable[[Path], ValueT]) -> tuple[list[ValueT], Broken]:
    """What could be read, and why the rest could not."""
    values, broken = [], Broken()
    for file in files:
        try:
            values.append(read(file))
        except DataError as error:
            broken[file] = error.faults[0].what
    return values, broken


def read_text(file: Path) -> str:
    """Read the text of one sample.

    Raises:
        DataError: if it is empty, too long to be one sample's, or no UTF-8.
    """
    try:
        if file.stat().st_size > _LONGEST_TEXT:
            raise ValueError(f"is larger than {_LONGEST_TEXT // 2**20} MiB")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(file.name, f"is no text that can be read: {first_line(error)}") from None
    if not text.strip():
        raise DataError(file.name, "is empty")
    return text


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
