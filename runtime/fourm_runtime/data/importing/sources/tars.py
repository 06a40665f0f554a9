"""Tars of samples, in two layouts.

    4M           rgb/shard-0000.tar   0001.jpg 0002.jpg ...        a tar per modality; keys line up
                 depth/shard-0000.tar 0001.npy 0002.npy ...
    WebDataset   shard-0000.tar       0001.jpg 0001.txt 0002.jpg ...   all parts of a sample side by side

Headers are read first: the keys must line up before anything is imported. Then a tar is read in runs, so that
only the indexes of a few tars are held.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.data.importing.sources.decoding import decode_value
from fourm_runtime.data.importing.sources.patterns import expand_brackets, files_of
from fourm_runtime.data.importing.sources.picture_files import PICTURES
from fourm_runtime.data.importing.sources.source import (
    Reading,
    Source,
    absences,
    find_names,
    mismatch,
    unknown_modality,
)
from fourm_runtime.data.importing.sources.tar_index import TarIndex, index_tar
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError
from fourm_schema.modality import Image, Modality, Text
from fourm_schema.schema import Schema

ENDINGS = (".tar", ".tar.gz")
_MOST_OPEN = 512
"""Tars whose indexes are held at once."""

Find = Callable[[str, str, Mapping[str, TarIndex]], tuple[TarIndex, str] | None]
"""(modality, key, tars of a shard) -> the tar that holds its value, and the ending of the member."""


@attrs.frozen
class Shard:
    """Tars whose keys line up.

    Attributes:
        tars: what to call each -> its file.
    """

    tars: Mapping[str, Path]


class Tars(Source):
    """Samples in tars, in either layout.

    Args:
        place: what to call them.
        shards: which tars hold the parts of the same samples.
        modalities: which to read.
        find: where a sample's value of a modality lies.
        reading: how to read, and whether samples may lack parts.
        required: (tars of a shard, key) -> parts that the sample lacks.
    """

    def __init__(
        self,
        place: str,
        shards: Sequence[Shard],
        modalities: Iterable[str],
        find: Find,
        reading: Reading,
        required: Callable[[Mapping[str, TarIndex], str], Iterable[str]],
    ) -> None:
        super().__init__(place, [file for shard in shards for file in shard.tars.values()])
        self._shards, self._find = shards, find
        self._entries = {name: reading.schema.modalities[name] for name in modalities}
        self._open: OrderedDict[int, tuple[Mapping[str, TarIndex], Sequence[str]]] = OrderedDict()
        self._check(required, reading.missing)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._counts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def chunks(self) -> NDArray[np.int64]:
        return self._counts

    def row(self, index: int) -> LocatedRow:
        shard = int(np.searchsorted(self._starts, index, "right")) - 1
        tars, keys = self._indexed(shard)
        key = keys[index - int(self._starts[shard])]
        paths = ", ".join(str(tar.path) for tar in tars.values()) if len(tars) == 1 else self.place
        row = LocatedRow({"id": key}, place=f"{paths} sample {key!r}")
        for name, entry in self._entries.items():
            found = self._find(name, key, tars)
            if found is not None:
                tar, ending = found
                where = f"{tar.path} sample {key!r}, {name}"
                row[name] = decode_value(tar.read(key, ending), f"{key}.{ending}", entry, where)
        return row

    def _indexed(self, shard: int) -> tuple[Mapping[str, TarIndex], Sequence[str]]:
        held = self._open.get(shard)
        if held is None:
            tars = {name: index_tar(file) for name, file in self._shards[shard].tars.items()}
            keys = sorted({key for tar in tars.values() for key in tar.samples})
            held = self._open[shard] = tars, keys
            while sum(len(tars) for tars, _ in self._open.values()) > _MOST_OPEN and len(self._open) > 1:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return held

    def _check(self, required: Callable[[Mapping[str, TarIndex], str], Iterable[str]], missing: str) -> None:
        """Count the samples of each shard, and refuse tars whose keys do not line up."""
        counts, lacking, damaged = list[int](), dict[str, list[str]](), list[str]()
        for shard in range(len(self._shards)):
            tars, keys = self._indexed(shard)
            counts.append(len(keys))
            damaged += [f"{tar.path} {tar.damage}" for tar in tars.values() if tar.damage]
            for key in keys:
                for part in required(tars, key):
                    lacking.setdefault(part, []).append(key)
        self._counts = np.array(counts, np.int64)
        if damaged:
            more = f"; and {len(damaged) - 5:,} more" if len(damaged) > 5 else ""
            if missing == "error":
                raise DataError(
                    self.place,
                    f"{len(damaged):,} of {len(self._files):,} tars are damaged",
                    got="; ".join(damaged[:5]) + more,
                    mend="restore them, or import what is whole (--missing null)",
                )
            self.notes.append(f"damaged tars, read as far as they are whole: {'; '.join(damaged[:5])}{more}")
        if lacking and missing == "error":
            raise mismatch(self.place, lacking, int(self._counts.sum()))
        for part, keys in list(lacking.items())[:8]:
            self.notes.append(f"{part} lacks {len(keys):,} of the samples, which are absent there")


def open_modality_tars(pattern: str, reading: Reading) -> Source:
    """Open 4M's tars: a folder (or the word in brackets) per modality.

    Args:
        pattern: `DATA/[rgb,depth]/shard-{0000..0009}.tar`, or the folder that holds the modalities' folders.
        reading: how to read.

    Raises:
        DataError: if tars are missing, damaged, or their keys do not line up.
    """
    given = expand_brackets(pattern)
    if given is None:
        folders = {sub.name: str(sub) for sub in sorted(Path(pattern).iterdir()) if sub.is_dir()}
        given = {
            name: place
            for name, place in folders.items()
            if any(file.name.endswith(ENDINGS) for file in Path(place).iterdir())
        }
    given |= {name: str(place) for name, place in reading.places.items()}
    unknown_modality(reading, reading.places)
    names = find_names(reading, list(given), pattern, "folders")
    files = {modality: files_of(given[name], ENDINGS) for modality, name in names.items()}
    counts = {modality: len(tars) for modality, tars in files.items()}
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{modality} {count}" for modality, count in counts.items())
        raise DataError(pattern, "each modality has as many tars", got=got, mend="complete them")
    shards = [
        Shard({modality: files[modality][number] for modality in files})
        for number in range(next(iter(counts.values())))
    ]
    _same_names(pattern, shards)

    def find(modality: str, key: str, tars: Mapping[str, TarIndex]) -> tuple[TarIndex, str] | None:
        spots = tars[modality].samples.get(key)
        if spots is None:
            return None
        if len(spots) > 1:
            where = f"{tars[modality].path} sample {key!r}"
            raise DataError(where, "has several members", got=", ".join(sorted(spots)))
        return tars[modality], next(iter(spots))

    def required(tars: Mapping[str, TarIndex], key: str) -> Iterable[str]:
        return (str(tar.path) for tar in tars.values() if key not in tar.samples)

    source = Tars(pattern, shards, names, find, reading, required)
    source.notes += absences(reading, names, given.keys() - set(names.values()), "folders")
    return source


def open_webdataset(pattern: str, reading: Reading) -> Source:
    """Open plain WebDataset tars: the endings of a sample's members say which modality they hold.

    An ending belongs to the modality that names it (`source: {field: seg.png}`), or is its first part
    (`depth.npy`); else pictures belong to the only image of three channels, `txt` to the only text.

    Raises:
        DataError: if tars are missing or damaged, or samples lack parts that others have.
    """
    files = files_of(pattern, ENDINGS)
    shards = [Shard({str(file): file}) for file in files]
    seen = _endings(files)
    by_ending = ending_names(reading.schema, reading.wanted, seen)
    if not by_ending:
        find_names(reading, sorted(seen), pattern, "endings")

    def ending(modality: str, key: str, tars: Mapping[str, TarIndex]) -> tuple[TarIndex, str] | None:
        (tar,) = tars.values()
        spots = tar.samples.get(key, {})
        there = [end for end in spots if by_ending.get(end) == modality]
        if len(there) > 1:
            raise DataError(
                f"{tar.path} sample {key!r}, {modality}", "has several members", got=", ".join(there)
            )
        return (tar, there[0]) if there else None

    wanted = sorted(set(by_ending.values()))
    parts = {name: "/".join(sorted(end for end in by_ending if by_ending[end] == name)) for name in wanted}

    def required(tars: Mapping[str, TarIndex], key: str) -> Iterable[str]:
        (tar,) = tars.values()
        there = {by_ending.get(end) for end in tar.samples[key]}
        return (f"{tar.path}, {name} ({parts[name]})," for name in wanted if name not in there)

    source = Tars(pattern, shards, wanted, ending, reading, required)
    source.notes += absences(reading, wanted, seen - by_ending.keys(), "endings")
    return source


def ending_names(schema: Schema, wanted: Iterable[str], endings: Iterable[str]) -> dict[str, str]:
    """Ending of a member -> the modality that it holds."""
    entries = {name: schema.modalities[name] for name in schema.modalities if name in set(wanted)}
    found: dict[str, str] = {}
    for end in sorted(endings):
        first = end.partition(".")[0]
        for name, entry in entries.items():
            field = entry.source.field if entry.source else None
            if end == field or (first in (name, field, *entry.aliases) and end != first):
                found[end] = name
    pictures = _only(entries, found, lambda entry: isinstance(entry, Image) and entry.channels == 3)
    texts = _only(entries, found, lambda entry: isinstance(entry, Text))
    for end in sorted(endings):
        if end not in found and pictures is not None and f".{end}" in PICTURES:
            found[end] = pictures
        elif end not in found and texts is not None and end == "txt":
            found[end] = texts
    return found


def _only(
    entries: Mapping[str, Modality], found: Mapping[str, str], fits: Callable[[Modality], bool]
) -> str | None:
    names = [name for name, entry in entries.items() if fits(entry) and entry.derive is None]
    return names[0] if len(names) == 1 and names[0] not in found.values() else None


def _endings(files: Sequence[Path]) -> set[str]:
    """Endings in the first tar that holds something."""
    for file in files:
        found = {end for spots in index_tar(file).samples.values() for end in spots}
        if found:
            return found
    return set()


def _same_names(place: str, shards: Sequence[Shard]) -> None:
    """Tars that belong together have one name, in other folders."""
    for shard in shards:
        names = {file.name for file in shard.tars.values()}
        if len(names) > 1 and len({file.parent for file in shard.tars.values()}) > 1:
            got = ", ".join(str(file) for file in shard.tars.values())
            raise DataError(place, "tars that hold the same samples have the same name", got=got)
