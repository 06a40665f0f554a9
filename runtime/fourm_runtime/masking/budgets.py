"""Who gets how many tokens: a component, two totals and two Dirichlet splits per sample.

Per sample: draw a component by weight and the totals of visible and predicted tokens evenly from their
ranges; give each stream floor(share x total) tokens, where the shares are one Dirichlet draw, and each
token left over to the largest share of a further draw; cut to what the stream can take. What is cut is
not handed to others. Source: the masking of 4M (Mizrahi et al. 2023, https://arxiv.org/abs/2312.06647).

What differs from 4M, on purpose:

- a modality that a sample lacks has concentration 0, so its part goes to what is there (4M gives it
  tokens that nothing fills); a component of which a sample has no stream to show, or none to predict,
  is drawn only if every component is such;
- a concentration of 0 is 0 (4M raises it to 1e-9, so that now and then such a stream gets a token);
- there is no minimum per stream, hence no loop that retries, gives up and prints;
- when all streams of a draw have the same concentration, the largest share of a further draw is each of
  them with equal probability, so it is drawn directly: the same law, without gamma variables.

Shapes: N samples, S streams, C components.
"""

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.masking.draws import (
    Float64,
    derive,
    log_dirichlets,
    log_gammas,
    name_word,
    uniforms,
)
from fourm_runtime.mixer import UInt64

Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]


@attrs.frozen(eq=False)
class Odds:
    """A mixture as arrays over the streams of a plan.

    Attributes:
        weights: (C,) of the components.
        input_alphas, target_alphas: (C, S) concentrations.
        input_range, target_range: least and most tokens per sample.
        words: (S,) `name_word` of each stream.
    """

    weights: Float64
    input_alphas: Float64
    target_alphas: Float64
    input_range: tuple[int, int]
    target_range: tuple[int, int]
    words: UInt64


@attrs.frozen(eq=False)
class Budgets:
    """What each sample may show and predict.

    Attributes:
        components: (N,) index of the drawn component.
        inputs, targets: (N, S) tokens per stream.
        input_totals, target_totals: (N,) what was to be shared; sums over streams never exceed it.
    """

    components: Int64
    inputs: Int64
    targets: Int64
    input_totals: Int64
    target_totals: Int64


def draw_budgets(
    odds: Odds, keys: UInt64, present: Bools, input_caps: Int64, target_caps: Int64, disjoint: Bools
) -> Budgets:
    """Draw every sample's budgets.

    Args:
        odds: the mixture.
        keys: (N,) keys of the samples.
        present: (N, S) whether the sample has the stream.
        input_caps: (N, S) tokens that the stream could show.
        target_caps: (N, S) tokens that it could predict, if it showed none.
        disjoint: (S,) True for grids: what is shown is not predicted, so the second cap shrinks by it.
    """
    components = choose_components(odds, keys, present)
    input_totals = _draw_totals(keys, "input total", odds.input_range)
    target_totals = _draw_totals(keys, "target total", odds.target_range)
    input_alphas = np.where(present, odds.input_alphas[components], 0.0)
    target_alphas = np.where(present, odds.target_alphas[components], 0.0)
    inputs = np.minimum(_split(input_totals, input_alphas, keys, "input", odds.words), input_caps)
    target_caps = target_caps - np.where(disjoint, inputs, 0)
    targets = np.minimum(_split(target_totals, target_alphas, keys, "target", odds.words), target_caps)
    return Budgets(components, inputs, targets, input_totals, target_totals)


def choose_components(odds: Odds, keys: UInt64, present: Bools) -> Int64:
    """Draw a component per sample, among those that its streams can serve.

    Args:
        odds: the mixture.
        keys: (N,) keys of the samples.
        present: (N, S) whether the sample has the stream.

    Returns:
        (N,) indices of components.
    """
    served = _served(odds.input_alphas, present) & _served(odds.target_alphas, present)
    served |= ~served.any(axis=1, keepdims=True)
    edges = np.cumsum(np.where(served, odds.weights, 0.0), axis=1)
    points = uniforms(derive(keys, name_word("component")), np.uint64(0)) * edges[:, -1]
    chosen: Int64 = (points[:, None] >= edges).sum(axis=1)
    return chosen


def _served(alphas: Float64, present: Bools) -> Bools:
    """(N, C): has the sample a stream of those that the component counts on, if it counts on any?"""
    counted = alphas > 0
    met: Bools = (present.astype(np.float64) @ counted.T.astype(np.float64)) > 0
    return met | ~counted.any(axis=1)


def _draw_totals(keys: UInt64, purpose: str, bounds: tuple[int, int]) -> Int64:
    least, most = bounds
    points = uniforms(derive(keys, name_word(purpose)), np.uint64(0))
    return least + np.floor(points * (most - least + 1)).astype(np.int64)


def _split(totals: Int64, alphas: Float64, keys: UInt64, side: str, words: UInt64) -> Int64:
    """Share each total among its streams: floors of one Dirichlet draw, then the tokens left over."""
    shares = log_dirichlets(derive(derive(keys, name_word(f"{side} shares"))[:, None], words), alphas)
    counts = np.floor(np.exp(shares) * totals[:, None]).astype(np.int64)
    left = np.where((alphas > 0).any(axis=1), totals - counts.sum(axis=1), 0)
    rows = np.repeat(np.arange(len(totals)), left)
    if len(rows):
        turns = np.arange(len(rows)) - np.repeat(np.cumsum(left) - left, left)
        winners = _winners(rows, turns, alphas, derive(keys, name_word(f"{side} remainder")), words)
        np.add.at(counts, (rows, winners), 1)
    return counts


def _winners(rows: Int64, turns: Int64, alphas: Float64, keys: UInt64, words: UInt64) -> Int64:
    """Streams with the largest share of further Dirichlet draws: draw `turns` of sample `rows`."""
    turn_words = turns.astype(np.uint64)
    live = alphas > 0
    highest = alphas.max(axis=1)
    even = (alphas == highest[:, None]).sum(axis=1) == live.sum(axis=1)
    points = uniforms(keys[rows], turn_words)
    picks = np.floor(points * live.sum(axis=1)[rows]).astype(np.int64)
    live_first = np.argsort(~live, axis=1, kind="stable")
    winners: Int64 = live_first[rows, picks]
    uneven = np.flatnonzero(~even[rows])
    if len(uneven):
        turn_keys = derive(keys[rows[uneven]], turn_words[uneven])
        gammas = log_gammas(derive(turn_keys[:, None], words), alphas[rows[uneven]])
        winners[uneven] = gammas.argmax(axis=1)
    return winners
