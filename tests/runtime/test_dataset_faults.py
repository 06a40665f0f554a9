"""Full disks, damaged files, foreign formats: one clear error, and the dataset stands at its last version."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from lance.file import LanceFileWriter

from fourm_codecs.build import build_codec
from fourm_runtime.data import staged_files, store
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.location import Location, read_options
from fourm_runtime.data.storage_faults import StorageError
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.command_line import refused
from tests.runtime.data_samples import SCHEMA, YAML, samples

WRITER = """
import json, resource, sys
from pathlib import Path
import numpy as np
from fourm_codecs.build import build_codec
from fourm_runtime.data.dataset import Dataset
from fourm_schema.errors import FourmError
from fourm_schema.load import parse_schema

LARGE = parse_schema(
    "version: 1\\nmodalities: {big: {kind: image, size: 64, patch: 1, codec: ids, vocab_size: 1024,"
    " cell: {type: continuous, channels: 3, range: [0, 255], levels: 256}}}"
)
FREE = resource.RLIM_INFINITY

def rows(count):
    rng = np.random.default_rng(0)
    return ({"big": rng.integers(0, 1024, (64, 64), np.uint16)} for _ in range(count))

def attempt(work):
    try:
        work()
    except FourmError as error:
        return f"{type(error).__name__}: {error}"
    return "done"

def contents(path):
    dataset = Dataset.open(path)
    table = dataset.arrow.to_table(columns=["id", "big"])
    files = sorted(file.name for file in (path / "data").iterdir())
    return [dataset.version, table.num_rows, hash(str(table.to_pydict())), files]

def act(path, verb):
    dataset = Dataset.open(path)
    if verb == "append":
        dataset.append(rows(40), once="rows")
    elif verb == "encode":
        dataset.encode({"big": build_codec(LARGE, "big")})
    else:
        dataset.compact()

def limited(folder):
    path, found = folder / "a.lance", {}
    Dataset.create(path, LARGE, rows(40), rows_per_fragment=20)
    for verb in ("append", "encode", "compact"):
        before = contents(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, FREE))
        said = attempt(lambda: act(path, verb))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FREE, FREE))
        found[verb] = [said, before, contents(path), attempt(lambda: act(path, verb))]
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, FREE))
    said = attempt(lambda: Dataset.create(folder / "b.lance", LARGE, rows(40)))
    found["create"] = [said, [], list(map(str, folder.glob("b.lance"))), "done"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (FREE, FREE))
    return found

def full(folder):
    path, found = folder / "a.lance", {}
    said = attempt(lambda: Dataset.create(path, LARGE, rows(600)))
    found["create"] = [said, [], list(map(str, folder.glob("a.lance"))), "done"]
    Dataset.create(path, LARGE, rows(40), rows_per_fragment=20)
    for verb in ("append", "encode", "compact"):
        filler = folder / "filler"
        room = 3 * 2**20 - sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        filler.write_bytes(bytes(room - 160_000))
        before = contents(path)
        said = attempt(lambda: act(path, verb))
        after = contents(path)
        filler.unlink()
        found[verb] = [said, before, after, attempt(lambda: act(path, verb))]
        Dataset.open(path).clean_up()
    return found

works = {"limited": limited, "full": full}
print(json.dumps({kind: works[kind](Path(folder)) for kind, folder in zip(sys.argv[1::2], sys.argv[2::2])}))
"""
Outcome = dict[str, tuple[str, object, object, str]]
"""Verb -> what was said, what the dataset held before and after, and what came of a second attempt."""


@pytest.fixture(scope="module")
def failed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Writers that fail, in a process of their own: under a limit, and on a small disk if one can be had."""
    limited, small = tmp_path_factory.mktemp("limited"), tmp_path_factory.mktemp("small")
    mount = f"mount -t tmpfs -o size=3m none {shlex.quote(str(small))}"
    on_disk = ["unshare", "-m", "bash", "-c", mount + ' && exec "$@"', "-"]
    can = shutil.which("unshare") and not subprocess.run([*on_disk, "true"], capture_output=True).returncode
    kinds = ["limited", str(limited), *(["full", str(small)] if can else [])]
    search = os.pathsep.join(map(str, (root, root / "codecs", root / "runtime")))
    done = subprocess.run(
        [*(on_disk if can else []), sys.executable, "-c", WRITER, *kinds],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Outcome] = json.loads(done.stdout)
    return found


