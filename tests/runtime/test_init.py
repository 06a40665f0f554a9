"""`fourm init`: how files may lie, what is told of those that are left out, and what the verb writes."""

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
from fourm_runtime.scan.draft import init
from fourm_schema.errors import DataError
from fourm_schema.load import load_schema, parse_schema
from fourm_schema.modality import Image, Set
from tests.runtime.drafted_files import NOISE, lines, said, save


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
