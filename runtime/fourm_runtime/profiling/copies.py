"""Equal values among many, found by their hashes.

Eight bytes are kept of each value; of very many values only those whose hash ends in zeros. Equal values have
equal hashes, so all copies of a value are kept or none is.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.profiling.record import Copies

Hashes = NDArray[np.uint64]

MOST_HASHES = 2**22
ABSENT = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)


def hash_of(value: bytes) -> int:
    """64 bits of a value's bytes; two of a million different values share one once in 37 million times."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "little")


def hashes_of(values: Iterable[bytes | None]) -> Hashes:
    """(N,) the hash of each value; all absent ones have the same."""
    return np.array([ABSENT if value is None else hash_of(value) for value in values], np.uint64)


def mixed(columns: Iterable[Hashes]) -> Hashes:
    """(N,) one hash for all the columns of a row, in their order."""
    total: Hashes | None = None
    for column in columns:
        total = column if total is None else (total * _MIX) ^ (total >> np.uint64(29)) ^ column
    assert total is not None, "a row has columns"
    return total


class CopyCounter:
    """Counts values that are equal to an earlier one.

    Args:
        room: hashes that are kept at a time.
    """

    def __init__(self, room: int = MOST_HASHES) -> None:
        self._room, self._bits, self._values = room, 0, 0
        self._kept: list[Hashes] = []
        self._held = 0

    def add(self, hashes: Hashes) -> None:
        """Take in the hashes of some values."""
        chosen = self._chosen(hashes)
        self._kept.append(chosen)
        self._held += len(chosen)
        while self._held > self._room:
            self._bits += 1
            self._kept = [self._chosen(np.concatenate(self._kept))]
            self._held = len(self._kept[0])

    def _chosen(self, hashes: Hashes) -> Hashes:
        return hashes[(hashes & np.uint64(2**self._bits - 1)) == 0] if self._bits else hashes

    def finished(self) -> Copies:
        """How many copies there were."""
        every = np.concatenate([np.zeros(0, np.uint64), *self._kept])
        return Copies(len(every), len(every) - len(np.unique(every)), 2**self._bits)