def require_last_version(found: Outcome, got: str, mend: str) -> None:
    """Each verb was refused with one error, changed nothing, left no file, and ends well when tried again."""
    assert set(found) == {"append", "encode", "compact", "create"}
    for verb, (said, before, after, again) in found.items():
        assert said.startswith("StorageError: "), (verb, said)
        assert "cannot be written; the dataset stays at its last version; got" in said
        assert got in said and said.endswith(mend)
        assert (after, again) == (before, "done"), verb


def test_a_limit_on_the_size_of_files_leaves_the_last_version(failed: dict[str, Outcome]) -> None:
    require_last_version(
        failed["limited"],
        "File too large (os error 27)",
        "raise the limit on the size of files (ulimit -f), and run it again",
    )


def test_a_full_disk_leaves_the_last_version(failed: dict[str, Outcome]) -> None:
    """The disk is a real one of 3 MB: ENOSPC comes from the system in the middle of a file."""
    if "full" not in failed:
        pytest.skip("this user may not mount a small disk in a namespace of its own")
    require_last_version(
        failed["full"], "No space left on device (os error 28)", "make room on the disk, and run it again"
    )


def test_a_write_that_fails_in_the_middle_of_a_column_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Injected: the writer of the second fragment's column raises what a full disk raises."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(40), rows_per_fragment=20)
    codecs, written = {"digit": build_codec(SCHEMA, "digit")}, list[str]()

    class Full(LanceFileWriter):
        def write_batch(self, batch: pa.RecordBatch | pa.Table) -> None:
            super().write_batch(batch)
            written.append("once")
            if len(written) == 2:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(staged_files, "LanceFileWriter", Full)
    with pytest.raises(StorageError, match=r"column digit__tokens: cannot be written.*make room on the disk"):
        dataset.encode(codecs)
    latest = Dataset.open(dataset.path)
    assert latest.status().streams[0].encoded_rows == 20
    assert len(list((dataset.path / "data").glob("digit__tokens-*"))) == 1
    monkeypatch.undo()
    latest.encode(codecs)
    assert latest.status().streams[0].state == "encoded"


