"""Mirrored photos: what COCO would say of them is what is mirrored of what it says."""

from pathlib import Path

import numpy as np
import pytest

from fourm_codecs.build import build_codec
from fourm_codecs.mirror import mirrored_sample
from tests.codecs.coco_samples import (
    Annotations,
    Sample,
    annotations,
    bitmap,
    boxes,
    instance,
    keypoints,
    point_names,
    samples,
    schema,
)

ROUNDING = 1e-12


def turned(said: Annotations, names: tuple[str, ...]) -> Annotations:
    """The annotations, written anew for the mirrored photo: in pixels, before anything is scaled."""
    width = said["width"]
    found: Annotations = {"width": width, "height": said["height"], "boxes": None, "keypoints": None}
    flipped = [{"left": "right", "right": "left"}.get(name.partition("_")[0], "") for name in names]
    places = [
        names.index(f"{side}_{name.partition('_')[2]}") if side else names.index(name)
        for side, name in zip(flipped, names, strict=True)
    ]
    for kind in ("boxes", "keypoints"):
        if said[kind] is not None:
            found[kind] = [{**one, "x0": width - one["x1"], "x1": width - one["x0"]} for one in said[kind]]
    for one in found["keypoints"] or ():
        there = [[width - x, y, seen] for x, y, seen in one["points"]]
        one["points"] = [there[place] for place in places]
    return found


def mirror_of(sample: Sample) -> Sample:
    return mirrored_sample(schema(), sample)


def assert_near(given: list[Sample], wanted: list[Sample]) -> None:
    for one, other in zip(given, wanted, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, str):
                assert value == other[name]
            else:
                assert value == pytest.approx(other[name], abs=ROUNDING)


def test_coco_people_and_boxes_are_mirrored_with_their_photo(coco: Path) -> None:
    """A left eye becomes a right one; a point that is not labelled has none to become."""
    names, people = point_names(coco), 0
    for said, sample in zip(annotations(coco), samples(coco), strict=True):
        mirror, wanted = mirror_of(sample), turned(said, names)

        assert_near(mirror["boxes"] or [], boxes(wanted) or [])
        assert_near(mirror["keypoints"] or [], keypoints(wanted, names) or [])
        assert (mirror["boxes"] is None) == (sample["boxes"] is None)
        people += len(mirror["keypoints"] or ())
    assert people > 30


def test_coco_shapes_maps_and_pixels_are_mirrored_with_their_photo(coco: Path) -> None:
    """A shape by its mask, cut out of the mirrored picture; a map by its columns."""
    for said, sample in zip(annotations(coco), samples(coco), strict=True):
        mirror = mirror_of(sample)

        assert np.array_equal(mirror["rgb"], np.asarray(sample["rgb"])[:, ::-1])
        if sample["classes"] is not None:
            assert np.array_equal(mirror["classes"], sample["classes"][:, ::-1])
        shapes = (bitmap(one, said["height"], said["width"]) for one in said["instances"][:3])
        wanted = [instance(said, shape[:, ::-1]) for shape in shapes if shape.any()]
        for one, other in zip(mirror["instances"], wanted, strict=False):
            assert one["box"] == pytest.approx(other["box"], abs=ROUNDING)
            # Cells of which the shape covers just half fall to either side: some, if the crop is 96 wide.
            assert (one["mask"] != other["mask"]).mean() < 0.03


def test_coco_mirrored_twice_a_sample_is_what_it_was(coco: Path) -> None:
    """Pictures, maps, masks and words exactly, coordinates up to the rounding of one subtraction. It happens
    once: mirrored again and again, they are the same two."""
    for sample in samples(coco):
        once = mirror_of(sample)
        twice = mirror_of(once)

        assert list(twice) == list(sample) and twice["caption"] == sample["caption"]
        for name in ("rgb", "classes", "semantics"):
            assert sample[name] is None or np.array_equal(twice[name], sample[name])
        for name in ("boxes", "keypoints"):
            assert_near(twice[name] or [], sample[name] or [])
            assert mirror_of(twice)[name] == once[name]
        for one, other in zip(twice["instances"], sample["instances"], strict=True):
            assert np.array_equal(one["mask"], other["mask"])


def test_coco_mirrored_samples_are_encoded_by_the_same_codecs(coco: Path) -> None:
    """What a schema admits, it admits mirrored: no coordinate leaves its range."""
    declared = schema()
    mirrors = [mirror_of(sample) for sample in samples(coco)]
    for name in ("boxes", "keypoints", "classes"):
        codec = build_codec(declared, name)
        values = [mirror[name] for mirror in mirrors if mirror[name] is not None]
        for value, back in zip(values, codec.decode(codec.encode(values)), strict=True):
            assert codec.law.check(value, back) == []
