"""Modalities that were added later: values find their samples, or say why they do not."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fourm_codecs.build import build_codec
from fourm_runtime.data import laid_aside
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.filling import Filled
from fourm_runtime.data.importing.sources.opening import read_rows
from fourm_runtime.data.samples import read_samples
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from fourm_schema.schema import Schema
from tests.runtime.data_samples import YAML, encoded

Row = dict[str, object]

COUNT = 25
MORE = """
  land: {kind: image, size: 2, patch: 1, cell: {type: categorical, classes: 4}}
  wind: {kind: vector, dim: 2, ranges: [0, 40], bins: 8}
  note: {kind: text, vocabulary: words, max_tokens: 8, views: 2}
  spots:
    kind: set
    max_items: 3
    fields: {at: {type: point, bins: 8}, kind: {type: category, classes: [dark, light]}}
"""
ADDED = ("land", "wind", "note", "spots")
WIDER = parse_schema(YAML + MORE)


def value(name: str, number: int) -> object:
    """A value of an added modality that tells its sample; every seventh sample has none."""
    if number % 7 == 3:
        return None
    spot = {"at": [number / COUNT, 0.5], "kind": "dark" if number % 2 else "light"}
    return {
        "land": [[number % 4, 1], [2, number // 4 % 4]],
        "wind": [number, 0.5],
        "note": [f"note {number}", f"view {number}"][: 1 + number % 2],
        "spots": [spot] * (number % 4),
    }[name]


def row(number: int, *names: str) -> Row:
    return {"id": str(number), **{name: value(name, number) for name in names or ADDED}}


def widened(path: Path, count: int = COUNT, rows_per_fragment: int = 10, schema: Schema = WIDER) -> Dataset:
    """A dataset of three fragments to which modalities were added, ids "0", "1", ..."""
    dataset = Dataset.create(
        path,
        parse_schema(YAML),
        ({"shape": [0, 0, 1]} for _ in range(count)),
        rows_per_fragment=rows_per_fragment,
    )
    dataset.add_modality(schema)
    return dataset


def stored(dataset: Dataset, name: str) -> list[object]:
    """The values of every sample in the order of the rows."""
    samples = read_samples(dataset, range(dataset.rows))
    values = [sample.values.get(name) for sample in samples]
    return [found.tolist() if isinstance(found, np.ndarray) else found for found in values]


def test_values_find_their_samples_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a file are in the order of the program that wrote it, and come in chunks of any size."""
    monkeypatch.setattr(laid_aside, "rows_per_chunk", lambda _: 4)
    dataset = widened(tmp_path / "a.lance")
    order = np.random.default_rng(0).permutation(COUNT)
    seen: list[tuple[str, int, int]] = []
    report = dataset.fill_rows(
        (row(number) for number in order if number != 7), progress=lambda *call: seen.append(call)
    )

    absent = [number for number in range(COUNT) if number % 7 == 3 or number == 7]
    for name in ADDED:
        expected = [None if number in absent else value(name, number) for number in range(COUNT)]
        found = stored(dataset, name)
        assert found == expected
    assert report.filled == tuple(Filled(name, COUNT - len(absent), len(absent), 0) for name in ADDED)
    assert (report.kept, report.strangers) == ((), ())
    assert seen == [(name, done, COUNT) for name in ADDED for done in (10, 20, 25)]
    assert dataset.unfilled == ()


