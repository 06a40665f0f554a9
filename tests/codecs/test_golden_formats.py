"""4M's texts of records are, word for word and id for id, those of the released code."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fourm_codecs.annotations_4m import (
    Crop,
    detection_records,
    instance_records,
    palette_records,
    pose_records,
)
from fourm_codecs.base import Record
from fourm_codecs.sets_4m import RecordTextCodec
from fourm_codecs.tokenizer_file import TokenizerFile
from fourm_schema.class_lists import CLASS_LISTS
from fourm_schema.released_forms import FORMS
from fourm_schema.special import special_ids
from tests.codecs.released_texts import released_tokenizer, text_codec

Case = Mapping[str, Any]


@pytest.fixture(scope="module")
def content(golden: Path) -> bytes:
    return released_tokenizer(golden)


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, Any]:
    """Every recording of the folder, those of all files under one key."""
    found: dict[str, Any] = {}
    for file in sorted(golden.glob("transforms*.json")):
        for key, cases in json.loads(file.read_text()).items():
            if isinstance(cases, list):
                found.setdefault(key, []).extend(cases)
            else:
                found.setdefault(key, {}).update(cases)
    assert found, "the folder holds recorded texts"
    return found


def same(codec: RecordTextCodec, records: Sequence[Record], text: str, ids: Sequence[int]) -> None:
    """The text and ids of some records are the recorded ones, and what is read of them obeys the law."""
    value = [*records]
    assert codec.texts([value]) == [text.strip()]
    batch = codec.encode([value])
    assert batch.rows()[0].tolist() == [*ids, codec.file.special.end]
    (reading,) = codec.decode_with_report(batch)
    assert reading.damage == ()
    assert codec.law.check(value, reading.records) == []
    assert codec.encode([reading.records]).same(batch)


def test_golden_detections(content: bytes, recorded: Case) -> None:
    """Cropped, mirrored, filtered and sorted as the released code does, at any number of bins."""
    for case in recorded["det"]:
        keys = dict(case["kwargs"])
        bins = keys.pop("coord_bins", 1000)
        records = detection_records(
            case,
            Crop(tuple(case["orig_size"]), *case["crop_coords"]),
            mirrored=case["flip"],
            min_score=keys.get("det_threshold", 0.6),
            min_visibility=keys.get("min_visibility", 0.0),
            order=keys.get("bbox_order", "distance_to_origin"),
            most=keys.get("det_max_instances"),
        )
        fields = {**FORMS["detections"], "box": {"type": "box", "bins": bins}}
        same(text_codec(content, "detections", fields=fields), records, case["output"], case["ids"])


def test_golden_detections_are_sorted_by_the_schema_too(content: bytes, recorded: Case) -> None:
    """`order:` gives the released order to records in any order."""
    codec = text_codec(content, "detections", order="distance_to_origin")
    turned = 0
    for case in recorded["det"]:
        if case["kwargs"]:
            continue
        crop = Crop(tuple(case["orig_size"]), *case["crop_coords"])
        records = detection_records(case, crop, mirrored=case["flip"])
        assert codec.texts([records[::-1]]) == [case["output"]]
        turned += len(records) > 1
    assert turned


def test_golden_metadata(content: bytes, recorded: Case) -> None:
    """What lies outside is clipped, and every entry is a chunk."""
    codec = text_codec(content, "metadata", out_of_range="clip")
    for case in recorded["metadata"]:
        same(codec, [case["input"]], case["string"], [k for chunk in case["chunk_ids"] for k in chunk])
        chunks = codec.encode([[case["input"]]]).chunks()
        assert chunks == [[*map(len, case["chunk_ids"]), 1]]


def test_golden_palettes(content: bytes, recorded: Case) -> None:
    codec = text_codec(content, "palette")
    for case in recorded["color_palette"]:
        same(codec, palette_records(case["input"], case["length"]), case["output"], case["ids"])


def test_golden_poses(content: bytes, recorded: Case) -> None:
    """Nobody is `none`; shapes beyond three deviations are written outside 0 to 999, as 4M does."""
    codec = text_codec(content, "poses", out_of_range="clip")
    for case in recorded["human_poses"]:
        records = pose_records(case["input"], Crop(tuple(case["orig_size"]), *case["crop_coords"]))
        same(codec, records, case["output_identity_segment_order"], case["ids"])


def test_golden_instances(content: bytes, recorded: Case) -> None:
    """Boxes that reach over the border have negative coordinates, in pieces."""
    codec = text_codec(content, "instances", max_items=1000)
    for case in recorded["sam_instance"]:
        records = instance_records(
            case["polygons"], case["token_ids"], case["bbox_ymin_xmin_ymax_xmax"], case["query_points_xy"]
        )
        same(codec, records, case["output"], case["ids"])


def test_golden_special_ids(content: bytes, recorded: Case) -> None:
    """The tokenizer's special ids are read from its file, and are those that we lay out ourselves."""
    special = TokenizerFile(content, "the tokenizer").special
    names = recorded["special"]

    assert [special.pad, special.unknown, special.start, special.end] == [
        names[name] for name in ("[PAD]", "[UNK]", "[SOS]", "[EOS]")
    ]
    assert {str(k): special.first_sentinel + k for k in range(special.sentinel_count)} == recorded[
        "sentinel_to_id"
    ]
    assert special == special_ids(200)


def test_golden_class_names_are_those_of_our_list(content: bytes) -> None:
    """The 80 names of `coco80` are one token each, 4204 to 4283."""
    codec = text_codec(content, "detections")

    assert {ids[0] for ids in codec.words.class_ids} == set(range(4204, 4284))
    assert all(len(ids) == 1 for ids in codec.words.class_ids)
    assert sorted(codec.words.class_ids.values()) == sorted(CLASS_LISTS["coco80"])
