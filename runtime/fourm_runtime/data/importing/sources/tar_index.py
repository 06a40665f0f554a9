"""Where the members of a tar lie: read once, header by header, and then any member is one read.

A member `folder/key.ending` belongs to the sample `folder/key`; a key ends at the first dot of its last part,
as in WebDataset.
"""

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import attrs

from fourm_runtime.data.importing.sources.plain_files import open_plain
from fourm_schema.errors import DataError

Spot = tuple[int, int]
"""First byte and number of bytes."""

_BLOCK = 512


@attrs.frozen(eq=False)
class TarIndex:
    """What one tar holds.

    Attributes:
        path: the tar.
        file: it, open; unpacked if it was compressed.
        samples: key -> ending -> where its bytes lie.
        damage: what is wrong with the tar as a whole; empty if nothing is.
    """

    path: Path
    file: IO[bytes]
    samples: Mapping[str, Mapping[str, Spot]]
    damage: str

    def read(self, key: str, ending: str) -> bytes:
        """The bytes of one member."""
        start, size = self.samples[key][ending]
        return os.pread(self.file.fileno(), size, start)


def index_tar(path: Path) -> TarIndex:
    """Read the headers of a tar.

    A tar that is cut off is indexed as far as its members are whole, and says so in `damage`.

    Raises:
        DataError: if it is not there, is no tar, or has two members of one name.
    """
    file = open_plain(path)
    samples: dict[str, dict[str, Spot]] = {}
    damage, size = "", os.fstat(file.fileno()).st_size
    if not size:
        return TarIndex(path, file, {}, "is empty")
    last = "its beginning"
    try:
        archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  # closing it would close nothing of ours
        for member in archive:
            # The list of members that tarfile keeps would grow with the tar.
            archive.members = []  # type: ignore[attr-defined]  # the stubs name only its getter
            if member.offset_data + member.size > size:
                damage = f"is cut off in {member.name!r}, after {last}"
                break
            if not member.isfile():
                continue
            last = repr(member.name)
            key, ending = split_name(member.name)
            if not key:
                continue
            spots = samples.setdefault(key, {})
            if ending in spots:
                raise DataError(str(path), "has two members of one name", got=member.name)
            spots[ending] = (member.offset_data, member.size)
        else:
            if size - archive.offset < 0 or not _ends(file, archive.offset, size):
                damage = f"is cut off after {last}"
    except tarfile.ReadError as error:
        if not samples:
            raise DataError(str(path), "is no tar", got=str(error)) from None
        damage = f"is cut off or damaged after {last}"
    return TarIndex(path, file, samples, damage)


def split_name(name: str) -> tuple[str, str]:
    """Key and ending of a member; no key where the name begins with a dot.

    >>> split_name("a/b/000.seg.png"), split_name("./a.json"), split_name("a/.DS_Store")
    (('a/b/000', 'seg.png'), ('a', 'json'), ('', ''))
    """
    folder, _, base = name.removeprefix("./").rpartition("/")
    stem, dot, ending = base.partition(".")
    if not stem or not dot:
        return "", ""
    return (f"{folder}/{stem}" if folder else stem), ending.lower()


def _ends(file: IO[bytes], offset: int, size: int) -> bool:
    """Whether the end mark, a block of zeros, stands where the members end."""
    for start in (offset - _BLOCK, offset):
        if 0 <= start < size and not any(os.pread(file.fileno(), _BLOCK, start)):
            return True
    return False
