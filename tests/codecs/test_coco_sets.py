"""The sets of real photos, with the codecs that a schema selects: what comes back, and how near."""

import math
from pathlib import Path

import numpy as np
import pytest

from fourm_codecs.base import Record
from fourm_codecs.build import build_codec
from fourm_codecs.fit import FitRecipe
from fourm_codecs.set_codes import overlap_of_masks
from fourm_codecs.set_fit import fit_set
from fourm_schema.modality import Set
from tests.codecs.coco_samples import MASK_SIDE, Sample, samples, schema

HALF_BIN = 1 / 1000 / 2
ROUNDING = 1e-12
"""Of the sums and quotients between a coordinate, its bin and the middle of that, all at most 1."""


def all_of(coco: Path, name: str) -> list[list[Sample]]:
    """The sets of a modality, of the photos that have one."""
    return [sample[name] for sample in samples(coco) if sample[name] is not None]


def apart(given: Sample, back: Record) -> float:
    """The largest error of a coordinate; infinite where the records differ in anything else."""
    off = 0.0
    for name in given.keys() | back.keys():
        mine, theirs = given.get(name), back.get(name)
        if isinstance(mine, list) and isinstance(theirs, list):
            off = max(off, float(np.abs(np.subtract(mine, theirs, dtype=np.float64)).max()))
        elif mine != theirs:
            return math.inf
    return off


def farthest(given: list[Sample], back: list[Record]) -> float:
    """The largest error, each record compared with one of its own: the nearest that is left."""
    assert len(given) == len(back)
    left, worst = list(back), 0.0
    for record in given:
        errors = [apart(record, other) for other in left]
        nearest = int(np.argmin(errors))
        worst = max(worst, errors[nearest])
        left.pop(nearest)
    return worst


@pytest.mark.parametrize("name", ["boxes", "keypoints"])
def test_coco_coordinates_come_back_within_half_a_bin(coco: Path, name: str) -> None:
    """Of every box and every point of every photo; names, and which points there are, come back exactly."""
    codec, values = build_codec(schema(), name), all_of(coco, name)

    decoded = codec.decode(codec.encode(values))

    counts = [len(value) for value in values]
    assert min(counts) == 0 or name == "boxes", "photos without people are among them"
    assert sum(counts) > {"boxes": 500, "keypoints": 30}[name]
    for value, back in zip(values, decoded, strict=True):
        assert isinstance(back, list) and farthest(value, back) <= HALF_BIN + ROUNDING
        assert codec.law.check(value, back) == []


@pytest.mark.parametrize("name", ["boxes", "keypoints"])
def test_coco_sets_have_the_same_ids_together_and_alone(coco: Path, name: str) -> None:
    """A photo's ids do not depend on which photos it is encoded with, nor on the order of its records."""
    codec, values = build_codec(schema(), name), all_of(coco, name)

    together = codec.encode(values)

    for row, value in zip(together.rows(), values, strict=True):
        assert row.tolist() == codec.encode([value[::-1]]).ids.tolist()


def test_coco_shapes_come_back_as_masks_that_overlap_them(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A codec of masks fitted for seconds: boxes to half a bin, and shapes nearer than one shape for all."""
    entry, values = schema().modalities["instances"], all_of(coco, "instances")
    assert isinstance(entry, Set)
    recipe = FitRecipe(steps=20, batch_size=16, lr=3e-3)
    fitted = fit_set("instances", entry, values, tmp_path, recipe)
    masks = [record["mask"] for value in values for record in value]
    held_out = masks[9::10]
    same = np.mean([mask for number, mask in enumerate(masks) if number % 10 != 9], axis=0) > 0.5

    floor = float(np.mean([overlap_of_masks(mask, same) for mask in held_out]))
    kept = fitted.fields["mask"].overlap
    decoded = fitted.codec.decode(fitted.codec.encode(values[:20]))

    with capsys.disabled():
        print(f" IoU of {len(held_out)} masks: {kept:.3f} (one shape for all: {floor:.3f}) ", end="")
    assert kept is not None and kept > max(floor + 0.05, 0.65)
    for value, back in zip(values[:20], decoded, strict=True):
        pairs = farthest([{"box": r["box"]} for r in value], [{"box": r["box"]} for r in back])
        assert pairs <= HALF_BIN + ROUNDING
        assert {np.array(record["mask"]).shape for record in back} <= {(MASK_SIDE, MASK_SIDE)}
