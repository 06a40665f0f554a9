"""Encoding by Ray makes the column that this process makes, whoever dies on the way."""

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fourm_codecs.base import StoredCodec, TokenBatch
from fourm_codecs.build import build_codec
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.ray_engine import RayEngine
from fourm_runtime.data.storage_faults import StorageError
from fourm_schema.errors import DataError, MissingExtraError
from tests.runtime.command_line import refused
from tests.runtime.data_samples import SCHEMA, samples

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install fourm-schema[ray])"
)


class Deadly:
    """A codec whose first callers die: a process for each file that it can still make.

    Args:
        inner: what encodes.
        folder: where the files are counted.
        deaths: how many die.
        error: what is raised in place of dying.
    """

    def __init__(self, inner: StoredCodec, folder: Path, deaths: int, error: Exception | None = None) -> None:
        self.inner, self.folder, self.deaths, self.error = inner, folder, deaths, error

    def encode(self, values: Sequence[object]) -> TokenBatch:
        for number in range(self.deaths):
            try:
                (self.folder / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            if self.error is not None:
                raise self.error
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.encode(values)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


@pytest.fixture(scope="module")
def one_worker(root: Path) -> Iterator[None]:
    """Ray with one worker at a time: others would only load the libraries once more."""
    ray = importlib.import_module("ray")
    paths = os.pathsep.join([str(root), str(root / "codecs"), str(root / "runtime"), *sys.path])
    environment = {"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}}
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=100 * 2**20,
        runtime_env=environment,
    )
    yield
    ray.shutdown()


@needs_ray
@pytest.mark.usefixtures("one_worker")
def test_ray_makes_the_same_column_though_a_worker_is_killed(tmp_path: Path) -> None:
    """Bit for bit: fragments come back in any order, one of them from a second attempt."""
    local = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(90), rows_per_fragment=30)
    spread = Dataset.create(tmp_path / "b.lance", SCHEMA, samples(90), rows_per_fragment=30)
    codec = build_codec(SCHEMA, "digit")
    local.encode({"digit": codec})
    (tmp_path / "deaths").mkdir()
    deadly = Deadly(codec, tmp_path / "deaths", deaths=1)
    moved: list[tuple[str, int, int]] = []
    spread.encode({"digit": deadly}, progress=lambda *call: moved.append(call), engine=RayEngine())  # type: ignore[dict-item]  # it has what a codec has, by delegation

    assert len(list((tmp_path / "deaths").iterdir())) == 1, "a worker was killed"
    tables = [dataset.arrow.to_table(columns=["id", "digit__tokens"]) for dataset in (local, spread)]
    assert tables[0].equals(tables[1], check_metadata=True)
    assert [done for _, done, _ in moved] == [30, 60, 90]
    assert len(list((spread.path / "data").glob("digit__tokens-*"))) == 3

    spread.append(samples(30))
    (tmp_path / "more").mkdir()
    fails = Deadly(codec, tmp_path / "more", 9, StorageError("disk", "is away"))
    with pytest.raises(StorageError, match=r"^disk: is away$"):
        spread.encode({"digit": fails}, engine=RayEngine(retries=1))  # type: ignore[dict-item]  # as above
    assert len(list((tmp_path / "more").iterdir())) == 2, "one attempt and one more"
    wrong = Deadly(codec, tmp_path / "more", 9, DataError("value", "is wrong"))
    with pytest.raises(DataError, match=r"^value: is wrong$"):
        spread.encode({"digit": wrong}, engine=RayEngine(retries=1))  # type: ignore[dict-item]  # as above
    assert len(list((tmp_path / "more").iterdir())) == 3, "it would be wrong again"
    assert spread.status().streams[0].encoded_rows == 90
    spread.encode({"digit": codec}, engine=RayEngine())
    assert spread.status().streams[0].state == "encoded"


def test_without_ray_the_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"engine ray: needs the extra 'ray'"):
        RayEngine()


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    assert "got dask; known: local, ray" in refused("data", "encode", tmp_path, "--engine", "dask")
