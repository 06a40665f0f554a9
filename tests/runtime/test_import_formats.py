"""Every format gives the same samples, read lazily and by number."""

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fourm_runtime.data.importing.sources.opening import FORMATS, open_source, recognise
from fourm_runtime.data.importing.sources.source import Cut, Reading
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.command_line import fourm
from tests.runtime.import_files import (
    SCHEMA,
    YAML,
    Sample,
    flat,
    imported,
    png,
    samples,
    stored,
    table_of,
    write_archive,
    write_arrays,
    write_folders,
    write_lines,
    write_modality_tars,
    write_parquet,
    write_saved_dataset,
    write_webdataset,
)

READING = Reading(SCHEMA, frozenset(SCHEMA.modalities))
TEXTS = parse_schema(
    "{version: 1, vocabularies: {words: {kind: wordpiece, size: 300}}, "
    "modalities: {prose: {kind: text, vocabulary: words, max_tokens: 16}}}"
)
PROSE = Reading(TEXTS, frozenset(TEXTS.modalities))


def write_folder_tree(folder: Path, given: list[Sample]) -> str:
    write_folders(folder, given)
    return str(folder)


WRITERS: dict[str, tuple[str, Callable[[Path, list[Sample]], str]]] = {
    "jsonl": ("a.jsonl", write_lines),
    "npz": ("a.npz", write_archive),
    "arrays": ("arrays", write_arrays),
    "folders": ("folders", write_folder_tree),
    "tars": ("tars", write_modality_tars),
    "webdataset": ("web", write_webdataset),
    "parquet": ("table", write_parquet),
    "datasets": ("saved", write_saved_dataset),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_stores_the_same_samples(tmp_path: Path, name: str) -> None:
    """Where a sample comes from leaves no trace in it."""
    place, write = WRITERS[name]
    given = samples(10)
    path = write(tmp_path / place, given)
    report = imported(path, tmp_path / "a.lance")

    assert recognise(path) == name
    assert (report.format, report.samples, report.quarantined, report.notes) == (name, 10, 0, ())
    assert stored(tmp_path / "a.lance") == {str(sample["id"]): flat(sample) for sample in given}


@pytest.mark.parametrize("name", WRITERS)
def test_a_source_gives_any_row_and_goes_on_from_any(tmp_path: Path, name: str) -> None:
    place, write = WRITERS[name]
    source = open_source(write(tmp_path / place, samples(10)), READING)
    names = [row["id"] for row in source.rows()]

    assert len(source) == 10 and sum(source.chunks) == 10
    assert names == [f"s{number:03d}" for number in range(10)]
    assert [row["id"] for row in source.rows(7)] == names[7:]
    assert source.row(3)["id"] == names[3]


def test_a_source_notices_that_its_files_changed(tmp_path: Path) -> None:
    """An import that goes on must go on with the same samples."""
    path = write_lines(tmp_path / "a.jsonl", samples(3))
    before = open_source(path, READING).digest()
    write_lines(tmp_path / "a.jsonl", samples(4))

    assert open_source(path, READING).digest() != before


def test_what_found_no_counterpart_is_said(tmp_path: Path) -> None:
    """A misspelt name must not make a modality silently absent."""
    table = table_of(samples(4)).rename_columns(["id", "rgb", "codes", "shape", "captions"])
    pq.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", READING)

    assert source.notes == ["absent in all samples: caption", "columns left out: captions"]
    with pytest.raises(
        DataError, match=r"has no columns that a modality is named after; got caption.*source"
    ):
        open_source(tmp_path / "a.parquet", PROSE)


def test_pictures_of_tables_may_lie_beside_and_numbers_of_classes_have_names(tmp_path: Path) -> None:
    schema = parse_schema(
        """
        version: 1
        modalities:
          photo: {kind: image, size: 4, patch: 1, cell: {type: continuous, channels: 3, range: [0, 255]}}
          kind: {kind: set, max_items: 1, fields: {name: {type: category, classes: [cat, dog]}},
                 source: {field: label}}
        """
    )
    (tmp_path / "p.png").write_bytes(png(np.zeros((4, 4, 3), np.uint8)))
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"photo": [{"bytes": None, "path": "p.png"}], "label": [1]})
    pq.write_table(table.replace_schema_metadata(about), tmp_path / "a.parquet")
    row = open_source(tmp_path / "a.parquet", Reading(schema, frozenset(schema.modalities))).row(0)

    assert np.asarray(row["photo"]).shape == (4, 4, 3)
    assert row["kind"] == [{"name": "dog"}]


