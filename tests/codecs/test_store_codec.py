"""Codecs on disk: what was saved is what is loaded, and nothing else is ever loaded."""

import hashlib
import json
import os
import pickle  # noqa: TID251  (to prove that a pickle in place of a file is not run)
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fourm_codecs.base import StoredCodec
from fourm_codecs.bins import BinsCodec
from fourm_codecs.build import build_codec
from fourm_codecs.levels import LevelsCodec
from fourm_codecs.store import (
    codec_hash,
    load_codec,
    load_vocabulary,
    save_codec,
    save_vocabulary,
)
from fourm_codecs.wordpiece import WordPieceCodec
from fourm_schema.errors import CodecError
from fourm_schema.strategies import values
from tests.codecs.declared import SCHEMA, WORDS

MODALITIES = ["digit", "tenths", "parts", "shape", "weather", "caption", "title"]


@attrs.frozen
class Payload:
    """Unpickling it creates a file."""

    victim: Path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("name", MODALITIES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(data=st.data())
def test_a_loaded_codec_is_the_saved_one(tmp_path: Path, name: str, data: st.DataObject) -> None:
    codec = build_codec(SCHEMA, name, {"words": WORDS})
    save_codec(codec, tmp_path)

    loaded = load_codec(tmp_path)

    assert loaded == codec
    assert loaded.entry == codec.entry
    assert codec_hash(loaded) == codec_hash(codec)
    batch = data.draw(st.lists(values(SCHEMA.modalities[name]), min_size=1, max_size=2))
    tokens = loaded.encode(batch)
    assert tokens.same(codec.encode(batch))
    for ours, theirs in zip(loaded.decode(tokens), codec.decode(tokens), strict=True):
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_equal_hashes_mean_equal_ids() -> None:
    """Stored tokens are stale exactly if the hash differs: range, levels, shape and bins count; names not."""
    base = LevelsCodec.of_range(8, 8, 0, 16, 17)
    others: list[StoredCodec] = [
        LevelsCodec.of_range(8, 8, 0, 32, 17),
        LevelsCodec.of_range(8, 8, 0, 16, 9),
        LevelsCodec.of_range(4, 16, 0, 16, 17),
        BinsCodec.of_range(64, 0, 16, 17),
        BinsCodec.of_range(64, 0, 16, 18),
    ]
    renamed = LevelsCodec.of_range(8, 8, 0, 16, 17, out_of_range="clip", modality="other")

    assert len({codec_hash(codec) for codec in (base, *others)}) == 6
    assert codec_hash(renamed) == codec_hash(base)


def test_equal_hashes_mean_equal_words() -> None:
    """A vocabulary counts by its pieces, not by its name."""
    words = WordPieceCodec("caption", WORDS, 8)
    renamed = attrs.evolve(words, vocabulary=attrs.evolve(WORDS, name="other"))
    shorter = attrs.evolve(words, vocabulary=attrs.evolve(WORDS, pieces=WORDS.pieces[:-1]))

    assert codec_hash(renamed) == codec_hash(words) != codec_hash(shorter)


def test_a_codec_hash_is_the_same_tomorrow() -> None:
    """Datasets hold it: a change here makes every stored token stale, so it must not happen unnoticed."""
    assert codec_hash(LevelsCodec.of_range(8, 8, 0, 16, 17))[:16] == "8226dde974ec5c5d"


def test_a_vocabulary_file_comes_back_equal(tmp_path: Path) -> None:
    save_vocabulary(WORDS, tmp_path / "deep" / "words.json")

    assert load_vocabulary(tmp_path / "deep" / "words.json") == WORDS


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "caption"
    save_codec(build_codec(SCHEMA, "caption", {"words": WORDS}), folder)
    return folder


def test_a_folder_holds_one_codec_and_nothing_more(saved: Path) -> None:
    """Saving over another codec leaves no file of it, nor any temporary one."""
    save_codec(build_codec(SCHEMA, "digit"), saved)

    assert [path.name.partition("-")[0] for path in sorted(saved.iterdir())] == ["codec.json", "tensors"]
    assert load_codec(saved) == build_codec(SCHEMA, "digit")


def test_a_save_that_is_cut_off_leaves_the_old_codec(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_codec(saved)
    replace = Path.replace

    def cut_off(self: Path, target: Path) -> Path:
        if target.name == "codec.json":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        save_codec(build_codec(SCHEMA, "digit"), saved)

    assert load_codec(saved) == before
    assert not [path for path in saved.iterdir() if path.name.startswith(".")]


def files_of(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir())
    assert len(found) == 3
    return found


@pytest.mark.parametrize("number", range(3))
def test_a_pickle_in_place_of_any_file_is_refused_and_not_run(saved: Path, number: int) -> None:
    victim = saved.parent / "victim"
    content = pickle.dumps(Payload(victim))
    files_of(saved)[number].write_bytes(content)

    with pytest.raises(CodecError):
        load_codec(saved)

    assert not victim.exists()
    pickle.loads(content)
    assert victim.exists(), "the payload must be live, or this test proves nothing"


def test_a_pickle_under_a_true_hash_is_refused_too(saved: Path) -> None:
    """Who can write the folder can write its hashes: the hash is no defence, the readers are."""
    victim = saved.parent / "victim"
    content = pickle.dumps(Payload(victim))
    digest = hashlib.sha256(content).hexdigest()
    for part, ending in (("tensors", "safetensors"), ("vocabulary", "json")):
        manifest = json.loads((saved / "codec.json").read_text("utf-8"))
        manifest["files"][part] = digest
        folder = saved.parent / part
        folder.mkdir()
        for path in files_of(saved):
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / f"{part}-{digest[:16]}.{ending}").write_bytes(content)
        (folder / "codec.json").write_text(json.dumps(manifest), "utf-8")

        with pytest.raises(CodecError, match=r"is no (JSON|safetensors file); got \d+ bytes that start with"):
            load_codec(folder)
    assert not victim.exists()


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("lost", ["everything", "half", "two bytes"])
def test_a_truncated_file_is_refused(saved: Path, number: int, lost: str) -> None:
    """Two bytes, not one: the last byte of a JSON file is a line feed, which says nothing."""
    path = files_of(saved)[number]
    content = path.read_bytes()
    path.write_bytes(content[: {"everything": 0, "half": len(content) // 2, "two bytes": -2}[lost]])

    what = "is no JSON" if path.name == "codec.json" else "is not the file that codec.json names"
    with pytest.raises(CodecError, match=f"{path.name}: {what}; got"):
        load_codec(saved)


@pytest.mark.parametrize("number", range(3))
def test_a_missing_file_is_named(saved: Path, number: int) -> None:
    path = files_of(saved)[number]
    path.unlink()

    with pytest.raises(CodecError, match=f"{path.name}: there is no such file; save the codec again"):
        load_codec(saved)


@pytest.mark.parametrize("number", range(3))
def test_a_folder_in_place_of_a_file_is_refused(saved: Path, number: int) -> None:
    path = files_of(saved)[number]
    path.unlink()
    path.mkdir()

    with pytest.raises(CodecError, match="cannot be read; got Is a directory"):
        load_codec(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other-7"}, "is no fourm-codec-1 file; got format 'other-7'"),
        ({"codec": 5}, "lacks its codec, modality or files"),
        (
            {"files": {"tensors": "../../etc/passwd"}},
            "names no tensors file by its hash; got '../../etc/passwd'",
        ),
        ({"files": {}}, "names no tensors file by its hash; got None"),
        ({"codec": "os.system"}, "there is no codec 'os.system'"),
        ({"codec": "levels"}, "exact levels are for images"),
        (
            {"entry": {"kind": "text", "vocabulary": "words", "max_tokens": 1}},
            "its schema entry is not valid",
        ),
        ({"entry": None}, "its schema entry is not valid"),
        ({"hash": "0"}, "its entry gives another codec than the one that was saved"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(
    saved: Path, change: dict[str, object], message: str
) -> None:
    path = saved / "codec.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")

    with pytest.raises(CodecError) as caught:
        load_codec(saved)

    assert message in str(caught.value)


def test_an_entry_that_was_edited_is_not_what_was_saved(tmp_path: Path) -> None:
    save_codec(build_codec(SCHEMA, "shape"), tmp_path)
    text = (tmp_path / "codec.json").read_text("utf-8")
    (tmp_path / "codec.json").write_text(text.replace('"bins": 32', '"bins": 16'), "utf-8")

    with pytest.raises(CodecError, match="its entry gives another codec than the one that was saved"):
        load_codec(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": None}, "is no fourm-words-1 file"),
        ({"vocabulary": None}, "holds no vocabulary"),
        ({"vocabulary": {"name": "words"}}, "holds no vocabulary"),
        ({"size": "256"}, "holds no vocabulary; got '256' is no int"),
        ({"size": 3}, "holds no sound vocabulary"),
        ({"pieces": ["[EOS]"]}, "holds no sound vocabulary"),
        ({"extra": 1}, "holds no vocabulary"),
    ],
)
def test_a_vocabulary_file_that_was_tampered_with_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "words.json"
    save_vocabulary(WORDS, path)
    content = json.loads(path.read_text("utf-8"))
    inner = not {"format", "vocabulary"} & set(change)
    (content["vocabulary"] if inner else content).update(change)
    path.write_text(json.dumps(content), "utf-8")

    with pytest.raises(CodecError) as caught:
        load_vocabulary(path)

    assert message in str(caught.value)


def test_deeply_nested_json_does_not_take_the_process_down(tmp_path: Path) -> None:
    (tmp_path / "codec.json").write_text("[" * 200_000, "utf-8")

    with pytest.raises(CodecError, match="is no JSON"):
        load_codec(tmp_path)


def test_a_codec_without_an_entry_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="image: was built without a schema entry and cannot be saved"):
        save_codec(LevelsCodec.of_range(1, 1, 0, 1, 2), tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", "utf-8")

    with pytest.raises(CodecError, match="cannot be written; got"):
        save_codec(build_codec(SCHEMA, "digit"), tmp_path / "taken")
