"""What the processes of a test do; they import it by name."""

import os

import torch

from fourm_runtime.training.world import join_world
from fourm_schema.errors import TrainingError


def number_off() -> tuple[int, int, float]:
    """Rank, size, and the sum of all ranks plus one each."""
    world = join_world("cpu")
    total = torch.tensor(world.rank + 1.0)
    world.add(total)
    return world.rank, world.size, float(total)


def refuse_in_rank_1() -> None:
    """One rank finds a fault while the other waits for it, for ever."""
    world = join_world("cpu")
    if world.rank == 1:
        raise TrainingError("step 3", "the loss is not finite", mend="lower the learning rate")
    world.wait()


def die_in_rank_1() -> None:
    """One rank is gone without a word, as when memory runs out."""
    world = join_world("cpu")
    if world.rank == 1:
        os._exit(9)
    world.wait()
