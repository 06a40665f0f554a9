"""COCO: its JSON read item by item, its masks, and what each field of a set takes of an annotation."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.importer import ImportSettings
from fourm_runtime.data.importing.sources.coco_masks import decode_runs, small_mask, unpack_counts
from fourm_runtime.data.importing.sources.json_arrays import JsonArrays
from fourm_runtime.data.importing.sources.opening import open_source, recognise
from fourm_runtime.data.importing.sources.source import Reading
from fourm_runtime.data.importing.views import Views
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.coco_files import write_coco
from tests.runtime.command_line import fourm
from tests.runtime.import_files import imported, stored

SCHEMA = parse_schema(
    """
    version: 1
    vocabularies: {words: {kind: wordpiece, size: 300}}
    modalities:
      rgb: {kind: image, size: 32, patch: 8, cell: {type: continuous, channels: 3, range: [0, 255]}}
      land: {kind: image, size: 32, patch: 8, cell: {type: categorical, classes: 3}, source: {file: maps}}
      boxes:
        kind: set
        max_items: 2
        out_of_range: clip
        fields: {box: {type: box}, label: {type: category, classes: [cat, dog]}, size: {type: number,
                 range: [0, 9999], optional: true}}
      instances:
        kind: set
        max_items: 4
        fields: {box: {type: box, convention: xywh}, mask: {type: mask, size: 4, tokens: 4, vocab_size: 40}}
      people:
        kind: set
        max_items: 3
        fields: {nose: {type: point}, left_eye: {type: point, optional: true}}
      caption: {kind: text, vocabulary: words, max_tokens: 16, views: 2}
    """
)
IMAGES = [
    {"id": 7, "file_name": "a.png", "width": 40, "height": 20},
    {"id": 3, "file_name": "b.png", "width": 20, "height": 20},
]
CATEGORIES = [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}, {"id": 5, "name": "car"}]


def annotation(number: int, image: int, category: int, box: list[float], **more: object) -> dict[str, object]:
    x, y, w, h = box
    polygon = [x, y, x + w / 2, y, x + w / 2, y + h, x, y + h]
    area = {"area": w * h, "segmentation": [polygon], "iscrowd": 0}
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, **area, **more}


def write(folder: Path, annotations: list[dict[str, object]]) -> Path:
    """Two pictures in the layout that COCO is unpacked in."""
    (folder / "annotations").mkdir(parents=True)
    for name, image in (("val", "a.png"), ("val", "b.png"), ("maps", "a.png"), ("maps", "b.png")):
        about = next(item for item in IMAGES if item["file_name"] == image)
        size = (int(str(about["height"])), int(str(about["width"])))
        (folder / name).mkdir(exist_ok=True)
        value = np.zeros((*size, 3) if name == "val" else size, np.uint8)
        value[:, : size[1] // 2] = 2
        Pictures.fromarray(value).save(folder / name / image)
    tops = {"info": {"a": [1, {"b": "]}"}]}, "images": IMAGES, "categories": CATEGORIES}
    people = [{"id": 1, "name": "person", "keypoints": ["nose", "left_eye"]}]
    points = [
        annotation(0, 7, 1, [0, 0, 9, 9], keypoints=[10, 5, 2, 0, 0, 0], num_keypoints=1),
        annotation(1, 7, 1, [0, 0, 9, 9], keypoints=[0, 0, 0, 0, 0, 0], num_keypoints=0),
    ]
    texts = [{"id": n, "image_id": 7, "caption": f" a  dog {n}\n"} for n in range(3)]
    for name, whole in {
        "instances": {**tops, "annotations": annotations},
        "captions": {"images": IMAGES, "annotations": texts},
        "person_keypoints": {"images": IMAGES, "annotations": points, "categories": people},
    }.items():
        (folder / "annotations" / f"{name}_val.json").write_text(json.dumps(whole))
    return folder / "annotations" / "instances_val.json"


ANNOTATIONS = [
    annotation(1, 7, 9, [10, 5, 20, 10]),
    annotation(2, 3, 4, [0, 0, 10, 20]),
    annotation(3, 7, 4, [0, 0, 4, 2]),
    annotation(4, 7, 9, [0, 0, 40, 20]),
    annotation(5, 7, 9, [0, 0, 40, 20], iscrowd=1),
    annotation(6, 7, 5, [30, 10, 20, 20]),
]


def test_each_modality_takes_what_its_kind_says(tmp_path: Path) -> None:
    """Crowds are no objects; where there are too many, the largest stay; an unlabelled point is none."""
    path = write(tmp_path, ANNOTATIONS)
    report = imported(path, tmp_path / "a.lance", ImportSettings(views=Views("stretch")), SCHEMA)
    found = stored(tmp_path / "a.lance")

    assert recognise(str(path)) == "coco"
    assert report.notes == (
        "left out of boxes: objects of 1 classes that the schema lacks, 1 in instances_val.json (car 1)",
        "left out of boxes, instances: crowd regions, 1 in instances_val.json",
    )
    assert json.loads(str(found["a"]["boxes"])) == [
        {"box": [0.25, 0.25, 0.75, 0.75], "label": "dog"},
        {"box": [0.0, 0.0, 1.0, 1.0], "label": "dog"},
    ]
    instances = json.loads(str(found["a"]["instances"]))
    assert [item["box"] for item in instances][3] == [0.75, 0.5, 0.25, 0.5]
    assert instances[0]["mask"] == [[1, 1, 0, 0]] * 4
    assert json.loads(str(found["a"]["people"])) == [{"nose": [0.25, 0.25]}]
    assert found["a"]["caption"] == ["a dog 0", "a dog 1"]
    assert json.loads(str(found["b"]["boxes"])) == [{"box": [0.0, 0.0, 0.5, 1.0], "label": "cat"}]
    assert found["b"]["people"] == "[]" and found["b"]["caption"] is None
    assert np.unique(np.asarray(found["b"]["land"])).tolist() == [0, 2]


def test_pictures_of_other_sizes_are_refused_unless_told_how(tmp_path: Path) -> None:
    """No picture is squeezed without being asked for."""
    path = write(tmp_path, ANNOTATIONS)
    with pytest.raises(DataError, match=r"rgb: a value has shape 32x32x3; got 20x40x3; resize it"):
        imported(path, tmp_path / "a.lance", schema=SCHEMA)
    imported(path, tmp_path / "a.lance", ImportSettings(views=Views("center")), SCHEMA)
    (first, *_) = json.loads(str(stored(tmp_path / "a.lance")["a"]["boxes"]))
    assert first["box"] == [0.0, 0.25, 1.0, 0.75]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            annotation(6, 7, 77, [0, 0, 1, 1]),
            r"annotation 6: names a category that the file does not list; got 77",
        ),
        ({**ANNOTATIONS[0], "bbox": [0, 0, 1]}, r"has a bbox \[x, y, w"),
        ({**ANNOTATIONS[0], "segmentation": [["x"]]}, r"annotation 1: a polygon is a list x, y, x, y"),
        (
            {**ANNOTATIONS[0], "segmentation": {"size": [20, 40], "counts": [5]}},
            r"run lengths cover 20 x 40 cells",
        ),
        (
            {**ANNOTATIONS[0], "segmentation": {"size": [2, 2], "counts": [4]}},
            r"has a mask of the picture's size",
        ),
    ],
)
def test_a_damaged_annotation_is_named(tmp_path: Path, broken: dict[str, object], message: str) -> None:
    path = write(tmp_path, [*ANNOTATIONS[1:], broken])
    with pytest.raises(DataError, match=message):
        imported(path, tmp_path / "a.lance", ImportSettings(strict=True, views=Views("stretch")), SCHEMA)


def test_what_lies_beside_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, ANNOTATIONS)
    (tmp_path / "maps" / "a.png").unlink()
    with pytest.raises(DataError, match=r"do not hold the same samples, 2 in all; got land lacks 1 \(a\)"):
        imported(path, tmp_path / "a.lance", schema=SCHEMA)
    (tmp_path / "val").rename(tmp_path / "photos")
    with pytest.raises(
        DataError, match=r"its first picture a\.png is not found; got looked in .*val.*--from"
    ):
        imported(path, tmp_path / "a.lance", schema=SCHEMA)
    reading = Reading(SCHEMA, frozenset(SCHEMA.modalities), "null", {"rgb": tmp_path / "photos"})
    assert open_source(path, reading).row(0)["caption"] == ["a dog 0", "a dog 1"]
    path.write_text(path.read_text()[:-30])
    with pytest.raises(
        DataError, match=r"is no JSON object of arrays; got a file that ends before it is closed"
    ):
        imported(path, tmp_path / "a.lance", schema=SCHEMA)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.lists(
            st.dictionaries(st.text('a"\\{}[]é', max_size=4), st.text('"\\{}[]', max_size=4)), max_size=4
        ),
        max_size=4,
    )
)
def test_items_of_arrays_are_found_without_reading_the_whole(
    tmp_path_factory: pytest.TempPathFactory, whole: dict[str, list[dict[str, str]]]
) -> None:
    """Brackets in strings, escapes and other alphabets do not mislead."""
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(whole, ensure_ascii=False, indent=1))
    file = JsonArrays(path)

    assert [(key, file.read(spot)) for key, spot in file.items()] == [
        (key, item) for key, items in whole.items() for item in items
    ]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_packed_runs_are_unpacked(counts: list[int]) -> None:
    """The inverse, written from the description of the format: five bits a sign, the lowest first."""
    packed = bytearray()
    for place, count in enumerate(counts):
        left = count - counts[place - 2] if place > 2 else count
        while True:
            bits, left = left & 31, left >> 5
            more = not (left == -1 if bits & 16 else left == 0)
            packed.append(bits + 32 * more + 48)
            if not more:
                break
    assert unpack_counts(bytes(packed), "here") == counts


def test_known_runs_give_the_known_mask() -> None:
    """A mask of 5 x 4 with ones in rows 1 and 2 of columns 1 and 2, packed by hand."""
    mask = np.zeros((5, 4), bool)
    mask[1:3, 1:3] = True
    assert np.array_equal(decode_runs({"size": [5, 4], "counts": [6, 2, 3, 2, 7]}, "here"), mask)
    assert np.array_equal(decode_runs({"size": [5, 4], "counts": "62304"}, "here"), mask)
    for counts, message in (("62P", "cut off"), ("6 2", "characters 0 to o"), ({}, "are numbers or text")):
        with pytest.raises(DataError, match=message):
            decode_runs({"size": [5, 4], "counts": counts}, "here")


def test_a_polygon_and_the_runs_of_its_cells_give_one_mask() -> None:
    """Both are cut along the box: half of it is covered, whichever way it is said."""
    mask = np.zeros((20, 40), bool)
    mask[4:12, 8:16] = True
    changes = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.reshape(-1), [0]]).astype(np.int8)))
    runs = np.diff(np.concatenate([[0], changes, [800]])).tolist()
    box = (8.0, 4.0, 24.0, 12.0)
    from_runs = small_mask({"size": [20, 40], "counts": runs}, box, (20, 40), 8, "here")
    from_corners = small_mask([[8, 4, 16, 4, 16, 12, 8, 12]], box, (20, 40), 8, "here")

    assert from_runs.tolist() == [[1] * 4 + [0] * 4] * 8
    # A drawn edge covers the pixels it touches: the fifth column may count as half covered, no more.
    assert np.abs(from_corners.astype(int) - from_runs).sum() <= 8


def test_coco_packed_runs_cover_the_area_that_is_written_beside_them(coco: Path) -> None:
    """Packed by COCO's own tool: the area of each is known from elsewhere."""
    checked = 0
    for line in (coco / "annotations.jsonl").read_text().splitlines():
        record = json.loads(line)
        for item in record["instances"] or []:
            if "rle" not in item or item["iscrowd"]:
                continue
            mask = decode_runs(item["rle"], record["id"])
            assert mask.shape == (record["height"], record["width"])
            assert int(mask.sum()) == item["area"]
            checked += 1
    assert checked > 200


