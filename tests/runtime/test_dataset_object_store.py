"""A dataset in an object store: verbs by the options given to them, and the same values as in a folder."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from fourm_codecs.store import save_codec
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.importer import ImportReport, ImportSettings, import_source
from fourm_runtime.data.importing.quarantine import TooManyFaultsError
from fourm_runtime.data.importing.sources.source import Source
from fourm_runtime.data.location import Location
from fourm_runtime.data.reader import Reader
from fourm_runtime.data.rows import LocatedRow
from fourm_runtime.data.storage_faults import StorageError
from fourm_runtime.data.store import exists
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.command_line import fourm
from tests.runtime.data_samples import SCHEMA, YAML, codecs_of, samples
from tests.runtime.object_store import ObjectStore, serving
from tests.runtime.small_run import small_codecs, small_recipe, small_schema

URI = "s3://bucket/some folder/a.lance"


@pytest.fixture
def bucket() -> Iterator[ObjectStore]:
    with serving() as store:
        yield store


def test_a_dataset_in_a_bucket_is_the_one_in_a_folder(bucket: ObjectStore, tmp_path: Path) -> None:
    """Import, append, encode, add and fill, merge, clean up: no path of this machine is touched."""
    local = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(40), rows_per_fragment=20)
    options = bucket.options
    remote = Dataset.create(URI, SCHEMA, samples(40), rows_per_fragment=20, storage_options=options)
    codecs = {"digit": codecs_of(SCHEMA, iter(["a"]))["digit"]}
    wider = parse_schema(YAML + "  height: {kind: vector, dim: 1, ranges: [0, 9], bins: 10}\n")
    for dataset in (local, remote):
        assert [dataset.append(samples(10), once="more") for _ in range(2)] == [10, 0]
        dataset.encode(codecs)
        dataset.add_modality(wider)
        dataset.fill_rows({"id": str(number), "height": [number % 10]} for number in range(50))
        dataset.encode({"height": codecs_of(wider, iter(["a"]))["height"]})
        dataset.pin("run")
        dataset.compact()
        dataset.clean_up()
    tables = [dataset.arrow.to_table().sort_by("sample") for dataset in (local, remote)]

    assert tables[0].equals(tables[1])
    assert remote.status().streams == local.status().streams
    opened = Dataset.open(remote.path, "run", storage_options=options)
    assert (opened.rows, opened.path, bucket.refused) == (50, Path(URI), 0)
    assert all(key.startswith("some folder/a.lance/") for key in bucket.objects)
    with pytest.raises(DataError, match=r"is a dataset already"):
        Dataset.create(URI, SCHEMA, storage_options=options)
    with pytest.raises(DataError, match=r"s3://bucket/b\.lance: is no dataset"):
        Dataset.open("s3://bucket/b.lance", storage_options=options)
    with pytest.raises(StorageError, match=r"a\.lance: cannot be reached; got "):
        Dataset.open(URI, storage_options={**options, "aws_access_key_id": "nobody"})


def test_verbs_take_storage_options(
    bucket: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("modalities.yaml").write_text(
        "version: 1\nmodalities:\n  shape: {kind: vector, dim: 1, ranges: [0, 1], bins: 4}\n"
    )
    Path("samples.jsonl").write_text("".join(json.dumps({"shape": [n / 9]}) + "\n" for n in range(9)))
    options = [f"--storage-option={key}={value}" for key, value in bucket.options.items()]
    fourm("data", "import", "samples.jsonl", "--schema", "modalities.yaml", "--to", URI, *options)
    fourm("data", "append", "samples.jsonl", "--to", URI, *options)
    fourm("data", "encode", URI, *options)
    fourm("data", "compact", URI, *options)
    fourm("data", "clean", URI, *options)
    found = json.loads(fourm("data", "status", URI, "--json", *options))

    assert (found["rows"], found["fragments"], found["streams"][0]["state"]) == (18, 1, "encoded")
    assert found["path"] == URI
    names = ["a.lance.import", "modalities.yaml", "samples.jsonl"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert [file.name for file in (tmp_path / "a.lance.import").iterdir()] == ["report.json"]


def test_a_model_is_trained_and_evaluated_on_a_bucket(
    bucket: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dataset or a mixture; the run pins the version that it read, there as in a folder."""
    monkeypatch.chdir(tmp_path)
    schema = small_schema()
    codecs = small_codecs(schema)
    rows = [{"digit": [[n % 4] * 4] * 4, "caption": "one two"} for n in range(20)]
    dataset = Dataset.create(URI, schema, rows, storage_options=bucket.options)
    dataset.encode(codecs)
    for name, codec in codecs.items():
        save_codec(codec, tmp_path / "codecs" / name)
    how = small_recipe(steps={"total": 1}).model_dump(mode="json")
    Path("one.yaml").write_text(json.dumps(how))
    Path("mixed.yaml").write_text(json.dumps({**how, "datasets": {URI: 1.0}}))
    options = [f"--storage-option={key}={value}" for key, value in bucket.options.items()]
    more = ("--held-out", URI, "--codecs", "codecs", "--quiet", *options)
    fourm("train", "one.yaml", "--data", URI, "--to", "run", *more)
    fourm("train", "mixed.yaml", "--to", "mixed", *more)
    found = json.loads(fourm("evaluate", "run", "--data", URI, "--json", *options))

    assert found["samples"] == 20
    assert len(dataset.at().arrow.tags.list()) == 2
    # As another process gets it.
    with Reader(dataset, dataset.plan) as reader, copy.copy(reader) as again:
        assert again is not reader and again.streams == reader.streams


