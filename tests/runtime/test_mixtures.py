"""Training on several datasets at once: each sample has what its dataset has, and every fault is told."""

import re
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pytest

from fourm_runtime.batch import Batch, Dense, Grid, Int64, Sequences
from fourm_runtime.checkpoints.state import STATE, DatasetMark, TrainingState, load_state, save_state
from fourm_runtime.checkpoints.store import load_training_state
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.mixed_order import MixedOrder
from fourm_runtime.data.mixed_reader import SAMPLES_APART, MixedReader
from fourm_runtime.data.reader import Reader
from fourm_runtime.training.metrics import read_metrics
from fourm_runtime.training.mixing import parts_of, pin_of, schema_of_samples
from fourm_runtime.training.trainer import train
from fourm_schema.errors import DataError, TrainingError
from fourm_schema.load import parse_schema
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.runtime.small_run import SCHEMA, small_codecs, small_recipe, small_schema
from tests.runtime.test_training import rows_of

PARTS = """
  parts:
    kind: set
    max_items: 3
    order: random
    fields: {place: {type: number, range: [0, 1], bins: 8}}
"""


def text_schema(max_tokens: int = 8, size: int = 64) -> Schema:
    return parse_schema(
        f"version: 1\nvocabularies: {{words: {{kind: wordpiece, size: {size}, sentinels: 12}}}}\n"
        f"modalities: {{caption: {{kind: text, vocabulary: words, max_tokens: {max_tokens}}}}}\n"
    )


