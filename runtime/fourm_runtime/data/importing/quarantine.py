"""What an import could not store: a line of JSON per fault, and a summary of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import attrs

from fourm_schema.errors import DataError, Fault

_SHOWN = 20


@attrs.frozen
class Reason:
    """Faults of one kind.

    Attributes:
        what: the rule that does not hold.
        faults: how many break it.
        first: where the first was found.
    """

    what: str
    faults: int
    first: str


class TooManyFaultsError(DataError):
    """More samples cannot be stored than an import allows; nothing was stored.

    Args:
        where: the dataset.
        head: what was allowed and what was found.
        faults: the first of them.
    """

    def __init__(self, where: str, head: str, faults: Sequence[Fault]) -> None:
        assert faults, "it needs a fault"
        self._arguments = (where, head, tuple(faults))
        shown = "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
        Exception.__init__(self, f"{where}: {head}; nothing was stored\n{shown}")
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._arguments


class Quarantine:
    """Takes the faults of samples that cannot be stored.

    Args:
        where: the dataset, for messages.
        file: the end of what was written before.
        samples: how many were taken before.
        total: samples of the source.
        share: share of them that may be taken.
        strict: none may be taken.
    """

    def __init__(
        self, where: str, file: IO[bytes], samples: int, total: int, share: float, strict: bool
    ) -> None:
        self._where, self._file, self._total, self._share = where, file, total, share
        self._most = 0 if strict else int(share * total)
        self._strict = strict
        self._first: list[tuple[int, Fault]] = []
        self.samples = samples

    def add(self, row: int, faults: Sequence[Fault]) -> None:
        """Write down why a row of the source cannot be stored.

        Raises:
            TooManyFaultsError: if that is one too many, and there is enough to tell of it.
        """
        for fault in faults:
            about = {
                "row": row,
                "where": fault.where,
                "what": fault.what,
                "got": fault.got,
                "mend": fault.mend,
            }
            self._file.write(json.dumps(about, ensure_ascii=False).encode() + b"\n")
        self._first += [(row, fault) for fault in faults]
        del self._first[_SHOWN:]
        self.samples += 1
        if self.is_full and (self._strict or len(self._first) == _SHOWN):
            self.close()

    @property
    def is_full(self) -> bool:
        """Whether more was taken than may be: nothing will be stored, but other faults are looked for."""
        return self.samples > self._most

    def close(self) -> None:
        """End the reading.

        Raises:
            TooManyFaultsError: if more was taken than may be.
        """
        if self.is_full:
            first = sorted(self._first, key=lambda item: item[0])
            raise TooManyFaultsError(self._where, self._head(), [fault for _, fault in first])

    def flush(self) -> int:
        """Bring all to the disk; how many bytes there are."""
        self._file.flush()
        return self._file.tell()

    def _head(self) -> str:
        if self._strict:
            return "a sample cannot be stored (--strict)"
        return (
            f"{self.samples:,} of {self._total:,} samples cannot be stored, more than the share of "
            f"{100 * self._share:g} % that may be left out (--max-bad)"
        )


def summary(file: Path, most: int = 12) -> tuple[Reason, ...]:
    """Count the faults of a quarantine file by the rule that they break, the most frequent first."""
    counts, firsts = dict[str, int](), dict[str, str]()
    if file.is_file():
        with file.open("rb") as lines:
            for line in lines:
                about = json.loads(line)
                counts[about["what"]] = counts.get(about["what"], 0) + 1
                firsts.setdefault(about["what"], about["where"])
    ranked = sorted(counts, key=lambda what: -counts[what])
    return tuple(Reason(what, counts[what], firsts[what]) for what in ranked[:most])