def test_coco_photos_come_with_their_annotations(coco: Path, tmp_path: Path) -> None:
    """The whole way on real photographs: sizes differ, boxes and masks follow the window."""
    path = write_coco(coco / "annotations.jsonl", tmp_path / "in", most=12)
    (tmp_path / "m.yaml").write_text(
        """
        version: 1
        vocabularies: {words: {kind: wordpiece, size: 300}}
        modalities:
          rgb: {kind: image, size: 64, patch: 16, cell: {type: continuous, channels: 3, range: [0, 255]}}
          boxes:
            {kind: set, max_items: 100, fields: {box: {type: box}, label: {type: category, classes: coco80}}}
          instances:
            {kind: set, max_items: 100, fields: {box: {type: box},
             mask: {type: mask, size: 16, tokens: 4, vocab_size: 40}}}
          caption: {kind: text, vocabulary: words, max_tokens: 64, views: 5}
        """
    )
    line = ("data", "import", path, "--schema", tmp_path / "m.yaml", "--from", f"rgb={coco / 'images'}")
    assert "12 samples" in fourm(*line, "--fit", "center", "--to", tmp_path / "a.lance")
    held = Dataset.open(tmp_path / "a.lance")
    status = held.status()

    assert status.present["rgb"] == status.present["boxes"] == 12
    given_boxes = json.loads(path.read_text())["annotations"]
    names = {item["id"]: Path(item["file_name"]).stem for item in json.loads(path.read_text())["images"]}
    rows = stored(tmp_path / "a.lance")
    for image, name in names.items():
        told = [item for item in given_boxes if item["image_id"] == image and not item["iscrowd"]]
        found = json.loads(str(rows[name]["boxes"]))
        assert len(found) <= len(told)
        for item in found:
            x0, y0, x1, y1 = item["box"]
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    masks = [item["mask"] for row in rows.values() for item in json.loads(str(row["instances"]))]
    covered = [float(np.mean(mask)) for mask in masks]
    # A shape fills a good part of its own box, and seldom all of it.
    assert 0.35 < float(np.mean(covered)) < 0.9
