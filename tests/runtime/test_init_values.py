"""`fourm init`: what files of one value each come to: pictures, arrays, texts, and lists of objects."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from fourm_runtime.scan.draft import init
from fourm_runtime.scan.pictures import Cells
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from fourm_schema.modality import Image
from tests.runtime.drafted_files import BLOCKS, BYTES, CLASSES, NOISE, UNIT, cell, entry, said, save

FEATURES = np.random.default_rng(0).normal(size=(2, 4, 4, 48))


@pytest.mark.parametrize(
    ("values", "ending", "wanted"),
    [
        pytest.param(NOISE[:9].reshape(3, 64, 64, 3), ".png", BYTES, id="rgb"),
        pytest.param(NOISE[:8].reshape(2, 64, 64, 4), ".png", BYTES, id="rgb with alpha"),
        pytest.param(NOISE[:4], ".png", cell(range=[0, 255], levels=256), id="grey"),
        pytest.param(NOISE[:4] // 8, ".png", cell(range=[0, 31], levels=32), id="grey of few levels"),
        pytest.param(BLOCKS, ".png", CLASSES, id="class map"),
        pytest.param(BLOCKS, ".jpg", cell(range=[0, 6], levels=7), id="lossy files hold no classes"),
        pytest.param(
            np.where(BLOCKS == 6, 255, BLOCKS).astype(np.uint8),
            ".png",
            {"type": "categorical", "classes": 256, "ignore": 255},
            id="class map with a void",
        ),
        pytest.param(
            ((BLOCKS > 3) * 255).astype(np.uint8),
            ".png",
            cell(range=[0, 255], levels=2),
            id="black and white",
        ),
        pytest.param(BLOCKS > 3, ".npy", {"type": "categorical", "classes": 2}, id="yes and no"),
        pytest.param(
            NOISE[:4].astype(np.uint16) ** 2 // 7, ".png", cell(range=[0, 9500], levels=9501), id="16 bits"
        ),
        pytest.param(NOISE[:4] / 27.0, ".npy", cell(channels=1, range=[0, 9.5]), id="depth"),
        pytest.param(NOISE[:4] - 100.0, ".npy", cell(range=[-100, 160], levels=261), id="whole numbers"),
        pytest.param(
            NOISE[:6].reshape(2, 64, 64, 3) / 255, ".npy", cell(channels=3, range=[0, 1]), id="floats"
        ),
        pytest.param(UNIT, ".npy", {"type": "direction"}, id="normals"),
        pytest.param(
            FEATURES,
            ".npy",
            {"type": "features", "channels": 48},
            id="feature map",
        ),
    ],
)
def test_a_cell_is_what_its_numbers_show(
    tmp_path: Path, values: object, ending: str, wanted: dict[str, object]
) -> None:
    save(tmp_path / "view", values, ending)

    assert entry(tmp_path, "view")["cell"] == wanted


def test_a_palette_counts_classes_or_colours(tmp_path: Path) -> None:
    """The same mode of picture holds VOC's class maps and saved drawings."""
    for name, cells in (("classes", BLOCKS), ("drawing", NOISE)):
        (tmp_path / name).mkdir()
        for number, numbers in enumerate(cells[:3]):
            picture = Pictures.fromarray(numbers).convert("P")
            picture.putdata(numbers.reshape(-1).tolist())
            picture.save(tmp_path / name / f"{number}.png")

    assert entry(tmp_path, "classes")["cell"] == CLASSES
    assert entry(tmp_path, "drawing")["cell"] == BYTES


def test_photographs_of_one_size_keep_it(tmp_path: Path) -> None:
    """A patch divides the size, and about 200 tokens are left; grey ones among them are read as RGB."""
    save(tmp_path / "photo", NOISE[:9].reshape(3, 64, 64, 3), ".png")
    save(tmp_path / "photo" / "grey", NOISE[:1], ".png")
    found = entry(tmp_path, "photo")

    assert (found["size"], found["patch"], found["shown"]) == ([64, 64], [4, 4], ["pixels", "tokens"])
    assert found["cell"] == BYTES


def test_sizes_that_differ_must_be_mended(tmp_path: Path) -> None:
    save(tmp_path / "photo", [NOISE[0, :48], NOISE[0, :, :40], NOISE[0]], ".png")
    draft = init(tmp_path)
    photo = parse_schema(draft.yaml).modalities["photo"]

    assert isinstance(photo, Image) and (photo.size, photo.patch) == ((32, 32), (4, 4))
    assert "3 sizes, 48 to 64 high and 40 to 64 wide; 1 of 3 are 48 x 64." in said(draft, "photo")
    assert "# The import takes of each the largest window in its middle, at this size (--fit" in draft.yaml
    assert draft.commands(Path("m"), Path("t"), Path("s"))[0].endswith("--to data.lance --fit center")


def test_a_size_that_no_patch_divides_is_to_be_changed(tmp_path: Path) -> None:
    save(tmp_path / "photo", [np.zeros((211, 223), np.uint8) + NOISE[0, 0, 0]] * 2, ".png")

    assert entry(tmp_path, "photo")["size"] == [192, 192]
    assert "All are 211 x 223 cells: no patch cuts that into few tokens." in said(init(tmp_path), "photo")


