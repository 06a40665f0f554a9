"""Parallel decoding of token grids: MaskGIT and random order.

In each step the open cells are the decoder's tokens; cells that are fixed become visible tokens of the
encoder in the next step.

Sources: MaskGIT, Chang et al. 2022, section 3.2 (sample every open cell, keep the most confident ones; no
noise is added to confidences). Random order (ROAR): Mizrahi et al. 2023, appendix on generation.
Shapes: L cells, T cells asked for in a step, V ids.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from fourm_runtime.batch import Int32
from fourm_runtime.generation.plan import TargetPlan
from fourm_runtime.generation.samples import Tokens
from fourm_runtime.generation.sampling import draw_uniforms, require_numbers, sample_tokens


class GridDecoding:
    """The state of one grid that is being generated for one request.

    Args:
        target: how to generate it.
        generator: the randomness of this target of this request, and of nothing else.
    """

    def __init__(self, target: TargetPlan, generator: torch.Generator) -> None:
        self.target = target
        length = sum(target.counts)
        self.ids: Int32 = np.zeros(length, np.int32)
        self.confidence: NDArray[np.float32] = np.zeros(length, np.float32)
        self._open = np.ones(length, np.bool_)
        self._step = 0
        self._generator = generator
        self.asked = self._choose()

    @property
    def finished(self) -> bool:
        return self._step == len(self.target.counts)

    @property
    def fixed(self) -> Tokens:
        """The cells that are decided, as the encoder is to see them."""
        cells = np.flatnonzero(~self._open).astype(np.int32)
        return Tokens(cells, self.ids[cells])

    def accept(self, logits_TV: torch.Tensor) -> None:
        """Sample the cells of `asked`, fix as many as the step says, and go to the next step."""
        uniforms = draw_uniforms(len(self.asked), self._generator)
        drawn, confidence = sample_tokens(logits_TV, uniforms, self.target.sampling[self._step])
        sure = confidence.cpu().numpy()
        require_numbers(sure, self.target.stream)
        kept = self._kept(confidence)
        cells = self.asked[kept]
        self.ids[cells] = drawn.cpu().numpy()[kept]
        self.confidence[cells] = sure[kept]
        self._open[cells] = False
        self._step += 1
        self.asked = self._choose()

    def _choose(self) -> Int32:
        """The cells to decode now: all open ones, or in random order just those that will be fixed."""
        cells = np.flatnonzero(self._open).astype(np.int32)
        if self.target.scheme == "maskgit" or self.finished:
            return cells
        if self.target.order:
            return np.sort(self._next())
        order = torch.randperm(len(cells), generator=self._generator).numpy()
        return np.sort(cells[order[: self.target.counts[self._step]]])

    def _next(self) -> Int32:
        """The cells that a given order says are to be fixed in this step."""
        start = sum(self.target.counts[: self._step])
        return np.array(self.target.order[start : start + self.target.counts[self._step]], np.int32)

    def _kept(self, confidence_T: torch.Tensor) -> NDArray[np.intp]:
        """Places within `asked` of the cells that are fixed now."""
        if self.target.order:
            return np.flatnonzero(np.isin(self.asked, self._next()))
        # A stable sort takes equally confident cells in the order of their positions.
        best = confidence_T.sort(descending=True, stable=True).indices[: self.target.counts[self._step]]
        return best.cpu().numpy()
