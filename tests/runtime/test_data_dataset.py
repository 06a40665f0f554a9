"""A dataset gives back what was put in, in whole versions, whoever is killed while writing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fourm_codecs.base import TokenBatch
from fourm_runtime.data import staged_files, store
from fourm_runtime.data.dataset import Dataset
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.data_samples import PLAN, SCHEMA, YAML, codecs_of, encoded, samples

TOKENS = [stream for stream in PLAN.streams if not stream.is_dense]


def columns(dataset: Dataset) -> dict[str, list[object]]:
    """Every token column of a dataset, as plain lists."""
    table = dataset.arrow.to_table(columns=[stream.column for stream in TOKENS])
    return {name: table[name].to_pylist() for name in table.column_names}


def raw(dataset: Dataset, name: str) -> list[object]:
    return list(dataset.arrow.to_table(columns=[name])[name].to_pylist())


def test_every_value_comes_back_and_null_stays_null(tmp_path: Path) -> None:
    given = list(samples(250))
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, iter(given), rows_per_fragment=100)

    assert len(dataset.arrow.get_fragments()) == 3
    for name in ("digit", "classes", "shape"):
        for value, stored in zip((row[name] for row in given), raw(dataset, name), strict=True):
            assert (value is None) == (stored is None)
            assert stored is None or np.array_equal(np.asarray(value).reshape(-1), np.asarray(stored))
    assert raw(dataset, "caption") == [row["caption"] for row in given]
    assert raw(dataset, "sample") == list(range(250))
    assert raw(dataset, "id") == [str(index) for index in range(250)]
    assert dataset.schema == SCHEMA


def test_tokens_are_what_the_codec_gives_for_each_sample(tmp_path: Path) -> None:
    """Row by row, so that no batch border and no null shifts a row."""
    dataset, codecs = encoded(tmp_path / "a.lance")
    given = list(samples(250))

    for stream in TOKENS:
        codec = codecs[stream.modality]
        for row, stored in zip(given, columns(dataset)[stream.column], strict=True):
            value = row[stream.modality]
            if value is None:
                assert stored is None
            elif isinstance(value, list):
                assert stored == [codec.encode([text]).ids.tolist() for text in value]
            else:
                assert stored == codec.encode([value]).ids.tolist()


def test_columns_have_the_smallest_exact_types(tmp_path: Path) -> None:
    schema = parse_schema(
        """
        version: 1
        vocabularies: {words: {kind: wordpiece, size: 30000}}
        modalities:
          rgb:
            kind: image
            size: 8
            patch: 4
            cell: {type: continuous, channels: 3, range: [0, 255], levels: 256}
          depth: {kind: image, size: 8, patch: 4, cell: {type: continuous, range: [0, 10]}}
          heat: {kind: image, size: 8, patch: 4, cell: {type: continuous, range: [-40, 60], levels: 101}}
          land: {kind: image, size: 8, patch: 4, cell: {type: categorical, classes: 300}}
          dino: {kind: image, size: 2, patch: 1, cell: {type: features, channels: 5}}
          caption: {kind: text, vocabulary: words, max_tokens: 16}
        """
    )
    stored = {
        field.name: str(field.type) for field in Dataset.create(tmp_path / "a.lance", schema).arrow.schema
    }

    assert stored == {
        "id": "string",
        "sample": "int64",
        "rgb": "fixed_size_list<item: uint8>[192]",
        "depth": "fixed_size_list<item: float>[64]",
        "heat": "fixed_size_list<item: int8>[64]",
        "land": "fixed_size_list<item: uint16>[64]",
        "dino": "fixed_size_list<item: halffloat>[20]",
        "caption": "list<item: string>",
    }


def test_a_dataset_may_begin_empty(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA)

    assert dataset.rows == 0
    assert dataset.append(samples(3)) == 3
    assert raw(dataset, "sample") == [0, 1, 2]
    assert dataset.append([]) == 0


def test_sample_numbers_are_never_given_twice(tmp_path: Path) -> None:
    """They seed the masks: two samples of one number would always be masked alike."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(30))
    other = Dataset.open(tmp_path / "a.lance")
    dataset.append(samples(20))
    other.append({**row, "id": f"later-{index}"} for index, row in enumerate(samples(10)))

    assert raw(other, "sample") == list(range(60))
    assert raw(other, "id")[49:52] == ["49", "later-0", "later-1"]


