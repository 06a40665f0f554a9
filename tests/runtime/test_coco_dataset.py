"""Real photos in a dataset: what they lack stays null, what is derived of them is stored, all comes back."""

from pathlib import Path

import attrs
import numpy as np
import pytest

from fourm_codecs.build import build_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.data.dataset import Dataset
from fourm_schema.load import load_schema
from fourm_schema.modality import Set
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.codecs.coco_samples import Sample, annotations, samples, schema

STORED = ("rgb", "classes", "boxes", "keypoints", "caption", "edges", "palette", "metadata")
DERIVED = ("edges", "palette")


def declared(root: Path) -> Schema:
    """Modalities whose codecs need no fit, but for words; `metadata` is that of the root."""
    mine, theirs = schema(), load_schema(root / "modalities.yaml")
    entries = {name: mine.modalities.get(name) or theirs.modalities[name] for name in STORED}
    return Schema(version=1, vocabularies=mine.vocabularies, modalities=entries)


@attrs.frozen
class Stored:
    """A dataset of the photos."""

    data: Dataset
    given: list[Sample]


@pytest.fixture(scope="module")
def stored(coco: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    rows = []
    for sample, said in zip(samples(coco), annotations(coco), strict=True):
        row = {name: value for name, value in sample.items() if name in STORED and name not in DERIVED}
        if said["captions"] is None:
            rows.append(row)
            continue
        record = {
            "original_width": said["width"],
            "original_height": said["height"],
            "n_coco_instances": len(said["instances"]),
            "caption_n_words": len(said["captions"][0].split()),
        }
        rows.append(row | {"metadata": [record]})
    path = tmp_path_factory.mktemp("coco") / "photos.lance"
    return Stored(Dataset.create(path, declared(root), rows), rows)


def column(stored: Stored, name: str) -> list[object]:
    """The values of a modality, of the photos that have one."""
    return [value for chunk in stored.data.values(name) for value in chunk]


def test_coco_photos_without_annotations_are_stored_with_what_they_have(stored: Stored) -> None:
    """An empty list says that nobody is there, null that nobody has looked."""
    for name in ("classes", "boxes", "keypoints", "caption"):
        there = [row[name] for row in stored.given if row[name] is not None]
        assert len(column(stored, name)) == len(there) < len(stored.given)
    people = column(stored, "keypoints")
    assert 0 < sum(person == [] for person in people) < len(people)


def test_coco_datasets_are_encoded_and_null_stays_null(stored: Stored) -> None:
    """By the codecs that the schema selects: a photo has tokens of what it has."""
    data = stored.data
    words = next(one for one in resolve(data.schema).vocabularies if one.name == "words")
    vocabulary = WordVocabulary.train(data.texts("caption"), words.name, words.size, words.special)
    trained = {words.name: vocabulary}
    names = [name for name in STORED if name != "rgb"]
    data.encode({name: build_codec(data.schema, name, trained) for name in names})

    table = data.arrow.to_table()
    for name in names:
        tokens = [row is not None for row in table.column(f"{name}__tokens").to_pylist()]
        derived = name in (*DERIVED, "metadata")
        assert tokens == [derived or row[name] is not None for row in stored.given]


def test_coco_what_is_derived_is_decoded_within_half_a_bin(stored: Stored) -> None:
    """Edges exactly, colours and numbers of the picture by the law of their codec."""
    for name in (*DERIVED, "metadata"):
        codec, values = build_codec(stored.data.schema, name), column(stored, name)
        assert len(values) == len(stored.given)
        for value, back in zip(values, codec.decode(codec.encode(values)), strict=True):
            assert codec.law.check(value, back) == []
    edges = np.asarray(column(stored, "edges"))
    codec = build_codec(stored.data.schema, "edges")
    assert np.array_equal(np.asarray(codec.decode(codec.encode([*edges]))), edges)
    assert set(np.unique(edges)) == {0.0, 1.0} and 0.02 < edges.mean() < 0.3


def test_coco_palettes_are_colours_of_their_photo_and_metadata_as_given_or_measured(stored: Stored) -> None:
    """What a row gives is kept as it is; the photos of which it gives none have what can be measured."""
    palettes, records = column(stored, "palette"), column(stored, "metadata")
    entry = stored.data.schema.modalities["metadata"]
    assert isinstance(entry, Set)
    for row, palette, record in zip(stored.given, palettes, records, strict=True):
        assert isinstance(palette, list) and isinstance(record, list)
        pixels = np.asarray(row["rgb"], np.float64).reshape(-1, 3)
        for colour in palette:
            assert np.abs(pixels - colour["color"]).sum(axis=1).min() < 60, "something has about this colour"
        if "metadata" in row:
            assert {**record[0]} == row["metadata"][0]
        else:
            measured = {name: value for name, value in record[0].items() if value is not None}
            assert measured.keys() == {"colorfulness", "brightness", "contrast", "saturation", "entropy"}
            grey = pixels @ [0.2125, 0.7154, 0.0721]
            assert measured["brightness"] == pytest.approx(grey.mean(), abs=1e-3)
