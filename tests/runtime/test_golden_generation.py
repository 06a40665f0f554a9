"""Generation by released models is that of the released sampler, recorded step by step.

Where the released sampler leaves a choice to chance or to its sorting routine, the recording says what it
chose: `order` makes that choice here. Its random numbers can be drawn again, because they come from one
generator of PyTorch's CPU that is seeded anew in each step of a grid, and once for a text. They are not the
numbers that our own sampling would draw: `sample_tokens` draws the same distribution from one number per
token, so that a row draws the same whatever stands beside it. So for seeded cases the tests draw the released
sampler's numbers over our scores, and hold our sampling to the same distribution.

Not matched: `multi_*`, of which neither schedule nor steps were recorded. In one of them the released sampler
never shows a condition what it has generated; the last test says what happens here.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from fourm_runtime.batch import Int32
from fourm_runtime.generation import run
from fourm_runtime.generation.causal import CausalTask, SequenceDecoding, decode_sequences
from fourm_runtime.generation.likely import likely
from fourm_runtime.generation.plan import Pass, TargetPlan, compile_request
from fourm_runtime.generation.request import Request, Target
from fourm_runtime.generation.run import Job, run_jobs
from fourm_runtime.generation.samples import Sample, Tokens, packed, split
from fourm_runtime.generation.sampling import Sampling, sample_tokens
from fourm_runtime.generation.schedules import token_counts
from fourm_runtime.generation.stepping import CachedSteps, StepRows
from fourm_runtime.masking.spans import merge
from fourm_runtime.transformer import AnyToAnyTransformer
from tests.runtime.recorded_sampler import Case, RecordedSampler, recorded_samplers

LOGITS = 5e-5
ROWS = (0, 1)


@pytest.fixture(scope="module")
def samplers(golden: Path) -> list[RecordedSampler]:
    found = recorded_samplers(golden)
    assert found, "the folder holds recordings of the sampler"
    return found


def cases(samplers: Sequence[RecordedSampler]) -> Iterator[tuple[RecordedSampler, Case]]:
    for sampler in samplers:
        for case in sampler.cases:
            yield sampler, case


def test_golden_schedules_are_those_of_the_released_sampler(samplers: list[RecordedSampler]) -> None:
    """As many tokens in every step of every grid."""
    count = 0
    for _, case in cases(samplers):
        for domain in dict.fromkeys(move.domain for move in case.grid_moves):
            counts = [move.tokens or 0 for move in case.grid_moves if move.domain == domain]
            scheme = next(move.scheme for move in case.grid_moves if move.domain == domain)
            schedule = "cosine" if scheme == "maskgit" else "linear"
            assert token_counts(schedule, len(counts), sum(counts)) == tuple(counts), case.name
            count += 1
    assert count


def test_golden_grids_of_likeliest_tokens_are_those_of_the_released_sampler(
    samplers: list[RecordedSampler],
) -> None:
    """MaskGIT and random order, one step and twelve, guided, in chains, from a text: every id of every step.

    At temperature 0 the released sampler is sure of every token, and which cells it keeps is what its sorting
    routine does with equals; so the cells are fixed in the recorded order.
    """
    found: set[str] = set()
    for sampler, case in cases(samplers):
        if not case.grid_moves or not all(move.temperature == 0 for move in case.grid_moves):
            continue
        jobs = []
        for row in ROWS:
            shows = case.shown(sampler.plan, row)
            request = Request(dict.fromkeys(shows, True), case.targets(row))
            jobs.append(Job(compile_request(sampler.plan, request), shows, index=row))
        made = run_jobs(sampler.model, jobs)
        for target in case.targets(0):
            ids = np.stack([one[sampler.plan.stream(target.stream).name].ids for one in made])
            assert np.array_equal(ids, case.result(target.stream)), (case.name, target.stream)
        found.add(case.name)
    assert found


def first_passes(sampler: RecordedSampler, case: Case, cells: Int32) -> torch.Tensor:
    """Scores of the first step, guidance included, for cells in increasing order: (2, T, V)."""
    (target, *_) = case.targets(0)
    plan = sampler.plan
    name = plan.stream(target.stream).name
    request = Request(dict.fromkeys(case.shown(plan, 0), True), (target,))
    passes = compile_request(plan, request).targets[0].passes
    total = torch.zeros(())
    for one in passes:
        asked = [
            Sample({stream: case.shown(plan, row)[stream] for stream in one.shows}, {name: cells})
            for row in ROWS
        ]
        with torch.inference_mode():
            scores = split(sampler.model(packed(asked, sampler.model)), asked)
        total = total + one.weight * torch.stack([each[name] for each in scores])
    return total


def test_golden_first_scores_are_those_of_the_released_sampler(
    samplers: list[RecordedSampler], record_property: Callable[[str, object], None]
) -> None:
    """In random order they stand as its generator drew the cells, which can be drawn again."""
    worst, count = 0.0, 0
    for sampler, case in cases(samplers):
        if "first_step_logits" not in case.arrays:
            continue
        drawn = case.drawn_cells()
        found = first_passes(sampler, case, np.sort(drawn))[:, np.searchsorted(np.sort(drawn), drawn)]
        truth = case.arrays["first_step_logits"]
        assert found.shape == truth.shape
        worst = max(worst, float(np.abs(found.numpy() - truth).max()))
        assert worst <= LOGITS, (case.name, worst)
        count += 1
    assert count
    record_property("largest difference of a score", worst)


def test_golden_cells_of_random_orders_can_be_drawn_again(samplers: list[RecordedSampler]) -> None:
    """One number per cell, those that are fixed last; so `order` can repeat a run of the released sampler."""
    count = 0
    for _, case in cases(samplers):
        done: dict[str, set[int]] = {}
        for step, move in enumerate(case.grid_moves):
            if move.scheme != "roar":
                continue
            fixed = done.setdefault(move.domain, set())
            ranks = torch.rand(case.written(step).shape[1], generator=case.generator(step))
            ranks[sorted(fixed)] = 2.0
            chosen = set(ranks.argsort()[: move.tokens].tolist())
            for row in ROWS:
                assert set(np.flatnonzero(case.written(step)[row] >= 0).tolist()) == chosen, case.name
            fixed |= chosen
            count += 1
    assert count


def filtered(scores: torch.Tensor, case: Case) -> torch.Tensor:
    """Scores with minus infinity where the case's filters leave nothing."""
    if case.top_k <= 0 and case.top_p >= 1:
        return scores
    return scores.masked_fill(~likely(scores, case.top_k, case.top_p), -torch.inf)


