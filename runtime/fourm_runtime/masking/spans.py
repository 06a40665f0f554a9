"""Masks sequences span by span, with sentinels, and puts them together again.

Every maximal run of hidden tokens takes the next sentinel, from 1 on. The sentinel stands in the visible
sequence where the run was, and opens the run in the target; one further sentinel ends the target:

    tokens    a  b  c  d  e        visible   a  S1  d  S2
    hidden       x  x     x        target    S1  b  c  S2  e  S3

Source: Raffel et al. 2020 (T5), https://arxiv.org/abs/1910.10683, section 3.1.4, in the form of 4M
(Mizrahi et al. 2023): the keep probability is multiplied by 0.9, and the mask redrawn, while the visible
sequence is longer than its budget; a target that is too long is cut to a window that opens with a
sentinel. What differs: there is no limit of 199 runs that ends in an error. When sentinels run out, the
last run reaches to the end of the sequence.

A sequence may come in chunks, such as the items of a set: a chunk stays or is hidden as a whole, so that
spans start and end at chunk borders, where a grammar is in a known state. Budgets count tokens all the same,
and a target that is too long may end within a chunk. Without chunks, every token is one.

Rows are sequences, whichever stream or sample they belong to. They lie end to end: row r is
ids[offsets[r] : offsets[r + 1]].
"""

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.batch import Bools, Int32, Int64, Ints, Selection
from fourm_runtime.masking.draws import Float64, ahead, derive, name_word, uniforms
from fourm_runtime.mixer import UInt64
from fourm_schema.plan import Special

SHRINK = 0.9
"""Factor of the keep probability each time the visible sequence came out too long."""

LEAST_SENTINELS = 3
"""S_0 opens nothing (4M counts from 1), one opens a run, one ends the target."""

_TRIES_AT_ONCE = 4
_TRY = np.uint64(32)


@attrs.frozen(eq=False)
class Rows:
    """R sequences to mask.

    Attributes:
        ids: (sum of lengths,) local ids, row after row.
        offsets: (R + 1,) where rows start.
        keep: (R,) probability that a token stays visible, at the first try.
        input_budget: (R,) most visible ids, sentinels included; 0 hides the row without a sentinel.
        target_budget: (R,) most target ids, sentinels included; so below 2 nothing is predicted.
        keys: (R,) keys of the random numbers.
        first_sentinel: (R,) id of sentinel 0.
        sentinel_count: (R,) how many sentinels there are, at least `LEAST_SENTINELS`.
        chunk_lengths: (C,) tokens of each chunk, each >= 1, row after row; None: one token each.
    """

    ids: Int32
    offsets: Int64
    keep: Float64
    input_budget: Int64
    target_budget: Int64
    keys: UInt64
    first_sentinel: Int64
    sentinel_count: Int64
    chunk_lengths: Int64 | None = None


def mask_spans(rows: Rows) -> tuple[Selection, Selection]:
    """Mask every row.

    Returns:
        What is visible and what is to be predicted; `samples` are row numbers, `positions` ranks within
        the visible tokens or within the predicted ones.
    """
    kept = draw_kept(rows)
    return split_spans(rows, kept)


def draw_kept(rows: Rows) -> Bools:
    """Draw which tokens stay visible, so that the visible sequence fits its budget.

    A try is not one draw per chunk, but the lengths of the hidden runs between visible chunks, which are
    geometric when chunks stay independently: as many draws as chunks stay, and no more than the budget
    shows to be too many, since a chunk is a token or more. Tries are numbered, and each has random
    numbers of its own, so that trying several at once changes nothing but the speed.

    Returns:
        (sum of lengths,) True where a token stays.
    """
    if rows.chunk_lengths is None:
        return _draw_chunks(rows, rows.offsets, None)
    starts = np.concatenate(([0], np.cumsum(rows.chunk_lengths)))
    kept = _draw_chunks(rows, np.searchsorted(starts, rows.offsets), starts)
    return np.repeat(kept, rows.chunk_lengths)


