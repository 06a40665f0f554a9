"""Files of samples: what can be read, and what each refusal says."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.sources.opening import read_rows
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema

SCHEMA = parse_schema(
    """
    version: 1
    vocabularies: {words: {kind: wordpiece, size: 300}}
    modalities:
      photo:
        kind: image
        size: 2
        patch: 1
        cell: {type: continuous, channels: 3, range: [0, 255], levels: 256}
      land: {kind: image, size: 2, patch: 1, cell: {type: categorical, classes: 4}}
      shape: {kind: vector, dim: 2, ranges: [0, 1], source: {field: outline}}
      caption: {kind: text, vocabulary: words, max_tokens: 16, views: 2}
    """
)


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def rows_of(path: Path) -> list[dict[str, object]]:
    rows = [dict(row) for row in read_rows(path, SCHEMA)]
    return [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()} for row in rows]


def test_lines_hold_values_or_name_files(tmp_path: Path) -> None:
    """A palette is colours in a photograph and class numbers in a class map."""
    palette = Pictures.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.save(tmp_path / "p.png")
    np.save(tmp_path / "s.npy", np.array([0.5, 1.0]))
    file = write(
        tmp_path / "a.jsonl",
        {"id": "a", "photo": "p.png", "land": "p.png", "outline": "s.npy", "caption": "one"},
        "",
        {"land": [[0, 1], [2, 3]], "outline": [0, 1], "caption": ["one", "two"], "photo": None},
    )

    assert rows_of(file) == [
        {
            "id": "a",
            "photo": [[[9, 8, 7]] * 2] * 2,
            "land": [[1, 1], [1, 1]],
            "shape": [0.5, 1.0],
            "caption": "one",
        },
        {"land": [[0, 1], [2, 3]], "shape": [0, 1], "caption": ["one", "two"], "photo": None},
    ]
    assert Dataset.create(tmp_path / "a.lance", SCHEMA, read_rows(file, SCHEMA)).rows == 2


def test_pictures_stand_upright(tmp_path: Path) -> None:
    """Cameras store the orientation beside the pixels."""
    picture = Pictures.new("RGB", (2, 2))
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Pictures.Exif()
    exif[0x0112] = 3
    picture.save(tmp_path / "p.png", exif=exif)
    (row,) = rows_of(write(tmp_path / "a.jsonl", {"photo": "p.png"}))

    assert row["photo"] == [[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [255, 255, 255]]]


def test_archives_hold_a_row_per_sample(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        id=np.array(["x", "y"]),
        land=np.arange(8).reshape(2, 2, 2) % 4,
        outline=np.array([[0, 1], [1, 0]], np.float32),
        outline__present=np.array([True, False]),
        caption=np.array([["one", "two"], ["three", ""]]),
    )

    assert rows_of(tmp_path / "a.npz") == [
        {"id": "x", "land": [[0, 1], [2, 3]], "shape": [0, 1], "caption": ["one", "two"]},
        {"id": "y", "land": [[0, 1], [2, 3]], "caption": ["three"]},
    ]
    assert Dataset.create(tmp_path / "a.lance", SCHEMA, read_rows(tmp_path / "a.npz", SCHEMA)).rows == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"land": ', r"a\.jsonl line 2: is no JSON; got Expecting value: .*; one object a line"),
        ("[1]", r"a\.jsonl line 2: is no JSON object; got list; one object \{modality: value\} a line"),
        ('{"photo": "q.png"}', r"a\.jsonl line 2, photo: there is no such file; got .*q\.png"),
        (
            '{"photo": "a.jsonl"}',
            r"a\.jsonl line 2, photo: a value's file is one of \.npy, \.png, .*; got a\.jsonl",
        ),
        (
            '{"outline": "p.png"}',
            r"a\.jsonl line 2, shape: a value's file is one of \.npy, \.json, \.cls; got p\.png",
        ),
        (
            '{"photo": "p.png"}',
            r"a\.jsonl line 2, photo: p\.png is no picture that can be read; got no format that is known",
        ),
        (
            '{"outline": "o.npy"}',
            r"a\.jsonl line 2, shape: o\.npy is no plain array; got Object arrays cannot be",
        ),
        ('{"outline": [2, 3]}', r"a\.jsonl line 2, shape at \[0\]: values lie in \[0, 1\]; got 2"),
    ],
)
def test_a_fault_names_its_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "p.png").write_bytes(b"no picture")
    np.save(tmp_path / "o.npy", np.array([None, {}], object), allow_pickle=True)
    file = write(tmp_path / "a.jsonl", {"land": [[0, 1], [2, 3]]}, line)

    with pytest.raises(DataError, match=message):
        Dataset.create(tmp_path / "a.lance", SCHEMA, read_rows(file, SCHEMA))
    assert not (tmp_path / "a.lance").exists()


def test_archives_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, land=np.zeros((2, 2, 2)), outline=np.zeros((3, 2)))
    with pytest.raises(
        DataError, match=r"arrays have as many rows as there are samples; got land 2, shape 3"
    ):
        list(read_rows(file, SCHEMA))
    np.savez(file, lnad=np.zeros((2, 2, 2)))
    with pytest.raises(
        DataError, match=r"array 'lnad': is no modality of this schema; did you mean 'land'\?"
    ):
        list(read_rows(file, SCHEMA))
    np.savez(file, land=np.array([None, {}], object))
    with pytest.raises(
        DataError, match=r"is no archive of plain arrays; got Object arrays.*; save plain arrays"
    ):
        list(read_rows(file, SCHEMA))
    file.write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"is no archive of plain arrays"):
        list(read_rows(file, SCHEMA))


def test_other_files_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv: is no file of samples; got \.csv; known: \.jsonl, \.npz, "):
        read_rows(tmp_path / "a.csv", SCHEMA)
    with pytest.raises(DataError, match=r"a\.jsonl: there is no such file"):
        read_rows(tmp_path / "a.jsonl", SCHEMA)
