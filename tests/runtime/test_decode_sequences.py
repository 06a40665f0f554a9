"""Claims about autoregressive decoding: the cache changes the cost and nothing else."""

import attrs
import numpy as np
import pytest
import torch

from fourm_runtime.assemble import assemble
from fourm_runtime.batch import Int32, Masked, MicroBatch, Selection
from fourm_runtime.generation.causal import Method, legal_ids, open_span, prefix_tokens
from fourm_runtime.generation.plan import compile_request
from fourm_runtime.generation.request import Prefix, Request, Target
from fourm_runtime.generation.run import Job, run_jobs
from fourm_runtime.generation.samples import Sample, Tokens, packed
from fourm_runtime.generation.stepping import CachedSteps, RecomputedSteps, StepRows
from fourm_runtime.generation.trunk import Trunk
from fourm_runtime.masking.spans import Rows, split_spans
from fourm_runtime.packing import pack
from fourm_runtime.transformer import AnyToAnyTransformer, Routes
from fourm_schema.architecture import Architecture
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema


@pytest.fixture(scope="module")
def model() -> AnyToAnyTransformer:
    schema = Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {
                "words": {"kind": "wordpiece", "size": 60},
                "codes": {"kind": "wordpiece", "size": 40},
            },
            "modalities": {
                "shape": {"kind": "vector", "dim": 6, "ranges": [0, 1], "bins": 8},
                "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 24},
                "title": {"kind": "text", "vocabulary": "words", "max_tokens": 6},
                "code": {"kind": "text", "vocabulary": "codes", "max_tokens": 10},
            },
        }
    )
    network = assemble(resolve(schema), Architecture(dim=32, heads=4, encoder_depth=1, decoder_depth=2))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("tables."):
                parameter.mul_(20)  # as drawn, an untrained model hardly tells its inputs apart
    return network.eval()


def shape(seed: int) -> Tokens:
    return Tokens.whole(np.random.default_rng(seed).integers(0, 8, 6).astype(np.int32))


def jobs(model: AnyToAnyTransformer, targets: list[Target], count: int, chain: bool = False) -> list[Job]:
    plan = compile_request(model.plan, Request({"shape": 1}, tuple(targets), chain))
    return [Job(plan, {"shape.tokens": shape(i)}, seed=1, index=i) for i in range(count)]


def hidden_of(
    model: AnyToAnyTransformer, steps: CachedSteps | RecomputedSteps, ids: list[list[int]]
) -> torch.Tensor:
    """Feed rows of different lengths their ids; (sum of lengths, D), step after step."""
    outputs = []
    for t in range(max(map(len, ids))):
        active = [row for row, own in enumerate(ids) if t < len(own)]
        outputs.append(steps.advance(active, [ids[row][t] for row in active]))
    return torch.cat(outputs)


