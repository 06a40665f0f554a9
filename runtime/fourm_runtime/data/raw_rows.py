"""Raw values of any length: texts that are given as token ids, and sequences of vectors."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fourm_schema.errors import DataError
from fourm_schema.modality import Text


def check_id_rows(modality: Text, value: object, where: str) -> list[list[int]]:
    """Check a text that is given as its token ids, without the end id; several rows are alternatives.

    Raises:
        DataError: if it is no row of whole numbers, or none of rows, or there are too many alternatives.
    """
    if _is_rows(value):
        assert isinstance(value, list | tuple | np.ndarray)
        rows = [_row(row, f"{where} [{number}]") for number, row in enumerate(value)]
    else:
        rows = [_row(value, where)]
    if not 1 <= len(rows) <= modality.views:
        raise DataError(
            where,
            f"a text has 1 to {modality.views} rows of token ids",
            got=f"{len(rows)} rows",
            mend=f"set `views: {len(rows)}` in the schema",
        )
    return rows


def check_vectors(
    value: object, longest: int, check: Callable[[object, str], NDArray[np.generic]], where: str
) -> NDArray[np.generic]:
    """Check a sequence of vectors.

    Args:
        value: what the user gave.
        longest: most vectors that it may have.
        check: of one vector and its place: what is stored of it.
        where: the place, for messages.

    Raises:
        DataError: if it is none, is empty or too long, or a vector is not as the schema says.
    """
    if not isinstance(value, list | tuple | np.ndarray) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    ):
        got = type(value).__name__
        raise DataError(where, f"a value is a sequence of 1 to {longest} vectors", got=got)
    if not 1 <= len(value) <= longest:
        mend = "cut it, or raise max_length in the schema" if len(value) else "give None where there is none"
        raise DataError(
            where, f"a value is a sequence of 1 to {longest} vectors", got=f"{len(value)} of them", mend=mend
        )
    return np.stack([check(vector, f"{where}, vector {number}") for number, vector in enumerate(value)])


def _is_rows(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 2
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], list | tuple | np.ndarray)


def _row(value: object, where: str) -> list[int]:
    if isinstance(value, list | tuple | np.ndarray):
        try:
            array: NDArray[np.generic] = np.asarray(value, None if len(value) else np.int64)
        except ValueError:
            array = np.empty(0, object)
        if array.ndim == 1 and array.dtype.kind in "iu":
            ids: list[int] = array.astype(np.int64).tolist()
            wrong = [number for number in ids if not 0 <= number < 2**31]
            if not wrong:
                return ids
            raise DataError(where, "a token id is 0 or more", got=str(wrong[0]))
    raise DataError(
        where,
        "is a text given as a row of token ids",
        got=type(value).__name__,
        mend="give ids, or give the schema's text a vocabulary of its own to write strings",
    )