def test_appended_rows_are_encoded_next_and_no_others(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance")
    before = columns(dataset)
    dataset.append(samples(70, seed=1))
    partial = dataset.status(codecs).streams
    calls: list[tuple[str, int, int]] = []
    dataset.encode(codecs, progress=lambda *call: calls.append(call))

    assert {status.state for status in partial} == {"partial"}
    assert {status.encoded_rows for status in partial} == {250}
    assert calls == [(stream.name, 320, 320) for stream in TOKENS]
    assert {status.state for status in dataset.status(codecs).streams} == {"encoded"}
    assert {name: column[:250] for name, column in columns(dataset).items()} == before


def test_status_counts_what_is_there(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(30))
    dataset.pin("first")
    status = dataset.status()

    given = list(samples(30))
    assert status.present == {name: sum(row[name] is not None for row in given) for name in SCHEMA.modalities}
    assert {(stream.state, stream.encoded_rows) for stream in status.streams} == {("missing", 0)}
    assert status.pins == {"first": 1}
    assert (status.rows, status.version) == (30, 1)


def test_texts_give_every_alternative_in_order(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(40), rows_per_fragment=15)
    captions = [row["caption"] for row in samples(40)]

    assert list(dataset.texts("caption")) == [
        text for views in captions if isinstance(views, list) for text in views
    ]
    with pytest.raises(DataError, match=r"digit: is no text modality of this dataset; known: caption"):
        next(dataset.texts("digit"))


def test_values_give_every_raw_value_that_is_there_in_order(tmp_path: Path) -> None:
    """What a codec is fitted to: the same values in the same order each time, in their shape."""
    given = [row["digit"] for row in samples(250) if row["digit"] is not None]
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(250), rows_per_fragment=100)

    for _ in range(2):
        found = [value for chunk in dataset.values("digit") for value in chunk]
        assert len(found) == len(given) < 250
        assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(found, given, strict=True))
    with pytest.raises(DataError, match=r"^digt: is no modality of this dataset; did you mean 'digit'\?"):
        next(dataset.values("digt"))


def test_faulty_rows_are_listed_together_and_nothing_is_stored(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    files = sorted((tmp_path / "a.lance" / "data").iterdir())

    def rows() -> Iterator[dict[str, object]]:
        yield from samples(1500)
        yield {"digit": np.zeros((5, 4))}
        yield {"id": "b", "shape": [0, 1, 2]}
        yield from samples(5)

    with pytest.raises(DataError) as caught:
        dataset.append(rows())
    assert str(caught.value) == (
        f"{tmp_path / 'a.lance'}: 2 values cannot be stored; nothing was stored\n"
        "  row 1500, digit: a value has shape 4x4; got 5x4; resize it, or change the schema\n"
        "  row 1501 (id 'b'), shape at [2]: values lie in [0, 1]; got 2; "
        "rescale it, or set `out_of_range: clip` to bound it"
    )
    assert Dataset.open(tmp_path / "a.lance").rows == 5
    assert sorted((tmp_path / "a.lance" / "data").iterdir()) == files


def test_a_failed_create_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least 20 values cannot be stored; nothing was stored"):
        Dataset.create(tmp_path / "a.lance", SCHEMA, [{}] * 50)
    with pytest.raises(ZeroDivisionError):
        Dataset.create(
            tmp_path / "a.lance", SCHEMA, ({"digit": 1 / (index - 2)} for index in range(5) if index > 1)
        )

    assert not (tmp_path / "a.lance").exists()


def test_an_existing_dataset_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.lance"
    Dataset.create(path, SCHEMA, samples(5))
    with pytest.raises(DataError, match=r"is a dataset already; append to it, or overwrite it"):
        Dataset.create(path, SCHEMA, samples(3))
    Dataset.create(path, SCHEMA, samples(3), overwrite=True)

    assert Dataset.open(path).rows == 3
    assert Dataset.open(path, version=1).rows == 5
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(DataError, match=r"is taken by something that is no dataset; name another folder"):
        Dataset.create(tmp_path / "notes", SCHEMA, overwrite=True)


def test_a_failed_overwrite_keeps_what_was_there(tmp_path: Path) -> None:
    Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    with pytest.raises(DataError, match=r"row 0: gives no modality at all"):
        Dataset.create(tmp_path / "a.lance", SCHEMA, [{}], overwrite=True)

    assert Dataset.open(tmp_path / "a.lance").rows == 5


def test_a_modality_cannot_take_a_column_of_ours(tmp_path: Path) -> None:
    schema = parse_schema(YAML + "  sample: {kind: vector, dim: 1, ranges: [0, 9]}\n")
    with pytest.raises(
        DataError, match=r"modalities\.sample: is the name of a column that every dataset has"
    ):
        Dataset.create(tmp_path / "a.lance", schema)
    assert not (tmp_path / "a.lance").exists()


def test_the_path_may_hold_any_character(tmp_path: Path) -> None:
    dataset, _ = encoded(tmp_path / "my data #1 50%25 ü.lance", 5)

    assert Dataset.open(dataset.path).rows == 5
    assert [path.name for path in tmp_path.iterdir()] == ["my data #1 50%25 ü.lance"]


def test_opening_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.lance: is no dataset; create it with: fourm data import"):
        Dataset.open(tmp_path / "b.lance")
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA)
    dataset.pin("run-1")
    with pytest.raises(DataError, match=r"has no such version; got 'run-2'; pinned versions: run-1"):
        Dataset.open(tmp_path / "a.lance", version="run-2")
    dataset.append(samples(2))
    with pytest.raises(DataError, match=r"tag 'run-1': stands for version 1; got version 2"):
        dataset.pin("run-1")
    assert Dataset.open(tmp_path / "a.lance", version="run-1").rows == 0


