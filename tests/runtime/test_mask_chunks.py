"""Chunk-wise span masking: an item of a set stays or is hidden whole, and nothing else changes."""

import itertools
import math

import attrs
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.grammar import Automaton
from fourm_codecs.sets import SetCodec
from fourm_runtime.batch import Batch, Selection, Sequences
from fourm_runtime.masking.columns import gather
from fourm_runtime.masking.draws import derive, name_word, sample_keys
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.spans import Rows, draw_kept, is_sentinel, mask_spans, merge, target_sequence
from fourm_runtime.training.recipe import Recipe
from fourm_schema.modality import Set
from fourm_schema.plan import Special
from fourm_schema.resolve import resolve
from tests.codecs.drawn_sets import WORDS
from tests.codecs.drawn_sets import sets as drawn_sets
from tests.runtime.drawn_generations import draw_sets, has_texts, schema_of, some_value

FIRST_WORD = 204
SPECIAL = Special(pad=0, unknown=1, start=2, end=3, first_sentinel=4, sentinel_count=200)

SETS = st.lists(st.lists(st.integers(1, 5), max_size=9), min_size=1, max_size=6)
"""Lengths of the chunks of each row."""


def make_rows(
    sets: list[list[int]], keep: float, inputs: int, targets: int = 1000, sentinels: int = 200, seed: int = 0
) -> Rows:
    """Rows whose ids count up, so that each id says where it stood."""
    sizes = np.array([sum(chunks) for chunks in sets], np.int64)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    within = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], sizes)
    count = len(sets)
    return Rows(
        (FIRST_WORD + within).astype(np.int32),
        offsets,
        np.full(count, keep),
        np.full(count, inputs),
        np.full(count, targets),
        derive(sample_keys(seed, 0, np.arange(count)), name_word("test")),
        np.full(count, SPECIAL.first_sentinel),
        np.full(count, sentinels),
        np.array([length for chunks in sets for length in chunks], np.int64),
    )


def of_row(selection: Selection, row: int) -> list[int]:
    found: list[int] = selection.ids[selection.samples == row].tolist()
    return found


@given(SETS, st.floats(0, 1), st.integers(0, 20), st.integers(3, 200), st.integers(0, 2**32))
def test_spans_start_and_end_at_chunk_borders_and_nothing_is_lost(
    sets: list[list[int]], keep: float, budget: int, sentinels: int, seed: int
) -> None:
    """A sentinel then opens in a state of the grammar that is known: parse(merge(input, target)) = the set.
    It holds for every budget, and when sentinels run out."""
    rows = make_rows(sets, keep, budget, sentinels=sentinels, seed=seed)
    inputs, targets = mask_spans(rows)
    special = attrs.evolve(SPECIAL, sentinel_count=sentinels)

    for row, chunks in enumerate(sets):
        visible, target = of_row(inputs, row), target_sequence(targets, row)
        assert len(visible) <= budget
        if budget:
            whole = list(range(FIRST_WORD, FIRST_WORD + sum(chunks)))
            assert merge(np.array(visible), target, special).tolist() == whole
        borders = np.concatenate(([0], np.cumsum(chunks))).astype(np.int64) + FIRST_WORD
        for start, stop in itertools.pairwise(borders.tolist()):
            shown = [start <= token < stop for token in visible].count(True)
            assert shown in (0, stop - start)


@given(SETS, st.floats(0, 1), st.integers(0, 20), st.integers(0, 30), st.integers(0, 2**32))
def test_chunks_of_one_token_are_masked_bit_by_bit_as_no_chunks(
    sets: list[list[int]], keep: float, budget: int, target_budget: int, seed: int
) -> None:
    """Texts of a batch with sets go through the chunk-wise path; their published masks must not move."""
    ones = [[1] * len(chunks) for chunks in sets]
    chunked = make_rows(ones, keep, budget, target_budget, seed=seed)
    plain = attrs.evolve(chunked, chunk_lengths=None)

    for ours, theirs in zip(mask_spans(chunked), mask_spans(plain), strict=True):
        assert attrs.asdict(ours).keys() == attrs.asdict(theirs).keys()
        for name in ("samples", "positions", "ids", "previous"):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert (mine is None) == (other is None)
            assert mine is None or mine.tolist() == other.tolist()


