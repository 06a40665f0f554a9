"""Imports that SIGKILL ends: the same import begun again stores every sample once, whenever it was."""

import json
import signal
import time
from pathlib import Path

import pytest

from fourm_runtime.data import store
from fourm_runtime.data.importing.quarantine import TooManyFaultsError
from tests.forks import fork
from tests.runtime.killed_writers import import_lines, import_until
from tests.runtime.test_import_engine import YAML, numbers


def write_lines(path: Path, count: int, bad: int = 0) -> Path:
    """Samples as lines; the first few are damaged."""
    lines = ({"number": ["x"] if number < bad else [number]} for number in range(count))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_a_killed_process_is_taken_up_by_the_next(tmp_path: Path) -> None:
    """SIGKILL, as by the system that runs out of memory; nothing is told to the process."""
    write_lines(tmp_path / "a.jsonl", 6_000)
    journal = tmp_path / "a.lance" / "import" / "journal.jsonl"
    process = fork(import_lines, YAML, tmp_path / "a.jsonl", tmp_path / "a.lance")
    while process.is_alive() and not (journal.is_file() and journal.read_bytes().count(b"\n") > 3):
        time.sleep(0.002)
    process.kill()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert not store.exists(tmp_path / "a.lance")
    import_lines(YAML, tmp_path / "a.jsonl", tmp_path / "a.lance")

    assert sorted(numbers(tmp_path / "a.lance")) == list(range(6_000))
    assert not journal.exists()


@pytest.mark.parametrize(("bad", "max_bad"), [(0, 0.0), (5, 0.5), (30, 0.1)])
def test_a_kill_before_any_change_to_a_file_loses_nothing(tmp_path: Path, bad: int, max_bad: float) -> None:
    """Of an import, of one with a quarantine, and of one that is given up for too many faults."""
    source, change, ended = write_lines(tmp_path / "a.jsonl", 50, bad), 0, False
    while not ended:
        change += 1
        path = tmp_path / f"{change}.lance"
        what = (YAML, source, path, 20, max_bad)
        process = fork(import_until, change, *what)
        process.join(120)
        ended = process.exitcode != -signal.SIGKILL
        if bad <= 50 * max_bad:
            if not store.exists(path) or (path / "import" / "journal.jsonl").exists():
                import_lines(*what)
            assert sorted(numbers(path)) == list(range(bad, 50))
            left = {entry.name for entry in (path / "import").iterdir()}
            assert left == ({"report.json", "quarantine.jsonl"} if bad else {"report.json"})
        else:
            with pytest.raises(TooManyFaultsError):
                import_lines(*what)
            assert not path.exists()
    assert change > 8
