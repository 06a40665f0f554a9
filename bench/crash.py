"""Kill programs at random moments while they change a dataset, and see what is left of it.

    python bench/crash.py [--kills 200] [--seed 0] [--json]

A victim imports samples, appends, encodes, adds modalities, compacts and cleans up, as `crash_story.py` tells
from a seed. SIGKILL ends it at a random moment; then every version must be readable, every row that was
reported as stored must be there once, with its number, values and ids, and no half of a step that was not.
The next victim starts the same story from its first step, until one comes to the end; then another begins.
Exit status 1 if anything was lost, is there twice or cannot be read, or if a run does not come to its end.

Victims are forks of a process that has loaded the libraries and not used them, which spares each two seconds.
The operating system goes on: this says nothing about a loss of power.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import attrs
import numpy as np

ROOT = Path(__file__).parents[1]
SEARCH = [str(ROOT / folder) for folder in (".", "codecs", "runtime", "bench")]
sys.path[:0] = SEARCH

from crash_story import Step, act_all, judge, story  # noqa: E402 - path set above

PATIENCE_S = 120.0
SHORTEST_S, LONGEST_S = 0.01, 1.5


@attrs.define
class Toll:
    """What came of it.

    Attributes:
        kills: victims that were killed.
        during: how many were killed in a step of each kind.
        stories: stories that came to their end.
        rows: rows that these hold.
        versions: versions that were read.
        faults: everything that was wrong.
    """

    kills: int = 0
    during: Counter[str] = attrs.field(factory=Counter)
    stories: int = 0
    rows: int = 0
    versions: int = 0
    faults: list[str] = attrs.field(factory=list)


def victim(folder: str, seed: int, pipe: Connection) -> None:
    """The process that is killed."""
    pipe.send("ready")
    act_all(Path(folder), seed, pipe.send)
    pipe.send("end")


def attack(kills: int, seed: int, folder: Path) -> Toll:
    """Kill so many victims, then let the last story come to its end.

    Args:
        kills: how many.
        seed: decides the stories and the moments.
        folder: where datasets are written; an empty one.
    """
    toll, rng = Toll(), np.random.default_rng(seed)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["crash"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(SEARCH)
    try:
        number = 0
        while toll.kills < kills and not toll.faults:
            _tell_story(processes, toll, kills, rng, seed * 1000 + number, folder / f"{number}.lance")
            number += 1
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return toll


def _tell_story(
    processes: ForkServerContext,
    toll: Toll,
    kills: int,
    rng: np.random.Generator,
    seed: int,
    path: Path,
) -> None:
    steps, seen, done = story(seed), set[int](), -1
    while not toll.faults:
        wait = SHORTEST_S * (LONGEST_S / SHORTEST_S) ** rng.random() if toll.kills < kills else PATIENCE_S
        words, ended = _live(processes, path, seed, wait)
        done = max([done, *(int(word.split()[1]) for word in words if word.startswith("done"))])
        if not ended:
            toll.kills += 1
            toll.during[_killed_in(steps, words)] += 1
            if wait == PATIENCE_S:
                toll.faults.append(f"seed {seed}: a run did not come to its end in {PATIENCE_S:.0f} s")
        last = len(steps) - 1 if ended else done
        if ended and done != last:
            toll.faults.append(f"seed {seed}: a run failed after step {done}")
        toll.faults += [f"seed {seed}, kill {toll.kills}: {fault}" for fault in judge(path, seed, last, seen)]
        if ended:
            break
    toll.stories += 1
    toll.versions += len(seen)
    toll.rows += sum(len(step.names) for step in steps)


def _live(processes: ForkServerContext, path: Path, seed: int, wait: float) -> tuple[list[str], bool]:
    """Start a victim and kill it so many seconds later; what it told, and whether it had ended."""
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=victim, args=(str(path), seed, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.poll(PATIENCE_S), "a process starts"
    words, end = list[str](), time.monotonic() + wait
    try:
        words.append(ours.recv())
        while (left := end - time.monotonic()) > 0 and ours.poll(left):
            words.append(ours.recv())
        assert process.pid is not None, "it was started"
        ended = process.exitcode is not None or "end" in words
        if not ended:
            os.kill(process.pid, signal.SIGKILL)
        while ours.poll(PATIENCE_S):
            words.append(ours.recv())
    except EOFError:
        process.join(PATIENCE_S)
        return words, process.exitcode != -signal.SIGKILL
    process.join(PATIENCE_S)
    return words, True


def _killed_in(steps: list[Step], words: list[str]) -> str:
    last = words[-1].split()
    return steps[int(last[1])].kind if last[0] == "begin" else "between steps"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="processes to kill (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="decides stories and moments (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        toll = attack(arguments.kills, arguments.seed, Path(folder))
    if arguments.json:
        print(json.dumps(attrs.asdict(toll)))
    else:
        print(f"{toll.kills} killed: " + ", ".join(f"{n} in {kind}" for kind, n in toll.during.most_common()))
        print(
            f"{toll.stories} stories came to their end, {toll.rows:,} rows, {toll.versions:,} versions read"
        )
        print("\n".join(toll.faults) or "nothing lost, nothing twice, every version readable")
    return int(bool(toll.faults))


if __name__ == "__main__":
    sys.exit(main())
