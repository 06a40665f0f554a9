"""COCO's class maps: numbers of categories become classes by name, where a list of these is known."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pictures

from fourm_runtime.data.importing.importer import ImportReport, ImportSettings
from fourm_runtime.data.importing.sources.opening import open_source
from fourm_runtime.data.importing.sources.source import Reading, Source
from fourm_schema.class_lists import CLASS_LISTS
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from fourm_schema.schema import Schema
from tests.runtime.import_files import imported, stored

CATEGORIES = [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}, {"id": 184, "name": "tree"}]
CELLS = np.array([[4, 9], [184, 0]], np.uint8)


def schema(cell: str, more: str = "") -> Schema:
    """Pictures of two by two cells, and their class maps."""
    return parse_schema(
        f"""
        version: 1
        modalities:
          rgb: {{kind: image, size: 2, patch: 1, cell: {{type: continuous, channels: 3, range: [0, 255]}}}}
          maps: {{kind: image, size: 2, patch: 1, cell: {{type: categorical, {cell}}}{more}}}
        """
    )


NAMED = "classes: [none, tree, dog, cat], ignore: none"


def write(
    folder: Path,
    maps: Mapping[str, NDArray[np.generic]] | None = None,
    own: list[dict[str, object]] | None = None,
) -> Path:
    """A picture per class map, and the JSON that lists them, with categories of its own or none."""
    for name in ("annotations", "rgb", "maps"):
        (folder / name).mkdir(parents=True)
    images = list[dict[str, object]]()
    for number, (name, cells) in enumerate((maps or {"a": CELLS}).items()):
        Pictures.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "rgb" / f"{name}.png")
        Pictures.fromarray(cells).save(folder / "maps" / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.png", "width": 2, "height": 2})
    path = folder / "annotations" / "instances_val.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": own or []}))
    return path


def opened(path: Path, asked: Schema) -> Source:
    return open_source(path, Reading(asked, frozenset(asked.modalities)))


def cells_of(source: Source, index: int = 0) -> list[list[int]]:
    found: list[list[int]] = np.asarray(source.row(index)["maps"]).tolist()
    return found


@pytest.mark.parametrize(
    "place",
    [
        "annotations/instances_val.json",
        "annotations/panoptic_val.json",
        "annotations/panoptic_train.json",
        "annotations/stuff_val.json",
        "annotations/categories.json",
        "categories.json",
    ],
)
def test_numbers_become_classes_by_the_names_of_any_list(tmp_path: Path, place: str) -> None:
    """4, 9 and 184 are no places among four classes; the names say which are meant, and 0 is none."""
    path = write(tmp_path)
    bare = json.loads(path.read_text())
    (tmp_path / place).write_text(json.dumps({**bare, "categories": CATEGORIES}))
    source = opened(path, schema(NAMED))

    assert cells_of(source) == [[3, 2], [1, 0]]
    name = Path(place).name
    assert source.notes == [
        f"maps: values of maps are COCO's category ids, matched to classes by name ({name})"
    ]


def test_lists_complete_each_other(tmp_path: Path) -> None:
    """Files of objects list objects alone, and maps hold stuff beside these; a list may stand by itself."""
    path = write(tmp_path, own=CATEGORIES[:2])
    with pytest.raises(DataError, match=r"numbers that no category has; got 184 in 1 cells"):
        opened(path, schema(NAMED)).row(0)
    (tmp_path / "categories.json").write_text(json.dumps(CATEGORIES[1:]))
    source = opened(path, schema(NAMED))
    assert cells_of(source) == [[3, 2], [1, 0]]
    assert source.notes[0].endswith("(instances_val.json, categories.json)")

    (tmp_path / "categories.json").write_text(json.dumps([{"id": 9, "name": "wolf"}]))
    with pytest.raises(
        DataError,
        match=r"categories\.json: gives a category another name than a file beside it; "
        r"got 9 is 'wolf' here, and 'dog' in .*instances_val\.json; keep the list that belongs",
    ):
        opened(path, schema(NAMED))


def test_another_list_is_another_source(tmp_path: Path) -> None:
    """An import that was cut off must not go on under other classes than it began with."""
    path = write(tmp_path, own=CATEGORIES[:2])
    (tmp_path / "categories.json").write_text(json.dumps(CATEGORIES[2:]))
    before = opened(path, schema(NAMED))
    digests = before.digest(), before.content()
    (tmp_path / "categories.json").write_text(json.dumps([{"id": 184, "name": "dog-like tree"}]))
    after = opened(path, schema(NAMED))
    assert after.digest() != digests[0] and after.content() != digests[1]


@pytest.mark.parametrize("void", [0, 255])
def test_cells_without_a_category_are_ignored_or_refused(tmp_path: Path, void: int) -> None:
    """0 and 255 mean no category; which class that is, the schema must say."""
    path = write(tmp_path, {"a": np.array([[4, void], [void, 9]], np.uint8)}, CATEGORIES)
    assert cells_of(opened(path, schema("classes: [tree, dog, cat, rest], ignore: rest"))) == [[2, 3], [3, 1]]
    assert cells_of(opened(path, schema("classes: [tree, dog, cat, rest], ignore: 3"))) == [[2, 3], [3, 1]]
    with pytest.raises(
        DataError,
        match=rf"image 0, maps: a\.png holds cells without a category; got {void} in 2 cells; "
        "give the entry an ignore class",
    ):
        opened(path, schema("classes: [tree, dog, cat, rest]")).row(0)


def test_a_category_may_have_the_number_of_none(tmp_path: Path) -> None:
    """Other data than COCO's counts from 0."""
    path = write(tmp_path, {"a": np.array([[0, 1], [1, 0]], np.uint8)}, [
        {"id": 0, "name": "cat"}, {"id": 1, "name": "dog"},
    ])  # fmt: skip
    assert cells_of(opened(path, schema(NAMED))) == [[3, 2], [2, 3]]


