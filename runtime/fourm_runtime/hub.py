"""Checkpoints on the Hugging Face hub: fetched as a folder, and put there as one."""

import importlib
import re
from pathlib import Path
from typing import Protocol, cast

from fourm_schema.errors import BackendError, CheckpointError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PATTERNS = ["*.json", "*.yaml", "*.safetensors", "*.md"]
"""What a checkpoint is made of; nothing else of a repository is fetched."""


class _Api(Protocol):
    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> object: ...

    def upload_folder(
        self, *, repo_id: str, folder_path: str, commit_message: str, delete_patterns: list[str]
    ) -> object: ...


class _Hub(Protocol):
    """What is used of `huggingface_hub`."""

    def snapshot_download(self, repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str: ...

    def HfApi(self, *, token: str | None) -> _Api: ...


def is_hub_id(name: Path | str) -> bool:
    """Whether a name is OWNER/NAME, and no folder or file here."""
    return bool(_ID.fullmatch(str(name))) and not Path(name).exists()


def fetch(repo_id: str, revision: str | None = None) -> Path:
    """Download a repository, or find it among what was downloaded before.

    Args:
        repo_id: OWNER/NAME.
        revision: branch, tag or commit; None takes the newest.

    Raises:
        BackendError: if the extra `hub` is not installed.
        CheckpointError: if the hub does not give it.
    """
    hub = _library(repo_id)
    try:
        return Path(hub.snapshot_download(repo_id, revision=revision, allow_patterns=PATTERNS))
    except Exception as error:  # the library raises its own, requests' and the operating system's errors
        raise CheckpointError(
            repo_id,
            "is no folder here, and the hub does not give it",
            got=f"{type(error).__name__}: {_first_line(error)}",
            mend="check the name and the network; a private one needs `hf auth login`",
        ) from error


def upload(folder: Path, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Put a checkpoint's folder on the hub, in place of what its repository had.

    Returns:
        Where it can be seen.

    Raises:
        BackendError: if the extra `hub` is not installed.
        CheckpointError: if the hub refuses.
    """
    if not _ID.fullmatch(repo_id):
        raise CheckpointError(repo_id, "is no name of the hub", mend="write OWNER/NAME")
    api = _library(repo_id).HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            folder_path=str(folder),
            commit_message="Upload a checkpoint of fourm-schema",
            delete_patterns=PATTERNS,
        )
    except Exception as error:  # as above
        raise CheckpointError(
            repo_id,
            "the hub does not take the checkpoint",
            got=f"{type(error).__name__}: {_first_line(error)}",
            mend="check your rights to it and the network; log in with `hf auth login`",
        ) from error
    return f"https://huggingface.co/{repo_id}"


def _library(repo_id: str) -> _Hub:
    try:
        return cast(_Hub, importlib.import_module("huggingface_hub"))
    except ImportError:
        raise BackendError(
            repo_id,
            "is no folder here, and to look on the hub the extra `hub` is needed",
            mend="pip install 'fourm-schema[hub]', or check the path",
        ) from None


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else ""
