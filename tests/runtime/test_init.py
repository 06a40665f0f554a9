"""`fourm init`: what each kind of file comes to, and what the user is told of it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures
from typer.testing import CliRunner

from fourm_runtime.cli.app import app
from fourm_runtime.scan import arrays, tables
from fourm_runtime.scan.draft import Draft, init
from fourm_runtime.scan.pictures import Cells
from fourm_schema.errors import DataError
from fourm_schema.load import load_schema, parse_schema
from fourm_schema.modality import Image, Set
from fourm_schema.set_fields import BoxField

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (16, 64, 64), dtype=np.uint8)
BLOCKS = RNG.integers(0, 7, (16, 8, 8)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
UNIT = RNG.normal(size=(4, 16, 16, 3))
UNIT /= np.linalg.norm(UNIT, axis=-1, keepdims=True)


def save(folder: Path, values: object, ending: str = ".npy") -> None:
    """One file per value, named by number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, value in enumerate(values):  # type: ignore[arg-type, var-annotated]  # each test knows its values
        file = folder / f"{number:04d}{ending}"
        if ending == ".npy":
            np.save(file, value)
        elif ending == ".txt":
            file.write_text(value)
        elif ending == ".json":
            file.write_text(json.dumps(value))
        else:
            Pictures.fromarray(value).save(file)


def lines(folder: Path, rows: list[object], name: str = "samples.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def entry(folder: Path, name: str) -> dict[str, object]:
    """An entry of the draft, as its file has it."""
    schema = parse_schema(init(folder).yaml)
    return schema.modalities[name].model_dump(mode="json", by_alias=True, exclude_unset=True)


def said(draft: Draft, name: str) -> str:
    """All that is said of a modality."""
    found = next(found for found in draft.found if found.name == name)
    return " | ".join((found.seen, *found.notes, *found.before_import, *found.written, found.before_training))


def cell(**keys: object) -> dict[str, object]:
    return {"type": "continuous", **keys}


CLASSES = {"type": "categorical", "classes": 7}
BYTES = cell(channels=3, range=[0, 255], levels=256)


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
            RNG.normal(size=(2, 4, 4, 48)), ".npy", {"type": "features", "channels": 48}, id="feature map"
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
    save(tmp_path / "dino", RNG.normal(size=(3, 768)))
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
    save(tmp_path / "long", RNG.uniform(-1, 1, (3, 40)))

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
        "".join(",".join(map(str, row)) + "\n" for row in RNG.uniform(-1, 1, (3, 300)))
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
        digit=RNG.integers(0, 17, (5, 8, 8)).astype(float),
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
    np.save(tmp_path / "wind.npy", RNG.uniform(0, 1, (300, 3)))
    draft = init(tmp_path)

    assert entry(tmp_path, "wind")["dim"] == 3
    assert "200 of 300 samples" in said(draft, "wind")
    assert draft.ready == str(tmp_path) and draft.by_hand == []


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["train/rgb/1", "val/rgb/2", "train/depth/1"], ["depth", "rgb"]),
        (["rgb/shard_1/1", "rgb/shard_2/2"], ["rgb"]),
        ([f"{n}/{name}" for n in range(3) for name in ("rgb", "depth")], ["depth", "rgb"]),
        ([f"class {n}/{n}" for n in range(30)], ["image"]),
        (["0001", "0002"], ["image"]),
        (["Left Camera/1", "left-camera/1", "3d/1", "id/1", "sample/1"],
         ["m_3d", "left_camera", "id_2", "left_camera_2", "sample_2"]),
    ],
    ids=["splits", "shards", "a folder per sample", "classes", "flat", "names"],
)  # fmt: skip
def test_how_files_may_lie(tmp_path: Path, files: list[str], names: list[str]) -> None:
    for name in files:
        file = tmp_path / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Pictures.fromarray(NOISE[0]).save(file)

    assert [found.name for found in init(tmp_path).found] == names


def test_folders_without_a_name_in_common_may_be_classes(tmp_path: Path) -> None:
    """`cats/` and `dogs/` look like two modalities; that no name is in both is all that tells them apart."""
    for name, number in (("cats", 0), ("dogs", 1)):
        (tmp_path / name).mkdir()
        Pictures.fromarray(NOISE[number]).save(tmp_path / name / f"{number}.png")

    assert (
        "# 2 names of files without their endings, 0 of them in every group. If sub-folders"
        in init(tmp_path).yaml
    )


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


def test_damaged_files_are_counted_and_named(tmp_path: Path) -> None:
    save(tmp_path / "rgb", NOISE[:9].reshape(3, 64, 64, 3), ".png")
    (tmp_path / "rgb" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "rgb" / "why.doc").write_bytes(b"")
    np.save(tmp_path / "rgb" / "object.npy", np.array([None, {}], object), allow_pickle=True)
    (tmp_path / ".git").mkdir()
    draft = init(tmp_path)
    why = {item.what: item.why for item in draft.skipped}

    assert why["rgb/bad.png"] == "is no picture that can be read: cannot identify image file 'bad.png'"
    assert why["rgb/object.npy"].startswith(
        "none of 1 can be read; the first is no plain array: Object arrays"
    )
    assert why["rgb/why.doc"].startswith("not read: only pictures, .npy") and why[".git/"] == "hidden"
    assert said(draft, "rgb").startswith("3 of 4 files") and "mend or remove 1 of 4 files" in said(
        draft, "rgb"
    )
    assert all(f"# - {what}: " in draft.yaml for what in why)