def test_the_cache_gives_the_same_scores_as_recomputing(model: AnyToAnyTransformer) -> None:
    """Rows of several streams and lengths, two of them on one encoder block, and one block without a row."""
    streams = [model.plan.stream(name) for name in ("caption", "title", "code", "caption")]
    batch = packed([Sample({"shape.tokens": shape(i)}, {}) for i in range(3)] + [Sample({}, {})], model)
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, 40, length).tolist() for length in (9, 4, 7, 1)]
    with torch.no_grad():
        context = model.encode(batch)
        rows = StepRows.of(model, list(zip((0, 0, 2, 3), streams, strict=True)), batch.encoder_lengths)
        cached = hidden_of(model, CachedSteps(model, rows, context, 9), ids)
        recomputed = hidden_of(model, RecomputedSteps(model, rows, context), ids)

    assert torch.allclose(cached, recomputed, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_cache_gives_the_same_tokens_as_recomputing(
    model: AnyToAnyTransformer, guidance: float, temperature: float
) -> None:
    targets = [Target(name, temperature=temperature, guidance=guidance) for name in ("caption", "code")]
    cached = run_jobs(model, jobs(model, targets, 4))
    recomputed = run_jobs(model, jobs(model, targets, 4), method="recompute")

    for one, other in zip(cached, recomputed, strict=True):
        for name in one:
            assert np.array_equal(one[name].ids, other[name].ids), name
            assert one[name].confidence == pytest.approx(other[name].confidence, abs=1e-5)


def training_scores(
    model: AnyToAnyTransformer, ids: Int32, kept: int, shows: dict[str, Tokens]
) -> tuple[Selection, torch.Tensor]:
    """Hide all but the first `kept` tokens of a caption as training does: what is visible, and the scores."""
    stream = model.plan.stream("caption")
    special, length = model.plan.special(stream), len(ids)
    ones = np.ones(1, np.int64)
    rows = Rows(
        ids,
        np.array([0, length], np.int64),
        np.ones(1),
        ones * (kept + 1 if kept else 0),
        ones * (length + 2),
        np.zeros(1, np.uint64),
        ones * special.first_sentinel,
        ones * special.sentinel_count,
    )
    visible, target = split_spans(rows, np.arange(length) < kept)
    inputs = {
        name: Selection(np.zeros(len(tokens.ids), np.int32), tokens.positions, tokens.ids)
        for name, tokens in shows.items()
    }
    masked = Masked(1, {**inputs, stream.name: visible}, {stream.name: target})
    (batch,) = pack(masked, model.plan, model.allocation)
    with torch.no_grad():
        return visible, model(batch)[stream.name]


@pytest.mark.parametrize("kept", [0, 3])
def test_decoding_asks_the_model_exactly_what_training_taught_it(
    model: AnyToAnyTransformer, kept: int
) -> None:
    """Teacher forcing over the generated text gives back the confidences of its generation: positions,
    sentinels and what the encoder sees of a prefix are those of span masking."""
    stream = model.plan.stream("caption")
    special = model.plan.special(stream)
    prefix = np.array([45, 50, 57], np.int32)[:kept]
    inputs: dict[str, object] = {"shape": 1, "caption": Prefix("...") if kept else None}
    plan = compile_request(model.plan, Request(inputs, (Target("caption"),)))
    shows = {"shape.tokens": shape(5)}
    job = Job(plan, shows, {stream.name: prefix} if kept else {}, seed=4)
    made = run_jobs(model, [job])[0][stream.name]

    assert made.ids[:kept].tolist() == prefix.tolist()
    visible, scores = training_scores(model, made.ids, kept, shows)
    if kept:
        given = prefix_tokens(prefix, special)
        assert visible.ids.tolist() == given.ids.tolist() == [*prefix.tolist(), open_span(special)]
        assert visible.positions.tolist() == given.positions.tolist()
    drawn = made.ids[kept:]
    # The last score is for the sentinel that closes the span, which generation has no need to ask for.
    scores = scores[: len(drawn)].double()
    scores[:, torch.from_numpy(~legal_ids(model.plan, stream))] = -torch.inf
    expected = scores.softmax(-1)[torch.arange(len(drawn)), torch.from_numpy(drawn.astype(np.int64))].numpy()
    if len(made.ids) == stream.length:
        expected[-1] = 1.0  # the last place is kept for the end token
    assert made.confidence[kept:] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["cache", "recompute"])