def _draw_chunks(rows: Rows, offsets: Int64, token_starts: Int64 | None) -> Bools:
    """Draw which chunks stay.

    Args:
        rows: the sequences.
        offsets: (R + 1,) row r has the chunks offsets[r] .. offsets[r + 1] - 1.
        token_starts: (C + 1,) the first token of each chunk; None where chunks are tokens.
    """
    lengths = np.diff(offsets)
    kept = np.zeros(int(offsets[-1]), np.bool_)
    waiting = np.flatnonzero((rows.input_budget > 0) & (lengths > 0))
    keys = derive(rows.keys, name_word("spans"))
    done, width = 0, 1
    while len(waiting):
        tries = np.arange(done, done + width)
        row = np.repeat(waiting, width)
        number = np.tile(tries, len(waiting))
        chance = rows.keep[row] * SHRINK**number
        # One kept chunk more than the budget decides against a try, whatever comes after it.
        counts = np.minimum(rows.input_budget[row], lengths[row]) + 1
        ends = np.cumsum(counts)
        starts = ends - counts
        draws = np.arange(int(ends[-1]), dtype=np.uint64)
        first = (number.astype(np.uint64) << _TRY) - starts.astype(np.uint64)
        with np.errstate(divide="ignore", over="ignore"):
            rate = 1.0 / np.log1p(-chance)  # chance 0 gives infinite runs, chance 1 none
            points = uniforms(np.repeat(ahead(keys[row], first), counts), draws)
            gaps = np.log(points, out=points)
            gaps *= np.repeat(rate, counts)
        limits = np.repeat(lengths[row], counts)
        skipped = np.minimum(gaps, limits, out=gaps).astype(np.int64)
        reached = np.cumsum(skipped + 1)
        before = np.where(starts > 0, reached[starts - 1], 0)
        cell = reached - np.repeat(before + 1, counts)
        inside = cell < limits
        stay = np.add.reduceat(inside, starts, dtype=np.int64)
        last = np.where(stay > 0, cell[starts + np.maximum(stay, 1) - 1], -1)
        runs = np.add.reduceat(inside & (skipped > 0), starts, dtype=np.int64) + (last < lengths[row] - 1)
        tokens = stay
        if token_starts is not None:
            chunk = (np.repeat(offsets[row], counts) + cell)[inside]
            sizes = np.zeros(len(cell), np.int64)
            sizes[inside] = token_starts[chunk + 1] - token_starts[chunk]
            tokens = np.add.reduceat(sizes, starts)
        fits = (tokens + runs <= rows.input_budget[row]).reshape(len(waiting), width)
        found = fits.any(axis=1)
        winner = np.arange(len(waiting)) * width + fits.argmax(axis=1)
        won = np.zeros(len(row), np.bool_)
        won[winner[found]] = True
        chosen = inside & np.repeat(won, counts)
        kept[(np.repeat(offsets[row], counts) + cell)[chosen]] = True
        waiting = waiting[~found]
        done, width = done + width, _TRIES_AT_ONCE
    return kept


def split_spans(rows: Rows, kept: Bools) -> tuple[Selection, Selection]:
    """Cut rows into what is visible and what is to be predicted, given which tokens stay.

    Args:
        rows: the sequences; a row without input budget shows nothing.
        kept: (sum of lengths,) True where a token stays.

    Returns:
        As `mask_spans`.
    """
    lengths = np.diff(rows.offsets)
    row = np.repeat(np.arange(len(lengths)), lengths)
    opens, run = _runs(kept, rows.offsets)
    most = rows.sentinel_count - 2
    if np.any(run > most[row]):
        kept = kept & (run < most[row])
        opens, run = _runs(kept, rows.offsets)
    inputs = _visible(rows, kept, opens, run, row)
    targets = _predicted(rows, kept, opens, run, row)
    return inputs, targets


def _runs(kept: Bools, offsets: Int64) -> tuple[Bools, Int64]:
    """Where hidden runs open, and the number, from 1, of the last run opened at or before each token."""
    after_kept = np.empty(len(kept), np.bool_)
    after_kept[1:] = kept[:-1]
    after_kept[offsets[:-1][np.diff(offsets) > 0]] = True
    opens = ~kept & after_kept
    return opens, _counts(opens, offsets)


def _visible(rows: Rows, kept: Bools, opens: Bools, run: Int64, row: Int64) -> Selection:
    shown = np.flatnonzero((kept | opens) & (rows.input_budget > 0)[row])
    owner = row[shown]
    ids = np.where(kept[shown], rows.ids[shown], rows.first_sentinel[owner] + run[shown])
    counts = np.bincount(owner, minlength=len(rows.keep))
    return Selection(_int32(owner), _int32(_ranks(counts)), _int32(ids))


def _predicted(rows: Rows, kept: Bools, opens: Bools, run: Int64, row: Int64) -> Selection:
    wanted = rows.target_budget > 1
    hidden = ~kept & wanted[row]
    opens = opens & hidden
    opened = np.bincount(row[opens], minlength=len(wanted))
    # A row that hides nothing would be its closing sentinel alone, which leaves nothing to predict.
    sizes = np.where(opened > 0, np.bincount(row[hidden], minlength=len(wanted)) + opened + 1, 0)
    firsts = np.cumsum(sizes) - sizes
    rank = _counts(hidden, rows.offsets) - 1 + run  # among the row's hidden tokens and its sentinels
    sentinel_rank = rank[opens] - 1
    full = np.empty(int(sizes.sum()), np.int64)
    full[firsts[row[hidden]] + rank[hidden]] = rows.ids[hidden]
    full[firsts[row[opens]] + sentinel_rank] = rows.first_sentinel[row[opens]] + run[opens]
    closed = np.flatnonzero(opened)
    full[firsts[closed] + sizes[closed] - 1] = rows.first_sentinel[closed] + opened[closed] + 1
    first, size = _windows(rows, sizes, opened, sentinel_rank, row[opens])
    pairs = np.maximum(size - 1, 0)
    owner = np.repeat(np.arange(len(pairs)), pairs)
    ranks = _ranks(pairs)
    at = (firsts + first)[owner] + ranks
    return Selection(_int32(owner), _int32(ranks), _int32(full[at + 1]), _int32(full[at]))


