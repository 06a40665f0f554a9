"""Gradients of tables: added row by row, and known to be zero where no token ever was.

A table has far more rows than a step has tokens. Autograd would make a gradient of the table's size for
each use of it, fill it with zeros and add it to the rest; here the rows that were used are added where the
gradient stands already. And rows that never had a gradient need no clearing, no part in a norm, and no step
of Adam: a row without gradient and without moments stays as it is (see
`fourm_runtime.training.optimizer.RowAdamW`).

Shapes: T tokens, R rows of a table, D width, V rows of a stream.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from fourm_runtime.batch import Bools

BLOCK = 64
"""Rows that are live or not together: few enough to leave much out, enough to be worth a call."""


class RowGradients:
    """Adds to the `.grad` that tables have, and remembers which blocks of rows are *live*: had a gradient.

    Args:
        tables: those to remember; of others, every row is live. They must be on a CPU.
    """

    def __init__(self, tables: Iterable[nn.Parameter] = ()) -> None:
        self._live = {table: np.zeros(-(-len(table) // BLOCK), np.bool_) for table in tables}
        self._lasting = {table: live.copy() for table, live in self._live.items()}

    @property
    def tables(self) -> tuple[nn.Parameter, ...]:
        """The tables whose rows are remembered."""
        return tuple(self._live)

    def add_rows(self, table: nn.Parameter, rows_T: torch.Tensor, gradients_TD: torch.Tensor) -> None:
        """Add a gradient to each of some rows; row 0 stands for nothing and gets none."""
        total = _gradient(table)
        # Unlike index_add, this adds in the same order on every device and in every run.
        total.index_put_((rows_T.long(),), gradients_TD.to(total.dtype), accumulate=True)
        total[0].zero_()
        if table in self._live:
            self._live[table][rows_T.numpy() // BLOCK] = True

    def add_product(
        self, table: nn.Parameter, rows: slice, errors_TV: torch.Tensor, inputs_TD: torch.Tensor
    ) -> None:
        """Add the gradient errors^T inputs (V, D) to rows that stand together."""
        total = self.opened(table, rows)
        if total.dtype == errors_TV.dtype:
            total.addmm_(errors_TV.t(), inputs_TD)
        else:
            total.add_(errors_TV.t() @ inputs_TD)

    def opened(self, table: nn.Parameter, rows: slice) -> torch.Tensor:
        """The gradient (V, D) of rows that stand together, to add to."""
        if table in self._live:
            self._live[table][rows.start // BLOCK : -(-rows.stop // BLOCK)] = True
        return _gradient(table)[rows]

    def live_rows(self, table: nn.Parameter) -> list[slice]:
        """Runs of rows that are live, from first to last; all others have no gradient."""
        if table not in self._live:
            return [slice(0, len(table))]
        edges = np.flatnonzero(np.diff(self._live[table], prepend=False, append=False)) * BLOCK
        return [
            slice(start, min(stop, len(table)))
            for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        ]

    def settle(self, table: nn.Parameter, moments: Iterable[torch.Tensor]) -> None:
        """Forget blocks whose gradients were all zero: they have no moments.

        So what is live follows from the moments alone, and a resumed run, which has only these, clips by the
        same norm, to the last bit.

        Args:
            table: one that is remembered.
            moments: (R, D) each, as the optimizer has them after its step.
        """
        self._keep(table, moments, self._live[table] & ~self._lasting[table])

    def restore(self, table: nn.Parameter, moments: Iterable[torch.Tensor]) -> None:
        """Find what is live in the moments of a checkpoint."""
        self._live[table][:] = True
        self._keep(table, moments, self._live[table])

    def _keep(self, table: nn.Parameter, moments: Iterable[torch.Tensor], candidates: Bools) -> None:
        kept = list(moments)
        for block in np.flatnonzero(candidates).tolist():
            rows = slice(block * BLOCK, (block + 1) * BLOCK)
            self._live[table][block] = any(bool(moment[rows].any()) for moment in kept)
        self._lasting[table] = self._live[table].copy()


def _gradient(table: nn.Parameter) -> torch.Tensor:
    assert table.grad is not None, "rows are added to a gradient that is there"
    return table.grad
