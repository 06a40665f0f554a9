"""Token columns: what stands in them, when they are stale, and how far an encoding came that was cut off."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fourm_codecs.base import TokenBatch
from fourm_runtime.data import staged_files, store
from fourm_runtime.data.dataset import Dataset
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.data_samples import SCHEMA, YAML, codecs_of, encoded, samples
from tests.runtime.stored_columns import TOKENS, columns


def test_tokens_are_what_the_codec_gives_for_each_sample(tmp_path: Path) -> None:
    """Row by row, so that no batch border and no null shifts a row."""
    dataset, codecs = encoded(tmp_path / "a.lance")
    given = list(samples(250))

    for stream in TOKENS:
        codec = codecs[stream.modality]
        for row, stored in zip(given, columns(dataset)[stream.column], strict=True):
            value = row[stream.modality]
            if value is None:
                assert stored is None
            elif isinstance(value, list):
                assert stored == [codec.encode([text]).ids.tolist() for text in value]
            else:
                assert stored == codec.encode([value]).ids.tolist()


def test_appended_rows_are_encoded_next_and_no_others(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance")
    before = columns(dataset)
    dataset.append(samples(70, seed=1))
    partial = dataset.status(codecs).streams
    calls: list[tuple[str, int, int]] = []
    dataset.encode(codecs, progress=lambda *call: calls.append(call))

    assert {status.state for status in partial} == {"partial"}
    assert {status.encoded_rows for status in partial} == {250}
    assert calls == [(stream.name, 320, 320) for stream in TOKENS]
    assert {status.state for status in dataset.status(codecs).streams} == {"encoded"}
    assert {name: column[:250] for name, column in columns(dataset).items()} == before


def test_a_changed_codec_is_refused_by_name_until_the_column_is_replaced(tmp_path: Path) -> None:
    """Ids of two vocabularies in one column would train on noise, silently."""
    dataset, _ = encoded(tmp_path / "a.lance")
    other = codecs_of(SCHEMA, iter(["entirely other words", "of another time"]))

    status = {stream.stream: stream.state for stream in dataset.status(other).streams}
    assert status == {
        "digit.tokens": "encoded",
        "classes.tokens": "encoded",
        "shape.tokens": "encoded",
        "caption.tokens": "stale",
    }
    with pytest.raises(DataError) as caught:
        dataset.encode(other)
    assert str(caught.value) == (
        f"{tmp_path / 'a.lance'} column caption__tokens: holds ids that would not fit new ones: it was "
        "encoded by another codec, or by one with other settings or training; "
        "got 250 rows by codec 'wordpiece'; encode it anew as a whole: fourm data encode --replace"
    )
    version = dataset.version
    dataset.encode(other, replace=True)
    assert {stream.state for stream in dataset.status(other).streams} == {"encoded"}
    texts = next(row["caption"] for row in samples(1))
    assert isinstance(texts, list)
    assert columns(dataset)["caption__tokens"][0] == [
        other["caption"].encode([text]).ids.tolist() for text in texts
    ]
    assert Dataset.open(dataset.path, version).status(other).streams[-1].state == "stale"


def test_a_changed_entry_makes_its_tokens_stale_and_no_others(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance")
    dataset.add_modality(parse_schema(YAML.replace("bins: 32", "bins: 16").replace("loss_weight", "")))

    states = {stream.stream: (stream.state, stream.why) for stream in dataset.status().streams}
    assert states["shape.tokens"] == ("stale", "its schema entry has changed since it was encoded")
    assert states["digit.tokens"] == ("encoded", "")
    with pytest.raises(
        DataError, match=r"shape\.tokens has 16 ids; got 32 ids of codec 'bins'; build the codec"
    ):
        dataset.encode({"shape": codecs["shape"]}, replace=True)


def test_a_value_that_cannot_be_encoded_is_named(tmp_path: Path) -> None:
    rows = [{"caption": "short"}, {"id": "long-one", "caption": "a " * 40}]
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, rows)
    codecs = codecs_of(SCHEMA, dataset.texts("caption"))
    with pytest.raises(
        DataError, match=r"sample 'long-one', caption\.tokens: cannot be encoded: .*at most 16 tokens"
    ):
        dataset.encode(codecs)
    with pytest.raises(DataError, match=r"digit\.tokens: no codec is given for it; given: caption"):
        dataset.encode({"caption": codecs["caption"]}, streams=["digit"])
    with pytest.raises(DataError, match=r"digit\.pixels: is shown dense and has no ids to encode"):
        dataset.encode(codecs, streams=["digit.pixels"])
    with pytest.raises(
        DataError, match=r"dgit: is no modality of this dataset, but has a codec; did you mean"
    ):
        dataset.encode({"dgit": codecs["digit"]})


def test_an_interrupted_encoding_goes_on_where_it_was(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "a.lance", SCHEMA, samples(250), rows_per_fragment=100)
    whole, codecs = encoded(tmp_path / "b.lance")

    class Broken:
        """A codec that fails from the 101st value on."""

        def __init__(self) -> None:
            self.seen = 0

        def encode(self, values: list[NDArray[np.generic]]) -> TokenBatch:
            self.seen += len(values)
            if self.seen > 100:
                raise RuntimeError("no more power")
            return codecs["digit"].encode(values)

        def __getattr__(self, name: str) -> object:
            return getattr(codecs["digit"], name)

    with pytest.raises(RuntimeError, match="no more power"):
        dataset.encode({"digit": Broken()})  # type: ignore[dict-item]  # it has what a codec has, by delegation
    status = Dataset.open(dataset.path).status(codecs).streams[0]
    assert (status.state, status.encoded_rows) == ("partial", 100)
    calls: list[int] = []
    dataset.encode(
        codecs, progress=lambda stream, done, total: calls.append(done) if "digit" in stream else None
    )
    assert calls == [200, 250]
    assert columns(dataset) == columns(whole)


def test_compaction_keeps_tokens_and_the_order_of_rows(tmp_path: Path) -> None:
    dataset, codecs = encoded(tmp_path / "a.lance")
    before = columns(dataset)
    dataset.arrow.optimize.compact_files()
    compacted = Dataset.open(dataset.path)

    assert len(compacted.arrow.get_fragments()) == 1
    assert {status.state for status in compacted.status(codecs).streams} == {"encoded"}
    assert columns(compacted) == before


def test_ids_for_a_fragment_that_is_gone_are_refused(tmp_path: Path) -> None:
    dataset, _ = encoded(tmp_path / "a.lance")
    leaf = store.leaf_field(dataset.arrow, "digit__tokens")
    values = dataset.arrow.to_table(columns=["digit__tokens"]).slice(0, 100).combine_chunks().to_batches()[0]
    dataset.arrow.optimize.compact_files()

    staged = staged_files.stage_column(dataset.path, 0, values)

    with pytest.raises(DataError, match=r"digit__tokens: was rewritten meanwhile, by a compaction; run it"):
        staged_files.commit_column(dataset.path, "digit__tokens", leaf, staged)
    with pytest.raises(DataError, match=r"digit__tokens: was begun anew meanwhile, by another program"):
        staged_files.commit_column(dataset.path, "digit__tokens", leaf + 100, staged)
    assert not (dataset.path / "data" / staged.file).exists()
