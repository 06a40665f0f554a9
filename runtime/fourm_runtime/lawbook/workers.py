"""The same laws in several processes: each builds the cases anew, and takes the next that no other has."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from fourm_runtime.lawbook.book import Case, set_apart
from fourm_schema.lawbook.search import Outcome, Profile

_OWN: list[Case] = []
"""The cases of a worker."""


def hold_in_workers(
    source: Callable[[], Sequence[Case]],
    count: int,
    workers: int,
    profile: Profile,
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Try laws in several processes of one thread each.

    Args:
        source: gives the cases, the same in every process; it is pickled.
        count: how many they are.
        workers: processes.
        profile: how thoroughly.
        progress: is called with the number of cases tried, and of all.

    Returns:
        What became of each case, in their order; the same as of `fourm_runtime.lawbook.book.hold`.
    """
    outcomes: dict[int, Outcome] = {}
    # A forked process may hang in a thread pool of its parent's that it has no threads of.
    with ProcessPoolExecutor(workers, get_context("spawn"), _open, (source,)) as pool:
        asked = {pool.submit(_try, number, profile): number for number in range(count)}
        for done in as_completed(asked):
            outcomes[asked[done]] = done.result()
            if progress is not None:
                progress(len(outcomes), count)
    return [outcomes[number] for number in range(count)]


def _open(source: Callable[[], Sequence[Case]]) -> None:
    import torch

    torch.set_num_threads(1)
    _OWN[:] = source()
    set_apart()


def _try(number: int, profile: Profile) -> Outcome:
    return _OWN[number].run(profile)
