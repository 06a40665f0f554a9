"""Appending once, merging, cleaning up: rows, numbers, ids and what is to be encoded outlive all of it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from lance.optimize import Compaction

from fourm_codecs.build import build_codec
from fourm_runtime.data import staged_files, store
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.staging import next_sample
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.command_line import fourm
from tests.runtime.data_samples import SCHEMA, YAML, encoded, samples

WIDER = parse_schema(YAML + "  height: {kind: vector, dim: 1, ranges: [0, 9], bins: 10}\n")
HEIGHT = {"height": build_codec(WIDER, "height")}
NO_TIME = timedelta(0)


def whole(dataset: Dataset) -> dict[str, list[object]]:
    """All columns of the latest version by sample number: the order of fragments says nothing."""
    table = Dataset.open(dataset.path).arrow.to_table().sort_by("sample")
    return {name: table[name].to_pylist() for name in table.column_names}


def heights(ids: object) -> list[object]:
    assert isinstance(ids, list | tuple)
    return [[int(name) % 10] for name in ids]


def test_every_change_keeps_the_file_version_and_the_row_ids(tmp_path: Path) -> None:
    """Readers rely on both; an operation of Lance that forgets them would show up in one column alone."""
    dataset, codecs = encoded(tmp_path / "a.lance", 60, rows_per_fragment=20)
    dataset.append(samples(20))
    dataset.add_modality(WIDER)
    dataset.fill("height", heights)
    dataset.encode({**codecs, **HEIGHT})
    dataset.compact()
    latest = Dataset.open(dataset.path).arrow

    assert latest.has_stable_row_ids
    assert latest.data_storage_version == "2.2"
    versions = {
        (file.file_major_version, file.file_minor_version)
        for fragment in latest.get_fragments()
        for file in fragment.data_files()
    }
    assert versions == {(2, 2)}


def test_rows_that_were_appended_under_a_name_are_not_appended_again(tmp_path: Path) -> None:
    """A killed program cannot know whether its last commit came through; it must be able to ask again."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))

    assert [dataset.append(samples(3), once="b") for _ in range(3)] == [3, 0, 0]
    assert dataset.append(samples(3), once="c") == 3
    assert dataset.append(samples(3)) == 3
    dataset.compact()
    dataset.clean_up(NO_TIME)
    assert dataset.append(samples(3), once="b") == 0
    assert whole(dataset)["sample"] == list(range(14))
    Dataset.create(dataset.path, SCHEMA, samples(1), overwrite=True)
    assert Dataset.open(dataset.path).append(samples(3), once="b") == 3


def test_rows_that_were_announced_and_never_came_are_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the announcement and the rows; what others appended since must not pass for them."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    with monkeypatch.context() as patch:
        patch.setattr(staged_files, "commit_rows", _die)
        for name in ("b", "c"):
            with pytest.raises(KeyboardInterrupt):
                dataset.append(samples(3), once=name)
    assert dataset.append(samples(2), once="d") == 2

    assert [dataset.append(samples(3), once=name) for name in ("b", "c", "d")] == [3, 3, 0]
    assert whole(dataset)["sample"] == list(range(13))


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_same_file_is_added_once_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Dataset.create("a.lance", SCHEMA)
    Path("more.jsonl").write_text('{"shape": [0, 0, 1]}\n')

    assert "1 samples added, 1 in all" in fourm("data", "append", "more.jsonl", "--to", "a.lance")
    again = fourm("data", "append", "more.jsonl", "--to", "a.lance")
    assert "was added before, and is left out now (--again adds it once more)" in again
    assert "2 in all" in fourm("data", "append", "more.jsonl", "--to", "a.lance", "--again")