def test_codecs_that_have_to_be_learned_are_told(tmp_path: Path) -> None:
    """What one cannot train should be known before a week of preparing data."""
    save(tmp_path / "land", BLOCKS, ".png")
    save(tmp_path / "small", BLOCKS[:, ::8, ::8], ".png")
    save(tmp_path / "photo", NOISE[:9].reshape(3, 64, 64, 3), ".png")
    save(tmp_path / "dino", np.random.default_rng(0).normal(size=(3, 768)))
    draft = init(tmp_path)
    needs = {found.name: found.before_training for found in draft.found}

    assert needs["land"] == "codec 'vit-class-fsq' is learned, by: fourm codec train land"
    assert needs["dino"] == "codec 'mlp-pq' is learned, by: fourm codec train dino"
    assert needs["photo"] == "codec 'vit-fsq' is learned, by: fourm codec train photo"
    assert needs["small"] == ""


def test_words_have_to_be_learned(tmp_path: Path) -> None:
    save(tmp_path / "caption", ["a dog", "two cats, asleep"], ".txt")

    assert (
        init(tmp_path).found[0].before_training
        == "vocabulary 'words' is learned, by: fourm codec train words"
    )


def test_arrays_of_one_axis_are_vectors(tmp_path: Path) -> None:
    save(tmp_path / "gps", [[48.2, 16.4], [-33.9, 151.2]])
    save(tmp_path / "long", np.random.default_rng(0).uniform(-1, 1, (3, 40)))

    assert entry(tmp_path, "gps") == {"kind": "vector", "dim": 2, "ranges": [[-35, 50], [0, 160]]}
    assert entry(tmp_path, "long") == {"kind": "vector", "dim": 40, "ranges": [[-1, 1]]}


def test_arrays_that_are_no_modality_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "video", np.zeros((2, 4, 5, 6, 7)))
    save(tmp_path / "series", [np.zeros(3), np.zeros(9)])
    save(tmp_path / "wave", np.zeros((2, 3), complex))
    save(tmp_path / "ok", np.zeros((2, 3)))
    why = {item.what: item.why for item in init(tmp_path).skipped}

    assert why["video/0000.npy, video/0001.npy"].startswith("have 4 axes (4x5x6x7); declare each step")
    assert why["series/0000.npy, series/0001.npy"] == "have 3 to 9 numbers; a vector has a fixed length"
    assert why["wave/0000.npy, wave/0001.npy"] == (
        "none of 2 can be read; the first holds values of type complex128, neither numbers nor strings"
    )


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["a dog", "two cats, asleep"], {"max_tokens": 8}),
        (["a dog\nsome dog\n", "two cats"], {"max_tokens": 8, "views": 2}),
        (["word " * 3000, "a dog"], {"max_tokens": 1024}),
    ],
)
def test_texts(tmp_path: Path, texts: list[str], wanted: dict[str, object]) -> None:
    save(tmp_path / "caption", texts, ".txt")

    assert entry(tmp_path, "caption") == {
        "kind": "text", "vocabulary": "words", "out_of_range": "clip", **wanted
    }  # fmt: skip


def test_texts_of_numbers_are_no_texts(tmp_path: Path) -> None:
    """The boxes of YOLO would make a caption that no one wants."""
    save(tmp_path / "labels", ["0 0.5 0.5 0.1 0.2\n", "1 0.1 0.1 0.1 0.1\n"], ".txt")

    with pytest.raises(DataError, match=r"holds nothing that could be a modality.*hold numbers, no words"):
        init(tmp_path)


def test_lists_of_objects_are_sets(tmp_path: Path) -> None:
    item: dict[str, object] = {"bbox": [30, 40, 10, 12], "label": "cat", "area": 3.5, "isCrowd": 0, "n": 7}
    other = {**item, "bbox": [1, 2, 300, 200], "label": "dog", "area": 7000.5, "isCrowd": 1, "n": 9}
    other["centre"] = [1, 2]
    save(tmp_path / "boxes", [[item, other], [], [other, item, item]], ".json")
    draft = init(tmp_path)

    assert entry(tmp_path, "boxes") == {
        "kind": "set",
        "max_items": 3,
        "order": "distance_to_origin",
        "fields": {
            "bbox": {"type": "box", "convention": "xywh", "range": [0, 320]},
            "label": {"type": "category", "classes": ["cat", "dog"]},
            "area": {"type": "number", "range": [1, 10_000], "scale": "log"},
            "is_crowd": {"type": "category", "classes": 2},
            "n": {"type": "number", "range": [6.5, 9.5], "bins": 3},
            "centre": {"type": "point", "range": [1, 2], "optional": True},
        },
    }
    assert "The boxes in bbox are taken for xywh: some cannot be corners." in said(draft, "boxes")
    assert "is_crowd: rename it from isCrowd" in said(draft, "boxes")


def test_of_many_large_images_only_the_size_is_looked_at(tmp_path: Path) -> None:
    save(tmp_path, NOISE[:2], ".png")
    cells = Cells(left=1)
    for file in sorted(tmp_path.iterdir()):
        cells.add_file(file)

    assert (cells.images, dict(cells.sizes)) == (1, {(64, 64): 2})