def test_an_import_that_was_killed_may_be_repeated(tmp_path: Path) -> None:
    """It left files that no version refers to, and perhaps half a manifest; nothing was ever committed."""
    path = tmp_path / "a.lance"
    Dataset.create(path, SCHEMA, samples(20))
    manifest = next((path / "_versions").glob("*.manifest"))
    manifest.rename(manifest.with_name(f"{manifest.name}#1"))

    with pytest.raises(DataError, match=r"a\.lance: is no dataset; create it with"):
        Dataset.open(path)
    assert Dataset.create(path, SCHEMA, samples(5)).rows == 5
    (tmp_path / "b.lance" / "data").mkdir(parents=True)
    (tmp_path / "b.lance" / "data" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is taken by something that is no dataset"):
        Dataset.create(tmp_path / "b.lance", SCHEMA)
    assert (tmp_path / "b.lance" / "data" / "notes.txt").read_text() == "mine"


def _remove(file: Path) -> None:
    file.unlink()


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _blank(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("damage", [_remove, _truncate, _blank])
def test_a_damaged_file_is_told_and_nothing_is_changed(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(40), rows_per_fragment=20)
    (file,) = dataset.arrow.get_fragments()[1].data_files()
    damage(dataset.path / "data" / file.path)
    version, codecs = dataset.version, {"digit": build_codec(SCHEMA, "digit")}
    told = r"a\.lance: cannot be read; got .*a file is missing or damaged"

    with pytest.raises(StorageError, match=told):
        list(Dataset.open(dataset.path).values("digit"))
    with pytest.raises(StorageError, match=told):
        dataset.append(samples(5))
    assert Dataset.open(dataset.path).version == version
    with pytest.raises(StorageError, match="cannot be read"):
        dataset.compact()
    with pytest.raises(StorageError, match=told):
        dataset.encode(codecs)
    assert "cannot be read" in refused("data", "status", dataset.path)
    assert Dataset.open(dataset.path).rows == 40


def test_a_damaged_manifest_is_told(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    for manifest in (dataset.path / "_versions").glob("*.manifest"):
        _truncate(manifest)
    with pytest.raises(StorageError, match=r"a\.lance: cannot be opened; got .*newer version"):
        Dataset.open(dataset.path)


def test_a_dataset_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    """Reading on by luck would be worse: what changed is not known to this version."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    store.set_metadata(dataset.path, {"fourm.format": "2"}, {})

    expected = (
        r"a\.lance: is of a newer version of this program, which reads formats up to 1; got format 2; "
        r"upgrade it: pip install --upgrade fourm-schema"
    )
    with pytest.raises(DataError, match=expected):
        Dataset.open(dataset.path)
    with pytest.raises(DataError, match=expected):
        dataset.append(samples(5))
    assert Dataset.open(dataset.path, version=1).rows == 5


def test_datasets_from_before_the_format_was_written_are_read(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    store.set_metadata(dataset.path, {"fourm.format": None}, {})

    assert b"fourm.format" not in dataset.arrow.checkout_version(2).schema.metadata
    assert Dataset.open(dataset.path).rows == 5


def test_rows_of_another_schema_are_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    with pytest.raises(DataError, match=r"row 0, hieght: is no modality of this schema"):
        dataset.append([{"hieght": [1]}])
    with pytest.raises(
        DataError, match=r"is stored as fixed_size_list<item: uint8>\[16\]; got a schema entry"
    ):
        dataset.add_modality(parse_schema(YAML.replace("size: 4", "size: 8")))
    foreign = tmp_path / "b.lance"
    lance.write_dataset(pa.table({"id": ["a"]}), str(foreign))
    with pytest.raises(DataError, match=r"holds no schema: it was not written by this program"):
        Dataset.open(foreign)
    assert Dataset.open(dataset.path).version == 1


def test_derived_values_wait_for_what_they_are_derived_from(tmp_path: Path) -> None:
    """Absent ones would be stored else, and never be computed when the values come."""
    more = """
  photo: {kind: image, size: 4, patch: 1, cell: {type: continuous, channels: 1, range: [0, 255], levels: 256}}
  small:
    kind: image
    size: 2
    patch: 1
    cell: {type: continuous, channels: 1, range: [0, 255], levels: 256}
    derive: {from: photo, by: resize}
"""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    dataset.add_modality(parse_schema(YAML + more))
    with pytest.raises(DataError, match=r"column photo: has not been filled, and small is derived from it"):
        dataset.derive()
    dataset.fill("photo", lambda ids: [[[int(name)] * 4] * 4 for name in ids])
    assert dataset.derive()[0].given == 5


def test_storage_options_are_read_and_carried_along(tmp_path: Path) -> None:
    """A secret must not end up in a message."""
    assert read_options(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(DataError, match=r"--storage-option: is written key=value; got 'aws_region' without"):
        read_options(["aws_region"])
    with pytest.raises(DataError, match=r"--storage-option: is given twice; got a$"):
        read_options(["a=secret", "a=other"])
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5), storage_options={"timeout": "9s"})
    assert dataset.at(1).storage_options == {"timeout": "9s"}
    assert str(Location.of(Path("s3://bucket/a.lance"))) == "s3://bucket/a.lance"
    said = refused("data", "status", tmp_path / "a.lance", "--storage-option", "nonsense")
    assert "is written key=value" in said