def test_large_folders_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "wind", [[0.0, 1.0]] * 300)
    np.savez(tmp_path / "a.npz", rain=np.arange(900.0).reshape(300, 3))
    lines(tmp_path, [{"sun": [n, 1.5]} for n in range(300)])
    monkeypatch.setattr(arrays, "LARGE", 0)
    monkeypatch.setattr(tables, "MOST_BYTES", 1000)
    seen = {found.name: found.seen for found in init(tmp_path).found}

    assert seen["wind"] == "200 of 300 files" and seen["rain"] == "200 of 300 samples"
    assert seen["sun"].endswith("of the first 53 rows")


def test_of_many_large_images_only_the_size_is_looked_at(tmp_path: Path) -> None:
    save(tmp_path, NOISE[:2], ".png")
    cells = Cells(left=1)
    for file in sorted(tmp_path.iterdir()):
        cells.add_file(file)

    assert (cells.images, dict(cells.sizes)) == (1, {(64, 64): 2})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.rmdir, r"data: does not exist; give the folder that holds the samples"),
        (Path.exists, r"data: holds nothing that could be a modality; got no files; put pictures, arrays"),
        (lambda folder: (folder / "a.doc").write_text(""), r"got a\.doc: not read: only pictures"),
        (lambda folder: (folder.rmdir(), folder.write_text("")), r"data: is no folder"),
    ],
)
def test_folders_without_a_modality(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)

    with pytest.raises(DataError, match=message):
        init(folder)


def test_the_verb_writes_a_file_and_says_what_comes_next(tmp_path: Path) -> None:
    """Every command that it prints works, when nothing has to be done before."""
    rows: list[object] = [{"wind": [n / 2, 1], "says": ["calm", "no wind"], "boxes": []} for n in range(4)]
    lines(tmp_path, [*rows, {"boxes": [{"box": [0, 0, 3, 4]}]}])
    to, run = tmp_path / "my schema.yaml", CliRunner()
    done = run.invoke(app, ["init", str(tmp_path), "--to", str(to)])

    assert done.exit_code == 0 and "3 modalities drafted" in done.stdout
    assert f"fourm data import {tmp_path / 'samples.jsonl'} --schema '{to}' --to data.lance" in done.stdout
    stored = ["--schema", str(to), "--to", str(tmp_path / "data.lance")]
    assert run.invoke(app, ["data", "import", str(tmp_path / "samples.jsonl"), *stored]).exit_code == 0


def test_the_verb_never_replaces_a_file_unasked(tmp_path: Path) -> None:
    save(tmp_path / "wind", [[0.0, 1.0]] * 3)
    to, run = tmp_path / "modalities.yaml", CliRunner()
    to.write_text("mine")
    refused = run.invoke(app, ["init", str(tmp_path), "--to", str(to)])

    assert refused.exit_code == 2 and "is there already; name another by --to" in refused.stderr
    assert to.read_text() == "mine"
    assert run.invoke(app, ["init", str(tmp_path), "--to", str(to), "--force"]).exit_code == 0
    assert list(load_schema(to).modalities) == ["wind"]
    lost = run.invoke(app, ["init", str(tmp_path), "--to", str(tmp_path / "none" / "a.yaml")])
    assert lost.exit_code == 2 and "cannot be written; got No such file" in lost.stderr


def test_the_verb_as_json(tmp_path: Path) -> None:
    save(tmp_path / "wind", [[0.0, 1.0]] * 3)
    (tmp_path / "a.doc").write_text("")
    done = CliRunner().invoke(app, ["init", str(tmp_path), "--to", str(tmp_path / "m.yaml"), "--json"])
    record = json.loads(done.stdout)

    assert [(row["name"], row["kind"], row["seen"]) for row in record["modalities"]] == [
        ("wind", "vector", "3 of 3 files")
    ]
    assert record["skipped"][0]["what"] == "a.doc" and record["first"] == []
    assert record["next"][0] == (
        f"fourm data import {tmp_path / 'samples.jsonl'} --schema {tmp_path / 'm.yaml'} --to data.lance"
    )
    first = (tmp_path / "samples.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {"id": "0000", "wind": "wind/0000.npy"}


def test_drafting_loads_no_torch(root: Path) -> None:
    """The first thing a new user runs should not begin with a wait."""
    code = "import sys, fourm_runtime.scan.draft; print({'torch', 'lance', 'xformers'} & set(sys.modules))"
    paths = [str(root), str(root / "codecs"), str(root / "runtime")]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "set()"


def test_coco_folder_becomes_images_class_maps_boxes_and_captions(coco: Path) -> None:
    """A real folder: photographs of many sizes, grey ones among them, and a file of annotations."""
    draft = init(coco)
    found = parse_schema(draft.yaml).modalities
    images, semantic, boxes, captions = (found[n] for n in ("images", "semantic", "boxes", "captions"))

    assert isinstance(images, Image) and images.size == (224, 224) and images.channels == 3
    assert draft.samples is not None and draft.by_hand == []
    first = next(draft.samples.lines(coco))
    assert first["images"] == "images/000000000030.jpg"
    assert isinstance(semantic, Image) and semantic.cell.type == "categorical"
    assert isinstance(boxes, Set) and boxes.fields["category"].type == "category"
    assert getattr(captions, "views", 0) == 5
    assert "--fit center" in said(draft, "images")
    assert {"LICENCES.md", "annotations.jsonl: sha256"} <= {item.what for item in draft.skipped}
