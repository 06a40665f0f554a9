"""Raw values of any length: texts that are given as token ids."""

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
