"""A sheet of photos with all that is known of them, as HTML and, where Chromium is there, as a picture.

Run it from the root of the repository: `python examples/photo_sheet/draw.py coco-mini --to sheet`. The
folder holds `annotations.jsonl` (photos of COCO with boxes, shapes, points and captions) and the files that
it names.
Only photos whose licence allows changes and any use are taken; their authors are named by their Flickr
addresses, which are printed.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.crops import crop
from fourm_runtime.data.importing.sources.coco_masks import small_mask
from fourm_runtime.data.importing.views import middle
from fourm_runtime.data.samples import read_samples
from fourm_runtime.pictures.page import write_page
from fourm_runtime.pictures.sheet import sheet_page
from fourm_schema.load import load_schema
from fourm_schema.modality import Set
from fourm_schema.schema import Schema
from fourm_schema.set_fields import MaskField, PointField

SCHEMA = Path(__file__).with_name("modalities.yaml")
WINDOW_PX = (1060, 1840)
SAVED_WIDTH_PX = 800
SHOWN = ("129648", "1268")


def row_of(record: Mapping[str, Any], folder: Path, schema: Schema) -> dict[str, object]:
    """A line of annotations as a sample: the largest square in its middle."""
    photo = np.asarray(Image.open(folder / record["file"]).convert("RGB"))
    height, width = photo.shape[:2]
    sample: dict[str, object] = {
        "photo": photo,
        "objects": objects_of(record, schema),
        "people": people_of(record, schema),
        "caption": record["captions"],
    }
    if record["semantic"]:
        sample["segments"] = np.asarray(Image.open(folder / record["semantic"]))
    cut = crop(sample, schema, middle(height / width))
    if isinstance(cut["people"], list):
        cut["people"] = [person for person in cut["people"] if person]
    return {"id": record["id"], **cut}


def objects_of(record: Mapping[str, Any], schema: Schema) -> list[dict[str, object]]:
    """Boxes and shapes of the objects, the largest first."""
    entry = schema.modalities["objects"]
    assert isinstance(entry, Set) and isinstance(entry.fields["shape"], MaskField), "the file says so"
    size, found = (record["height"], record["width"]), list[tuple[float, dict[str, object]]]()
    for one in record["instances"] or []:
        shape = one.get("polygon") or one.get("rle")
        corners = extent_of(one, record["boxes"])
        if shape is None or corners is None:
            continue
        mask = small_mask(shape, corners, size, entry.fields["shape"].size, record["id"])
        if mask.any():
            sides = record["width"], record["height"]
            box = [corner / sides[place % 2] for place, corner in enumerate(corners)]
            found.append((one["area"], {"box": box, "label": one["category"], "shape": mask.tolist()}))
    found.sort(key=lambda item: -item[0])
    return [item for _, item in found][: entry.max_items]


def extent_of(
    one: Mapping[str, Any], boxes: Sequence[Mapping[str, Any]]
) -> tuple[float, float, float, float] | None:
    """The box of a shape: that of its polygons, else the box of its class, if that has one only."""
    if one.get("polygon"):
        points = np.concatenate([np.reshape(part, (-1, 2)) for part in one["polygon"]])
        (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
    same = [box for box in boxes if box["category"] == one["category"]]
    return (same[0]["x0"], same[0]["y0"], same[0]["x1"], same[0]["y1"]) if len(same) == 1 else None


def people_of(record: Mapping[str, Any], schema: Schema) -> list[dict[str, object]] | None:
    """The points of each person that were seen, as shares of the photo; None where nobody looked for them."""
    if record["keypoints"] is None:
        return None
    entry = schema.modalities["people"]
    assert isinstance(entry, Set), "the file says so"
    names = [name for name, field in entry.fields.items() if isinstance(field, PointField)]
    width, height = record["width"], record["height"]
    people: list[dict[str, object]] = [
        {
            name: [min(x / width, 1.0), min(y / height, 1.0)]
            for name, (x, y, seen) in zip(names, person["points"], strict=True)
            if seen
        }
        for person in record["keypoints"]
    ]
    return [person for person in people if person][: entry.max_items]


def photograph(page: Path, picture: Path) -> None:
    """Let Chromium open the page, and keep what it shows without the empty rim."""
    with tempfile.TemporaryDirectory() as place:
        shot = Path(place, "shot.png")
        size = ",".join(map(str, WINDOW_PX))
        subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}"),
                *(f"--screenshot={shot}", page.resolve().as_uri()),
            ],
            check=True,
            capture_output=True,
        )
        seen = Image.open(shot).convert("RGB")
        rim = ImageChops.difference(seen, Image.new("RGB", seen.size, "white")).getbbox()
        kept = seen.crop(rim)
        small = kept.resize((SAVED_WIDTH_PX, kept.height * SAVED_WIDTH_PX // kept.width))
        small.save(picture, quality=60, optimize=True)


def main() -> None:
    """Read the photos, write the sheet, say whose photos they are."""
    parser = argparse.ArgumentParser(description="Draw a sheet of photos.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", type=Path, default=Path("sheet"), help="name of the files, without an ending")
    parser.add_argument("--ids", nargs="*", default=SHOWN, help="numbers of COCO")
    asked = parser.parse_args()
    schema = load_schema(SCHEMA)
    lines = (asked.folder / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    records = {str(record["coco_id"]): record for record in map(json.loads, lines)}
    chosen = [records[name] for name in asked.ids if name in records]
    free = [r for r in chosen if not r["licence"]["non_commercial"] and not r["licence"]["no_derivatives"]]
    with tempfile.TemporaryDirectory() as place:
        rows = (row_of(record, asked.folder, schema) for record in free)
        dataset = Dataset.create(Path(place, "photos.lance"), schema, rows)
        page = asked.to.with_suffix(".html")
        write_page(sheet_page(dataset, read_samples(dataset, range(dataset.rows))), page)
    if shutil.which("chromium"):
        photograph(page, asked.to.with_suffix(".jpg"))
    for record in free:
        print(
            f"{record['id']}: {record['flickr_url']}, {record['licence']['name']}, {record['licence']['url']}"
        )


if __name__ == "__main__":
    main()
