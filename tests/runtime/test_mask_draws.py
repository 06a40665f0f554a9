"""The random numbers behind masks: the same everywhere and for ever, and distributed as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fourm_runtime.masking.draws import (
    Float64,
    bits,
    derive,
    log_dirichlets,
    log_gammas,
    name_word,
    normals,
    sample_keys,
    uniforms,
)
from fourm_runtime.mixer import UInt64

DRAWS = 100_000
EULER = 0.5772156649015329


def keys(purpose: str, count: int = DRAWS) -> UInt64:
    return derive(sample_keys(0, 0, np.arange(count)), name_word(purpose))


def counters(count: int) -> UInt64:
    return np.arange(count, dtype=np.uint64)


def largest_gap(sample: Float64, cdf: Float64) -> float:
    """Kolmogorov-Smirnov distance times sqrt(n); above 1.95 once in 1,000 honest samples."""
    order = np.argsort(sample)
    grid = np.arange(1, len(sample) + 1) / len(sample)
    return float(np.abs(cdf[order] - grid).max() * math.sqrt(len(sample)))


def key_whose_first_bits_are(word: int) -> int:
    """Run the mixer backwards: it is a bijection."""

    def unshift(value: int, by: int) -> int:
        found = value
        for _ in range(64 // by):
            found = value ^ (found >> by)
        return found

    value = unshift(word, 31) * pow(0x94D049BB133111EB, -1, 2**64) % 2**64
    value = unshift(value, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64
    return (unshift(value, 30) - 0x9E3779B97F4A7C15) % 2**64


def test_bits_are_the_published_splitmix64_stream() -> None:
    """Three independent implementations give these numbers for seed 0, so any reader can check ours."""
    assert [hex(word) for word in bits(np.zeros(1, np.uint64), counters(3)).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_published_vectors() -> None:
    """Part of the format: when one of these changes, no run from before can be resumed."""
    key = sample_keys(seed=7, epoch=2, sample_ids=np.array([0, 1, -1]))
    alphas = np.array([1e-9, 0.01, 0.5, 1.0, 10.0])

    assert name_word("caption.tokens") == 14032318836401132057
    assert key.tolist() == [10017077634703652582, 12960263009586173188, 5398297765108217761]
    assert uniforms(key, np.uint64(0)).tolist() == pytest.approx(
        [0.8684320295959113, 0.12587132487730257, 0.8148398070287829], rel=1e-15
    )
    assert log_gammas(key[:1], alphas).tolist() == pytest.approx(
        [
            -141065960.86385342,
            -16.73161892369682,
            -1.6602768167608977,
            -2.664808298389295,
            1.8198786684415353,
        ],
        rel=1e-12,
    )


@given(st.integers(), st.integers(0, 2**40), st.integers(-(2**63), 2**63 - 1))
def test_seed_epoch_and_sample_each_change_the_key(seed: int, epoch: int, sample: int) -> None:
    """Two samples, epochs or seeds that shared a key would be masked alike for ever."""
    key = sample_keys(seed, epoch, np.array([sample]))

    assert key != sample_keys(seed + 1, epoch, np.array([sample]))
    assert key != sample_keys(seed, epoch + 1, np.array([sample]))
    assert key != sample_keys(seed, epoch, np.array([sample ^ 1]))
    assert key == sample_keys(seed, np.array([epoch]), np.array([sample]))


def test_keys_tell_their_words_and_the_order_of_words_apart() -> None:
    """`a of b` and `b of a` are different draws; so are a stream's and a purpose's of the same name."""
    root = sample_keys(0, 0, np.arange(1000))
    a, b = name_word("a"), name_word("b")
    found = np.concatenate([derive(derive(root, a), b), derive(derive(root, b), a), derive(root, a), root])

    assert len(np.unique(found)) == 4000


def test_every_bit_of_a_draw_is_fair_and_follows_no_neighbour() -> None:
    """Samples have consecutive ids and cells consecutive counters: neither may show."""
    words = bits(keys("bits", 500)[:, None], counters(200))
    ones = np.unpackbits(words.reshape(-1, 1).view(np.uint8), axis=1).reshape(500, 200, 64)
    tolerance = 5 * 0.5 / math.sqrt(500 * 200)

    assert np.abs(ones.mean(axis=(0, 1)) - 0.5).max() < tolerance
    assert np.abs((ones[1:] ^ ones[:-1]).mean(axis=(0, 1)) - 0.5).max() < tolerance
    assert np.abs((ones[:, 1:] ^ ones[:, :-1]).mean(axis=(0, 1)) - 0.5).max() < tolerance


def test_uniforms_are_even_and_never_touch_an_end() -> None:
    """0 would make a logarithm infinite, and 1 would index one past the last stream."""
    drawn = uniforms(keys("uniform"), np.uint64(3))
    ends = np.array([key_whose_first_bits_are(word) for word in (0, 2**64 - 1)], np.uint64)
    lowest, highest = uniforms(ends, np.uint64(0)).tolist()

    assert largest_gap(drawn, drawn) < 1.95
    assert (lowest, 1 - highest) == (2.0**-53, 2.0**-53)


def test_normals_are_normal() -> None:
    """Gammas rest on them."""
    drawn = normals(keys("normal"), np.uint64(0))
    cdf = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in drawn.tolist()])

    assert largest_gap(drawn, cdf) < 1.95


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.5, 10.0, 1000.0])
def test_gammas_have_the_moments_of_their_shape(alpha: float) -> None:
    """Mean and variance are both a; the fourth central moment, 3 a^2 + 6 a, gives the error of the second."""
    drawn = np.exp(log_gammas(keys("gamma"), np.full(1, alpha)))
    error_of_variance = math.sqrt((2 * alpha**2 + 6 * alpha) / DRAWS)

    assert drawn.mean() == pytest.approx(alpha, abs=4.5 * math.sqrt(alpha / DRAWS))
    assert drawn.var() == pytest.approx(alpha, abs=4.5 * error_of_variance)


def test_a_gamma_of_shape_one_is_exponential() -> None:
    """The one shape whose distribution function needs no special function."""
    drawn = np.exp(log_gammas(keys("exponential"), np.ones(1)))

    assert largest_gap(drawn, 1 - np.exp(-drawn)) < 1.95


@pytest.mark.parametrize("alpha", [1e-9, 1e-4, 0.01])
def test_tiny_gammas_are_right_where_floats_would_have_none(alpha: float) -> None:
    """As a goes to 0, -a log G goes to an exponential variable; G itself is below any float64."""
    drawn = -alpha * log_gammas(keys("tiny"), np.full(1, alpha))
    mean = 1 + alpha * EULER  # -a psi(a) = 1 + a times Euler's constant + O(a^2)

    assert np.isfinite(drawn).all()
    assert drawn.mean() == pytest.approx(mean, abs=4.5 / math.sqrt(DRAWS) + 2 * alpha**2)
    assert drawn.std() == pytest.approx(1.0, abs=0.02)
    assert largest_gap(drawn, 1 - np.exp(-np.maximum(drawn, 0))) < 1.95 + alpha * math.sqrt(DRAWS)


def test_a_gamma_of_shape_zero_is_zero() -> None:
    """Concentration zero means: no share, not a small one."""
    assert log_gammas(keys("zero", 3), np.array([0.0])).tolist() == [-math.inf] * 3


@pytest.mark.parametrize(
    "alphas",
    [(0.5, 0.5, 0.5), (10.0, 1.0, 0.1), (0.01, 0.01, 0.01, 0.01), (5.0, 0.05, 0.05, 0.0), (1000.0, 0.0)],
)
def test_dirichlet_shares_have_the_moments_of_their_concentrations(alphas: tuple[float, ...]) -> None:
    """E x_i = a_i / A and Var x_i = m (1 - m) / (A + 1), with A the sum; and shares add up to one."""
    alpha = np.array(alphas)
    mean = alpha / alpha.sum()
    variance = mean * (1 - mean) / (alpha.sum() + 1)
    words = np.array([name_word(str(index)) for index in range(len(alphas))], np.uint64)
    shares = np.exp(log_dirichlets(derive(keys("dirichlet")[:, None], words), alpha))

    squares = (shares - mean) ** 2

    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-12)
    assert (np.abs(shares.mean(axis=0) - mean) <= 4.5 * np.sqrt(variance / DRAWS)).all()
    assert (np.abs(squares.mean(axis=0) - variance) <= 4.5 * squares.std(axis=0) / math.sqrt(DRAWS)).all()


def test_a_dirichlet_of_tiny_concentrations_gives_all_to_one() -> None:
    """With 1e-9 everywhere every draw is a corner of the simplex, and each corner is as likely."""
    words = np.array([name_word(str(index)) for index in range(4)], np.uint64)
    shares = np.exp(log_dirichlets(derive(keys("corner")[:, None], words), np.full(4, 1e-9)))
    corners: NDArray[np.int64] = np.bincount(shares.argmax(axis=1), minlength=4)

    assert (shares.max(axis=1) > 1 - 1e-6).mean() > 0.9999
    assert np.abs(corners / DRAWS - 0.25).max() < 4.5 * math.sqrt(0.25 * 0.75 / DRAWS)


def test_a_dirichlet_without_concentration_shares_nothing() -> None:
    """A sample that lacks every stream of a component gets no tokens, and no not-a-number either."""
    assert np.exp(log_dirichlets(keys("none", 2)[:, None], np.zeros(3))).tolist() == [[0.0] * 3] * 2