@given(SETS, st.integers(0, 20), st.integers(0, 12), st.integers(0, 2**32))
def test_a_long_target_is_cut_to_its_budget_and_opens_with_a_sentinel(
    sets: list[list[int]], budget: int, target_budget: int, seed: int
) -> None:
    """Its budget counts tokens, as for texts: an item may be cut at its end, never at its start."""
    _, cut = mask_spans(make_rows(sets, 0.5, budget, target_budget, seed=seed))
    _, whole = mask_spans(make_rows(sets, 0.5, budget, seed=seed))

    for row in range(len(sets)):
        target = target_sequence(cut, row)
        everything = target_sequence(whole, row).tolist()
        assert len(target) <= target_budget
        if len(target):
            assert bool(is_sentinel(target[:1], SPECIAL)[0])
            start = everything.index(target[0])
            assert everything[start : start + len(target)] == target.tolist()


@given(drawn_sets(), st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 40))
def test_any_set_of_any_grammar_parses_again_when_input_and_target_are_merged(
    entry: Set, seed: int, keep: float, budget: int
) -> None:
    """parse(merge(input, target)) = the set, and what is visible alone parses as some of its items."""
    codec = SetCodec("things", entry, WORDS)
    ids = random_set(codec.automaton, np.random.default_rng(seed))
    chunks = codec.automaton.chunk_lengths(ids)
    assert chunks is not None
    rows = attrs.evolve(
        make_rows([chunks], keep, budget, sentinels=codec.automaton.special.sentinel_count, seed=seed),
        ids=np.array(ids, np.int32),
        first_sentinel=np.array([codec.automaton.special.first_sentinel]),
    )
    inputs, targets = mask_spans(rows)
    visible = inputs.ids
    merged = merge(visible, target_sequence(targets, 0), codec.automaton.special)

    assert merged.tolist() == ids
    items = visible[~is_sentinel(visible, codec.automaton.special)].tolist()
    whole = items if items[-1:] == ids[-1:] else [*items, ids[-1]]
    assert codec.automaton.chunk_lengths(whole) is not None
    shown, records = codec.decode(TokenBatch.of([whole, ids], codec.vocab_size))
    assert all(record in records for record in shown)


def test_parsing_what_a_mask_took_apart_and_merge_put_together_gives_the_set() -> None:
    """parse(merge(input, target)) = the set: values of drawn schemas through their codecs, cut by the masks
    that a run draws, under budgets from a few tokens to all of them."""
    whole = apart = 0
    for number, drawn in enumerate(draw_sets(40, 11)):
        schema = schema_of([drawn.entry])
        plan = resolve(schema)
        codec = SetCodec("s0", drawn.entry, WORDS if has_texts(drawn.entry) else None)
        rng = np.random.default_rng(number)
        tokens = codec.encode([drawn.value, *(some_value(codec, rng) for _ in range(9))])
        values, special = codec.decode(tokens), codec.automaton.special
        present = np.ones(len(tokens), np.bool_)
        column = Sequences(tokens.ids, tokens.offsets, present, tokens.chunk_lengths)
        budget = {"input": [2, 40], "target": [40, 80]}
        recipe = Recipe.model_validate({"budget": budget, "steps": {"total": 1}})
        masker = Masker(plan, recipe.mixture(plan), seed=11)
        for epoch in range(3):
            masked = masker(Batch(np.arange(len(tokens)), {"s0.tokens": column}), epoch)
            shown, asked = masked.inputs.get("s0.tokens"), masked.targets.get("s0.tokens")
            for sample, ids in enumerate(tokens.rows()):
                visible = np.zeros(0, np.int32) if shown is None else shown.ids[shown.samples == sample]
                target = np.zeros(0, np.int32) if asked is None else target_sequence(asked, sample)
                merged = merge(visible, target, special)
                if len(merged) < len(ids):
                    continue  # the sample had no budget for all of it
                (reading,) = codec.decode_with_report(TokenBatch.of([merged], codec.vocab_size))
                assert merged.tolist() == ids.tolist()
                assert reading.records == values[sample] and reading.damage == ()
                whole += 1
                apart += len(target) > 0 and len(visible) > 1
    assert whole > 400 and apart > 100


