"""Importing: the order, what a cut off import leaves, quarantine, and memory."""

import json
import tracemalloc
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fourm_runtime.data import staged_files, store
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing import importer
from fourm_runtime.data.importing.importer import ImportReport, ImportSettings, import_source
from fourm_runtime.data.importing.order import POOL_ROWS, ImportOrder
from fourm_runtime.data.importing.quarantine import TooManyFaultsError
from fourm_runtime.data.importing.sources.source import Source
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema

YAML = """
version: 1
modalities:
  number: {kind: vector, dim: 1, ranges: [0, 1000000], bins: 8}
  picture: {kind: image, size: 32, patch: 8, cell: {type: continuous, range: [0, 255], levels: 256}}
"""
SCHEMA = parse_schema(YAML)


class Generated(Source):
    """Numbers; some rows are damaged, and reading one of them may end the process' patience."""

    def __init__(self, count: int, bad: int = 0, stop_at: int = -1, picture: bool = False) -> None:
        super().__init__("numbers", [])
        self.kind = "generated"
        self._count, self._bad, self._picture = count, bad, picture
        self.stop_at, self.reads = stop_at, 0

    def __len__(self) -> int:
        return self._count

    @property
    def chunks(self) -> NDArray[np.int64]:
        return np.array([self._count])

    def row(self, index: int) -> LocatedRow:
        if self.reads == self.stop_at:
            raise KeyboardInterrupt
        self.reads += 1
        if self._bad and index % self._bad == 0:
            raise DataError(f"numbers row {index}, number", "is damaged", got="noise", mend="restore it")
        row = LocatedRow({"number": [index]}, place=f"numbers row {index}")
        if self._picture:
            row["picture"] = np.full((32, 32), index % 256, np.uint8)
        return row


def numbers(path: Path) -> list[int]:
    return [
        int(row[0]) for row in Dataset.open(path).arrow.to_table(columns=["number"])["number"].to_pylist()
    ]


def run(path: Path, source: Source, **changed: Any) -> ImportReport:
    return import_source(path, SCHEMA, source, attrs.evolve(ImportSettings(rows_per_fragment=50), **changed))


