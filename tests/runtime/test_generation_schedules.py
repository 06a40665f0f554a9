"""Claims about the schedules of parallel decoding: pure functions with pinned numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.generation.schedules import temperatures, token_counts
from fourm_schema.errors import RequestError


@pytest.mark.parametrize(
    ("schedule", "steps", "tokens", "counts"),
    [
        ("cosine", 8, 784, [30, 85, 127, 150, 150, 127, 85, 30]),
        ("cosine", 4, 196, [29, 69, 69, 29]),
        ("cosine", 1, 6, [6]),
        ("linear", 50, 196, [4] * 46 + [3] * 4),
        ("linear", 25, 196, [8] * 21 + [7] * 4),
        ("linear", 8, 196, [25] * 4 + [24] * 4),
    ],
)
def test_counts_are_those_of_the_released_code(
    schedule: str, steps: int, tokens: int, counts: list[int]
) -> None:
    """A schedule tuned for 4M's checkpoints means the same here."""
    assert list(token_counts(schedule, steps, tokens)) == counts


@given(st.sampled_from(["cosine", "linear"]), st.data())
def test_every_step_fixes_a_token_and_all_are_fixed(schedule: str, data: st.DataObject) -> None:
    """No forward pass is wasted on a step without tokens, and nothing is left open at the end."""
    tokens = data.draw(st.integers(1, 500))
    steps = data.draw(st.integers(1, tokens))
    counts = token_counts(schedule, steps, tokens)

    assert len(counts) == steps
    assert sum(counts) == tokens
    assert min(counts) >= 1


def test_onex_is_that_of_the_released_code() -> None:
    """Pinned from 4M: 25 linear steps over 196 tokens, from 3 to 0.5 with power 0.5."""
    found = temperatures("onex:0.5:0.5", 3.0, token_counts("linear", 25, 196))

    assert found[:3] == pytest.approx((2.898, 2.3225, 1.9733), abs=5e-4)
    assert found[-1] == 0.5


def test_linear_starts_at_the_temperature_and_falls_with_the_open_share() -> None:
    assert temperatures("linear", 2.0, (2, 1, 1)) == (2.0, 1.0, 0.5)


def test_constant_stays() -> None:
    assert temperatures("constant", 0.7, (3, 1)) == (0.7, 0.7)


@given(
    st.sampled_from(["constant", "linear", "onex:0:1", "onex:0.5:0.5"]),
    st.floats(0, 10),
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
)
def test_no_temperature_is_negative(schedule: str, temperature: float, counts: list[int]) -> None:
    """A negative temperature would prefer the least likely token."""
    found = temperatures(schedule, temperature, counts)

    assert len(found) == len(counts)
    assert all(0 <= value < math.inf for value in found)


@pytest.mark.parametrize(
    ("schedule", "steps", "message"),
    [
        (
            "cosin",
            2,
            "token_schedule: 'cosin' is no schedule; did you mean 'cosine'? known: cosine, linear",
        ),
        ("cosine", 0, "steps: 9 tokens can be decoded in 1 to 9 steps; got 0"),
        ("linear", 10, "steps: 9 tokens can be decoded in 1 to 9 steps; got 10"),
    ],
)
def test_counts_that_cannot_be_are_refused(schedule: str, steps: int, message: str) -> None:
    with pytest.raises(RequestError) as refusal:
        token_counts(schedule, steps, 9)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            "liner",
            "temperature_schedule: 'liner' is no schedule; did you mean 'linear'? "
            "known: constant, linear, onex",
        ),
        ("linear:2", "temperature_schedule: 'linear' takes no numbers; got 'linear:2'"),
        (
            "onex:0.5",
            "temperature_schedule: onex needs a lowest temperature >= 0 and a power > 0; got 'onex:0.5'; "
            "write it as onex:MIN:POWER, e.g. onex:0.5:0.5",
        ),
        (
            "onex:-1:2",
            "temperature_schedule: onex needs a lowest temperature >= 0 and a power > 0; got 'onex:-1:2'; "
            "write it as onex:MIN:POWER, e.g. onex:0.5:0.5",
        ),
    ],
)
def test_temperatures_that_cannot_be_are_refused(schedule: str, message: str) -> None:
    with pytest.raises(RequestError) as refusal:
        temperatures(schedule, 1.0, (1, 1))
    assert str(refusal.value) == message