def test_what_was_stored_and_encoded_before_is_not_rewritten(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance", count=25, rows_per_fragment=20)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "a.lance" / "data").iterdir()}
    dataset.add_modality(WIDER)
    dataset.fill_rows(row(number) for number in range(25))
    words = codecs["caption"].parts.vocabulary
    assert words is not None
    dataset.encode(codecs | {name: build_codec(WIDER, name, {"words": words}) for name in ADDED})

    now = {file: file.stat().st_mtime_ns for file in (tmp_path / "a.lance" / "data").iterdir()}
    assert before.items() <= now.items()
    assert {stream.state for stream in dataset.status().streams} == {"encoded"}


@pytest.mark.parametrize("ending", [".jsonl", ".npz"])
def test_files_of_both_forms_fill(tmp_path: Path, ending: str) -> None:
    """As `fourm data import` reads them, keys renamed by the schema included."""
    wind = "  wind: {kind: vector, dim: 2, ranges: [0, 40], bins: 8, source: {field: gusts}}\n"
    dataset = widened(tmp_path / "a.lance", count=3, schema=parse_schema(YAML + wind))
    file = tmp_path / f"more{ending}"
    if ending == ".npz":
        gusts = np.array([[1, 2], [0, 0], [5, 6]])
        np.savez(
            file, id=np.array(["2", "1", "0"]), gusts=gusts, gusts__present=np.array([True, False, True])
        )
    else:
        lines: list[Row] = [{"id": 2, "gusts": [1, 2]}, {"id": "0", "gusts": [5, 6]}]
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    dataset.fill_rows(read_rows(file, dataset.schema))

    assert stored(dataset, "wind") == [[5, 6], None, [1, 2]]


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_stored(tmp_path: Path) -> None:
    dataset = widened(tmp_path / "a.lance")
    version = dataset.version
    faulty: list[Row] = [
        {"id": "0", "wind": [1, 41], "nite": "a", "note": "calm"},
        {"id": "1", "nite": "b"},
        {"wind": [1, 1]},
        {"id": "77", "wind": [1, 1]},
        {"id": "0", "wind": [2, 2]},
    ]
    with pytest.raises(DataError) as caught:
        dataset.fill_rows(faulty)

    assert [str(fault) for fault in caught.value.faults] == [
        "row 0, nite: is no modality of this dataset; did you mean 'note'? known: caption, classes, digit, "
        "land, note, shape, spots, wind; another is added by: fourm data add-modality",
        "row 0 (id '0'), wind at [1]: values lie in [0, 40]; got 41; rescale it, or set `out_of_range: clip` "
        "to bound it",
        'row 2: has no id; give "id", by which it finds its sample; samples imported without one are "0", '
        '"1", ...',
        "row 3 (id '77'): is no sample of this dataset; correct the id, or leave out such rows with "
        "--skip-unknown",
        "row 4 (id '0'): has the id of an earlier row; give each sample one row",
    ]
    assert str(caught.value).startswith(f"{dataset.path}: 5 values cannot be stored; nothing was stored")
    assert Dataset.open(dataset.path).version == version
    assert set(dataset.unfilled) == set(ADDED)


def test_faults_end_at_twenty_and_a_row_that_is_none_is_named(tmp_path: Path) -> None:
    dataset = widened(tmp_path / "a.lance")
    with pytest.raises(DataError, match="at least 20 values cannot be stored"):
        dataset.fill_rows({"id": f"x{number}", "wind": [0, 0]} for number in range(1000))
    with pytest.raises(DataError, match=r"row 0: a row is a mapping \{modality: value\}; got list"):
        dataset.fill_rows([["0", [1, 2]]])  # type: ignore[list-item]  # what a user may do


def test_rows_of_no_sample_can_be_left_out(tmp_path: Path) -> None:
    """One file may hold the values of several datasets; it has to be asked for, since a misspelt id would
    otherwise cost a sample its value for good."""
    dataset = widened(tmp_path / "a.lance", count=2)
    report = dataset.fill_rows([row(number, "wind") for number in range(5)], skip_unknown=True)

    assert report.filled == (Filled("wind", 2, 0, 0),)
    assert report.strangers == ("2", "3", "4")
    with pytest.raises(DataError, match=r"no row gives what is to be filled; got nothing of note"):
        dataset.fill_rows([row(0, "land"), row(7, "note")], ["note"], skip_unknown=True)
    with pytest.raises(DataError, match=r"no row has the id of a sample; got 3 rows, the first with id '7'"):
        dataset.fill_rows([row(number, "note") for number in (7, 8, 9)], skip_unknown=True)


@pytest.mark.parametrize("ending", [".jsonl", ".npz"])
def test_of_a_modality_that_is_named_other_keys_do_not_matter(tmp_path: Path, ending: str) -> None:
    """One file may hold measurements of which not all are declared; a misspelt key is only refused where the
    keys say what to fill."""
    dataset, file = widened(tmp_path / "a.lance", count=1), tmp_path / f"a{ending}"
    if ending == ".npz":
        np.savez(file, id=np.array(["0"]), wind=np.array([[1, 2]]), rain=np.array([3]))
    else:
        file.write_text('{"id": "0", "wind": [1, 2], "rain": 3}\n')
    with pytest.raises(DataError, match=r"0, rain: is no modality|line 1, rain: is no modality"):
        dataset.fill_rows(read_rows(file, dataset.schema, dataset.unfilled))
    dataset.fill_rows(read_rows(file, dataset.schema, ["wind"]), ["wind"])

    assert stored(dataset, "wind") == [[1, 2]]


def test_what_was_filled_before_is_refused_or_passed_over(tmp_path: Path) -> None:
    """A value is never replaced: tokens, checkpoints and figures may rest on it."""
    dataset = widened(tmp_path / "a.lance")
    dataset.fill_rows(row(number, "wind") for number in range(COUNT))
    refusal = (
        r"a\.lance: has been filled with wind before, and no value is ever replaced; add other values under"
    )
    with pytest.raises(DataError, match=refusal):
        dataset.fill_rows(row(number, "wind") for number in range(COUNT))
    with pytest.raises(DataError, match=refusal):
        dataset.fill_rows((row(number) for number in range(COUNT)), ["wind"])
    again = dataset.fill_rows({**row(number, "note", "wind"), "wind": None} for number in range(COUNT))

    assert again.kept == ("wind",)
    assert [one.modality for one in again.filled] == ["note"]
    assert stored(dataset, "wind") == [value("wind", number) for number in range(COUNT)]


def test_what_is_asked_for_must_be_there(tmp_path: Path) -> None:
    dataset = widened(tmp_path / "a.lance")
    with pytest.raises(DataError, match=r"wnd: is no modality of this dataset; did you mean 'wind'\?"):
        dataset.fill_rows([row(0)], ["wnd"])
    with pytest.raises(DataError, match=r"no row gives what is to be filled; got nothing of note"):
        dataset.fill_rows([row(0, "wind")], ["wind", "note"])
    with pytest.raises(
        DataError, match=r"no row gives what is to be filled; got nothing of land, wind, note"
    ):
        dataset.fill_rows([{"id": "0"}])
    with pytest.raises(DataError, match=r"shape.*no value is ever replaced"):
        dataset.fill_rows([{"id": "0", "shape": [1, 1, 1]}])

    assert dataset.fill_rows([row(0)], ["wind"]).filled == (Filled("wind", 1, COUNT - 1, 0),)
    assert set(dataset.unfilled) == {*ADDED} - {"wind"}


def test_a_fill_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    """Fragments are committed one by one, so no hour is lost; and nothing is left lying about."""
    dataset = widened(tmp_path / "a.lance")
    files = {file.name for file in dataset.path.iterdir()}

    def break_off(name: str, done: int, total: int) -> None:
        assert {file.name for file in dataset.path.iterdir()} == files
        if (name, done) == ("note", 20):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.fill_rows((row(number, "wind", "note") for number in range(COUNT)), progress=break_off)
    report = Dataset.open(dataset.path).fill_rows(row(number, "wind", "note") for number in range(COUNT))

    assert report.kept == ("wind",)
    assert report.filled == (Filled("note", 12, 3, 10),)
    found = Dataset.open(dataset.path)
    for name in ("wind", "note"):
        assert stored(found, name) == [value(name, number) for number in range(COUNT)]


def test_appended_samples_bring_their_own_values(tmp_path: Path) -> None:
    dataset = widened(tmp_path / "a.lance")
    dataset.append([{"id": "new", "wind": [9, 9]}])
    report = dataset.fill_rows(row(number, "wind") for number in range(COUNT))

    assert report.filled == (Filled("wind", 21, 4, 1),)
    assert stored(dataset, "wind")[-1] == [9, 9]


def test_deleted_rows_are_refused(tmp_path: Path) -> None:
    """Lance keeps a deleted row's place: values would come to stand beside the wrong samples."""
    dataset = widened(tmp_path / "a.lance")
    dataset.arrow.delete("id = '3'")
    with pytest.raises(DataError, match=r"fragment 0: has deleted rows, .*; compact the dataset first"):
        dataset.fill_rows([row(0, "wind")])
    with pytest.raises(DataError, match=r"has deleted rows"):
        dataset.fill("wind", lambda ids: [[1, 1]] * len(ids))


def test_files_that_are_not_needed_are_not_opened(tmp_path: Path) -> None:
    """A file that was imported once and got a key more may name ten thousand pictures that have gone."""
    (tmp_path / "a.jsonl").write_text('{"id": "0", "digit": "gone.png", "wind": [1, 2]}\n')
    dataset = widened(tmp_path / "a.lance", count=1)

    def rows(needed: tuple[str, ...] | None) -> Iterator[Row]:
        yield from read_rows(tmp_path / "a.jsonl", dataset.schema, needed)

    with pytest.raises(DataError, match=r"line 1, digit: there is no such file; got .*gone\.png"):
        dataset.fill_rows(rows(None))
    assert dataset.fill_rows(rows(dataset.unfilled)).kept == ("digit",)
    assert stored(dataset, "wind") == [[1, 2]]