def test_merging_leaves_to_encode_what_was_not_encoded(tmp_path: Path) -> None:
    """Lance writes nulls for columns that a fragment never had; they would pass for encoded rows."""
    dataset, codecs = encoded(tmp_path / "a.lance", 60, rows_per_fragment=20)
    for seed in range(3):
        dataset.append(samples(10, seed))
    dataset.add_modality(WIDER)
    before = whole(dataset)
    done = dataset.compact()

    assert (done.before, done.after, done.rows) == (6, 2, 90)
    assert whole(dataset) == before
    assert {status.encoded_rows for status in dataset.status(codecs).streams[:4]} == {60}
    assert dataset.unfilled == ("height",)
    dataset.encode(codecs)
    dataset.fill("height", heights)
    dataset.encode(HEIGHT)
    assert {status.state for status in dataset.status().streams} == {"encoded"}
    apart = Dataset.create(tmp_path / "b.lance", SCHEMA, samples(60))
    for seed in range(3):
        apart.append(samples(10, seed))
    apart.add_modality(WIDER)
    apart.fill("height", heights)
    apart.encode({**codecs, **HEIGHT})
    assert whole(dataset) == whole(apart)
    assert dataset.compact().after == 1
    assert whole(dataset) == whole(apart)
    assert dataset.compact().rows == 0