def _windows(
    rows: Rows, sizes: Int64, opened: Int64, sentinel_rank: Int64, sentinel_row: Int64
) -> tuple[Int64, Int64]:
    """Cut targets to their budgets: from a random run on, or from the first run whose rest fits.

    Returns:
        (R,) rank of the first id of each row's window, and its number of ids.
    """
    long = sizes > rows.target_budget
    points = uniforms(derive(rows.keys, name_word("window")), np.uint64(0))
    first_sentinels = np.cumsum(opened) - opened
    drawn = first_sentinels + np.floor(points * opened).astype(np.int64)
    picked = np.zeros(len(sizes), np.int64)
    some = np.flatnonzero(long & (opened > 0))
    picked[some] = sentinel_rank[drawn[some]]
    short = some[sizes[some] - picked[some] < rows.target_budget[some]]
    if len(short):
        too_early = sentinel_rank < (sizes - rows.target_budget)[sentinel_row]
        skipped = np.bincount(sentinel_row[too_early], minlength=len(sizes))
        picked[short] = sentinel_rank[first_sentinels[short] + skipped[short]]
    return picked, np.minimum(sizes - picked, rows.target_budget)


def merge(visible: Ints, target: Ints, special: Special) -> Int32:
    """Put a masked sequence together again: every visible sentinel gives way to the tokens it stands for.

    The target is split at its sentinels; a sentinel of the visible sequence that the target lacks vanishes,
    and so does what the target says for a sentinel that is not visible. When a sentinel opens more than
    one run of the target, the last one counts.

    Args:
        visible: (n,) ids, sentinels included; `[S_1]` alone when everything was hidden.
        target: (m,) ids, beginning with a sentinel; the one that ends it may be missing.
        special: the special ids of the vocabulary.

    Returns:
        The ids without sentinels.

    >>> special = Special(pad=0, unknown=1, start=2, end=3, first_sentinel=4, sentinel_count=10)
    >>> merge(np.array([20, 5, 23, 6]), np.array([5, 21, 22, 6, 24, 7]), special).tolist()
    [20, 21, 22, 23, 24]
    """
    target_ids = np.asarray(target, np.int32)
    visible_ids = np.asarray(visible, np.int32)
    borders = np.flatnonzero(is_sentinel(target_ids, special))
    stops = np.append(borders, len(target_ids))[1:]
    runs = {
        int(target_ids[border]): target_ids[border + 1 : stop]
        for border, stop in zip(borders, stops, strict=True)
    }
    empty = np.empty(0, np.int32)
    parts: list[Int32] = [empty]
    start = 0
    for place in np.flatnonzero(is_sentinel(visible_ids, special)):
        parts += [visible_ids[start:place], runs.get(int(visible_ids[place]), empty)]
        start = int(place) + 1
    parts.append(visible_ids[start:])
    return np.concatenate(parts)


def is_sentinel(ids: Ints, special: Special) -> Bools:
    """Tell which ids are sentinels."""
    found: Bools = (ids >= special.first_sentinel) & (ids < special.first_sentinel + special.sentinel_count)
    return found


def target_sequence(targets: Selection, sample: int) -> Int32:
    """Write the (previous, next) pairs of one sample as the sequence they were taken from."""
    assert targets.previous is not None, "only sequence targets know what comes before"
    first, last = np.searchsorted(targets.samples, [sample, sample + 1])
    return np.concatenate((targets.previous[first:last][:1], targets.ids[first:last]))


def _counts(flags: Bools, offsets: Int64) -> Int64:
    """Number of true flags of the row up to and including each token."""
    total = np.cumsum(flags, dtype=np.int64)
    before = np.concatenate(([0], total))[offsets[:-1]]
    total -= np.repeat(before, np.diff(offsets))
    return total


def _ranks(counts: Int64) -> Int64:
    """0, 1, ... within each of several rows of so many items."""
    starts = np.cumsum(counts) - counts
    ranks: Int64 = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return ranks


def _int32(values: NDArray[np.integer]) -> Int32:
    return values.astype(np.int32)
