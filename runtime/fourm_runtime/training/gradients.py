"""Gradients of a model in one flat buffer per dtype: cleared, summed over ranks, measured and clipped in
a few calls, however many parameters there are.

Every parameter always has a gradient, zero where no token used it. So a step means the same on a rank
that happened to see no depth map as on one that did.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from fourm_runtime.row_gradients import RowGradients

BUCKET_BYTES = 32 * 2**20
"""How much is summed over the ranks at a time."""

_ALIGNMENT = 16
"""Numbers; 64 bytes of float32, so that each view starts where vector loads want it."""


class FlatGradients:
    """Give each parameter a view of a flat buffer as its gradient; autograd then adds into the view.

    Args:
        parameters: what is trained; tied parameters once.
        rows: knows which rows of tables have no gradient; they are passed by. None: all have one.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rows: RowGradients | None = None) -> None:
        self.parameters = tuple(parameters)
        self.rows = rows or RowGradients()
        sizes: dict[tuple[torch.dtype, torch.device], int] = {}
        places: list[tuple[tuple[torch.dtype, torch.device], int]] = []
        for parameter in self.parameters:
            key = (parameter.dtype, parameter.device)
            start = sizes.get(key, 0)
            places.append((key, start))
            sizes[key] = start + -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
        flat = {key: torch.zeros(size, dtype=key[0], device=key[1]) for key, size in sizes.items()}
        self.buffers = tuple(flat.values())
        self.views = tuple(
            flat[key][start : start + parameter.numel()].view_as(parameter)
            for parameter, (key, start) in zip(self.parameters, places, strict=True)
        )
        self._plain = self._between_tables([start for _, start in places])

    def _between_tables(self, starts: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """The buffers, without the parts of tables whose rows are remembered."""
        if not self.rows.tables:
            return self.buffers
        (buffer,) = self.buffers  # such tables are of a model of one dtype, on a CPU
        parts, first = [], 0
        for parameter, start in zip(self.parameters, starts, strict=True):
            if any(parameter is table for table in self.rows.tables):
                parts.append(buffer[first:start])
                first = start + parameter.numel()
        return (*parts, buffer[first:])

    def _live(self) -> list[torch.Tensor]:
        """Views that together hold every gradient that may be other than zero."""
        tables = [
            view[rows]
            for parameter, view in zip(self.parameters, self.views, strict=True)
            if any(parameter is table for table in self.rows.tables)
            for rows in self.rows.live_rows(parameter)
        ]
        return [*self._plain, *tables]

    def clear(self) -> None:
        """Set every gradient to zero, in place, and hand the views to the parameters again."""
        for part in self._live():
            part.zero_()
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = view

    def reduce(self, add_over_ranks: Callable[[torch.Tensor], None]) -> None:
        """Sum over the ranks, bucket after bucket. A sum, since losses are already divided (see `loss`)."""
        for buffer in self.buffers:
            size = BUCKET_BYTES // buffer.element_size()
            for start in range(0, buffer.numel(), size):
                add_over_ranks(buffer[start : start + size])

    def norm(self) -> torch.Tensor:
        """Euclidean norm over all parameters; a scalar that stays on the device."""
        norms = torch.stack([torch.linalg.vector_norm(part) for part in self._live()])
        norm: torch.Tensor = torch.linalg.vector_norm(norms)
        return norm

    def clip(self, norm: torch.Tensor, limit: float) -> None:
        """Scale to at most `limit` (Pascanu et al. 2013, algorithm 1), without asking the device."""
        factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
        for part in self._live():
            part.mul_(factor)
