"""Models that are somewhere else: on the hub, or released by others."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.checkpoints.store import save
from fourm_runtime.cli.app import app
from fourm_runtime.hub import is_hub_id
from fourm_runtime.released.importing import import_4m
from fourm_schema.errors import BackendError, CheckpointError
from tests.runtime.small_release import contents, small_release, tokenizer_file

Calls = list[tuple[str, dict[str, object]]]


class Hub:
    """A hub in a folder, with the functions of `huggingface_hub` that are used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: Calls = []

    def snapshot_download(self, repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.calls.append(("download", {"revision": revision, "patterns": allow_patterns}))
        if not (self.folder / repo_id).is_dir():
            raise OSError(f"404: no {repo_id}\nmore of it")
        return str(self.folder / repo_id)

    def HfApi(self, *, token: str | None) -> SimpleNamespace:
        def create_repo(repo_id: str, *, private: bool, exist_ok: bool) -> None:
            assert exist_ok
            self.calls.append(("create", {"private": private, "token": token}))

        def upload_folder(
            *, repo_id: str, folder_path: str, commit_message: str, delete_patterns: list[str]
        ) -> None:
            shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)

        return SimpleNamespace(create_repo=create_repo, upload_folder=upload_folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", found)
    return found


def test_a_model_goes_to_the_hub_and_comes_back(hub: Hub, tmp_path: Path) -> None:
    """Codecs and the origin of an imported model travel with it."""
    save(tmp_path / "model", import_4m(small_release(tmp_path), tokenizer_file(tmp_path)))
    model = AnyToAny.from_pretrained(tmp_path / "model")

    place = model.push_to_hub("someone/small", private=True, token="secret")
    again = AnyToAny.from_pretrained("someone/small", revision="main")

    assert place == "https://huggingface.co/someone/small"
    assert hub.calls[0] == ("create", {"private": True, "token": "secret"})
    assert hub.calls[1][1]["revision"] == "main"
    assert again.plan == model.plan and again.codecs == model.codecs
    assert (tmp_path / "hub" / "someone" / "small" / "origin.json").exists()
    given = {"caption": "a dog"}
    assert np.array_equal(again.embed(given), model.embed(given))


def test_a_released_model_is_taken_from_a_file_a_folder_or_the_hub(hub: Hub, tmp_path: Path) -> None:
    """It is imported on the way in; nobody has to know the verb."""
    path = small_release(tmp_path)
    (tmp_path / "hub" / "them" / "4M").mkdir(parents=True)
    shutil.copy(path, tmp_path / "hub" / "them" / "4M")
    tokenizer = tokenizer_file(tmp_path)

    done = CliRunner().invoke(app, ["import", "4m", "them/4M", "--to", str(tmp_path / "imported")])
    assert done.exit_code == 0 and (tmp_path / "imported" / "schema.yaml").exists()
    for place in (path, tmp_path / "hub" / "them" / "4M", "them/4M"):
        model = AnyToAny.from_pretrained(place, text_tokenizer=tokenizer)
        assert model.plan.stream("rgb@224").name == "rgb.pixels"
        assert model.codecs["caption"].name == "tokenizer"


def test_a_saved_import_keeps_what_its_export_needs(tmp_path: Path) -> None:
    path = small_release(tmp_path)
    AnyToAny.from_pretrained(path).save_pretrained(tmp_path / "saved")

    assert (tmp_path / "saved" / "origin.json").exists()
    assert contents(path)[1]["domains_in"] in (tmp_path / "saved" / "origin.json").read_text()


def test_what_the_hub_does_not_have_is_told_in_one_line(hub: Hub) -> None:
    with pytest.raises(
        CheckpointError, match=r"no/such: is no folder here, and the hub.*OSError: 404: no no/such;"
    ):
        AnyToAny.from_pretrained("no/such")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(BackendError, match=r"extra `hub` is needed; pip install 'fourm-schema\[hub\]'"):
        AnyToAny.from_pretrained("someone/small")


def test_a_path_is_never_looked_up(hub: Hub, tmp_path: Path) -> None:
    """A folder that is there wins over the hub, and what is no OWNER/NAME is a path."""
    (tmp_path / "a").mkdir()
    for name in (tmp_path / "a", "/a/b", "./a/b", "a", "a/b/c", "a/", "../b", ""):
        assert not is_hub_id(name), name
    assert is_hub_id("EPFL-VILAB/4M-21_XL")
    with pytest.raises(CheckpointError, match=r"is no checkpoint"):
        AnyToAny.from_pretrained(tmp_path / "a")
    assert hub.calls == []
