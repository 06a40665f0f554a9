"""Budgets: sums are kept, caps are kept, absent streams get nothing, and the law is 4M's."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fourm_runtime.masking.budgets import Budgets, Odds, choose_components, draw_budgets
from fourm_runtime.masking.draws import name_word, sample_keys

Bools = NDArray[np.bool_]
Int64 = NDArray[np.int64]


def odds(
    input_alphas: list[list[float]],
    target_alphas: list[list[float]],
    input_range: tuple[int, int] = (64, 64),
    target_range: tuple[int, int] = (64, 64),
    weights: list[float] | None = None,
) -> Odds:
    words = [name_word(str(index)) for index in range(len(input_alphas[0]))]
    return Odds(
        np.array(weights or [1.0] * len(input_alphas)),
        np.array(input_alphas),
        np.array(target_alphas),
        input_range,
        target_range,
        np.array(words, np.uint64),
    )


def draw(
    chances: Odds, samples: int = 2000, cap: int = 10_000, present: Bools | None = None, seed: int = 0
) -> Budgets:
    """Budgets of streams that are all grids of `cap` cells."""
    shape = (samples, len(chances.words))
    here = np.ones(shape, np.bool_) if present is None else present
    caps = np.where(here, cap, 0)
    grids = np.ones(shape[1], np.bool_)
    return draw_budgets(chances, sample_keys(seed, 0, np.arange(samples)), here, caps, caps, grids)


ALPHAS = st.lists(st.sampled_from([0.0, 1e-9, 0.01, 0.5, 1.0, 10.0, 1000.0]), min_size=3, max_size=3)
RANGE = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair)))


@given(ALPHAS, ALPHAS, RANGE, RANGE, st.integers(1, 30), st.integers(0, 2**32), st.data())
def test_no_budget_is_ever_exceeded(
    inputs: list[float],
    targets: list[float],
    input_range: tuple[int, int],
    target_range: tuple[int, int],
    cap: int,
    seed: int,
    data: st.DataObject,
) -> None:
    """Not a sample's total, not a stream's size, not a cell twice; and absent streams get nothing."""
    flags = data.draw(st.lists(st.booleans(), min_size=24, max_size=24))
    present = np.array(flags).reshape(8, 3)
    drawn = draw(odds([inputs], [targets], input_range, target_range), 8, cap, present, seed)

    assert (drawn.inputs >= 0).all()
    assert (drawn.targets >= 0).all()
    assert (drawn.inputs.sum(axis=1) <= drawn.input_totals).all()
    assert (drawn.targets.sum(axis=1) <= drawn.target_totals).all()
    assert ((drawn.input_totals >= input_range[0]) & (drawn.input_totals <= input_range[1])).all()
    assert ((drawn.target_totals >= target_range[0]) & (drawn.target_totals <= target_range[1])).all()
    assert (drawn.inputs + drawn.targets <= cap).all()
    assert not (drawn.inputs + drawn.targets)[~present].any()
    assert not drawn.inputs[:, np.array(inputs) == 0].any()
    assert not drawn.targets[:, np.array(targets) == 0].any()


def test_every_token_of_the_total_is_given_out_when_nothing_is_cut() -> None:
    """What the floors leave over goes to someone, in even and in uneven mixtures."""
    drawn = draw(odds([[1.0, 1.0, 1.0, 1.0]], [[5.0, 0.05, 0.5, 0.0]], (16, 256), (16, 256)))

    assert (drawn.inputs.sum(axis=1) == drawn.input_totals).all()
    assert (drawn.targets.sum(axis=1) == drawn.target_totals).all()


def test_totals_cover_their_range_evenly() -> None:
    """Both ends belong to the range."""
    totals = draw(odds([[1.0]], [[1.0]], (3, 6), (0, 1)), samples=4000).input_totals
    found = np.bincount(totals, minlength=7)

    assert not found[:3].any()
    assert np.abs(found[3:] / 4000 - 0.25).max() < 4.5 * math.sqrt(0.25 * 0.75 / 4000)


def test_a_lacking_stream_leaves_its_part_to_the_others() -> None:
    """4M hands tokens to modalities that a sample does not have; those tokens are lost."""
    present = np.ones((2000, 3), np.bool_)
    present[:, 1] = False
    drawn = draw(odds([[1.0, 1.0, 1.0]], [[0.1, 10.0, 0.1]]), present=present)

    assert not drawn.inputs[:, 1].any()
    assert (drawn.inputs.sum(axis=1) == 64).all()
    assert (drawn.targets.sum(axis=1) == 64).all()


def test_components_are_drawn_by_weight() -> None:
    """Weights are relative: they need not add up to one."""
    chances = odds([[1.0], [1.0], [1.0]], [[1.0], [1.0], [1.0]], weights=[4.0, 1.0, 3.0])
    found = np.bincount(draw(chances, samples=20_000).components, minlength=3) / 20_000

    np.testing.assert_allclose(found, [0.5, 0.125, 0.375], atol=4.5 * math.sqrt(0.25 / 20_000))


def test_a_component_that_a_sample_cannot_serve_is_not_drawn() -> None:
    """`from caption` on a sample without a caption would show nothing at all."""
    chances = odds([[1000.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 1.0]])
    present = np.array([[True, True], [False, True], [True, False], [False, False]]).repeat(500, axis=0)
    chosen = choose_components(chances, sample_keys(0, 0, np.arange(2000)), present).reshape(4, 500)

    assert set(chosen[0]) == {0, 1}
    assert set(chosen[1]) == {1}
    assert set(chosen[2]) == {1}
    assert set(chosen[3]) == {0, 1}, "a sample that has nothing can serve none, and must not fail"


def test_a_component_may_show_nothing_on_purpose() -> None:
    """Without any input concentration a component trains unconditional prediction: it is served by all."""
    drawn = draw(odds([[0.0, 0.0]], [[1.0, 1.0]]))

    assert not drawn.inputs.any()
    assert (drawn.targets.sum(axis=1) == 64).all()


def one_by_one(alphas: list[float], total: int, samples: int, rng: np.random.Generator) -> Int64:
    """The law as 4M words it, one sample at a time and with NumPy's own Dirichlet."""
    rows = []
    for _ in range(samples):
        counts = np.floor(rng.dirichlet(alphas) * total).astype(np.int64)
        for _ in range(total - int(counts.sum())):
            counts[rng.dirichlet(alphas).argmax()] += 1
        rows.append(counts)
    return np.stack(rows)


def test_budgets_follow_the_law_of_a_plain_loop() -> None:
    """Even concentrations take a short cut for the tokens left over, uneven ones do not: both must agree."""
    rng = np.random.default_rng(5)
    for alphas in ([0.5, 0.5, 0.5, 0.5], [5.0, 0.05, 0.05, 1.0], [0.1, 0.1, 2.0, 2.0]):
        found = draw(odds([alphas], [alphas], (20, 20), (20, 20)), samples=20_000).inputs
        expected = one_by_one(alphas, 20, 4000, rng)
        for ours, theirs in ((found, expected), (found**2, expected**2), (found == 0, expected == 0)):
            error = np.sqrt(ours.var(axis=0) / len(ours) + theirs.var(axis=0) / len(theirs))
            assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 4.5 * error).all()
