"""What files a folder holds, and which of them could be one modality.

    rgb/0001.png, depth/0001.npy   a sub-folder is a modality, a file one sample of it
    0001/rgb.png, 0001/depth.npy   a sub-folder is a sample, a file one modality of it
    0001.jpg, annotations.csv      files of one kind beside a table of their annotations
    rgb.npy, samples.npz           arrays whose first axis counts the samples
    train-images-idx3-ubyte.gz     the same as IDX has them

Folders of splits (`train/rgb`) are looked through, and what lies deeper (`rgb/shard_1`) counts to the folder
above.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Literal

import attrs

from fourm_runtime.data.importing.sources.arrays import IDX_NAME, array_name
from fourm_runtime.data.importing.sources.picture_files import PICTURES
from fourm_runtime.scan.names import listed
from fourm_runtime.scan.proposal import Skipped

Kind = Literal["picture", "array", "stack", "archive", "text", "json", "table"]

KINDS: dict[str, Kind] = {
    **dict.fromkeys(PICTURES, "picture"),
    ".npy": "array",
    ".npz": "archive",
    ".txt": "text",
    ".json": "json",
    **dict.fromkeys((".csv", ".tsv", ".jsonl"), "table"),
}
READ_HERE = "pictures, .npy, .npz, IDX, .csv, .tsv, .jsonl, .json and .txt are"

MOST_PLACES = 24
"""Sub-folders that are still modalities; more are samples, shards or classes."""

MOST_TABLES = 8
"""Tables of a sub-folder that are still tables of samples; of more, each is a sample."""

_NAMES: dict[Kind, str] = {
    "picture": "image",
    "array": "array",
    "stack": "array",
    "archive": "samples",
    "text": "text",
    "json": "record",
    "table": "record",
}
_SPLIT = re.compile(r"(train(ing)?|val(id|idation)?|test(ing)?|dev|part|shard|of)?\d*")


@attrs.frozen
class Group:
    """Files that could be one modality, or one table of several.

    Attributes:
        kind: how they are read.
        place: the sub-folder that they count to; "" for the folder itself.
        name: what they could be called.
        files: in the order of their names.
        keys: of each file, the sample that it is of.
    """

    kind: Kind
    place: str
    name: str
    files: tuple[Path, ...]
    keys: tuple[str, ...] = ()


@attrs.frozen
class Listing:
    """The files of a folder.

    Attributes:
        groups: in the order of their places and kinds.
        skipped: what is not read here.
        remark: how sub-folders were read, where they are no modalities; else empty.
    """

    groups: tuple[Group, ...]
    skipped: tuple[Skipped, ...]
    remark: str


def list_files(folder: Path) -> Listing:
    """Group the files of a folder, those of its sub-folders included."""
    files, skipped = _walk(folder)
    places, remark = _places(folder, files)
    found: dict[tuple[str, Kind, str, str], list[Path]] = {}
    unknown: dict[str, list[str]] = {}
    for file in files:
        ending, place = file.suffix.lower(), places[file]
        is_idx = IDX_NAME.match(file.name) is not None
        kind = "stack" if is_idx else KINDS.get(ending)
        if kind is None:
            unknown.setdefault(ending, []).append(str(file.relative_to(folder)))
            continue
        if not place and kind == "array" and not re.search(r"\d", file.stem):
            kind = "stack"
        if not place and kind == "json":
            kind = "table"
        own = _shared_stem(file) if kind in ("table", "archive") else ""
        if kind == "stack":
            own = array_name(file)
        found.setdefault((place, kind, ending if own else "", own), []).append(file)
    groups = []
    tables = Counter(places[file] for file in files if KINDS.get(file.suffix.lower()) == "table")
    for (place, kind, _, own), held in sorted(found.items()):
        if place and kind == "table" and tables[place] > MOST_TABLES:
            what = f"{place}/: {listed((file.name for file in held), most=3)}"
            skipped.append(Skipped(what, "a table per sample is not read; save its numbers as .npy"))
        else:
            keys = tuple(_key(file.relative_to(folder), place) for file in held)
            groups.append(Group(kind, place, own or place or _NAMES[kind], tuple(held), keys))
    skipped += [Skipped(listed(names, most=3), f"not read: only {READ_HERE}") for names in unknown.values()]
    return Listing(tuple(groups), tuple(skipped), remark)


def _walk(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """Every file below a folder, links followed but nothing entered twice."""
    files: list[Path] = []
    left: dict[str, list[str]] = {}
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(place, name))
            why = (
                "hidden"
                if name.startswith(".")
                else "a dataset that was imported already"
                if name.endswith(".lance")
                else "a link to a folder that is read where it stands"
                if real in entered
                else ""
            )
            if why:
                left.setdefault(why, []).append(f"{Path(place, name).relative_to(folder)}/")
            else:
                kept.append(name)
                entered.add(real)
        folders[:] = kept
        for name in names:
            file = Path(place, name)
            if name.startswith("."):
                left.setdefault("hidden", []).append(str(file.relative_to(folder)))
            else:
                files.append(file)
    return sorted(files), [Skipped(listed(sorted(names), most=3), why) for why, names in left.items()]


def _places(folder: Path, files: list[Path]) -> tuple[dict[Path, str], str]:
    """The place that each file counts to, and how sub-folders were read where they are no modalities."""
    ways = {file: file.relative_to(folder).parts[:-1] for file in files}
    places = {
        file: next((part for part in way if not _SPLIT.fullmatch(part.lower())), "")
        for file, way in ways.items()
    }
    stems, parents = {file.stem for file in files}, set(ways.values())
    is_crowded = len(set(places.values())) > MOST_PLACES
    is_numbered = bool(files) and all(way and way[-1].isdecimal() for way in ways.values())
    if (is_crowded or is_numbered) and len(stems) <= MOST_PLACES and len(stems) < len(parents):
        return {file: file.stem for file in files}, "Each sub-folder is read as one sample."
    if is_crowded:
        remark = "There are many sub-folders: they are read as shards or classes, not as modalities."
        return dict.fromkeys(files, ""), remark
    return places, ""


def _key(inside: Path, place: str) -> str:
    """The sample that a file is of: its path without its ending, and without what says the modality.

    >>> _key(Path("train/rgb/01.png"), "rgb"), _key(Path("01/rgb.png"), "rgb"), _key(Path("a.png"), "")
    ('train/01', '01', 'a')
    """
    parts = list(inside.with_suffix("").parts)
    if place in parts[:-1]:
        parts.remove(place)
    elif parts[-1] == place and len(parts) > 1:
        del parts[-1]
    return "/".join(parts)


def _shared_stem(file: Path) -> str:
    """What the names of `train_boxes.csv` and `val-boxes-0001.csv` share."""
    words = re.split(r"[^a-z0-9]+", file.stem.lower())
    return "_".join(word for word in words if not _SPLIT.fullmatch(word))
