"""Several writers of one dataset, and those that are killed: nothing is lost, and nothing is there twice."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fourm_codecs.base import StoredCodec
from fourm_runtime.data import store
from fourm_runtime.data.dataset import Dataset
from fourm_schema.errors import DataError
from tests.forks import fork
from tests.runtime.data_samples import SCHEMA, codecs_of, encoded, samples
from tests.runtime.killed_writers import MOMENTS, encode_until
from tests.runtime.stored_columns import columns, raw


def test_sample_numbers_are_never_given_twice(tmp_path: Path) -> None:
    """They seed the masks: two samples of one number would always be masked alike."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(30))
    other = Dataset.open(tmp_path / "a.lance")
    dataset.append(samples(20))
    other.append({**row, "id": f"later-{index}"} for index, row in enumerate(samples(10)))

    assert raw(other, "sample") == list(range(60))
    assert raw(other, "id")[49:52] == ["49", "later-0", "later-1"]


def at_once(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own; the first fault is raised."""
    with ThreadPoolExecutor(len(works)) as threads:
        for future in [threads.submit(work) for work in works]:
            future.result()


def test_samples_appended_at_once_are_numbered_apart(tmp_path: Path) -> None:
    path = Dataset.create(tmp_path / "a.lance", SCHEMA).path
    at_once(*[lambda: Dataset.open(path).append(samples(7))] * 5)

    assert raw(Dataset.open(path), "sample") == list(range(35))


def test_two_may_encode_while_a_third_appends(tmp_path: Path) -> None:
    """Nothing is lost, nothing is encoded twice over, and what came late is left for the next time."""
    path = tmp_path / "a.lance"
    codecs = codecs_of(
        SCHEMA, Dataset.create(path, SCHEMA, samples(200), rows_per_fragment=40).texts("caption")
    )

    def encode() -> None:
        Dataset.open(path).encode(codecs)

    at_once(encode, encode, lambda: Dataset.open(path).append(samples(50, seed=1)))
    dataset = Dataset.open(path)
    assert {status.encoded_rows for status in dataset.status(codecs).streams} <= {200, 250}
    dataset.encode(codecs)
    apart = Dataset.create(tmp_path / "b.lance", SCHEMA, [*samples(200), *samples(50, seed=1)])
    apart.encode(codecs)
    assert columns(dataset) == columns(apart)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[object]], dict[str, StoredCodec]]:
    """Every token column of a dataset that was encoded in one go, and the codecs that did it."""
    dataset, codecs = encoded(tmp_path_factory.mktemp("whole") / "b.lance")
    return columns(dataset), codecs


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_loses_at_most_one_fragment(
    whole: tuple[dict[str, list[object]], dict[str, StoredCodec]], tmp_path: Path, moment: str
) -> None:
    """SIGKILL leaves no time to tidy up: what was committed is whole, and running again ends the same."""
    expected, codecs = whole
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(250), rows_per_fragment=100)
    killed = fork(encode_until, dataset.path, moment)
    killed.join(120)

    assert killed.exitcode == -signal.SIGKILL
    again = Dataset.open(dataset.path)
    assert again.rows == 250
    again.encode(codecs)
    assert columns(again) == expected
    again.append(samples(5))
    assert raw(again, "sample") == list(range(255))


def test_a_commit_that_another_writer_came_before_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lance refuses such a commit as retryable; the work of an hour must not be lost for it."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(20))
    codecs = codecs_of(SCHEMA, dataset.texts("caption"))
    commit, refused = store.LanceDataset.commit, list[bool]()

    def refuse_first(*args: object, **kwargs: object) -> object:
        if not refused:
            refused.append(True)
            raise OSError("Retryable commit conflict for version 3")
        return commit(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(store.LanceDataset, "commit", refuse_first)
    dataset.encode({"digit": codecs["digit"]})
    assert dataset.status().streams[0].state == "encoded"
    monkeypatch.setattr(store.LanceDataset, "commit", _always_refuse)
    with pytest.raises(DataError, match=r"column shape__tokens: cannot be committed; got Retryable"):
        dataset.encode({"shape": codecs["shape"]})


def _always_refuse(*_: object, **__: object) -> None:
    raise OSError("Retryable commit conflict for version 3")
