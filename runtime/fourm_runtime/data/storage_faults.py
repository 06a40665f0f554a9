"""What Lance raises, said as errors of this package: which dataset, what stands, what to do."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from fourm_schema.errors import DataError

LANCE_FAULTS = (OSError, ValueError, RuntimeError, pa.ArrowException)
_MENDS = {
    errno.ENOSPC: "make room on the disk, and run it again",
    errno.EDQUOT: "make room in your quota, and run it again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), and run it again",
}
_SOURCE = re.compile(r", /\S+\.rs:\d+:\d+$")
"""Where in its own sources Lance was."""
_CONFLICTS = ("conflict", "preempted", "concurrent")


class StorageError(DataError):
    """Files cannot be read or written. Nothing is wrong with the values: trying again may do."""


class RewrittenError(DataError):
    """A fragment was merged with others while values for it were made."""


@contextmanager
def reading(where: object) -> Iterator[None]:
    """Say of files that are missing or damaged which dataset they are of.

    Raises:
        StorageError: for what Lance raises; it also panics over some damaged files.
    """
    try:
        yield
    except BaseException as error:
        # pyo3 makes the class of a panic anew in each library; it can be known by its name alone.
        if not isinstance(error, LANCE_FAULTS) and type(error).__name__ != "PanicException":
            raise
        raise StorageError(
            str(where),
            "cannot be read",
            got=first_line(error),
            mend="a file is missing or damaged, or was cleaned up: an older version may be whole",
        ) from error


@contextmanager
def committing(what: str) -> Iterator[None]:
    """Say of a commit that failed what it was to change, and that the last version stands.

    Raises:
        StorageError: for what Lance raises.
    """
    try:
        yield
    except LANCE_FAULTS as error:
        if not is_conflict(error):
            raise unwritable(what, error) from error
        raise StorageError(
            what,
            "cannot be committed",
            got=first_line(error),
            mend="others write to this dataset: try again when they have ended; what is committed stays",
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether a write failed for want of room, or by a limit on the size of files."""
    return any(f"os error {code})" in str(error) for code in _MENDS)


def unwritable(where: str, error: BaseException) -> StorageError:
    """What is raised where files cannot be written; the dataset stands at its last version."""
    text = str(error)
    found = next((mend for code, mend in _MENDS.items() if f"os error {code})" in text), "")
    number = error.errno if isinstance(error, OSError) and error.errno is not None else 0
    mend = found or _MENDS.get(number, "run it again when that is mended")
    return StorageError(
        where, "cannot be written; the dataset stays at its last version", got=first_line(error), mend=mend
    )


def is_conflict(error: BaseException | None) -> bool:
    """Whether another writer came before a commit, which can then be tried on its version."""
    return isinstance(error, OSError) and any(word in str(error).lower() for word in _CONFLICTS)


def first_line(error: BaseException) -> str:
    """What a message shows of an error of Lance's: its first line, without the place in Lance's sources.

    >>> first_line(OSError("no room (os error 28), /rustc/48a2/library/core/src/ops/function.rs:250:5"))
    'no room (os error 28)'
    """
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _SOURCE.sub("", text)[:200]
