"""`fourm init`: what tables, lines of JSON and archives of arrays come to, a row for each sample."""

from pathlib import Path

import numpy as np

from fourm_runtime.scan.draft import init
from fourm_schema.load import parse_schema
from fourm_schema.modality import Set
from fourm_schema.set_fields import BoxField
from tests.runtime.drafted_files import NOISE, cell, entry, lines, said, save


def test_lists_of_boxes_are_sets_of_one_field(tmp_path: Path) -> None:
    lines(tmp_path, [{"boxes": [[0, 0, 5, 5], [1, 1, 2, 2]]}, {"boxes": []}])
    boxes = parse_schema(init(tmp_path).yaml).modalities["boxes"]

    assert isinstance(boxes, Set) and isinstance(boxes.fields["box"], BoxField)
    assert 'write each item as an object: {"box": [...]}' in said(init(tmp_path), "boxes")


def test_plain_columns_of_a_table_are_one_record_and_texts_are_texts(tmp_path: Path) -> None:
    """A record keeps numbers beside classes, and a missing cell takes nothing else with it."""
    (tmp_path / "dogs.csv").write_text(
        "id;weight;age;breed;caption;code;born;note\n"
        "a;3.5;1;pug;a small dog;007;2020-01-02;\n"
        "b;;4;pug;a dog asleep;008;2021-02-03;\n"
        "c;9.1;2;collie;a dog, running;009;2022-03-04;\n"
        "d;7.0;3;collie;no dog at all;010;2023-04-05;\n"
        "e;1.0\n"
    )
    draft = init(tmp_path)
    why = {item.what: item.why for item in draft.skipped}

    assert entry(tmp_path, "dogs") == {
        "kind": "set",
        "max_items": 1,
        "fields": {
            "weight": {"type": "number", "range": [3.5, 9.5], "optional": True},
            "age": {"type": "number", "range": [-0.5, 4.5], "bins": 5},
            "breed": {"type": "category", "classes": ["collie", "pug"]},
        },
    }
    assert entry(tmp_path, "caption")["kind"] == "text"
    assert why["dogs.csv: note"] == "never has a value"
    assert why["dogs.csv: code"] == why["dogs.csv: born"] == "holds names, addresses or dates, not words"
    assert why["dogs.csv line 6: has 2 cells, not 8"] == "was left out"
    assert draft.by_hand == [] and draft.samples is not None
    assert list(draft.samples.lines(tmp_path))[1] == {
        "id": "b", "dogs": [{"age": 4, "breed": "pug"}], "caption": "a dog asleep"
    }  # fmt: skip


def test_very_many_columns_of_numbers_are_a_vector(tmp_path: Path) -> None:
    """Three hundred columns are an embedding; as fields of a record they would be a token each."""
    (tmp_path / "dino.csv").write_text(
        "".join(",".join(map(str, row)) + "\n" for row in np.random.default_rng(0).uniform(-1, 1, (3, 300)))
    )

    assert entry(tmp_path, "dino") == {"kind": "vector", "dim": 300, "ranges": [[-1, 1]]}


def test_keys_of_json_lines_are_modalities(tmp_path: Path) -> None:
    save(tmp_path / "rgb", NOISE[:9].reshape(3, 64, 64, 3), ".png")
    lines(
        tmp_path,
        [
            {"id": number, "file": f"rgb/{number:04d}.png", "Wind Speed": [1.5, number], "says": ["a", "b c"]}
            for number in range(3)
        ],
    )
    draft = init(tmp_path)

    assert [found.name for found in draft.found] == ["rgb", "wind_speed", "says"]
    assert entry(tmp_path, "rgb")["source"] == {"field": "file"}
    assert entry(tmp_path, "wind_speed")["source"] == {"field": "Wind Speed"}
    assert entry(tmp_path, "says")["views"] == 2
    assert draft.ready == str(tmp_path / "samples.jsonl") and draft.samples is None