def test_categories_that_the_schema_lacks_are_counted(tmp_path: Path) -> None:
    """They are ignored where the schema says which class is; else the sample is refused, not guessed at."""
    path = write(
        tmp_path, {"a": CELLS[:, :1].repeat(2, axis=1), "b": np.full((2, 2), 4, np.uint8)}, CATEGORIES
    )
    told = "maps: values of maps are COCO's category ids, matched to classes by name (instances_val.json); "
    source = opened(path, schema("classes: [cat, none, Dog], ignore: none"))
    assert cells_of(source) == [[0, 0], [1, 1]]
    assert source.notes == [
        told
        + "2 categories that the schema lacks are read as 'none': dog, tree; 1 classes are no category: Dog"
    ]
    source = opened(path, schema("classes: [cat, dog]"))
    assert source.notes == [told + "1 categories that the schema lacks are refused: tree"]
    with pytest.raises(
        DataError,
        match=r"a\.png holds categories that the schema lacks; got 184 in 2 cells; "
        "declare them, or give the entry an ignore class",
    ):
        source.row(0)
    assert cells_of(source, 1) == [[0, 0], [0, 0]]


def test_every_fault_of_a_map_is_told_at_once(tmp_path: Path) -> None:
    """Numbers above the largest category, and of more than a byte, are no category either."""
    path = write(tmp_path, {"a": np.array([[5, 60_000], [184, 0]], np.uint16)}, CATEGORIES)
    with pytest.raises(
        DataError,
        match=r"a\.png holds numbers that no category has and categories that the schema lacks and cells "
        r"without a category; got 5 in 1 cells, 60000 in 1 cells; 184 in 1 cells; 0 in 1 cells; "
        r"name the file of the categories categories\.json; declare them",
    ):
        opened(path, schema("classes: [cat, dog]")).row(0)


def test_a_map_with_other_numbers_is_set_aside_alone(tmp_path: Path) -> None:
    """One damaged map costs its own sample, and the quarantine says why."""
    maps = {"a": CELLS, "b": np.full((2, 2), 77, np.uint8)}
    path = write(tmp_path, maps, CATEGORIES)
    report: ImportReport = imported(path, tmp_path / "a.lance", ImportSettings(max_bad=0.5), schema(NAMED))
    assert list(stored(tmp_path / "a.lance")) == ["a"] and report.quarantined == 1
    assert "77 in 4 cells" in Path(str(report.quarantine)).read_text()


def test_maps_in_colours_are_refused(tmp_path: Path) -> None:
    """Panoptic PNGs number segments by colours, which are no categories."""
    path = write(tmp_path, {"a": np.zeros((2, 2, 3), np.uint8)}, CATEGORIES)
    with pytest.raises(
        DataError,
        match=r"a\.png holds no class map of one channel; got shape 2x2x3 of uint8; write the number of each",
    ):
        opened(path, schema(NAMED)).row(0)


@pytest.mark.parametrize(
    ("cell", "more", "own", "why"),
    [
        ("classes: 200", "", CATEGORIES, ""),
        ("classes: [a, b], ignore: a", ", codec: ids, vocab_size: 200", CATEGORIES, ""),
        (NAMED, "", [], "no list of categories was found"),
        ("classes: [sea, land], ignore: sea", "", CATEGORIES, "none of its classes is a category"),
    ],
)
def test_values_stay_where_nothing_says_that_they_are_categories(
    tmp_path: Path, cell: str, more: str, own: list[dict[str, object]], why: str
) -> None:
    """A number of classes has no names, ids of tokens are no classes, and other data has lists of its own."""
    source = opened(write(tmp_path, own=own), schema(cell, more))
    assert cells_of(source) == CELLS.tolist()
    told = f"maps: values of maps were taken as class numbers as they are ({why})"
    assert source.notes == ([told] if why else [])


