"""Random numbers that depend on what they are for, never on who draws them or in which order.

A draw is a pure function of a key and a counter. The key comes from (seed, epoch, sample id, purpose,
stream name), so a sample's mask is the same in any batch, on any rank, after any crash, and on any
version of NumPy, which promises no streams of its own across versions. Only integer arithmetic modulo
2^64 happens before a number becomes a float; the vectors that tests pin are part of the interface. What
comes after, `log` and `cos`, may differ in the last bit between two kinds of CPU; results are rounded down
to token counts, so that one mask in some 10^12 differs.

Sources:
    mixer      `fourm_runtime.mixer`
    normals    Box, Muller 1958, "A note on the generation of random normal deviates", equation 1
    gammas     Marsaglia, Tsang 2000, "A simple method for generating gamma variables", sections 2 and 6
    log space  Liu, Martin, Syring 2015, https://arxiv.org/abs/1302.1884: why log G(a) for small a

Shapes: keys, counters and shapes `alpha` broadcast against each other; results have their common shape.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from fourm_runtime.mixer import GOLDEN, UInt64, mix

Float64 = NDArray[np.float64]

GAMMA_ROUNDS = 12
"""Rejection rounds of a gamma. A round accepts with probability > 0.95 at any shape >= 1 (Marsaglia
and Tsang, section 5), so a draw in 10^15 still has no value then; it takes the distribution's `d`."""

_WEYL = np.uint64(GOLDEN)
_COUNTERS_PER_ROUND = 3


def name_word(name: str) -> np.uint64:
    """Turn a name into the same 64-bit word in every process (Python's own `hash` is salted)."""
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def derive(key: UInt64, word: UInt64 | np.uint64) -> UInt64:
    """Make the keys of what comes below `key`: one per word, in no relation to each other.

    Args:
        key: parent keys.
        word: what tells the children apart: a sample id, an epoch, `name_word(...)`, an index.

    Returns:
        Child keys, in the common shape of the arguments.
    """
    child = mix(np.atleast_1d(np.asarray(word, np.uint64)) + _WEYL)
    return mix(child ^ key)


def sample_keys(seed: int, epoch: int | NDArray[np.int64], sample_ids: NDArray[np.int64]) -> UInt64:
    """Make the key of each sample.

    Args:
        seed: any integer; it is taken modulo 2^64.
        epoch: how often the data was seen before, one number or one per sample.
        sample_ids: (N,) numbers that name the samples.

    Returns:
        (N,) keys.
    """
    root = derive(np.zeros(1, np.uint64), np.uint64(seed % 2**64))
    epochs = np.asarray(epoch, np.int64).astype(np.uint64)
    return derive(derive(root, epochs), np.asarray(sample_ids, np.int64).astype(np.uint64))


def bits(key: UInt64, counter: UInt64 | np.uint64) -> UInt64:
    """Draw 64 random bits: output number `counter` of a SplitMix64 generator seeded with `key`."""
    steps = np.atleast_1d(np.asarray(counter, np.uint64)) + np.uint64(1)
    return mix(key + steps * _WEYL)


def ahead(key: UInt64, counter: UInt64) -> UInt64:
    """Keys whose draw number n is draw number `counter` + n of the given ones."""
    return key + counter * _WEYL


def uniforms(key: UInt64, counter: UInt64 | np.uint64) -> Float64:
    """Draw from the open interval (0, 1): the middles of 2^52 equal cells, so that log is finite."""
    drawn: Float64 = ((bits(key, counter) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return drawn


def normals(key: UInt64, counter: UInt64 | np.uint64) -> Float64:
    """Draw from the standard normal distribution; uses up `counter` and `counter + 1`."""
    radius = np.sqrt(-2.0 * np.log(uniforms(key, counter)))
    drawn: Float64 = radius * np.cos(2.0 * np.pi * uniforms(key, counter + np.uint64(1)))
    return drawn


def log_gammas(key: UInt64, alpha: Float64) -> Float64:
    """Draw logarithms of gamma variables of scale 1.

    A gamma of shape 0.01 is below the smallest normal float64 about once in 1,200 draws and one of shape 1e-9
    nearly always, hence the logarithm: log G(a) = log G(a + 1) + log(U) / a for a < 1.

    Args:
        key: one key per draw; counters from 0 on are used up.
        alpha: shapes; zero means that the variable is zero, so its logarithm is -inf.

    Returns:
        Logarithms, in the common shape of key and alpha.
    """
    keys, shapes = np.broadcast_arrays(key, np.asarray(alpha, np.float64))
    drawn = np.full(keys.shape, -np.inf)
    live = shapes > 0
    keys, shapes = keys[live], shapes[live]
    small = shapes < 1
    values = _log_gammas_from_one(keys, np.where(small, shapes + 1, shapes))
    values[small] += np.log(uniforms(keys[small], np.uint64(0))) / shapes[small]
    drawn[live] = values
    return drawn


def log_dirichlets(key: UInt64, alpha: Float64) -> Float64:
    """Draw logarithms of Dirichlet vectors along the last axis.

    Args:
        key: one key per component of each vector.
        alpha: concentrations; a component of concentration zero has no share.

    Returns:
        Logarithms of the shares. Where every concentration is zero, all are -inf.
    """
    logs = log_gammas(key, alpha)
    largest = logs.max(axis=-1, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    totals = np.exp(logs - largest).sum(axis=-1, keepdims=True)
    shares: Float64 = logs - largest - np.log(np.maximum(totals, np.finfo(np.float64).tiny))
    return shares


def _log_gammas_from_one(keys: UInt64, alpha: Float64) -> Float64:
    """Marsaglia-Tsang for shapes >= 1: log d + 3 log(1 + c x), with x normal, unless rejected."""
    d = alpha - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    drawn = np.log(d)
    waiting = np.arange(len(keys))
    for turn in range(GAMMA_ROUNDS):
        first = np.uint64(1 + turn * _COUNTERS_PER_ROUND)
        x = normals(keys[waiting], first)
        root = 1.0 + c[waiting] * x
        positive = root > 0
        log_v = 3.0 * np.log(np.where(positive, root, 1.0))
        log_u = np.log(uniforms(keys[waiting], first + np.uint64(2)))
        accepted = positive & (log_u < 0.5 * x * x + d[waiting] * (1.0 - root**3 + log_v))
        drawn[waiting[accepted]] += log_v[accepted]
        waiting = waiting[~accepted]
        if not len(waiting):
            break
    return drawn