def test_a_column_and_a_folder_of_one_name_are_one_modality(tmp_path: Path) -> None:
    """Whoever has written samples.jsonl from the folders, and asks again, has no two captions."""
    save(tmp_path / "says", ["a dog", "two cats"], ".txt")
    lines(tmp_path, [{"says": "a dog"}, {"says": "two cats"}])
    draft = init(tmp_path)

    assert [found.name for found in draft.found] == ["says"] and draft.ready
    assert [(item.what, item.why) for item in draft.skipped] == [
        ("says/", "a table has a column of this name, which is taken in its place")
    ]


def test_what_cannot_be_imported_is_not_called_ready(tmp_path: Path) -> None:
    """`fourm data import` refuses a file whose keys are not all modalities."""
    file = lines(tmp_path, [{"wind": [1.5, 2], "url": f"https://a.b/{n}"} for n in range(4)])
    draft = init(tmp_path)

    assert not draft.ready and draft.by_hand == [] and draft.samples is not None
    assert list(draft.samples.lines(tmp_path))[1] == {"id": "1", "wind": [1.5, 2]}
    lines(tmp_path, [{"wind": [1.5, 2]}])
    assert init(tmp_path).ready == str(file)


def test_lines_that_are_no_objects_are_one_modality(tmp_path: Path) -> None:
    lines(tmp_path, ["a dog", "two cats"], "captions.jsonl")
    draft = init(tmp_path)

    assert [found.name for found in draft.found] == ["captions"]
    assert draft.by_hand == [] and draft.samples is not None
    assert list(draft.samples.lines(tmp_path))[1] == {"id": "1", "captions": "two cats"}


def test_arrays_of_an_archive_are_modalities(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "digits.npz",
        id=np.arange(5),
        digit=np.random.default_rng(0).integers(0, 17, (5, 8, 8)).astype(float),
        label=np.arange(5),
        name=np.array(["one", "two", "three", "four", "five"]),
    )
    draft = init(tmp_path)

    assert entry(tmp_path, "digit") == {
        "kind": "image", "size": [8, 8], "patch": [1, 1], "cell": cell(range=[0, 16], levels=17)
    }  # fmt: skip
    assert entry(tmp_path, "label")["fields"] == {"label": {"type": "category", "classes": 5}}
    assert entry(tmp_path, "name")["kind"] == "text"
    assert draft.ready == str(tmp_path / "digits.npz")
    assert "5 of 5 samples" in said(draft, "digit")


def test_array_files_of_whole_datasets(tmp_path: Path) -> None:
    """`rgb.npy` holds many samples, `0001.npy` one."""
    np.save(tmp_path / "wind.npy", np.random.default_rng(0).uniform(0, 1, (300, 3)))
    draft = init(tmp_path)

    assert entry(tmp_path, "wind")["dim"] == 3
    assert "200 of 300 samples" in said(draft, "wind")
    assert draft.ready == str(tmp_path) and draft.by_hand == []


def test_a_damaged_archive_takes_no_other_with_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "part_1.npz", wind=np.zeros((4, 3)))
    (tmp_path / "part_2.npz").write_bytes(b"no archive")
    draft = init(tmp_path)

    assert [found.name for found in draft.found] == ["wind"]
    assert draft.by_hand[0] == "mend part_2.npz, which cannot be read"


def test_tables_of_a_sub_folder_are_samples_if_they_are_many(tmp_path: Path) -> None:
    save(tmp_path / "wind", [[0.0, 1.0]] * 9)
    (tmp_path / "imu").mkdir()
    for number in range(9):
        (tmp_path / "imu" / f"walk_{number}.csv").write_text("t,x\n1,2\n3,4\n")
    (skipped,) = init(tmp_path).skipped

    assert skipped.what.startswith("imu/: walk_0.csv") and skipped.why.startswith(
        "a table per sample is not read"
    )
