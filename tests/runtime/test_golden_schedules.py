"""Schedules of parallel decoding are the recorded ones of the released code, and its names are ours."""

import json
from pathlib import Path
from typing import Any

import pytest

from fourm_runtime.generation.schedules import temperatures, token_counts
from fourm_runtime.released.modalities import MODALITIES, base_name
from fourm_schema.errors import RequestError


@pytest.fixture(scope="module")
def recorded(golden: Path) -> list[dict[str, Any]]:
    found = [json.loads(file.read_text()) for file in sorted(golden.glob("transforms*.json"))]
    assert found, "the folder holds recordings"
    return found


def test_golden_token_schedules(recorded: list[dict[str, Any]]) -> None:
    """Step by step; where 4M has steps without a token, ours have one each and the same sum."""
    same = 0
    for schedules in (found["schedules"] for found in recorded):
        for name in ("cosine", "linear"):
            for case in schedules[name]:
                if case["steps"] > case["tokens"]:
                    with pytest.raises(RequestError, match="can be decoded in 1 to"):
                        token_counts(name, case["steps"], case["tokens"])
                    continue
                counts = token_counts(name, case["steps"], case["tokens"])
                if min(case["out"]) > 0:
                    assert list(counts) == case["out"]
                    same += 1
                else:
                    assert sum(counts) == sum(case["out"]) and min(counts) == 1
    assert same >= 10


def test_golden_temperatures(recorded: list[dict[str, Any]]) -> None:
    """`onex` is recorded over the linear counts of tokens, `linear` over those of the cosine."""
    for schedules in (found["schedules"] for found in recorded):
        for case in schedules["onex"]:
            name = f"onex:{case['min_t']}:{case['power']}"
            counts = token_counts("linear", case["steps"], case["tokens"])
            assert temperatures(name, case["max_t"], counts) == pytest.approx(case["out"], rel=1e-12)
        for case in schedules["linear_temp"]:
            counts = token_counts("cosine", case["steps"], case["tokens"])
            assert temperatures("linear", case["temp"], counts) == pytest.approx(case["out"], rel=1e-12)


def test_golden_modalities_are_known_by_their_released_names(recorded: list[dict[str, Any]]) -> None:
    """Every modality that an import knows is one of the released code."""
    for found in recorded:
        assert set(MODALITIES) <= {base_name(name) for name in found["modality_ids"]}
