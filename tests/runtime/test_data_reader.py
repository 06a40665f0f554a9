"""A batch holds the asked rows, whoever asks, in whatever order, from whatever cache."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import StoredCodec
from fourm_codecs.dense import DenseView
from fourm_runtime.batch import Batch, Dense, Grid, Sequences
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.order import Order, sample_hash
from fourm_runtime.data.reader import Reader
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from fourm_schema.resolve import resolve
from tests.runtime.data_samples import PLAN, SCHEMA, YAML, encoded, samples

ROWS = 1300
GIVEN = list(samples(ROWS))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, dict[str, StoredCodec]]:
    return encoded(tmp_path_factory.mktemp("data") / "a.lance", ROWS, rows_per_fragment=500)


@pytest.fixture(scope="module")
def reader(made: tuple[Dataset, dict[str, StoredCodec]]) -> Reader:
    return Reader(made[0], PLAN)


def shown(batch: Batch, name: str) -> list[object]:
    """A stream's values, sample by sample, None where absent."""
    column = batch.columns[name]
    if isinstance(column, Sequences):
        parts = [
            column.ids[start:stop]
            for start, stop in zip(column.offsets[:-1], column.offsets[1:], strict=True)
        ]
    else:
        parts = list(column.ids if isinstance(column, Grid) else column.values)
    return [part.tolist() if there else None for part, there in zip(parts, column.present, strict=True)]


@given(st.lists(st.integers(0, ROWS - 1), max_size=30))
def test_a_batch_holds_the_asked_rows_in_their_order(
    made: tuple[Dataset, dict[str, StoredCodec]], reader: Reader, rows: list[int]
) -> None:
    """Repeated rows, rows of several blocks, and none at all included."""
    _, codecs = made
    batch = reader.batch(rows)

    assert batch.sample_ids.tolist() == rows
    for name in ("digit", "classes", "shape"):
        values = [GIVEN[row][name] for row in rows]
        assert shown(batch, f"{name}.tokens") == [
            None if value is None else codecs[name].encode([value]).ids.tolist() for value in values
        ]
    for stream in ("digit.pixels", "shape.values"):
        name = stream.partition(".")[0]
        view = DenseView.from_entry(name, SCHEMA.modalities[name])
        for row, tokens in zip(rows, shown(batch, stream), strict=True):
            value = GIVEN[row][name]
            assert (tokens is None) == (value is None)
            # The reader normalises in float32, the codec in float64.
            assert value is None or np.allclose(np.asarray(tokens), view.encode([value])[0], atol=3e-7)


def test_columns_have_the_promised_types(reader: Reader) -> None:
    columns = reader.batch(np.arange(5)).columns
    digit, pixels, caption = columns["digit.tokens"], columns["digit.pixels"], columns["caption.tokens"]

    assert isinstance(digit, Grid)
    assert (str(digit.ids.dtype), digit.ids.shape) == ("uint8", (5, 16))
    assert isinstance(pixels, Dense)
    assert (str(pixels.values.dtype), pixels.values.shape) == ("float32", (5, 4, 4))
    assert isinstance(caption, Sequences)
    assert (str(caption.ids.dtype), str(caption.offsets.dtype), len(caption.offsets)) == (
        "uint16",
        "int64",
        6,
    )
    assert list(columns) == PLAN.names


def test_an_empty_batch_has_columns_of_the_same_types(reader: Reader) -> None:
    """A rank may have no sample of a step, and must still take part in it."""
    full, empty = reader.batch([0]).columns, reader.batch([]).columns

    for name, column in full.items():
        other = empty[name]
        for key in ("ids", "values"):
            if hasattr(column, key):
                assert getattr(column, key).dtype == getattr(other, key).dtype
                assert getattr(column, key).shape[1:] == getattr(other, key).shape[1:]


def test_the_shown_view_is_drawn_from_seed_epoch_and_sample_alone(
    made: tuple[Dataset, dict[str, StoredCodec]], reader: Reader
) -> None:
    """The batch, its order and its epoch-mates have no say; over the epochs every view is shown."""
    _, codecs = made
    rows = np.array([3, 7, 11, 1203])
    for seed, epoch in ((0, 0), (0, 1), (5, 1)):
        draws = sample_hash(seed, epoch, rows)
        expected = []
        for row, draw in zip(rows, draws.tolist(), strict=True):
            views = GIVEN[row]["caption"]
            expected.append(
                codecs["caption"].encode([views[draw % len(views)]]).ids.tolist()
                if isinstance(views, list)
                else None
            )
        assert shown(reader.batch(rows, epoch, seed), "caption.tokens") == expected
        backwards = reader.batch(rows[::-1], np.full(4, epoch), seed)
        assert shown(backwards, "caption.tokens") == expected[::-1]

    many = {str(shown(reader.batch([3], epoch), "caption.tokens")) for epoch in range(40)}
    assert len(many) == 4