def drawn_grids(samplers: list[RecordedSampler]) -> list[tuple[RecordedSampler, Case]]:
    found = [
        (sampler, case)
        for sampler, case in cases(samplers)
        if case.grid_moves and all(move.temperature > 0 for move in case.grid_moves)
    ]
    assert found
    return found


def test_golden_draws_of_grids_are_those_of_the_released_sampler(samplers: list[RecordedSampler]) -> None:
    """Its random numbers over our scores, filtered and cooled by us: every id, and which cells are kept.

    It keeps the cells whose tokens are likeliest after filtering and cooling; we, likeliest to the model
    itself. Without filters and at temperature 1 the two are the same.
    """
    for sampler, case in drawn_grids(samplers):
        plan, model = sampler.plan, sampler.model
        name = plan.stream(case.moves[0].domain).name
        length = plan.stream(name).length
        ids = np.zeros((2, length), np.int32)
        fixed = np.zeros((2, length), np.bool_)
        for step, move in enumerate(case.moves):
            cells = [np.flatnonzero(~row).astype(np.int32) for row in fixed]
            asked = [
                Sample(
                    {
                        **case.shown(plan, row),
                        name: Tokens(np.flatnonzero(fixed[row]).astype(np.int32), ids[row][fixed[row]]),
                    },
                    {name: cells[row]},
                )
                for row in ROWS
            ]
            with torch.inference_mode():
                scores = model(packed(asked, model))[name]
            shares = (filtered(scores, case) / move.temperature).softmax(-1)
            drawn = torch.multinomial(shares, 1, generator=case.generator(step)).squeeze(-1)
            sure = shares.gather(-1, drawn[:, None]).reshape(2, -1)
            truth = case.written(step)
            for row in ROWS:
                place = cells[row]
                kept = place[sure[row].topk(move.tokens or 0).indices.numpy()]
                assert set(kept.tolist()) == set(np.flatnonzero(truth[row] >= 0).tolist()), (case.name, step)
                ours = drawn.reshape(2, -1)[row].numpy()
                assert (ours == truth[row][place])[np.isin(place, kept)].all(), (case.name, step)
                ids[row, kept] = truth[row][kept]
                fixed[row, kept] = True
        assert np.array_equal(ids, case.result(case.moves[0].domain))


