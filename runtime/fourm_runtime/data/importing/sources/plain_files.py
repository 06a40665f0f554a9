"""Files that may be compressed, as files in which one can go to any place."""

import gzip
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import IO

from fourm_schema.errors import DataError

COMPRESSED = ".gz"


def bare_suffix(path: Path) -> str:
    """The ending of a file, that of the compression taken off.

    >>> bare_suffix(Path("a.jsonl.gz"))
    '.jsonl'
    """
    return Path(path.stem).suffix if path.suffix == COMPRESSED else path.suffix


def open_plain(path: Path) -> IO[bytes]:
    """Open a file for reading; a compressed one is unpacked to a temporary file without a name first.

    Raises:
        DataError: if it is not there or cannot be unpacked.
    """
    if not path.is_file():
        raise DataError(str(path), "there is no such file")
    if path.suffix != COMPRESSED:
        return path.open("rb")
    # It closes with its last reader, and ends with the process however that ends.
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # handed on; see above
    try:
        with gzip.open(path, "rb") as packed:
            shutil.copyfileobj(packed, unpacked, 2**20)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        unpacked.close()
        raise DataError(str(path), "cannot be unpacked", got=str(error), mend="restore the file") from None
    except OSError as error:
        unpacked.close()
        raise DataError(
            str(path),
            "cannot be unpacked",
            got=str(error),
            mend="it needs room in the folder for temporary files (set TMPDIR)",
        ) from None
    unpacked.flush()
    unpacked.seek(0)
    return unpacked
