"""Which format a path holds, and its source."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from fourm_runtime.data.importing.sources.arrays import is_array_file, open_archive, open_array_files
from fourm_runtime.data.importing.sources.coco import is_coco, open_coco
from fourm_runtime.data.importing.sources.folders import open_folders
from fourm_runtime.data.importing.sources.json_lines import JsonLines
from fourm_runtime.data.importing.sources.patterns import expand_brackets, files_of, is_pattern
from fourm_runtime.data.importing.sources.plain_files import bare_suffix
from fourm_runtime.data.importing.sources.source import Reading, Source
from fourm_runtime.data.importing.sources.stacked import Stacked
from fourm_runtime.data.importing.sources.tables import open_parquet, open_saved_dataset
from fourm_runtime.data.importing.sources.tars import ENDINGS, open_modality_tars, open_webdataset
from fourm_runtime.data.importing.sources.text_corpus import open_text
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError, nearest
from fourm_schema.schema import Schema

_LINES = (".jsonl", ".ndjson")
_TEXTS = (".txt", ".txt.gz", ".md")


def _json_lines(path: str, reading: Reading) -> Source:
    return JsonLines(Path(path), reading)


def _array_files(path: str, reading: Reading) -> Source:
    if Path(path).is_dir():
        return open_array_files(path, sorted(filter(is_array_file, Path(path).iterdir())), reading)
    return open_array_files(path, files_of(path, ""), reading)


FORMATS: Mapping[str, Callable[[str, Reading], Source]] = {
    "jsonl": _json_lines,
    "npz": lambda path, reading: open_archive(Path(path), reading),
    "arrays": _array_files,
    "folders": lambda path, reading: open_folders(Path(path), reading),
    "tars": open_modality_tars,
    "webdataset": open_webdataset,
    "parquet": lambda path, reading: open_parquet(path, files_of(path, ".parquet"), reading),
    "datasets": lambda path, reading: open_saved_dataset(Path(path), reading),
    "coco": lambda path, reading: open_coco(Path(path), reading),
    "text": lambda path, reading: open_text(path, files_of(path, _TEXTS), reading),
}
"""Name of a format -> what opens it."""


def open_source(path: Path | str, reading: Reading, format: str | None = None) -> Source:
    """Open samples of any format.

    Args:
        path: a file, a folder, or a pattern such as `[rgb,depth]/shard-{0000..0009}.tar`.
        reading: how to read them.
        format: one of `FORMATS`; None recognises it.

    Returns:
        the source: its length is known, no value was read yet.

    Raises:
        DataError: if there is no such path, its format is not recognised, or it is damaged as a whole.
    """
    text = str(path)
    name = format or recognise(text)
    if name not in FORMATS:
        raise DataError(name, "is no format of samples", mend=nearest(name, list(FORMATS)))
    if not is_pattern(text) and not Path(text).exists():
        raise DataError(text, "there is no such file" if Path(text).suffix else "there is no such folder")
    source = FORMATS[name](text, reading)
    if reading.views is not None:
        source = Stacked(source, reading.views, reading)
    source.kind = name
    return source


def recognise(path: str) -> str:
    """The format of a path, by its name and by what a folder holds.

    Raises:
        DataError: if it is none that is known.
    """
    place = Path(path)
    if place.is_dir():
        return _of_folder(place)
    by_ending = _of_name(path)
    if by_ending is not None:
        return by_ending
    if place.suffix == ".json" and (not place.is_file() or is_coco(place)):
        return "coco"
    got = f"{place.suffix or 'a name without an ending'}"
    known = ".jsonl, .npz, .npy, .parquet, .tar, .txt, IDX, COCO's .json, and folders of these"
    raise DataError(path, "is no file of samples", got=got, mend=f"known: {known}")


def _of_name(path: str) -> str | None:
    name = Path(path).name
    if bare_suffix(Path(name)) in _LINES:
        return "jsonl"
    if name.endswith(".npz"):
        return "npz"
    if name.endswith(".parquet"):
        return "parquet"
    if name.endswith(ENDINGS):
        return "tars" if is_pattern(path) and expand_brackets(path) is not None else "webdataset"
    if name.endswith(_TEXTS):
        return "text"
    files = files_of(path, "") if is_pattern(path) else [Path(path)]
    if all(map(is_array_file, files)):
        return "arrays"
    return (
        next((found for file in files if (found := _of_name(str(file))) is not None), None)
        if (is_pattern(path))
        else None
    )


def _of_folder(folder: Path) -> str:
    inside = sorted(folder.iterdir())
    names = {entry.name for entry in inside}
    if "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= names:
        return "datasets"
    if any(name.endswith(".parquet") for name in names):
        return "parquet"
    if any(name.endswith(ENDINGS) for name in names):
        return "webdataset"
    if any(is_array_file(entry) for entry in inside if entry.is_file()):
        return "arrays"
    folders = [entry for entry in inside if entry.is_dir()]
    if any(file.name.endswith(ENDINGS) for sub in folders for file in sub.iterdir()):
        return "tars"
    if folders:
        return "folders"
    if any(name.endswith(_TEXTS) for name in names):
        return "text"
    listed = ", ".join(sorted(names)[:5]) or "nothing"
    raise DataError(
        str(folder),
        "is no folder of samples that is recognised",
        got=listed,
        mend=f"say what it is: --format {'|'.join(FORMATS)}",
    )


def read_rows(
    path: Path | str, schema: Schema, needed: Collection[str] | None = None
) -> Iterator[LocatedRow]:
    """Read samples of any format that can be imported, one row at a time; see `open_rows`.

    Returns:
        rows that know the file and line they came from.
    """
    return open_rows(path, schema, needed).rows()


def open_rows(path: Path | str, schema: Schema, needed: Collection[str] | None = None) -> Source:
    """Open samples of any format for what needs no order and no journal: appending and filling.

    Args:
        path: a file, a folder or a pattern.
        schema: what the samples may hold; values are checked against it where they are stored.
        needed: modalities that the caller wants; values of others are not opened, and whether there are
            arrays of other names is left to the caller. None takes all of the schema.

    Raises:
        DataError: if the path cannot be read; a row or a file that it names, when it is its turn.
    """
    wanted = frozenset(schema.modalities if needed is None else needed)
    return open_source(path, Reading(schema, wanted, any_name=needed is not None))
