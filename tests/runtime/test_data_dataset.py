"""A dataset gives back what was put in, in whole versions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fourm_runtime.data.dataset import Dataset
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.data_samples import SCHEMA, YAML, codecs_of, encoded, samples
from tests.runtime.stored_columns import columns, raw


def test_every_value_comes_back_and_null_stays_null(tmp_path: Path) -> None:
    given = list(samples(250))
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, iter(given), rows_per_fragment=100)

    assert len(dataset.arrow.get_fragments()) == 3
    for name in ("digit", "classes", "shape"):
        for value, stored in zip((row[name] for row in given), raw(dataset, name), strict=True):
            assert (value is None) == (stored is None)
            assert stored is None or np.array_equal(np.asarray(value).reshape(-1), np.asarray(stored))
    assert raw(dataset, "caption") == [row["caption"] for row in given]
    assert raw(dataset, "sample") == list(range(250))
    assert raw(dataset, "id") == [str(index) for index in range(250)]
    assert dataset.schema == SCHEMA


def test_columns_have_the_smallest_exact_types(tmp_path: Path) -> None:
    schema = parse_schema(
        """
        version: 1
        vocabularies: {words: {kind: wordpiece, size: 30000}}
        modalities:
          rgb:
            kind: image
            size: 8
            patch: 4
            cell: {type: continuous, channels: 3, range: [0, 255], levels: 256}
          depth: {kind: image, size: 8, patch: 4, cell: {type: continuous, range: [0, 10]}}
          heat: {kind: image, size: 8, patch: 4, cell: {type: continuous, range: [-40, 60], levels: 101}}
          land: {kind: image, size: 8, patch: 4, cell: {type: categorical, classes: 300}}
          dino: {kind: image, size: 2, patch: 1, cell: {type: features, channels: 5}}
          caption: {kind: text, vocabulary: words, max_tokens: 16}
        """
    )
    stored = {
        field.name: str(field.type) for field in Dataset.create(tmp_path / "a.lance", schema).arrow.schema
    }

    assert stored == {
        "id": "string",
        "sample": "int64",
        "rgb": "fixed_size_list<item: uint8>[192]",
        "depth": "fixed_size_list<item: float>[64]",
        "heat": "fixed_size_list<item: int8>[64]",
        "land": "fixed_size_list<item: uint16>[64]",
        "dino": "fixed_size_list<item: halffloat>[20]",
        "caption": "list<item: string>",
    }


def test_a_dataset_may_begin_empty(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA)

    assert dataset.rows == 0
    assert dataset.append(samples(3)) == 3
    assert raw(dataset, "sample") == [0, 1, 2]
    assert dataset.append([]) == 0


def test_status_counts_what_is_there(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(30))
    dataset.pin("first")
    status = dataset.status()

    given = list(samples(30))
    assert status.present == {name: sum(row[name] is not None for row in given) for name in SCHEMA.modalities}
    assert {(stream.state, stream.encoded_rows) for stream in status.streams} == {("missing", 0)}
    assert status.pins == {"first": 1}
    assert (status.rows, status.version) == (30, 1)


def test_texts_give_every_alternative_in_order(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(40), rows_per_fragment=15)
    captions = [row["caption"] for row in samples(40)]

    assert list(dataset.texts("caption")) == [
        text for views in captions if isinstance(views, list) for text in views
    ]
    with pytest.raises(DataError, match=r"digit: is no text modality of this dataset; known: caption"):
        next(dataset.texts("digit"))


def test_values_give_every_raw_value_that_is_there_in_order(tmp_path: Path) -> None:
    """What a codec is fitted to: the same values in the same order each time, in their shape."""
    given = [row["digit"] for row in samples(250) if row["digit"] is not None]
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(250), rows_per_fragment=100)

    for _ in range(2):
        found = [value for chunk in dataset.values("digit") for value in chunk]
        assert len(found) == len(given) < 250
        assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(found, given, strict=True))
    with pytest.raises(DataError, match=r"^digt: is no modality of this dataset; did you mean 'digit'\?"):
        next(dataset.values("digt"))


def test_faulty_rows_are_listed_together_and_nothing_is_stored(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    files = sorted((tmp_path / "a.lance" / "data").iterdir())

    def rows() -> Iterator[dict[str, object]]:
        yield from samples(1500)
        yield {"digit": np.zeros((5, 4))}
        yield {"id": "b", "shape": [0, 1, 2]}
        yield from samples(5)

    with pytest.raises(DataError) as caught:
        dataset.append(rows())
    assert str(caught.value) == (
        f"{tmp_path / 'a.lance'}: 2 values cannot be stored; nothing was stored\n"
        "  row 1500, digit: a value has shape 4x4; got 5x4; resize it, or change the schema\n"
        "  row 1501 (id 'b'), shape at [2]: values lie in [0, 1]; got 2; "
        "rescale it, or set `out_of_range: clip` to bound it"
    )
    assert Dataset.open(tmp_path / "a.lance").rows == 5
    assert sorted((tmp_path / "a.lance" / "data").iterdir()) == files


def test_a_failed_create_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least 20 values cannot be stored; nothing was stored"):
        Dataset.create(tmp_path / "a.lance", SCHEMA, [{}] * 50)
    with pytest.raises(ZeroDivisionError):
        Dataset.create(
            tmp_path / "a.lance", SCHEMA, ({"digit": 1 / (index - 2)} for index in range(5) if index > 1)
        )

    assert not (tmp_path / "a.lance").exists()


def test_an_existing_dataset_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.lance"
    Dataset.create(path, SCHEMA, samples(5))
    with pytest.raises(DataError, match=r"is a dataset already; append to it, or overwrite it"):
        Dataset.create(path, SCHEMA, samples(3))
    Dataset.create(path, SCHEMA, samples(3), overwrite=True)

    assert Dataset.open(path).rows == 3
    assert Dataset.open(path, version=1).rows == 5
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(DataError, match=r"is taken by something that is no dataset; name another folder"):
        Dataset.create(tmp_path / "notes", SCHEMA, overwrite=True)


def test_a_failed_overwrite_keeps_what_was_there(tmp_path: Path) -> None:
    Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    with pytest.raises(DataError, match=r"row 0: gives no modality at all"):
        Dataset.create(tmp_path / "a.lance", SCHEMA, [{}], overwrite=True)

    assert Dataset.open(tmp_path / "a.lance").rows == 5


def test_a_modality_cannot_take_a_column_of_ours(tmp_path: Path) -> None:
    schema = parse_schema(YAML + "  sample: {kind: vector, dim: 1, ranges: [0, 9]}\n")
    with pytest.raises(
        DataError, match=r"modalities\.sample: is the name of a column that every dataset has"
    ):
        Dataset.create(tmp_path / "a.lance", schema)
    assert not (tmp_path / "a.lance").exists()


def test_the_path_may_hold_any_character(tmp_path: Path) -> None:
    dataset, _ = encoded(tmp_path / "my data #1 50%25 ü.lance", 5)

    assert Dataset.open(dataset.path).rows == 5
    assert [path.name for path in tmp_path.iterdir()] == ["my data #1 50%25 ü.lance"]


def test_opening_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.lance: is no dataset; create it with: fourm data import"):
        Dataset.open(tmp_path / "b.lance")
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA)
    dataset.pin("run-1")
    with pytest.raises(DataError, match=r"has no such version; got 'run-2'; pinned versions: run-1"):
        Dataset.open(tmp_path / "a.lance", version="run-2")
    dataset.append(samples(2))
    with pytest.raises(DataError, match=r"tag 'run-1': stands for version 1; got version 2"):
        dataset.pin("run-1")
    assert Dataset.open(tmp_path / "a.lance", version="run-1").rows == 0


def test_a_modality_is_added_without_rewriting_and_filled_later(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance")
    before, files = columns(dataset), set((tmp_path / "a.lance" / "data").iterdir())
    wider = YAML + "  height: {kind: vector, dim: 1, ranges: [0, 9], bins: 10}\n"
    dataset.add_modality(parse_schema(wider))

    assert set((tmp_path / "a.lance" / "data").iterdir()) == files
    assert dataset.status().present["height"] == 0
    dataset.fill("height", lambda ids: [[int(name) % 10] if int(name) % 3 else None for name in ids])
    assert raw(dataset, "height") == [[index % 10] if index % 3 else None for index in range(250)]
    dataset.encode({**codecs, "height": codecs_of(dataset.schema, dataset.texts("caption"))["height"]})
    assert columns(dataset) == before
    with pytest.raises(DataError, match=r"has modalities that the schema lacks; got height; keep them"):
        dataset.add_modality(SCHEMA)
    with pytest.raises(
        DataError, match=r"is stored as fixed_size_list<item: float>\[1\]; got a schema entry"
    ):
        dataset.add_modality(parse_schema(wider.replace("dim: 1", "dim: 2")))


def test_values_that_do_not_fit_are_not_filled(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(5))
    dataset.add_modality(parse_schema(YAML + "  height: {kind: vector, dim: 1, ranges: [0, 9], bins: 10}\n"))
    with pytest.raises(DataError, match=r"sample '0', height at \[0\]: values lie in \[0, 9\]; got 10"):
        dataset.fill("height", lambda ids: [[10]] * len(ids))
    with pytest.raises(DataError, match=r"hieght: is no modality of this dataset; did you mean 'height'\?"):
        dataset.fill("hieght", lambda ids: ids)