def random_set(grammar: Automaton, rng: np.random.Generator) -> list[int]:
    """Ids of a set that the grammar admits, each step drawn evenly."""
    state, ids = grammar.start, list[int]()
    while not grammar.is_final(state):
        ids.append(int(rng.choice(np.flatnonzero(grammar.allowed(state, 1000)))))
        following = grammar.step(state, ids[-1])
        assert following is not None
        state = following
    return ids


def test_chunks_stay_with_the_same_chance_whatever_their_length() -> None:
    """One coin per chunk, as in 4M: long items are not hidden more often, while the budget is no limit."""
    count, keep = 20_000, 0.4
    kept = draw_kept(make_rows([[1, 4, 2, 3]] * count, keep, 1000)).reshape(count, 10)
    by_chunk = kept[:, [0, 1, 5, 7]]

    np.testing.assert_allclose(by_chunk.mean(axis=0), keep, atol=4.5 * math.sqrt(0.25 / count))
    together = (by_chunk[:, 1:] & by_chunk[:, :-1]).mean(axis=0)
    np.testing.assert_allclose(together, keep**2, atol=4.5 * math.sqrt(0.25 / count))


def test_a_chunk_longer_than_the_budget_is_hidden() -> None:
    """Even when everything should stay, the chance shrinks until what is visible fits."""
    inputs, targets = mask_spans(make_rows([[7], [2, 7], [7, 2]], 1.0, 4))

    assert of_row(inputs, 0) == [SPECIAL.first_sentinel + 1]
    assert set(targets.samples.tolist()) == {0, 1, 2}


def test_rows_are_gathered_with_their_chunks_and_texts_with_ones() -> None:
    """A batch mixes streams: rows of all of them are masked in one pass, chosen samples only."""
    present = np.ones(3, np.bool_)
    boxes = Sequences(
        np.arange(30, 39, dtype=np.uint8), np.array([0, 5, 5, 9]), present, np.array([2, 2, 1, 3, 1])
    )
    caption = Sequences(np.arange(6, dtype=np.uint8), np.array([0, 2, 3, 6]), present)
    batch = Batch(np.arange(3), {"boxes": boxes, "caption": caption})
    member, sample = np.array([0, 0, 1, 1]), np.array([1, 2, 0, 2])
    ids, offsets, chunks = gather(batch, ["boxes", "caption"], member, sample)

    assert ids.tolist() == [35, 36, 37, 38, 0, 1, 3, 4, 5]
    assert offsets.tolist() == [0, 0, 4, 6, 9]
    assert chunks is not None
    assert chunks.tolist() == [3, 1, 1, 1, 1, 1, 1]
    _, _, none = gather(batch, ["caption"], np.zeros(2, np.int64), np.array([0, 2]))
    assert none is None


def test_the_masks_of_a_few_sets_are_pinned() -> None:
    """Published: the same seed, epoch and sample give the same mask of the same set for years."""
    inputs, targets = mask_spans(make_rows([[3, 1, 2, 1], [2, 2, 1], [1]], 0.5, 6, 8, seed=7))

    assert [of_row(inputs, row) for row in range(3)] == [[5, 210], [204, 205, 5], [5]]
    assert [target_sequence(targets, row).tolist() for row in range(3)] == [
        [5, 204, 205, 206, 207, 208, 209, 6],
        [5, 206, 207, 208, 6],
        [5, 204, 6],
    ]
