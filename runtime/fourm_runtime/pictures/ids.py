"""Token ids that stand for a value nobody here can decode: their shape and the first of them, as text."""

import numpy as np

IDS_SHOWN = 8


def describe_ids(value: object) -> str:
    """Say what ids a value is.

    >>> describe_ids([[1, 2], [3, 4]])
    '2x2 token ids: 1 2 3 4'
    """
    ids = np.asarray(value)
    first = " ".join(map(str, ids.reshape(-1)[:IDS_SHOWN].tolist()))
    more = " ..." if ids.size > IDS_SHOWN else ""
    return f"{'x'.join(map(str, ids.shape))} token ids: {first}{more}"


def views_of(value: object) -> list[object]:
    """The rows of a text that is given as ids: one row, or several that are alternatives."""
    several = (
        isinstance(value, list | tuple) and bool(value) and isinstance(value[0], list | tuple | np.ndarray)
    )
    return list(value) if several and isinstance(value, list | tuple) else [value]
