"""Claims about drawing tokens from scores."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.generation.likely import likely
from fourm_runtime.generation.sampling import (
    Sampling,
    draw_uniforms,
    request_generator,
    require_numbers,
    sample_tokens,
)
from fourm_schema.errors import RequestError


def _scores(rows: int, ids: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, ids, generator=torch.Generator().manual_seed(seed))


def test_frequencies_follow_the_softmax() -> None:
    """One uniform number per token suffices: evenly spread ones give each id its share."""
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0]])
    count = 10_000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    ids, confidence = sample_tokens(logits.expand(count, 4), uniforms, Sampling(temperature=2.0))
    shares = torch.bincount(ids, minlength=4) / count

    assert torch.allclose(shares, (logits[0] / 2).softmax(0), atol=2 / count)
    # Confidence is the model's own probability, not that of the flattened distribution.
    assert torch.allclose(confidence, logits[0].double().softmax(0)[ids])


def test_temperature_zero_takes_the_most_likely_id() -> None:
    logits = _scores(7, 11)
    ids, _ = sample_tokens(logits, torch.zeros(7, dtype=torch.float64), Sampling(temperature=0.0))

    assert torch.equal(ids, logits.argmax(-1))


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-30])
def test_no_temperature_above_zero_is_too_small(temperature: float) -> None:
    """Scores over it may be no floats; their differences to the largest one still say which is likely."""
    logits = _scores(7, 11)
    ids, confidence = sample_tokens(logits, torch.full((7,), 0.9, dtype=torch.float64), Sampling(temperature))

    assert torch.equal(ids, logits.argmax(-1))
    require_numbers(confidence.numpy(), "digit.tokens")


@pytest.mark.parametrize("score", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_was_drawn_from_scores_that_are_no_numbers_is_told_from_the_rest(
    score: float, temperature: float
) -> None:
    logits = _scores(3, 5)
    logits[1, 2] = score
    _, confidence = sample_tokens(logits, torch.zeros(3, dtype=torch.float64), Sampling(temperature))

    with pytest.raises(RequestError, match=r"^targets\.digit\.tokens: the model's scores are not finite"):
        require_numbers(confidence.numpy(), "digit.tokens")
    require_numbers(confidence.numpy()[[0, 2]], "digit.tokens")


@given(st.integers(0, 8), st.floats(0.01, 1.0), st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 1000))
def test_only_likely_ids_are_drawn(top_k: int, top_p: float, uniform: float, seed: int) -> None:
    """The drawn id is among the k most likely, and the more likely ones do not reach p without it."""
    logits = _scores(1, 8, seed)
    ids, _ = sample_tokens(logits, torch.tensor([uniform], dtype=torch.float64), Sampling(1.5, top_k, top_p))
    chosen = logits.double()[0, ids[0]]
    better = logits.double()[0] > chosen
    among = logits.double()[0].sort(descending=True).values[: top_k or 8]

    assert int(better.sum()) < (top_k or 8)
    assert float((logits.double()[0][better].exp().sum()) / among.exp().sum()) < top_p + 1e-12


def test_the_id_that_crosses_the_threshold_stays() -> None:
    """Nucleus sampling keeps at least one id, and the first that makes the sum reach p."""
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()

    assert likely(logits, top_p=0.1)[0].tolist() == [True, False, False]
    assert likely(logits, top_p=0.6)[0].tolist() == [True, True, False]
    assert likely(logits, top_p=0.9)[0].tolist() == [True, True, True]


def test_exactly_k_of_equal_scores_stay_the_first_ones() -> None:
    """Ties are broken by id, so a result never depends on how a kernel sorts."""
    assert likely(torch.zeros(1, 5), top_k=2)[0].tolist() == [True, True, False, False, False]


def test_scores_are_not_written_to() -> None:
    """The caller may use them again; the released code filters in place."""
    logits = _scores(3, 9)
    before = logits.clone()
    sample_tokens(logits, torch.full((3,), 0.5, dtype=torch.float64), Sampling(0.5, 2, 0.5))

    assert torch.equal(logits, before)


@pytest.mark.parametrize("uniform", [0.0, 0.5, float(np.nextafter(1.0, 0.0))])
def test_a_forbidden_id_is_never_drawn(uniform: float) -> None:
    """Not even by a uniform number at the very end of the interval."""
    logits = torch.tensor([[-torch.inf, 1.0, 0.0, -torch.inf]])
    ids, confidence = sample_tokens(logits, torch.tensor([uniform], dtype=torch.float64), Sampling())

    assert ids.item() in (1, 2)
    assert confidence.item() > 0


def test_a_row_draws_the_same_whatever_stands_beside_it() -> None:
    logits, uniforms = (
        _scores(5, 30),
        torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    )
    together = sample_tokens(logits, uniforms, Sampling(1.0, 10, 0.9))
    alone = [sample_tokens(logits[i : i + 1], uniforms[i : i + 1], Sampling(1.0, 10, 0.9)) for i in range(5)]

    assert torch.equal(together[0], torch.cat([ids for ids, _ in alone]))
    assert torch.equal(together[1], torch.cat([confidence for _, confidence in alone]))


def test_generators_differ_by_seed_request_and_target_and_are_pinned() -> None:
    """The numbers are part of the interface: a seed that is written down must go on meaning the same."""
    draws = {
        key: draw_uniforms(1, request_generator(*key)).item()
        for key in [(0, 0, "a.tokens"), (1, 0, "a.tokens"), (0, 1, "a.tokens"), (0, 0, "b.tokens")]
    }

    assert len(set(draws.values())) == 4
    assert draws[0, 0, "a.tokens"] == 0.6248964987249661


@given(
    st.integers(1, 4),
    st.integers(1, 60),
    st.floats(0.01, 0.999),
    st.sampled_from([0.05, 1.0, 30.0]),
    st.data(),
)
def test_the_nucleus_is_found_without_sorting_everything(
    rows: int, ids: int, top_p: float, scale: float, data: st.DataObject
) -> None:
    """Flat scores, steep ones, equal ones and forbidden ones: the ids are those that a full sort gives."""
    seed = data.draw(st.integers(0, 10_000))
    logits = (_scores(rows, ids, seed) * scale).round(decimals=data.draw(st.sampled_from([0, 1, 6])))
    if data.draw(st.booleans()):
        logits[:, :-1].masked_fill_(_scores(rows, ids, seed + 1)[:, :-1] > 1, -torch.inf)

    shares = logits.double().softmax(-1)
    order = shares.argsort(dim=-1, descending=True, stable=True)
    above = shares.gather(1, order).cumsum(1) - shares.gather(1, order)
    doubtful = (above - top_p).abs().min() < 1e-12
    truth = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, order, above < top_p)
    assert doubtful or torch.equal(likely(logits, top_p=top_p), truth)