def test_a_changed_codec_is_refused_by_name_until_the_column_is_replaced(tmp_path: Path) -> None:
    """Ids of two vocabularies in one column would train on noise, silently."""
    dataset, _ = encoded(tmp_path / "a.lance")
    other = codecs_of(SCHEMA, iter(["entirely other words", "of another time"]))

    status = {stream.stream: stream.state for stream in dataset.status(other).streams}
    assert status == {
        "digit.tokens": "encoded",
        "classes.tokens": "encoded",
        "shape.tokens": "encoded",
        "caption.tokens": "stale",
    }
    with pytest.raises(DataError) as caught:
        dataset.encode(other)
    assert str(caught.value) == (
        f"{tmp_path / 'a.lance'} column caption__tokens: holds ids that would not fit new ones: it was "
        "encoded by another codec, or by one with other settings or training; "
        "got 250 rows by codec 'wordpiece'; encode it anew as a whole: fourm data encode --replace"
    )
    version = dataset.version
    dataset.encode(other, replace=True)
    assert {stream.state for stream in dataset.status(other).streams} == {"encoded"}
    texts = next(row["caption"] for row in samples(1))
    assert isinstance(texts, list)
    assert columns(dataset)["caption__tokens"][0] == [
        other["caption"].encode([text]).ids.tolist() for text in texts
    ]
    assert Dataset.open(dataset.path, version).status(other).streams[-1].state == "stale"