def test_numbers_go_on_after_fragments_changed_places(tmp_path: Path) -> None:
    """A merged fragment stands behind all others, so the last row is not the youngest any more."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(40), rows_per_fragment=20)
    dataset.append(samples(30), rows_per_fragment=30)
    dataset.compact(rows_per_fragment=40)

    assert dataset.arrow.to_table(columns=["sample"])["sample"].to_pylist()[-1] == 39
    assert next_sample(dataset.arrow) == 70
    dataset.append(samples(5))
    assert whole(dataset)["sample"] == list(range(75))


def test_ids_committed_while_a_fragment_is_merged_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was merged without the ids must not be committed; it is merged anew, with them."""
    dataset, _ = encoded(tmp_path / "a.lance", 40, rows_per_fragment=20)
    dataset.add_modality(WIDER)
    dataset.fill("height", heights)
    before, commit, calls = whole(dataset), Compaction.commit, list[int]()

    def encode_first(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            Dataset.open(dataset.path).encode(HEIGHT)
        return commit(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Compaction, "commit", encode_first)
    files = {file.name for file in (dataset.path / "data").iterdir()}
    done = dataset.compact()

    assert len(calls) == 2
    assert (done.after, dataset.status().streams[-1].state) == (1, "encoded")
    after = whole(dataset)
    assert {name: after[name] for name in before} == before
    assert after["height__tokens"] == [[number % 10] for number in range(40)]
    assert (
        len({file.name for file in (dataset.path / "data").iterdir()} - files) == 3
    )  # two of ids, one merged


def test_encoding_goes_on_when_fragments_are_merged_under_it(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", WIDER, samples(60), rows_per_fragment=20)
    codecs = {name: build_codec(WIDER, name) for name in ("digit", "classes")}
    merged = list[int]()

    def merge_once(stream: str, done: int, total: int) -> None:
        if stream == "digit.tokens" and not merged:
            merged.append(Dataset.open(dataset.path).compact().after)

    dataset.encode(codecs, progress=merge_once)

    assert merged == [1]
    other = Dataset.create(tmp_path / "b.lance", WIDER, samples(60))
    other.encode(codecs)
    assert whole(dataset) == whole(other)


def test_values_filled_after_an_encoding_are_encoded_next(tmp_path: Path) -> None:
    """Nulls encoded before the fill would pass for the ids of the values that came later."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(40), rows_per_fragment=20)
    dataset.add_modality(WIDER)
    dataset.encode(HEIGHT)
    assert dataset.status().streams[-1].state == "encoded"
    assert dataset.status().unfilled == ("height",)
    dataset.fill("height", heights)

    assert (dataset.status().streams[-1].state, dataset.status().streams[-1].encoded_rows) == ("partial", 0)
    dataset.encode(HEIGHT)
    assert whole(dataset)["height__tokens"] == [[number % 10] for number in range(40)]


def test_a_modality_filled_by_two_at_once_has_the_values_of_the_first(tmp_path: Path) -> None:
    """No value is ever replaced, not even one that came while others were made."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(20))
    dataset.add_modality(WIDER)

    def late(ids: object) -> list[object]:
        Dataset.open(dataset.path).fill("height", heights)
        return [[9] for _ in range(20)]

    with pytest.raises(DataError, match="has been filled with height before, and no value is ever replaced"):
        dataset.fill("height", late)
    assert whole(dataset)["height"] == [[number % 10] for number in range(20)]


def test_cleaning_up_keeps_pins_the_latest_and_what_a_writer_has_staged(tmp_path: Path) -> None:
    """A run reads the version that it pinned; a writer commits files that no version refers to yet."""
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(20), rows_per_fragment=10)
    dataset.pin("run")
    pinned = whole(dataset)
    dataset.add_modality(WIDER)
    dataset.compact()
    fragment = dataset.arrow.get_fragments()[0].fragment_id
    leaf = store.leaf_field(dataset.arrow, "height")
    values = dataset.arrow.to_table(columns=["height"]).combine_chunks().to_batches()[0]
    staged = staged_files.stage_column(dataset.path, fragment, values)
    done = dataset.clean_up(NO_TIME)

    assert done.versions >= 2
    versions = [version["version"] for version in Dataset.open(dataset.path).arrow.versions()]
    assert versions == [1, dataset.version]
    table = Dataset.open(dataset.path, "run").arrow.to_table()
    assert {name: table[name].to_pylist() for name in table.column_names} == pinned
    assert staged_files.commit_column(dataset.path, "height", leaf, staged)
    assert Dataset.open(dataset.path).unfilled == ()
    assert dataset.clean_up().versions == 0


def test_upkeep_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Dataset.create("a.lance", SCHEMA, samples(40), rows_per_fragment=10)

    merged = fourm("data", "compact", "a.lance", "--rows", "20")
    assert "a.lance: 4 files of samples, 2 now; 40 samples rewritten" in merged
    assert "a.lance: 0 old versions removed" in fourm("data", "clean", "a.lance")
    assert "old versions removed" in fourm("data", "clean", "a.lance", "--days", "0")
    assert [version["version"] for version in Dataset.open("a.lance").arrow.versions()] == [
        Dataset.open("a.lance").version
    ]


def test_commits_that_others_come_before_are_tried_a_bounded_number_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never for ever, and not at all when waiting cannot help."""
    path = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5)).path
    waits, calls = list[float](), list[int]()
    monkeypatch.setattr("fourm_runtime.data.store.time.sleep", waits.append)

    def fail(message: str) -> Callable[[object], None]:
        def change(_: object) -> None:
            calls.append(1)
            raise OSError(message)

        return change

    with pytest.raises(DataError, match=r"here: cannot be committed; got Retryable.*others write to this"):
        store.commit(path, "here", fail("Retryable commit conflict for version 3"))
    assert len(calls) == store.ATTEMPTS == len(waits) + 1
    assert waits == sorted(waits) and sum(waits) < 3
    calls.clear()
    with pytest.raises(DataError, match=r"here: cannot be written; the dataset stays at its last version"):
        store.commit(path, "here", fail("Permission denied (os error 13)"))
    assert len(calls) == 1


def test_a_stale_column_stays_until_the_first_new_ids_are_there(tmp_path: Path) -> None:
    """A codec that fails at once, or a full disk, must not cost the ids that were there."""
    dataset, _ = encoded(tmp_path / "a.lance", 40, rows_per_fragment=20)
    finer = parse_schema(YAML.replace("bins: 32", "bins: 64"))
    dataset.add_modality(finer)
    before, version = whole(dataset), dataset.version
    codec = build_codec(finer, "shape")

    class Broken:
        """The codec, but for its work."""

        def encode(self, values: object) -> object:
            raise RuntimeError("no more power")

        def __getattr__(self, name: str) -> object:
            return getattr(codec, name)

    with pytest.raises(RuntimeError, match="no more power"):
        dataset.encode({"shape": Broken()}, replace=True)  # type: ignore[dict-item]  # it has what a codec has, by delegation
    assert (whole(dataset), Dataset.open(dataset.path).version) == (before, version)
    dataset.encode({"shape": codec}, replace=True)
    assert {status.state for status in dataset.status().streams} == {"encoded"}
    assert dataset.arrow.schema.field("shape__tokens").metadata[b"fourm.vocab_size"] == b"64"