@given(
    runs=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any),
    seed=st.integers(0, 2**64 - 1),
    run_bytes=st.sampled_from([0, 2**20, 2**27, 2**30]),
)
def test_every_row_is_imported_once_whatever_the_runs(runs: list[int], seed: int, run_bytes: int) -> None:
    """The order is a permutation, and any part of it can be asked for alone."""
    order = ImportOrder(np.array(runs, np.int64), seed, run_bytes)
    rows = order.at(np.arange(order.rows, dtype=np.int64))

    assert sorted(rows.tolist()) == list(range(sum(runs)))
    half = np.arange(order.rows // 2, order.rows, dtype=np.int64)
    assert np.array_equal(order.at(half), rows[order.rows // 2 :])


def test_large_runs_are_mixed_within_pools_only() -> None:
    """So that a row group of a gigabyte is decoded once, not once per row."""
    runs = np.full(40, POOL_ROWS // 4, np.int64)
    order = ImportOrder(runs, 3)
    positions = np.arange(order.rows, dtype=np.int64)
    touched = [set((order.at(pool) // runs[0]).tolist()) for pool in positions.reshape(10, -1)]

    assert all(len(pool) == 4 for pool in touched)
    assert set().union(*touched) == set(range(40))
    alone = ImportOrder(runs, 3, run_bytes=2**30).at(positions[: runs[0]])
    assert len(set((alone // runs[0]).tolist())) == 1


def test_the_same_seed_gives_the_same_dataset(tmp_path: Path) -> None:
    """The seed is recorded; the ids are those of the source, so a row is found again."""
    for name, seed in (("a", 5), ("b", 5), ("c", 6), ("d", None)):
        run(tmp_path / name, Generated(300), seed=seed)
    found = {name: numbers(tmp_path / name) for name in "abcd"}

    assert found["a"] == found["b"] != found["c"]
    assert found["d"] == list(range(300))
    assert sorted(found["a"]) == sorted(found["c"]) == list(range(300))
    # A random order of 300 has rank correlation 0 +- 0.058 with the order of the source.
    assert abs(np.corrcoef(found["a"], range(300))[0, 1]) < 0.25
    table = Dataset.open(tmp_path / "a").arrow.to_table(columns=["id", "sample", "number"])
    assert table["id"].to_pylist() == [str(number) for number in found["a"]]
    assert table["sample"].to_pylist() == list(range(300))
    recorded = json.loads(Dataset.open(tmp_path / "a").arrow.schema.metadata[b"fourm.import"])
    del recorded["run"]
    assert recorded == {"path": "numbers", "format": "generated", "seed": 5, "samples": 300}
    assert json.loads((tmp_path / "a" / "import" / "report.json").read_text())["seed"] == 5


@settings(max_examples=12)
@given(data=st.data())
def test_an_import_cut_off_anywhere_any_number_of_times_is_the_same_dataset(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """No row is lost or stored twice, nor a fault told twice."""
    folder = tmp_path_factory.mktemp("cut")
    source = Generated(230, bad=30)
    run(folder / "whole", source)
    cuts = 0
    while True:
        source.reads, source.stop_at = 0, data.draw(st.integers(0, 120))
        try:
            report = run(folder / "cut", source)
            break
        except KeyboardInterrupt:
            cuts += 1
            assert not store.exists(folder / "cut")
        if cuts == 4:
            source.stop_at = -1
            report = run(folder / "cut", source)
            break

    assert numbers(folder / "cut") == numbers(folder / "whole")
    assert (report.samples, report.quarantined, report.resumed) == (222, 8, cuts > 0)
    both = [(folder / name / "import" / "quarantine.jsonl").read_text() for name in ("cut", "whole")]
    assert both[0] == both[1]
    data_files = {len(list((folder / name / "data").iterdir())) for name in ("cut", "whole")}
    assert len(data_files) == 1


def run_killed_at_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of 120 rows that is committed, and does not come to its report."""
    with monkeypatch.context() as patched:
        patched.setattr(importer, "_finish", _killed)
        with pytest.raises(KeyboardInterrupt):
            run(path, Generated(120))


def test_a_kill_between_the_commit_and_its_end_is_no_second_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_killed_at_its_end(tmp_path / "a", monkeypatch)
    report = run(tmp_path / "a", Generated(120))

    assert (report.version, report.samples, report.resumed) == (1, 120, True)
    assert sorted(numbers(tmp_path / "a")) == list(range(120))
    with pytest.raises(DataError, match=r"is a dataset already; append to it .* or replace .* --overwrite"):
        run(tmp_path / "a", Generated(120))


def test_a_torn_line_of_the_journal_is_written_again(tmp_path: Path) -> None:
    """A kill in mid-write leaves half a line; the file that it names is not trusted."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", Generated(230, stop_at=180))
    journal = tmp_path / "a" / "import" / "journal.jsonl"
    lines = journal.read_bytes()
    assert lines.count(b"\n") == 4
    journal.write_bytes(lines[:-40])
    run(tmp_path / "a", Generated(230))

    assert sorted(numbers(tmp_path / "a")) == list(range(230))
    assert len(list((tmp_path / "a" / "data").iterdir())) == 5


@pytest.mark.parametrize("harm", ["gone", "cut off"])
def test_a_file_that_is_lost_meanwhile_is_written_again(tmp_path: Path, harm: str) -> None:
    """A version that refers to a missing file cannot be read, and nothing would say so before that."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", Generated(230, bad=30, stop_at=180))
    journal = tmp_path / "a" / "import" / "journal.jsonl"
    second = json.loads(journal.read_text().splitlines()[2])
    name = json.loads(second["fragments"][0])["files"][0]["path"]
    file = tmp_path / "a" / "data" / name
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-10])
    source = Generated(230, bad=30)
    report = run(tmp_path / "a", source)

    assert (report.samples, report.quarantined, report.resumed) == (222, 8, True)
    assert 230 - 60 < source.reads < 230
    assert sorted(numbers(tmp_path / "a")) == [n for n in range(230) if n % 30]
    assert not file.exists() and len(list((tmp_path / "a" / "data").iterdir())) == 5
    told = [json.loads(line)["row"] for line in (tmp_path / "a" / "import" / "quarantine.jsonl").open()]
    assert sorted(told) == list(range(0, 230, 30))


def test_what_came_after_an_import_that_was_killed_at_its_end_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appended and merged since: none of the files that the journal names is there any more."""
    run_killed_at_its_end(tmp_path / "a", monkeypatch)
    dataset = Dataset.open(tmp_path / "a")
    dataset.append([{"number": [500]}])
    dataset.compact()
    dataset.clean_up(timedelta(0))
    report = run(tmp_path / "a", Generated(120))

    assert (report.samples, report.resumed) == (120, True)
    assert sorted(numbers(tmp_path / "a")) == [*range(120), 500]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_another_import_does_not_go_on_with_what_was_cut_off(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", Generated(230, stop_at=180))
    with pytest.raises(
        DataError, match=r"an import of something else was cut off here; got another seed; .*--restart"
    ):
        run(tmp_path / "a", Generated(230), seed=9)
    with pytest.raises(DataError, match=r"got another samples"):
        run(tmp_path / "a", Generated(231))
    report = run(tmp_path / "a", Generated(231), restart=True)

    assert (report.samples, report.resumed) == (231, False)
    assert sorted(numbers(tmp_path / "a")) == list(range(231))


def test_damaged_samples_are_counted_and_the_rest_is_stored(tmp_path: Path) -> None:
    report = run(tmp_path / "a", Generated(200, bad=50))
    lines = [json.loads(line) for line in (tmp_path / "a" / "import" / "quarantine.jsonl").open()]

    assert (report.samples, report.quarantined) == (196, 4)
    assert sorted(line["row"] for line in lines) == [0, 50, 100, 150]
    assert lines[0] | {"row": 0, "where": ""} == {
        "row": 0, "where": "", "what": "is damaged", "got": "noise", "mend": "restore it",
    }  # fmt: skip
    (reason,) = report.reasons
    assert (reason.what, reason.faults) == ("is damaged", 4)
    assert run(tmp_path / "b", Generated(20)).quarantine is None
    assert not (tmp_path / "b" / "import" / "quarantine.jsonl").exists()


def test_too_many_damaged_samples_store_nothing_and_keep_what_was_there(tmp_path: Path) -> None:
    """At a share of a half, something is wrong with the schema rather than with samples."""
    run(tmp_path / "a", Generated(10))
    files = sorted((tmp_path / "a" / "data").iterdir())
    with pytest.raises(TooManyFaultsError) as caught:
        run(tmp_path / "a", Generated(200, bad=2), overwrite=True)

    said = str(caught.value).splitlines()
    assert said[0] == (
        f"{tmp_path / 'a'}: 21 of 200 samples cannot be stored, more than the share of 10 % that may be left "
        "out (--max-bad); nothing was stored"
    )
    assert len(said) == 21
    assert numbers(tmp_path / "a") and Dataset.open(tmp_path / "a").version == 1
    assert sorted((tmp_path / "a" / "data").iterdir()) == files
    with pytest.raises(TooManyFaultsError, match=r"a sample cannot be stored \(--strict\)"):
        run(tmp_path / "b", Generated(200, bad=200), strict=True)
    assert not (tmp_path / "b").exists()
    assert run(tmp_path / "b", Generated(200, bad=2), max_bad=0.5).samples == 100


def test_an_overwrite_is_one_version_and_the_old_one_stays(tmp_path: Path) -> None:
    run(tmp_path / "a", Generated(30))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", Generated(120, stop_at=90), overwrite=True)
    assert sorted(numbers(tmp_path / "a")) == list(range(30))
    report = run(tmp_path / "a", Generated(120), overwrite=True)

    assert (report.version, report.resumed) == (2, True)
    assert sorted(numbers(tmp_path / "a")) == list(range(120))
    assert Dataset.open(tmp_path / "a", version=1).rows == 30


def test_two_imports_at_once_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, and then finds its dataset."""
    lock = store.sole_writer

    def other_first(path: Path) -> AbstractContextManager[None]:
        monkeypatch.setattr(store, "sole_writer", lock)
        run(path, Generated(60))
        return lock(path)

    monkeypatch.setattr(store, "sole_writer", other_first)
    with pytest.raises(DataError, match=r"is a dataset already"):
        run(tmp_path / "a", Generated(90))
    assert sorted(numbers(tmp_path / "a")) == list(range(60))


def test_a_full_disk_leaves_an_import_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, calls = staged_files.stage, iter(range(9))

    def full(*arguments: object) -> object:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        return stage(*arguments)  # type: ignore[arg-type]  # passed on as they came

    with monkeypatch.context() as patched:
        patched.setattr(staged_files, "stage", full)
        with pytest.raises(
            DataError, match=r"cannot be written; the dataset is as it was; got .*No space left"
        ):
            run(tmp_path / "a", Generated(230))
    assert not store.exists(tmp_path / "a")
    assert run(tmp_path / "a", Generated(230)).resumed
    assert sorted(numbers(tmp_path / "a")) == list(range(230))


def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    """Three times the samples, the same peak: what is held is a file's worth of rows."""

    def peak(count: int) -> int:
        tracemalloc.reset_peak()
        import_source(
            tmp_path / f"{count}",
            SCHEMA,
            Generated(count, picture=True),
            ImportSettings(rows_per_fragment=200),
        )
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak(100)
        small, large = peak(400), peak(1200)
    finally:
        tracemalloc.stop()

    assert large < 1.3 * small


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"numbers: holds no sample"):
        run(tmp_path / "a", Generated(0))
    assert not (tmp_path / "a").exists()


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    import_source(tmp_path / "a", SCHEMA, Generated(100), progress=lambda *call: told.append(call))

    assert told[-1] == ("samples", 100, 100)
    assert [call[1] for call in told] == sorted(call[1] for call in told)