def test_arrays_hold_classes_already(tmp_path: Path) -> None:
    """COCO writes its numbers into pictures; arrays are written by people who know the schema."""
    path = write(tmp_path, own=CATEGORIES)
    (tmp_path / "maps" / "a.png").unlink()
    np.save(tmp_path / "maps" / "a.npy", np.array([[1, 2], [3, 0]], np.uint8))
    assert cells_of(opened(path, schema(NAMED))) == [[1, 2], [3, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"categories\.json: is no JSON"),
        ('{"names": []}', r'lists categories as \[\{"id": 1, "name": "person"\}, \.\.\.\]; got None'),
        ('[{"id": "1", "name": "cat"}]', r"lists categories as .*; got \{'id': '1'"),
        ('[{"id": 70000, "name": "cat"}]', r"lists categories as .*; got \{'id': 70000"),
        ('[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]', r"gives a category two names; got 1: a, b"),
    ],
)
def test_a_damaged_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path)
    (tmp_path / "categories.json").write_text(text)
    with pytest.raises(DataError, match=message):
        opened(path, schema(NAMED))


def test_objects_left_out_are_counted_in_the_files(tmp_path: Path) -> None:
    """Two categories of one name are one class; crowds of a class unknown are crowds."""
    path = write(tmp_path)
    classes = [{"id": 1, "name": "cat"}, {"id": 2, "name": "cow"}, {"id": 3, "name": "cow"}]
    given = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 0)]
    annotations = [
        {"id": n, "image_id": 0, "category_id": number, "iscrowd": crowd, "bbox": [0, 0, 1, 1]}
        for n, (number, crowd) in enumerate(given)
    ]
    whole = {**json.loads(path.read_text()), "annotations": annotations, "categories": classes}
    path.write_text(json.dumps(whole))
    asked = parse_schema(
        """
        version: 1
        modalities:
          cats: {kind: set, max_items: 4, fields: {a: {type: category, classes: [cat, dog]}}}
          boxes: {kind: set, max_items: 9, fields: {box: {type: box}}}
        """
    )
    source = opened(path, asked)
    row = source.row(0)
    assert [len(records) for name in ("cats", "boxes") if isinstance(records := row[name], list)] == [1, 4]
    assert source.notes == [
        "left out of cats: objects of 1 classes that the schema lacks, 3 in instances_val.json (cow 3)",
        "left out of cats, boxes: crowd regions, 2 in instances_val.json",
    ]


def test_coco_maps_hold_the_class_that_each_pixel_is_named_after(coco: Path, tmp_path: Path) -> None:
    """Every pixel of real maps: its category's name, looked up by hand, is the name of its class."""
    (tmp_path / "in").mkdir()
    shutil.copy(coco / "categories.json", tmp_path / "in")
    names = {
        item["id"]: item["name"] for item in json.loads((coco / "categories.json").read_text())["categories"]
    }
    files = sorted((coco / "semantic").glob("*.png"))
    records = [json.loads(line) for line in (coco / "annotations.jsonl").read_text().splitlines()]
    about = {
        Path(r["file"]).stem: {
            "id": r["coco_id"], "file_name": Path(r["file"]).name, "width": r["width"], "height": r["height"]
        }
        for r in records
    }  # fmt: skip
    path = tmp_path / "in" / "instances_mini.json"
    whole = {"images": [about[file.stem] for file in files], "annotations": [], "categories": []}
    path.write_text(json.dumps(whole))
    asked = schema("classes: coco134, ignore: none")
    places = {"maps": coco / "semantic", "rgb": coco / "images"}
    source = open_source(path, Reading(asked, frozenset(asked.modalities), places=places))
    assert source.notes == [
        "maps: values of maps are COCO's category ids, matched to classes by name (categories.json)"
    ]

    seen = set[str]()
    for index, file in enumerate(files):
        with Pictures.open(file) as picture:
            cells = np.asarray(picture)
        classes = np.asarray(source.row(index)["maps"])
        assert classes.shape == cells.shape
        for number in np.unique(cells).tolist():
            name = "none" if number == 0 else names[number]
            assert {CLASS_LISTS["coco134"][place] for place in np.unique(classes[cells == number])} == {name}
            seen.add(name)
    assert len(files) > 30 and len(seen) > 80