class Lines(Source):
    """Numbers, of which reading one may end the process' patience; one in `bad` is damaged."""

    def __init__(self, stop_at: int = -1, bad: int = 1000) -> None:
        super().__init__("numbers", [])
        self.stop_at, self.bad, self.reads = stop_at, bad, 0

    def __len__(self) -> int:
        return 90

    def row(self, index: int) -> LocatedRow:
        if self.reads == self.stop_at:
            raise KeyboardInterrupt
        self.reads += 1
        return LocatedRow(
            {"shape": [5.0 if (index + 1) % self.bad == 0 else index / 90]}, place=f"row {index}"
        )


def test_an_import_into_a_bucket_that_was_cut_off_goes_on(bucket: ObjectStore, tmp_path: Path) -> None:
    """The journal lies on this machine; a staged object that is gone meanwhile is written again."""
    schema = parse_schema(
        "version: 1\nmodalities:\n  shape: {kind: vector, dim: 1, ranges: [0, 1], bins: 4}\n"
    )
    place = Location.of(URI, bucket.options)
    how = ImportSettings(rows_per_fragment=20, state=tmp_path / "state")

    def run(source: Source, to: Location = place, how: ImportSettings = how) -> ImportReport:
        return import_source(to, schema, source, how)

    with pytest.raises(KeyboardInterrupt):
        run(Lines(stop_at=70))
    assert len(bucket.objects) == 3 and not exists(place)
    with pytest.raises(DataError, match=r"an import of something else was cut off here; got another to;"):
        run(Lines(), Location.of("s3://bucket/b.lance", bucket.options))
    bucket.objects.pop(list(bucket.objects)[1])
    source = Lines()
    report = run(source)
    assert (report.path, report.samples, report.resumed, source.reads) == (URI, 90, True, 70)
    found = Dataset.open(URI, storage_options=bucket.options).arrow.to_table(columns=["id"])
    assert sorted(map(int, found["id"].to_pylist())) == list(range(90))
    assert sum(key.endswith(".lance") for key in bucket.objects) == 5
    with pytest.raises(DataError, match=r"s3://bucket/.*a\.lance: is a dataset already"):
        run(Lines())

    kept = dict(bucket.objects)
    with pytest.raises(TooManyFaultsError):
        run(Lines(bad=2), how=attrs.evolve(how, overwrite=True))
    assert bucket.objects == kept and not (tmp_path / "state").exists()
    with pytest.raises(DataError, match=r"is not in an object store; leave --state out"):
        run(Lines(), Location.of(tmp_path / "a.lance"))
