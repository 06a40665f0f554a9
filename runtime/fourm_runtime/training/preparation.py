"""What a rank does before the model is asked: its slice of a global step, read, masked and packed.

Global step t is positions [t G, (t + 1) G) of the sample order, G fixed. Everything here is a function of
t alone (and of rank and world size), so a thread can do it ahead and a resumed run does it again alike.
"""

from collections.abc import Callable
from typing import Protocol

import attrs
import torch

from fourm_runtime.batch import Batch, Int64, Masked, MicroBatch
from fourm_runtime.data.order import SampleOrder
from fourm_runtime.loss import target_counts
from fourm_runtime.packing import pack
from fourm_runtime.training.world import World
from fourm_schema.allocation import Allocation
from fourm_schema.plan import Plan


class Source(Protocol):
    """Where samples come from."""

    def batch(self, rows: Int64, epoch: Int64, seed: int) -> Batch:
        """Read samples, in the order of `rows`; each is seen in its `epoch`, under the run's seed."""
        ...


Masking = Callable[[Batch, Int64], Masked]
"""What to show and what to ask, given samples and how often each was seen before."""


@attrs.frozen(eq=False)
class PreparedStep:
    """One rank's part of a global step.

    Attributes:
        step: its number, from 0.
        micro_batches: what the model sees, one after the other.
        targets: target tokens of each stream.
        tokens_in: visible tokens, registers and padding not counted.
    """

    step: int
    micro_batches: tuple[MicroBatch, ...]
    targets: dict[str, int]
    tokens_in: int


@attrs.frozen(eq=False)
class Preparation:
    """Makes prepared steps.

    Attributes:
        source, order, masking: which samples, in which order, under which masks.
        plan, allocation: streams, and their rows of the tables.
        samples_per_step: G, over all ranks.
        registers: learned tokens before each sample.
        capacity: (T_in, T_out) of a micro-batch; None puts a rank's samples into one.
        world: whose part to prepare.
        apart: streams do not see each other in the decoder.
        left_to_right: a token of a grid does not see later ones.
    """

    source: Source
    order: SampleOrder
    masking: Masking
    plan: Plan
    allocation: Allocation
    samples_per_step: int
    registers: int = 0
    capacity: tuple[int, int] | None = None
    world: World = attrs.field(factory=World)
    apart: bool = True
    left_to_right: bool = False

    def prepare(self, step: int) -> PreparedStep:
        """Read, mask and pack this rank's samples of a global step."""
        epochs, rows = self.order.step(step, self.samples_per_step, self.world.rank, self.world.size)
        masked = self.masking(self.source.batch(rows, epochs, self.order.seed), epochs)
        packed = pack(
            masked,
            self.plan,
            self.allocation,
            self.registers,
            self.capacity,
            apart=self.apart,
            left_to_right=self.left_to_right,
        )
        return PreparedStep(
            step=step,
            micro_batches=tuple(self._place(batch) for batch in packed),
            targets=target_counts(packed),
            tokens_in=sum(selection.size for selection in masked.inputs.values()),
        )

    def _place(self, batch: MicroBatch) -> MicroBatch:
        """Copy to the device here, in the thread that prepares, so that the copy is not waited for."""
        return batch if self.world.device == torch.device("cpu") else batch.to(self.world.device)
