"""Photos of COCO with their annotations, as samples of tests/codecs/coco.yaml; what one lacks is None."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fourm_schema.class_lists import CLASS_LISTS
from fourm_schema.load import load_schema
from fourm_schema.schema import Schema

SIDE, MAP_SIDES, MASK_SIDE = 64, {"classes": 32, "semantics": 16}, 64
SEEN = (None, "hidden", "visible")

Annotations = dict[str, Any]  # as JSON has them
Sample = dict[str, Any]
Bitmap = NDArray[np.bool_]
Box = tuple[float, float, float, float]


@cache
def schema() -> Schema:
    """What declares the samples."""
    return load_schema(Path(__file__).parent / "coco.yaml")


@cache
def annotations(folder: Path) -> tuple[Annotations, ...]:
    """What COCO says of each photo."""
    lines = (folder / "annotations.jsonl").read_text().splitlines()
    return tuple(json.loads(line) for line in lines)


@cache
def point_names(folder: Path) -> tuple[str, ...]:
    """Of the points of a person, in COCO's order."""
    found = json.loads((folder / "categories.json").read_text())
    return tuple(found["person_keypoints"]["names"])


@cache
def samples(folder: Path) -> tuple[Sample, ...]:
    """Every photo, resized to a square."""
    return tuple(_sample(folder, said) for said in annotations(folder))


def boxes(said: Annotations) -> list[Sample] | None:
    """Where the objects are, in shares of the photo, and what."""
    if said["boxes"] is None:
        return None
    return [{"box": shares(said, _corners(one)), "label": one["category"]} for one in said["boxes"]]


def keypoints(said: Annotations, names: tuple[str, ...]) -> list[Sample] | None:
    """The people and those of their points that are labelled."""
    if said["keypoints"] is None:
        return None
    people = []
    for one in said["keypoints"]:
        person: Sample = {"box": shares(said, _corners(one))}
        for name, (x, y, seen) in zip(names, one["points"], strict=True):
            if seen:
                person |= {name: [x / said["width"], y / said["height"]], f"{name}_seen": SEEN[seen]}
        people.append(person)
    return people


def instances(said: Annotations) -> list[Sample] | None:
    """The boxes of all shapes, and each shape as a picture of its box."""
    if said["instances"] is None:
        return None
    shapes = [bitmap(one, said["height"], said["width"]) for one in said["instances"]]
    return [instance(said, shape) for shape in shapes if shape.any()]


def instance(said: Annotations, shape: Bitmap) -> Sample:
    """One shape."""
    (top, bottom), (left, right) = (_ends(np.asarray(shape.any(axis=axis))) for axis in (1, 0))
    crop = Image.fromarray(shape[top:bottom, left:right])
    cells = np.asarray(crop.convert("L").resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX)) >= 128
    return {"box": shares(said, (left, top, right, bottom)), "mask": cells.astype(np.uint8)}


def bitmap(one: Annotations, height: int, width: int) -> Bitmap:
    """(height, width) True where the object is; COCO writes polygons, or runs down the columns."""
    if "polygon" in one:
        drawn = Image.new("1", (width, height))
        for corners in one["polygon"]:
            ImageDraw.Draw(drawn).polygon(corners, fill=1, outline=1)
        return np.asarray(drawn, bool)
    lengths = _run_lengths(one["rle"]["counts"])
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return flat.reshape(width, height).T


def shares(said: Annotations, box: Box) -> list[float]:
    """A box in pixels as shares of the photo."""
    x0, y0, x1, y1 = box
    return [x0 / said["width"], y0 / said["height"], x1 / said["width"], y1 / said["height"]]


def _sample(folder: Path, said: Annotations) -> Sample:
    picture = Image.open(folder / said["file"]).convert("RGB")
    return {
        "rgb": np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX)),
        **{name: _classes(folder, said, side) for name, side in MAP_SIDES.items()},
        "boxes": boxes(said),
        "instances": instances(said),
        "keypoints": keypoints(said, point_names(folder)),
        "caption": said["captions"],
    }


@cache
def _place_of_class(folder: Path) -> NDArray[np.uint8]:
    """COCO's number of a class -> its place in the list that the schema names."""
    places = np.zeros(256, np.uint8)
    for one in json.loads((folder / "categories.json").read_text())["categories"]:
        places[one["id"]] = CLASS_LISTS["coco134"].index(one["name"])
    return places


def _classes(folder: Path, said: Annotations, side: int) -> NDArray[np.uint8] | None:
    if said["semantic"] is None:
        return None
    numbers = Image.open(folder / said["semantic"]).resize((side, side), Image.Resampling.NEAREST)
    found: NDArray[np.uint8] = _place_of_class(folder)[np.asarray(numbers)]
    return found


def _corners(one: Annotations) -> Box:
    return one["x0"], one["y0"], one["x1"], one["y1"]


def _ends(there: Bitmap) -> tuple[int, int]:
    """First and one past the last True."""
    places = np.flatnonzero(there)
    return int(places[0]), int(places[-1]) + 1


def _run_lengths(text: str) -> list[int]:
    """COCO's compressed runs: groups of five bits from the lowest, a bit that more follow, a sign; from the
    third run on, what it differs by from the run before the last."""
    lengths, place = list[int](), 0
    while place < len(text):
        number = shift = 0
        more = True
        while more:
            bits = ord(text[place]) - 48
            number |= (bits & 31) << shift
            more, shift, place = bool(bits & 32), shift + 5, place + 1
            if not more and bits & 16:
                number |= -1 << shift
        lengths.append(number + lengths[-2] if len(lengths) > 2 else number)
    return lengths