def test_golden_grids_are_drawn_from_the_distribution_of_the_released_sampler(
    samplers: list[RecordedSampler],
) -> None:
    """Our own sampling, evenly spread numbers over the first cells: the shares from which it draws."""
    count = 2000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    for sampler, case in drawn_grids(samplers):
        (scores, *_) = first_passes(sampler, case, case.drawn_cells())
        how = Sampling(case.moves[0].temperature, case.top_k, case.top_p)
        shares = (filtered(scores, case) / how.temperature).double().softmax(-1)
        for cell in range(0, len(scores), 28):
            ids, _ = sample_tokens(scores[cell].expand(count, -1), uniforms, how)
            found = torch.bincount(ids, minlength=scores.shape[-1]) / count
            assert float((found - shares[cell]).abs().max()) <= 2 / count, (case.name, cell)


def sequences(samplers: list[RecordedSampler]) -> Iterator[tuple[RecordedSampler, Case]]:
    for sampler, case in cases(samplers):
        if case.moves[-1].scheme == "autoregressive":
            yield sampler, case


def context_of(sampler: RecordedSampler, case: Case) -> tuple[list[Sample], tuple[Pass, ...]]:
    """What the encoder sees when the text is written: two samples per guidance pass, and the passes."""
    plan, move = sampler.plan, case.moves[-1]
    shown = []
    for row in ROWS:
        own = case.shown(plan, row)
        for domain in dict.fromkeys(one.domain for one in case.grid_moves):
            own[plan.stream(domain).name] = Tokens.whole(case.result(domain)[row].astype(np.int32))
        shown.append(own)
    dropped = {plan.stream(domain).name for domain in move.conditions}
    whole = tuple(shown[0])
    rest = tuple(name for name in whole if name not in dropped)
    passes = (
        (Pass(move.guidance, whole), Pass(1 - move.guidance, rest))
        if move.guidance != 1
        else (Pass(1.0, whole),)
    )
    return [Sample({name: own[name] for name in one.shows}, {}) for own in shown for one in passes], tuple(
        passes
    )


def test_golden_texts_of_likeliest_words_are_those_of_the_released_sampler(
    samplers: list[RecordedSampler],
) -> None:
    """Captions and palettes, guided and at the end of a chain too: from one visible sentinel, left to right.

    The released sampler may write any id and stops at the sentinel that closes the span; so that sentinel is
    the end here, and all ids are legal. A text without a word begins with it: that is a claim too.
    """
    found: set[str] = set()
    for sampler, case in sequences(samplers):
        if not case.greedy:
            continue
        model, domain = sampler.model, case.moves[-1].domain
        stream = sampler.plan.stream(domain)
        stub = case.arrays[f"in/{domain}/tensor"]
        special = attrs.evolve(sampler.plan.special(stream), end=int(stub[0, -1]))
        shown, passes = context_of(sampler, case)
        plan = TargetPlan(stream.name, "autoregressive", (stub.shape[1],), (Sampling(0.0),), passes)
        tasks = []
        for row in ROWS:
            state = SequenceDecoding(plan, special, torch.Generator())
            samples = range(row * len(passes), (row + 1) * len(passes))
            tasks.append(CausalTask(stream, state, tuple(samples)))
        with torch.inference_mode():
            batch = packed(shown, model)
            legal = {stream.name: np.ones(stream.vocab_size, np.bool_)}
            decode_sequences(model, tasks, model.encode(batch), batch.encoder_lengths, legal)
        for task, truth in zip(tasks, case.result(domain), strict=True):
            assert task.state.ids.tolist() == truth[truth != 0].tolist(), case.name
        found.add(case.name)
    assert found