@pytest.mark.parametrize("silent", [True, False])
def test_a_silent_null_token_leaves_no_trace(
    model: AnyToAnyTransformer, silent: bool, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4M's sampler has no context where nothing is shown: whatever the encoder makes of nothing, grids and
    sequences come out the same. Without that switch it is a token like others, as it was in training."""
    shape = attrs.evolve(model.architecture, null_is_silent=silent)
    monkeypatch.setattr(model, "architecture", shape)
    targets = (Target("caption", temperature=0.0), Target("shape", steps=1, temperature=0.0))
    plan = compile_request(model.plan, Request({}, targets, chain=False))
    encode, made = Trunk.encode, []
    for change in (torch.zeros(32), torch.linspace(-1, 1, 32)):
        monkeypatch.setattr(Trunk, "encode", lambda *given, change=change: encode(*given) + change)
        made.append(run_jobs(model, [Job(plan, {})], method=method)[0])

    for name in ("caption.tokens", "shape.tokens"):
        assert np.array_equal(made[0][name].confidence, made[1][name].confidence) == silent


def test_guided_sequences_sum_the_scores_of_their_passes(model: AnyToAnyTransformer) -> None:
    """u + sum of w_i (c_i - u), word by word: each pass has a row of its own in the cache, and they read the
    same words."""
    weights = {"shape": 2.0, "title": -0.5}
    title = Tokens.whole(np.array([44, 51, 47, 3], np.int32))
    shows = {"shape.tokens": shape(2), "title.tokens": title}
    target = Target("caption", temperature=0.0, guidance=weights)
    plan = compile_request(model.plan, Request(dict.fromkeys(shows, 1), (target,)))
    made = run_jobs(model, [Job(plan, shows)])[0]["caption.tokens"]

    scores = sum(
        weight * training_scores(model, made.ids, 0, seen)[1].double()
        for weight, seen in (
            (2.0, {"shape.tokens": shape(2)}),
            (-0.5, {"title.tokens": title}),
            (1 - 2.0 + 0.5, {}),
        )
    )
    assert isinstance(scores, torch.Tensor)
    scores = scores[: len(made.ids)]
    scores[:, torch.from_numpy(~legal_ids(model.plan, model.plan.stream("caption")))] = -torch.inf
    words = scores.argmax(-1)
    sure = scores.softmax(-1).max(-1).values.numpy()
    last = len(made.ids) == model.plan.stream("caption").length  # the last place is kept for the end token
    assert made.ids[: len(words) - last].tolist() == words[: len(words) - last].tolist()
    assert made.confidence[: len(words) - last] == pytest.approx(sure[: len(words) - last], abs=1e-5)


def test_a_row_that_is_done_costs_nothing_more(
    model: AnyToAnyTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each step the decoder reads one token of every row that goes on, and of no other; guidance doubles
    the rows. The encoder runs once."""
    read: list[int] = []
    blocks: list[int] = []
    advance, encode = CachedSteps.advance, Trunk.encode

    def counted(self: CachedSteps, active: list[int], previous: list[int]) -> torch.Tensor:
        read.append(len(active))
        return advance(self, active, previous)

    def watched(self: Trunk, batch: MicroBatch, routes: Routes) -> torch.Tensor:
        blocks.append(len(batch.encoder_lengths))
        return encode(self, batch, routes)

    monkeypatch.setattr(CachedSteps, "advance", counted)
    monkeypatch.setattr(Trunk, "encode", watched)
    made = run_jobs(model, jobs(model, [Target("caption", temperature=2.0, guidance=1.5)], 8))
    lengths = [len(one["caption.tokens"].ids) for one in made]

    assert blocks == [16]
    assert read == [2 * sum(length > step for length in lengths) for step in range(max(lengths))]
    assert len(set(lengths)) > 1


def test_rows_of_any_length_and_beginning_share_a_batch(model: AnyToAnyTransformer) -> None:
    """Some begin with words, one has room for its end token only, some are another modality's, some see
    nothing: each comes out as it does alone."""
    title = model.plan.stream("title")
    full = np.array([44, 51, 47, 49, 50], np.int32)
    many = []
    for index, (name, given, seen) in enumerate(
        [
            ("caption", np.array([45, 50, 57], np.int32), True),
            ("caption", None, False),
            ("title", full, True),
            ("title", None, True),
            ("code", np.zeros(0, np.int32), False),
        ]
    ):
        inputs: dict[str, object] = {"shape": 1} if seen else {}
        if given is not None:
            inputs[name] = Prefix("...")
        plan = compile_request(model.plan, Request(inputs, (Target(name),)))
        prefixes = {} if given is None else {f"{name}.tokens": given}
        many.append(Job(plan, {"shape.tokens": shape(index)} if seen else {}, prefixes, 7, index))
    together = run_jobs(model, many)

    for job, made in zip(many, together, strict=True):
        (alone,) = run_jobs(model, [job])
        for name, tokens in made.items():
            assert np.array_equal(tokens.ids, alone[name].ids)
            assert tokens.confidence == pytest.approx(alone[name].confidence, abs=1e-5)
    assert together[2][title.name].ids.tolist() == [*full.tolist(), model.plan.special(title).end]
    assert together[2][title.name].confidence.tolist() == [1.0] * 6


def test_rows_that_are_done_leave_the_batch_and_the_others_go_on(model: AnyToAnyTransformer) -> None:
    """Texts of a batch end where they end alone."""
    targets = [Target("caption", temperature=2.0)]
    together = run_jobs(model, jobs(model, targets, 8))
    alone = [run_jobs(model, [job])[0] for job in jobs(model, targets, 8)]
    lengths = {len(made["caption.tokens"].ids) for made in together}

    assert len(lengths) > 1
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one["caption.tokens"].ids, other["caption.tokens"].ids)


@pytest.mark.parametrize("stream", ["caption", "title", "code"])
def test_a_sequence_is_words_and_one_end_token_within_its_length(
    model: AnyToAnyTransformer, stream: str
) -> None:
    """Valid by construction, even at a temperature that makes every id likely."""
    asked = model.plan.stream(stream)
    special = model.plan.special(asked)
    for made in run_jobs(model, jobs(model, [Target(stream, temperature=100.0)], 12)):
        ids = made[asked.name].ids

        assert ids[-1] == special.end
        assert (ids[:-1] >= special.size).all()
        assert len(ids) <= asked.length


def test_ids_without_a_meaning_can_be_excluded(model: AnyToAnyTransformer) -> None:
    """A vocabulary may have spare ids after its last piece; the codec knows, the plan does not."""
    stream = model.plan.stream("code")
    few = np.arange(stream.vocab_size) < model.plan.special(stream).size + 2
    for made in run_jobs(model, jobs(model, [Target("code", temperature=100.0)], 6), {stream.name: few}):
        assert few[made[stream.name].ids].all()
