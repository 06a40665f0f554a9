"""Annotations of pictures as COCO's own JSON files, made of the lines that lie beside the small set."""

import json
from pathlib import Path
from typing import cast

import numpy as np

from fourm_runtime.data.importing.sources.coco_masks import decode_runs

POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee",
    "left_ankle", "right_ankle",
)  # fmt: skip

Record = dict[str, object]


def write_coco(lines: Path, folder: Path, most: int) -> Path:
    """Write instances, captions and keypoints of the first pictures.

    Args:
        lines: `annotations.jsonl` of the small set.
        folder: where to write.
        most: how many pictures.

    Returns:
        the file of instances.
    """
    records = [json.loads(line) for line in lines.read_text().splitlines()[:most]]
    known = json.loads((lines.parent / "categories.json").read_text())["categories"]
    names = [{"id": item["id"], "name": item["name"]} for item in known]
    images = [
        {"id": r["coco_id"], "file_name": Path(r["file"]).name, "width": r["width"], "height": r["height"]}
        for r in records
    ]
    instances, captions, keypoints = list[Record](), list[Record](), list[Record]()
    for record in records:
        for item in record["instances"] or []:
            instances.append({**_about(record, item, instances), "area": item["area"], **_shape(item)})
        for text in record["captions"] or []:
            captions.append({"id": len(captions), "image_id": record["coco_id"], "caption": text})
        for person in record["keypoints"] or []:
            numbers = [number for point in person["points"] for number in point]
            about = _about(record, {**person, "category_id": 1, "iscrowd": 0}, keypoints)
            keypoints.append({**about, "keypoints": numbers, "num_keypoints": person["num_keypoints"]})
    folder.mkdir(parents=True, exist_ok=True)
    people = [{"id": 1, "name": "person", "keypoints": list(POINTS)}]
    for kind, annotations, categories in (
        ("instances", instances, names),
        ("captions", captions, []),
        ("person_keypoints", keypoints, people),
    ):
        whole = {
            "info": {"year": 2017},
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        (folder / f"{kind}_mini.json").write_text(json.dumps(whole))
    return folder / "instances_mini.json"


def _about(record: Record, item: Record, before: list[Record]) -> Record:
    about: Record = {"id": len(before), "image_id": record["coco_id"], "bbox": _box(item)}
    return {**about, "category_id": item["category_id"], "iscrowd": item["iscrowd"]}


def _box(item: Record) -> list[float]:
    """x, y, width, height around a shape."""
    if isinstance(item.get("rle"), dict):
        mask = decode_runs(cast("dict[object, object]", item["rle"]), "here")
        y, x = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        x0, y0, x1, y1 = x[0], y[0], x[-1] + 1, y[-1] + 1
    elif "polygon" in item:
        points = np.concatenate(
            [np.reshape(part, (-1, 2)) for part in cast("list[list[float]]", item["polygon"])]
        )
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    else:
        x0, y0, x1, y1 = (cast("float", item[side]) for side in ("x0", "y0", "x1", "y1"))
    return [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]


def _shape(item: Record) -> Record:
    return {"segmentation": item["rle"] if "rle" in item else item["polygon"]}