def test_only_the_columns_of_the_asked_streams_are_read(tmp_path: Path) -> None:
    """The files of the others are gone, and nobody misses them."""
    dataset, _ = encoded(tmp_path / "a.lance", 40)
    for file in (dataset.path / "data").iterdir():
        if file.name.startswith("caption__tokens"):
            file.unlink()
    dataset = Dataset.open(dataset.path)
    with Reader(dataset, PLAN, ["digit.tokens", "shape.values"]) as reader:
        assert list(reader.batch(np.arange(40)).columns) == ["digit.tokens", "shape.values"]
        assert [stream.name for stream in reader.streams] == ["digit.tokens", "shape.values"]
    with (
        Reader(dataset, PLAN) as reader,
        pytest.raises(DataError, match=r"cannot be read any more; got .*Not found"),
    ):
        reader.batch([0])


def test_a_small_cache_changes_nothing_but_the_time(
    made: tuple[Dataset, dict[str, StoredCodec]], reader: Reader
) -> None:
    _, rows = Order(ROWS, seed=3).at(np.arange(200))
    with Reader(made[0], PLAN, cache_blocks=1) as small:
        for name in PLAN.names:
            assert shown(small.batch(rows), name) == shown(reader.batch(rows), name)


def test_wide_pictures_are_read_row_by_row_with_the_same_result(
    made: tuple[Dataset, dict[str, StoredCodec]], reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of 512 photographs would be most of a gigabyte, so these are taken one by one."""
    monkeypatch.setattr("fourm_runtime.data.reader._WIDE_BYTES", 1)
    with Reader(made[0], PLAN) as wide:
        for name in PLAN.names:
            assert shown(wide.batch([5, 900, 5]), name) == shown(reader.batch([5, 900, 5]), name)


def test_threads_share_a_reader(made: tuple[Dataset, dict[str, StoredCodec]], reader: Reader) -> None:
    order = Order(ROWS, seed=1)
    expected = [shown(reader.batch(order.step(t, 64)[1], t), "caption.tokens") for t in range(12)]
    found: dict[int, list[object]] = {}
    with Reader(made[0], PLAN, cache_blocks=2) as shared:

        def work(first: int) -> None:
            for t in range(first, 12, 3):
                found[t] = shown(shared.batch(order.step(t, 64)[1], t), "caption.tokens")

        threads = [threading.Thread(target=work, args=(first,)) for first in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [found[t] for t in range(12)] == expected


def test_a_reader_stays_on_its_version(tmp_path: Path) -> None:
    """A run that is under way must not see samples that arrive meanwhile."""
    dataset, codecs = encoded(tmp_path / "a.lance", 40)
    with Reader(dataset, PLAN) as reader:
        before = shown(reader.batch(np.arange(40)), "digit.tokens")
        dataset.append(samples(20, seed=9))
        dataset.encode(codecs)
        assert shown(reader.batch(np.arange(40)), "digit.tokens") == before
        with pytest.raises(DataError, match=r"has rows 0 to 39; got 40 to 40"):
            reader.batch([40])


def test_a_dataset_with_fewer_modalities_serves_the_larger_plan(tmp_path: Path) -> None:
    """Mixtures: a stream that this dataset lacks is absent from its batches."""
    wider = resolve(parse_schema(YAML + "  height: {kind: vector, dim: 1, ranges: [0, 9], bins: 10}\n"))
    dataset, _ = encoded(tmp_path / "a.lance", 40)
    with Reader(dataset, wider) as reader:
        assert list(reader.batch([0]).columns) == PLAN.names
    with pytest.raises(
        DataError, match=r"has none of the streams; got height\.tokens; it has: digit\.pixels, "
    ):
        Reader(dataset, wider, ["height"])


def test_a_stream_of_another_meaning_is_refused(tmp_path: Path) -> None:
    dataset, _ = encoded(tmp_path / "a.lance", 40)
    finer = resolve(parse_schema(YAML.replace("bins: 32", "bins: 64")))
    with pytest.raises(
        DataError,
        match=r"column shape__tokens: shape\.tokens has vocab_size 64 in the model's schema; "
        r"got 32 in the dataset's; train with the dataset's schema",
    ):
        Reader(dataset, finer)


def test_what_is_not_encoded_is_refused_and_the_message_names_the_verb(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(20))
    with pytest.raises(
        DataError,
        match=r"column digit__tokens: digit\.tokens has no tokens; "
        r"encode first: fourm data encode /.*a\.lance$",
    ):
        Reader(dataset, PLAN)
    with Reader(dataset, PLAN, ["digit.pixels"]) as reader:
        assert reader.batch([0]).size == 1
    whole, codecs = encoded(tmp_path / "b.lance", 20)
    whole.append(samples(5))
    with pytest.raises(
        DataError, match=r"digit\.tokens has tokens for 20 of 25 rows; encode first: fourm data encode"
    ):
        Reader(whole, PLAN)
    whole.encode(codecs)
    changed = parse_schema(YAML.replace("ranges: [0, 1]", "ranges: [0, 2]"))
    whole.add_modality(changed)
    with pytest.raises(
        DataError, match=r"shape\.tokens has stale tokens: its schema entry has changed .*--replace$"
    ):
        Reader(whole, resolve(changed))