def text_rows(count: int) -> list[dict[str, object]]:
    words = ("one", "two", "three", "four")
    return [{"caption": f"{words[place % 4]} {words[place // 4 % 4]}"} for place in range(count)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """64 samples with pictures, shapes and captions, and 40 texts, encoded alike."""
    folder = tmp_path_factory.mktemp("stored")
    photos, books = folder / "photos.lance", folder / "books.lance"
    codecs = small_codecs(small_schema())
    Dataset.create(photos, small_schema(), rows_of(64)).encode(codecs)
    Dataset.create(books, text_schema(), text_rows(40)).encode({"caption": codecs["caption"]})
    return photos, books


def mixture(stored: tuple[Path, Path]) -> dict[str, float]:
    return {str(stored[0]): 0.75, str(stored[1]): 0.25}


def sample_of(batch: Batch, place: int) -> dict[str, object]:
    """What one sample of a batch has: stream -> its ids or numbers, and chunks; absent streams left out."""
    found: dict[str, object] = {}
    for name, column in batch.columns.items():
        if not column.present[place]:
            continue
        if isinstance(column, Grid | Dense):
            found[name] = (column.ids if isinstance(column, Grid) else column.values)[place].tolist()
            continue
        first, last = column.offsets[place : place + 2]
        things = column.ids if isinstance(column, Sequences) else column.values
        found[name] = things[first:last].tolist()
        if isinstance(column, Sequences) and column.chunk_lengths is not None:
            borders = np.concatenate([[0], np.cumsum(column.chunk_lengths)])
            inside = (borders[:-1] >= first) & (borders[1:] <= last)
            found[f"{name} chunks"] = column.chunk_lengths[inside].tolist()
    return found


def test_a_sample_of_a_mixture_is_the_sample_that_its_dataset_has(tmp_path: Path) -> None:
    """Grids, numbers, texts, sets in chunks and sequences of vectors come out as from the dataset alone."""
    more = PARTS + "  words: {kind: vector, dim: 2, max_length: 4, shown: [values], ranges: [[0, 1]]}\n"
    full = parse_schema(SCHEMA + more)
    less = parse_schema("version: 1\nmodalities:" + more)
    rng = np.random.default_rng(3)

    def extras(row: dict[str, object]) -> dict[str, object]:
        count = int(rng.integers(0, 4))
        return {
            **row,
            "parts": [{"place": float(x)} for x in rng.random(count)],
            "words": rng.random((1 + count, 2)) if count else None,
        }

    codecs = small_codecs(parse_schema(SCHEMA + PARTS))
    one = Dataset.create(tmp_path / "one.lance", full, [extras(row) for row in rows_of(30)])
    two = Dataset.create(tmp_path / "two.lance", less, [extras({}) for _ in range(20)])
    one.encode(codecs)
    two.encode({"parts": codecs["parts"]})
    plan = resolve(full)
    with Reader(one, plan) as first, Reader(two, plan) as second:
        both = MixedReader([first, second], [30, 20])
        rows = rng.permutation(50)
        epochs = rng.integers(0, 3, 50)
        mixed = both.batch(rows, epochs, seed=4)
        for place, (row, epoch) in enumerate(zip(rows.tolist(), epochs.tolist(), strict=True)):
            reader, own = (first, row) if row < 30 else (second, row - 30)
            assert sample_of(mixed, place) == sample_of(reader.batch([own], epoch, seed=4), 0)
        assert sorted(mixed.sample_ids.tolist()) == [*range(30), *(SAMPLES_APART + np.arange(20)).tolist()]
        assert {str(mixed.columns[name].present.sum()) for name in ("digit.tokens", "digit.pixels")} == {"30"}

        for empty in (both.batch([]), both.batch([31])):
            assert empty.size == len(empty.sample_ids)


def test_a_mixture_trains_and_goes_on_where_it_was(stored: tuple[Path, Path], tmp_path: Path) -> None:
    """A run that stopped after 4 of 8 steps goes on as if it had not, and no dataset's rows are left out."""
    recipe = small_recipe(steps={"total": 8})
    alone = train(
        recipe, None, mixture(stored), tmp_path / "a", codecs=small_codecs(small_schema()), quiet=True
    )
    half = small_recipe(steps={"total": 4})
    train(half, None, mixture(stored), tmp_path / "b", codecs=small_codecs(small_schema()), quiet=True)
    on = train(recipe, None, mixture(stored), tmp_path / "b", resume=True, quiet=True)

    assert alone.last is not None and on.last is not None
    ours, theirs = read_metrics(tmp_path / "b"), read_metrics(tmp_path / "a")
    assert [m.losses for m in ours][:4] != [m.losses for m in ours][4:]
    # The learning rate follows the total, so the first half differs; its samples do not.
    assert [(m.tokens_in, m.tokens_out) for m in ours] == [(m.tokens_in, m.tokens_out) for m in theirs]
    state = load_training_state(tmp_path / "a")
    assert [(Path(mark.path), mark.rows, mark.weight) for mark in state.datasets] == [
        (stored[0], 64, 0.75),
        (stored[1], 40, 0.25),
    ]


def test_compaction_and_clean_up_by_others_do_not_touch_a_running_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that a run reads is pinned: others may append, compact and clean up meanwhile."""
    path, schema = tmp_path / "x.lance", small_schema()
    codecs = small_codecs(schema)
    Dataset.create(path, schema, rows_of(64), rows_per_fragment=16).encode(codecs)
    recipe = small_recipe(steps={"total": 6})
    undisturbed = train(recipe, schema, path, tmp_path / "calm", codecs=codecs, quiet=True)
    Dataset.open(path).arrow.tags.delete(pin_of(tmp_path / "calm", Dataset.open(path).version))
    read = Reader.batch
    asked = 0

    def disturbed(self: Reader, rows: Int64, epoch: Int64, seed: int) -> Batch:
        nonlocal asked
        asked += 1
        if asked == 2:
            Dataset.open(path).append(rows_of(5, "two"))
            lance.dataset(path).optimize.compact_files(target_rows_per_fragment=1000)
            gone = lance.dataset(path).cleanup_old_versions(
                older_than=timedelta(0), error_if_tagged_old_versions=False
            )
            assert gone.old_versions > 0
        self._cache.clear()
        return read(self, rows, epoch, seed)

    monkeypatch.setattr(Reader, "batch", disturbed)
    done = train(recipe, schema, path, tmp_path / "run", codecs=codecs, quiet=True)

    assert asked == 6 and done.last is not None and undisturbed.last is not None
    assert [m.losses for m in read_metrics(tmp_path / "run")] == [
        m.losses for m in read_metrics(tmp_path / "calm")
    ]
    version = load_training_state(tmp_path / "run").datasets[0].version
    assert Dataset.open(path).status().pins == {pin_of(tmp_path / "run", version): version}


def test_without_a_pin_such_a_run_would_have_ended(tmp_path: Path) -> None:
    """What the test above relies on: a clean-up really takes the files of an old version."""
    path, schema = tmp_path / "x.lance", small_schema()
    codecs = small_codecs(schema)
    dataset = Dataset.create(path, schema, rows_of(20), rows_per_fragment=10)
    dataset.encode(codecs)
    with Reader(dataset, resolve(schema)) as reader:
        lance.dataset(path).optimize.compact_files(target_rows_per_fragment=1000)
        lance.dataset(path).cleanup_old_versions(older_than=timedelta(0))
        with pytest.raises(DataError, match=r"cannot be read any more; got .*; was it cleaned up\? pin"):
            reader.batch(np.arange(20))


def test_a_dataset_that_cannot_be_pinned_is_read_all_the_same(
    stored: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared datasets are often not for everyone to write to."""

    def refuse(self: Dataset, tag: str) -> None:
        raise OSError("Permission denied (os error 13)")

    monkeypatch.setattr(Dataset, "pin", refuse)
    recipe = small_recipe(steps={"total": 1})
    with pytest.warns(UserWarning, match=r"cannot be pinned \(Permission denied .* would end this run"):
        assert train(
            recipe, None, stored[0], tmp_path / "run", codecs=small_codecs(small_schema()), quiet=True
        ).finished


def test_all_datasets_that_cannot_be_used_are_named_together(
    stored: tuple[Path, Path], tmp_path: Path
) -> None:
    """Whoever mixes ten datasets mends them once."""
    unencoded = tmp_path / "unencoded.lance"
    Dataset.create(unencoded, text_schema(), text_rows(3))
    given = {str(stored[0]): 1.0, str(tmp_path / "no.lance"): 1.0, str(unencoded): 1.0}
    with pytest.raises(DataError) as caught:
        train(
            small_recipe(), small_schema(), given, tmp_path / "run",
            codecs=small_codecs(small_schema()), quiet=True,
        )  # fmt: skip
    text = str(caught.value)

    assert text.startswith("datasets: 2 of 3 cannot be used; mend each:\n")
    assert f"{tmp_path / 'no.lance'}: is no dataset; create it with: fourm data import" in text
    assert f"{unencoded} column caption__tokens: caption.tokens has no tokens" in text


def test_datasets_that_mean_different_things_by_one_name_are_refused(
    stored: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.lance"
    Dataset.create(other, text_schema(max_tokens=9, size=80), text_rows(3))
    with pytest.raises(DataError) as caught:
        schema_of_samples({str(stored[0]): 1.0, str(other): 2.0})
    text = str(caught.value)

    assert text.startswith("datasets: do not mean the same by one name; import and encode them under one")
    assert f"{other}, modality 'caption', field max_tokens: is 8 in the datasets before it; got 9" in text
    assert f"{other}, vocabulary 'words': has 64 ids and 12 sentinels in all together; got 80" in text


def test_the_schema_of_a_mixture_has_what_any_of_its_datasets_has(stored: tuple[Path, Path]) -> None:
    assert list(schema_of_samples(mixture(stored)).modalities) == ["digit", "shape", "caption"]
    backwards = {str(stored[1]): 1.0, str(stored[0]): 1.0}
    assert list(schema_of_samples(backwards).modalities) == ["caption", "digit", "shape"]


@pytest.mark.parametrize("weights", [{"a.lance": 0.0, "b.lance": float("nan")}, {}])
def test_weights_that_say_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(TrainingError) as caught:
        parts_of(weights)
    expected = (
        "datasets: have weights that say nothing; change these:\n"
        "    a.lance: needs a weight above 0; got 0.0\n    b.lance: needs a weight above 0; got nan"
    )
    assert str(caught.value) == (
        expected if weights else "datasets: names none; write e.g. datasets: {x.lance: 1}"
    )


def test_a_run_does_not_go_on_with_another_mixture(stored: tuple[Path, Path], tmp_path: Path) -> None:
    """Weights decide which sample comes when; the same shares in other numbers are the same mixture."""
    photos, books = map(str, stored)
    run = tmp_path / "run"
    codecs = small_codecs(small_schema())
    train(small_recipe(steps={"total": 1}), None, mixture(stored), run, codecs=codecs, quiet=True)
    more = small_recipe(steps={"total": 2})
    with pytest.raises(TrainingError) as caught:
        train(more, None, {photos: 0.5, books: 0.5}, run, resume=True, quiet=True)
    assert str(caught.value) == (
        f"datasets: are not those that this run began with: {{{photos}: 0.75, {books}: 0.25}}; "
        f"got {{{photos}: 0.5, {books}: 0.5}}; give these, in this order, or take over others by --extend"
    )
    with pytest.raises(TrainingError, match=re.escape(f"got {{{photos}: 1}}")):
        train(more, None, photos, run, resume=True, quiet=True)

    assert train(more, None, {photos: 3.0, books: 1.0}, run, resume=True, quiet=True).finished


def test_states_from_before_there_were_mixtures_are_read(tmp_path: Path) -> None:
    """A run that began with an older version goes on."""
    state = TrainingState(3, {"seed": 0}, (DatasetMark("x.lance", 5, 80),), {})
    save_state(tmp_path, state)
    file = tmp_path / "training" / STATE
    text = file.read_text()
    old = re.sub(r'"datasets": \[(.*?),\s*"weight": 1\.0\s*}\s*\]', r'"dataset": \1}', text, flags=re.DOTALL)
    assert '"dataset":' in old and "weight" not in old
    file.write_text(old)

    assert load_state(tmp_path).datasets == state.datasets


def test_the_mixture_of_a_run_is_the_published_order(stored: tuple[Path, Path], tmp_path: Path) -> None:
    """What training asks for is what `MixedOrder` says, from the recipe's weights and seed."""
    codecs = small_codecs(small_schema())
    with pytest.MonkeyPatch.context() as patch:
        asked: list[Int64] = []
        read = MixedReader.batch

        def listen(self: MixedReader, rows: Int64, epoch: Int64, seed: int) -> Batch:
            asked.append(rows)
            return read(self, rows, epoch, seed)

        patch.setattr(MixedReader, "batch", listen)
        recipe = small_recipe(steps={"total": 3}, seed=9)
        train(recipe, None, mixture(stored), tmp_path / "run", codecs=codecs, quiet=True)

    expected = MixedOrder((64, 40), (0.75, 0.25), 9).at(np.arange(48))[1]
    assert np.concatenate(asked).tolist() == expected.tolist()