def test_golden_draws_of_texts_are_those_of_the_released_sampler(samplers: list[RecordedSampler]) -> None:
    """Its random numbers over our scores, word by word; its generator is seeded once for a whole text.

    It draws sentinels too: what stands behind one belongs to no span that was asked for, and is dropped.
    """
    count = 0
    for sampler, case in sequences(samplers):
        if case.greedy:
            continue
        model, move = sampler.model, case.moves[-1]
        stream = sampler.plan.stream(move.domain)
        stub, generator = case.arrays[f"in/{move.domain}/tensor"], case.generator(0)
        opening = int(stub[0, 0])
        texts = [[opening], [opening]]
        with torch.inference_mode():
            batch = packed(context_of(sampler, case)[0], model)
            rows = StepRows.of(model, [(row, stream) for row in ROWS], batch.encoder_lengths)
            steps = CachedSteps(model, rows, model.encode(batch), stub.shape[1])
            for _ in range(stub.shape[1] - 1):
                hidden = steps.advance(ROWS, [text[-1] for text in texts])
                kept = filtered(model.tables.logits(hidden, stream), case)
                drawn = torch.multinomial((kept / move.temperature).softmax(-1), 1, generator=generator)
                for text, identity in zip(texts, drawn.flatten().tolist(), strict=True):
                    text.append(identity)
        special = sampler.plan.special(stream)
        for text, truth in zip(texts, case.result(move.domain), strict=True):
            found = merge(np.array([opening]), np.array(text), special)
            assert found.tolist() == truth[truth != 0].tolist(), case.name
        count += 1
    assert count


@pytest.mark.parametrize("scheme", ["maskgit", "roar"])
def test_golden_every_branch_of_a_weighted_guidance_sees_the_cells_that_are_fixed(
    scheme: str, samplers: list[RecordedSampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In random order and with several conditions, the released sampler never shows a condition what has
    been generated; its branches drift apart. Here all of them see, and are asked for, the same cells."""
    passes: list[Sequence[Sample]] = []

    def watched(samples: Sequence[Sample], model: AnyToAnyTransformer) -> object:
        passes.append(samples)
        return packed(samples, model)

    monkeypatch.setattr(run, "packed", watched)
    for sampler in samplers:
        passes.clear()
        words = Tokens.whole(np.array([214, 224], np.int32))
        given = {"rgb.pixels": Tokens.dense(sampler.cases[0].patches[0]), "caption.tokens": words}
        weights = {"rgb@224": 2.0, "caption": 1.5}
        target = Target("tok_depth@224", scheme=scheme, steps=4, guidance=weights)
        plan = compile_request(sampler.plan, Request(dict.fromkeys(given, True), (target,)))
        ids = run_jobs(sampler.model, [Job(plan, given)])[0]["tok_depth.tokens"].ids

        assert [len(samples) for samples in passes] == [3] * 4
        for step, samples in enumerate(passes):
            seen = [sample.shows.get("tok_depth.tokens", Tokens.whole(ids[:0])) for sample in samples]
            fixed = seen[0].positions
            assert len(fixed) == sum(plan.targets[0].counts[:step])
            for sample, own in zip(samples, seen, strict=True):
                asked = sample.asks["tok_depth.tokens"]
                assert np.array_equal(own.positions, fixed) and np.array_equal(own.ids, ids[fixed])
                assert np.array_equal(asked, samples[0].asks["tok_depth.tokens"])
                assert not set(asked.tolist()) & set(fixed.tolist())
