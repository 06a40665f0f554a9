"""Hypothesis profiles, and the folders of reference data that a checkout may or may not have beside it."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def _folder(variable: str, beside: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / beside))
    if not folder.is_dir():
        pytest.skip(f"{variable} names no folder, and there is none beside the checkout")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Inputs and outputs of the released 4M code: set FOURM_GOLDEN to the folder that holds them."""
    return _folder("FOURM_GOLDEN", "golden")


@pytest.fixture(scope="session")
def coco() -> Path:
    """A few dozen COCO images with their annotations: set FOURM_DATA to the folder that holds them."""
    return _folder("FOURM_DATA", "data/coco-mini")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT
