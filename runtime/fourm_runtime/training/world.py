"""The processes that share a run: one alone, or the ranks that `torchrun` started."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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

    def agree(self, numbers: Sequence[int]) -> list[int]:
        """What the leading rank has of these numbers; every rank gives as many."""
        if self.size == 1:
            return list(numbers)
        shared = torch.tensor(list(numbers), dtype=torch.int64)
        distributed.broadcast(shared, src=0)
        return [int(number) for number in shared.tolist()]

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
        distributed.init_process_group(_backends(wanted))
        started = True
    if wanted == "cuda":
        wanted = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    place = torch.device(wanted)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if not started:
        return World(device=place)
    return World(distributed.get_rank(), distributed.get_world_size(), place)


def _backends(device: str) -> str:
    # Counts are summed on the host, so that no rank ever waits for its own GPU to know them.
    return "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"


@contextmanager
def found_world(rank: int, size: int, device: str | None, meeting: str) -> Iterator[None]:
    """Make a world of processes that know each other's number; `join_world` finds it.

    Args:
        rank: number of this process, from 0.
        size: how many there are, all on this machine.
        device: as `join_world` takes it.
        meeting: URL at which they meet.
    """
    wanted = device or ("cuda" if torch.cuda.is_available() else "cpu")
    os.environ["LOCAL_RANK"] = str(rank)
    distributed.init_process_group(_backends(wanted), init_method=meeting, rank=rank, world_size=size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def leave_world() -> None:
    """End what `join_world` began under `torchrun`; alone, do nothing."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