def test_a_changed_entry_makes_its_tokens_stale_and_no_others(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance")
    dataset.add_modality(parse_schema(YAML.replace("bins: 32", "bins: 16").replace("loss_weight", "")))

    states = {stream.stream: (stream.state, stream.why) for stream in dataset.status().streams}
    assert states["shape.tokens"] == ("stale", "its schema entry has changed since it was encoded")
    assert states["digit.tokens"] == ("encoded", "")
    with pytest.raises(
        DataError, match=r"shape\.tokens has 16 ids; got 32 ids of codec 'bins'; build the codec"
    ):
        dataset.encode({"shape": codecs["shape"]}, replace=True)


def test_a_modality_is_added_without_rewriting_and_filled_later(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance")
    before, files = columns(dataset), set((tmp_path / "a.lance" / "data").iterdir())
    wider = YAML + "  height: {kind: vector, dim: 1, ranges: [0, 9], bins: 10}\n"
    dataset.add_modality(parse_schema(wider))

    assert set((tmp_path / "a.lance" / "data").iterdir()) == files
    assert dataset.status().present["height"] == 0
    dataset.fill("height", lambda ids: [[int(name) % 10] if int(name) % 3 else None for name in ids])
    assert raw(dataset, "height") == [[index % 10] if index % 3 else None for index in range(250)]
    dataset.encode({**codecs, "height": codecs_of(dataset.schema, dataset.texts("caption"))["height"]})
    assert columns(dataset) == before
    with pytest.raises(DataError, match=r"has modalities that the schema lacks; got height; keep them"):
        dataset.add_modality(SCHEMA)
    with pytest.raises(
        DataError, match=r"is stored as fixed_size_list<item: float>\[1\]; got a schema entry"
    ):
        dataset.add_modality(parse_schema(wider.replace("dim: 1", "dim: 2")))


def test_values_that_do_not_fit_are_not_filled(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    dataset.add_modality(parse_schema(YAML + "  height: {kind: vector, dim: 1, ranges: [0, 9], bins: 10}\n"))
    with pytest.raises(DataError, match=r"sample '0', height at \[0\]: values lie in \[0, 9\]; got 10"):
        dataset.fill("height", lambda ids: [[10]] * len(ids))
    with pytest.raises(DataError, match=r"hieght: is no modality of this dataset; did you mean 'height'\?"):
        dataset.fill("hieght", lambda ids: ids)


def test_a_value_that_cannot_be_encoded_is_named(tmp_path: Path) -> None:
    rows = [{"caption": "short"}, {"id": "long-one", "caption": "a " * 40}]
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, rows)
    codecs = codecs_of(SCHEMA, dataset.texts("caption"))
    with pytest.raises(
        DataError, match=r"sample 'long-one', caption\.tokens: cannot be encoded: .*at most 16 tokens"
    ):
        dataset.encode(codecs)
    with pytest.raises(DataError, match=r"digit\.tokens: no codec is given for it; given: caption"):
        dataset.encode({"caption": codecs["caption"]}, streams=["digit"])
    with pytest.raises(DataError, match=r"digit\.pixels: is shown dense and has no ids to encode"):
        dataset.encode(codecs, streams=["digit.pixels"])
    with pytest.raises(
        DataError, match=r"dgit: is no modality of this dataset, but has a codec; did you mean"
    ):
        dataset.encode({"dgit": codecs["digit"]})


def test_an_interrupted_encoding_goes_on_where_it_was(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(250), rows_per_fragment=100)
    whole, codecs = encoded(tmp_path / "b.lance")

    class Broken:
        """A codec that fails from the 101st value on."""

        def __init__(self) -> None:
            self.seen = 0

        def encode(self, values: list[NDArray[np.generic]]) -> TokenBatch:
            self.seen += len(values)
            if self.seen > 100:
                raise RuntimeError("no more power")
            return codecs["digit"].encode(values)

        def __getattr__(self, name: str) -> object:
            return getattr(codecs["digit"], name)

    with pytest.raises(RuntimeError, match="no more power"):
        dataset.encode({"digit": Broken()})  # type: ignore[dict-item]  # it has what a codec has, by delegation
    status = Dataset.open(dataset.path).status(codecs).streams[0]
    assert (status.state, status.encoded_rows) == ("partial", 100)
    calls: list[int] = []
    dataset.encode(
        codecs, progress=lambda stream, done, total: calls.append(done) if "digit" in stream else None
    )
    assert calls == [200, 250]
    assert columns(dataset) == columns(whole)


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


def test_compaction_keeps_tokens_and_the_order_of_rows(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance")
    before = columns(dataset)
    dataset.arrow.optimize.compact_files()
    compacted = Dataset.open(dataset.path)

    assert len(compacted.arrow.get_fragments()) == 1
    assert {status.state for status in compacted.status(codecs).streams} == {"encoded"}
    assert columns(compacted) == before


def test_ids_for_a_fragment_that_is_gone_are_refused(tmp_path: Path) -> None:
    dataset, _ = encoded(tmp_path / "a.lance")
    leaf = store.leaf_field(dataset.arrow, "digit__tokens")
    values = dataset.arrow.to_table(columns=["digit__tokens"]).slice(0, 100).combine_chunks().to_batches()[0]
    dataset.arrow.optimize.compact_files()

    staged = staged_files.stage_column(dataset.path, 0, values)

    with pytest.raises(DataError, match=r"digit__tokens: was rewritten meanwhile, by a compaction; run it"):
        staged_files.commit_column(dataset.path, "digit__tokens", leaf, staged)
    with pytest.raises(DataError, match=r"digit__tokens: was begun anew meanwhile, by another program"):
        staged_files.commit_column(dataset.path, "digit__tokens", leaf + 100, staged)
    assert not (dataset.path / "data" / staged.file).exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from fourm_runtime.data import store
from fourm_runtime.data.dataset import Dataset
from tests.runtime.data_samples import codecs_of

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

dataset = Dataset.open(sys.argv[1])
codecs = codecs_of(dataset.schema, dataset.texts("caption"))
moment = sys.argv[2]
if moment == "before commit":
    store.LanceDataset.commit = die
elif moment == "append":
    from tests.runtime.data_samples import samples
    def rows():
        yield from samples(3000)
        die()
    dataset.append(rows())
at = {"first batch": 1, "second fragment": 3, "third column": 7}.get(moment, 0)
calls = []
def progress(*call):
    calls.append(call)
    if len(calls) == at:
        die()
dataset.encode(codecs, progress=progress)
"""


@pytest.mark.parametrize(
    "moment", ["first batch", "second fragment", "third column", "before commit", "append"]
)
def test_a_killed_process_loses_at_most_one_fragment(tmp_path: Path, root: Path, moment: str) -> None:
    """SIGKILL leaves no time to tidy up: what was committed is whole, and running again ends the same."""
    whole, codecs = encoded(tmp_path / "b.lance")
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(250), rows_per_fragment=100)
    search = os.pathsep.join(map(str, (root, root / "codecs", root / "runtime")))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(dataset.path), moment],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        cwd=root,
        timeout=120,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL
    again = Dataset.open(dataset.path)
    assert again.rows == 250
    again.encode(codecs)
    assert columns(again) == columns(whole)
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
