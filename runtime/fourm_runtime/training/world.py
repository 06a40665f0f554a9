"""The processes that share a run: one alone, or the ranks that `torchrun` started."""

import os

import attrs
import torch
from torch import distributed

from fourm_schema.errors import TrainingError


@attrs.frozen
class World:
    """This process among those that train one model.

    Attributes:
        rank: number of this process, from 0; rank 0 writes files.
        size: how many processes there are.
        device: where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = attrs.field(factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def add(self, tensor: torch.Tensor) -> None:
        """Sum a tensor over the ranks, in place; every rank gets the same bits."""
        if self.size > 1:
            distributed.all_reduce(tensor)

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            distributed.barrier()


def join_world(device: str | None = None) -> World:
    """Find this process's place: alone, unless it was started by `torchrun` or a group already exists.

    Args:
        device: `cpu`, `cuda` or `cuda:<n>`; None takes a GPU where there is one.

    Raises:
        TrainingError: if the device does not exist here.
    """
    wanted = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError("--device", "PyTorch sees no GPU here", got=wanted, mend="use --device cpu")
    started = distributed.is_available() and distributed.is_initialized()
    if not started and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Counts are summed on the host, so that no rank ever waits for its own GPU to know them.
        distributed.init_process_group("cpu:gloo,cuda:nccl" if wanted.startswith("cuda") else "gloo")
        started = True
    if wanted == "cuda":
        wanted = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    place = torch.device(wanted)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if not started:
        return World(device=place)
    return World(distributed.get_rank(), distributed.get_world_size(), place)


def leave_world() -> None:
    """End what `join_world` began under `torchrun`; alone, do nothing."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