def test_idx_files_are_read_as_they_are_packed(tmp_path: Path) -> None:
    """The form of MNIST and its kin: big-endian numbers behind a small head, often compressed."""
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    head = bytes([0, 0, 8, 3]) + struct.pack(">3i", 3, 4, 4)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
    labels = np.array([2, 0, 1], ">i2")
    (tmp_path / "train-labels-idx1-short").write_bytes(
        bytes([0, 0, 11, 1]) + struct.pack(">i", 3) + labels.tobytes()
    )
    (tmp_path / "t10k-labels-idx1-short").write_bytes(bytes([0, 0, 11, 1]) + struct.pack(">i", 0))
    schema = parse_schema(
        """
        version: 1
        modalities:
          picture: {kind: image, size: 4, patch: 1, source: {field: images},
                    cell: {type: continuous, range: [0, 255], levels: 256}}
          label: {kind: vector, dim: 1, ranges: [0, 2], bins: 3, source: {field: labels}}
        """
    )
    imported(f"{tmp_path}/train-*", tmp_path / "a.lance", schema=schema)

    assert stored(tmp_path / "a.lance") == {
        str(n): {"picture": images[n].reshape(-1).tolist(), "label": [float(labels[n])]} for n in range(3)
    }
    with pytest.raises(DataError, match=r"has two arrays 'labels'; got .*name the files of one split"):
        imported(tmp_path, tmp_path / "b.lance", schema=schema)
    (tmp_path / "train-labels-idx1-short").write_bytes(bytes([0, 0, 11, 1]) + struct.pack(">i", 3) + b"\0")
    with pytest.raises(DataError, match=r"is cut off; got 1 of 6 bytes; restore the file"):
        imported(f"{tmp_path}/train-*", tmp_path / "b.lance", schema=schema)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head)[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: cannot be unpacked"):
        imported(f"{tmp_path}/train-*", tmp_path / "b.lance", schema=schema)


@pytest.mark.parametrize(
    ("cut", "words", "pieces"),
    [
        ("paragraph", None, ["one two three four", "five six"]),
        ("line", None, ["one two", "three four", "five six"]),
        ("document", None, ["one two\n three four\n \n\nfive six"]),
        ("paragraph", 3, ["one two three", "four", "five six"]),
    ],
)
def test_text_is_cut_by_the_stated_rule(
    tmp_path: Path, cut: Cut, words: int | None, pieces: list[str]
) -> None:
    (tmp_path / "book.txt").write_text("\none two\n three four\n \n\nfive six\n")
    source = open_source(tmp_path / "book.txt", Reading(TEXTS, PROSE.wanted, cut=cut, words=words))

    assert [row["prose"] for row in source.rows()] == pieces
    assert [row["id"] for row in source.rows()] == [f"book:{n}" for n in range(len(pieces))]


def test_several_texts_may_be_compressed_and_damaged_pieces_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\n\nb\xffd\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"packed\n"))
    source = open_source(tmp_path, PROSE)

    assert [source.row(0)["prose"], source.row(2)["prose"]] == ["good", "packed"]
    with pytest.raises(DataError, match=r"a\.txt piece 1: is no text in UTF-8"):
        source.row(1)
    two = parse_schema(YAML + "  title: {kind: text, vocabulary: words, max_tokens: 8}\n")
    with pytest.raises(DataError, match=r"does not say of which modality; got texts: caption, title"):
        open_source(tmp_path, Reading(two, frozenset(two.modalities)))


def test_parts_that_lack_samples_are_named_with_counts(tmp_path: Path) -> None:
    given = samples(6)
    write_folders(tmp_path / "in", given)
    (tmp_path / "in" / "rgb" / "s001.png").unlink()
    (tmp_path / "in" / "shape" / "s002.npy").unlink()
    (tmp_path / "in" / "shape" / "s004.npy").unlink()

    with pytest.raises(DataError) as caught:
        imported(tmp_path / "in", tmp_path / "a.lance")
    assert str(caught.value) == (
        f"{tmp_path / 'in'}: its parts do not hold the same samples, 6 in all; got rgb lacks 1 (s001); "
        "shape lacks 2 (s002, s004); complete them, or import the samples without these parts "
        "(--missing null)"
    )
    assert not (tmp_path / "a.lance").exists()
    imported(tmp_path / "in", tmp_path / "a.lance", missing="null")
    found = stored(tmp_path / "a.lance")
    assert sorted(name for name in found if found[name]["shape"] is None) == ["s002", "s004"]
    assert found["s001"]["rgb"] is None and len(found) == 6


def test_a_path_of_no_format_says_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.csv").write_text("x")
    with pytest.raises(
        DataError, match=r"is no folder of samples that is recognised; got b\.csv; say .*webdataset"
    ):
        open_source(tmp_path / "a", READING)
    with pytest.raises(DataError, match=r"there is no such folder"):
        open_source(tmp_path / "b", READING, "folders")
    with pytest.raises(DataError, match=r"jsnl: is no format of samples; did you mean 'jsonl'\?"):
        open_source(tmp_path / "a", READING, "jsnl")
    with pytest.raises(DataError, match=r"is no Parquet file that can be read"):
        open_source(tmp_path / "a" / "b.csv", READING, "parquet")
    assert set(FORMATS) >= set(WRITERS)


def test_the_verb_appends_and_fills_from_any_format_too(tmp_path: Path) -> None:
    """One interface of sources serves all that reads samples."""
    (tmp_path / "m.yaml").write_text(YAML)
    pattern = write_modality_tars(tmp_path / "tars", samples(4))
    fourm("data", "import", pattern, "--schema", tmp_path / "m.yaml", "--to", tmp_path / "a.lance")
    said = fourm(
        "data", "append", write_parquet(tmp_path / "table", samples(6)), "--to", tmp_path / "a.lance"
    )

    assert "6 samples added, 10 in all" in said


def test_what_was_appended_is_known_again_by_its_content(tmp_path: Path) -> None:
    """Copied elsewhere, a folder is the same samples; with one file changed, it is others."""
    (tmp_path / "m.yaml").write_text(YAML)
    into = tmp_path / "a.lance"
    write_folders(tmp_path / "in", samples(4))
    fourm("data", "import", tmp_path / "in", "--schema", tmp_path / "m.yaml", "--to", into)
    assert "4 samples added" in fourm("data", "append", tmp_path / "in", "--to", into)
    shutil.copytree(tmp_path / "in", tmp_path / "copy")
    said = fourm("data", "append", tmp_path / "copy", "--to", into)
    assert "was added before, and is left out now (--again adds it once more)" in said
    assert "0 samples added, 8 in all" in said
    (tmp_path / "copy" / "rgb" / "s001.png").write_bytes((tmp_path / "in" / "rgb" / "s002.png").read_bytes())
    assert "4 samples added, 12 in all" in fourm("data", "append", tmp_path / "copy", "--to", into)
