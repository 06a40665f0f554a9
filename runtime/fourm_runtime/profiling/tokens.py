"""A token column as it goes by -> which ids are used, and how many each value takes."""

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fourm_runtime.data.columns import read_fixed, read_nested
from fourm_runtime.profiling.record import Lengths, TokenProfile
from fourm_schema.plan import Special, Stream

Int64 = NDArray[np.int64]


class TokenGatherer:
    """Counts the ids of a stream.

    Args:
        stream: a token stream.
        state: how far it is encoded.
        special: ids of its vocabulary without content; None where it has none.
    """

    def __init__(self, stream: Stream, state: str, special: Special | None) -> None:
        self._stream, self._state = stream, state
        self._unknown = None if special is None else special.unknown
        self._first = 0 if special is None else special.size
        self._counts = np.zeros(stream.vocab_size, np.int64)
        self._lengths: Counter[int] = Counter()

    def add(self, column: pa.Array) -> Int64:
        """Take in a block of the column.

        Returns:
            (N,) tokens of each sample, of its longest alternative; 0 where it has none.
        """
        if self._stream.layout == "grid":
            table, present = read_fixed(column)
            ids, counts = table[present].reshape(-1), np.where(present, self._stream.length, 0)
            lengths = counts[present]
        else:
            rows = read_nested(column)
            ids, lengths = rows.ids, np.diff(rows.bounds)
            counts = _by_row(lengths, rows.views, self._stream.kind == "set")
            if self._stream.kind == "set":
                lengths = counts[rows.present]
        self._counts += np.bincount(ids.astype(np.int64), minlength=len(self._counts))[: len(self._counts)]
        self._lengths.update(lengths.tolist())
        return counts.astype(np.int64)

    def finished(self) -> TokenProfile:
        """What was gathered."""
        total = int(self._counts.sum())
        shares = self._counts[self._counts > 0] / max(total, 1)
        words = self._counts[self._first :]
        return TokenProfile(
            state=self._state,
            vocabulary=len(words),
            used=int((words > 0).sum()),
            tokens=total,
            perplexity=float(2.0 ** -(shares * np.log2(shares)).sum()) if total else 0.0,
            commonest=float(shares.max()) if total else 0.0,
            unknown=None if self._unknown is None else int(self._counts[self._unknown]),
            lengths=Lengths(dict(sorted(self._lengths.items())), self._stream.length),
        )


def _by_row(lengths: Int64, views: Int64, is_sum: bool) -> Int64:
    """Tokens of each row: of all its parts together, or of the longest."""
    counts = np.diff(views)
    found = np.zeros(len(counts), np.int64)
    full = counts > 0
    if full.any():
        # Rows without parts have no place among the starts, or the next row's first would be theirs.
        starts = views[:-1][full]
        found[full] = np.add.reduceat(lengths, starts) if is_sum else np.maximum.reduceat(lengths, starts)
    return found
