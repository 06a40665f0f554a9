"""Several processes of this machine that train one model: the ranks of `train(..., processes=n)`.

On CPUs, small models train faster in one single-threaded process per core than in one process of many
threads. What is trained is the same: the order of the samples does not depend on the number of ranks.
"""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

import torch

from fourm_runtime.training.world import found_world
from fourm_schema.errors import FourmError, TrainingError

T = TypeVar("T")


def run_in_processes(processes: int, device: str | None, work: Callable[[], T]) -> T:
    """Do the same work in several new processes, which find each other as the ranks of one world.

    SIGINT and SIGTERM are passed on to them: they decide what it means.

    Args:
        processes: how many, two or more.
        device: what they compute on.
        work: what each of them does; it is pickled.

    Returns:
        What the first of them returns.

    Raises:
        TrainingError: if there are fewer GPUs than processes, or one of them dies.
        FourmError: the first that any of them raises.
    """
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    if gpus and gpus < processes:
        raise TrainingError("processes", "each needs a GPU of its own", got=f"{processes} for {gpus} GPUs")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        ranks: dict[Connection, BaseProcess] = {}
        for rank in range(processes):
            mine, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_rank, args=(rank, processes, device, str(meeting), work, theirs))
            child.start()
            theirs.close()
            ranks[mine] = child
        with _PassedOn(list(ranks.values())):
            return cast(T, _gather(ranks))


def _rank(
    rank: int, size: int, device: str | None, meeting: str, work: Callable[[], T], answer: Connection
) -> None:
    """What one process does."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    try:
        with found_world(rank, size, device, f"file://{meeting}"):
            made: object = work()
    except FourmError as error:
        made = error
    answer.send(made if rank == 0 or isinstance(made, FourmError) else None)
    answer.close()


def _gather(ranks: dict[Connection, BaseProcess]) -> object:
    """Wait for every rank; at the first that fails, end the others."""
    numbers = {answer: number for number, answer in enumerate(ranks)}
    first: object = None
    waiting = dict(ranks)
    try:
        while waiting:
            for answer in wait(list(waiting)):
                assert isinstance(answer, Connection)
                child = waiting.pop(answer)
                try:
                    made = answer.recv()
                except EOFError:
                    child.join()
                    raise TrainingError(
                        f"process {numbers[answer]}",
                        "ended before its work was done",
                        got=f"exit status {child.exitcode}",
                        mend="what it wrote above says why; a run goes on with --resume",
                    ) from None
                if isinstance(made, FourmError):
                    raise made
                first = made if numbers[answer] == 0 else first
    finally:
        for child in waiting.values():
            child.kill()
        for child in ranks.values():
            child.join()
    return first


class _PassedOn:
    """While entered, gives the signals that end a program to other processes instead."""

    def __init__(self, children: list[BaseProcess]) -> None:
        self._children, self._before = children, dict[int, Any]()

    def __enter__(self) -> None:
        # A terminal gives Ctrl-C to every process of its group by itself.
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._pass_on)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        for child in self._children:
            if child.pid is not None and child.is_alive():
                os.kill(child.pid, number)
