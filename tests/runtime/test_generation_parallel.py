"""Claims about parallel decoding, guidance and chains: what a plan runs is what it says."""

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.assemble import assemble
from fourm_runtime.batch import Int32, Masked, MicroBatch, Selection
from fourm_runtime.generation import run
from fourm_runtime.generation.combine import Produced
from fourm_runtime.generation.parallel import GridDecoding
from fourm_runtime.generation.plan import Pass, TargetPlan, compile_request
from fourm_runtime.generation.request import Request, Scheme, Target
from fourm_runtime.generation.run import Job, run_jobs
from fourm_runtime.generation.samples import Sample, Tokens, packed
from fourm_runtime.generation.sampling import Sampling, request_generator
from fourm_runtime.generation.trunk import Trunk
from fourm_runtime.packing import pack
from fourm_runtime.transformer import AnyToAnyTransformer, Routes
from fourm_schema.architecture import Architecture
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

CELLS = np.arange(16, dtype=np.int32)


@pytest.fixture(scope="module", params=[0, 2], ids=["no registers", "two registers"])
def model(request: pytest.FixtureRequest) -> AnyToAnyTransformer:
    levels = {"type": "continuous", "channels": 1, "range": [0, 16], "levels": 17}
    image = {"kind": "image", "size": 4, "patch": 1, "cell": levels}
    schema = Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": 40}},
            "modalities": {
                "digit": {**image, "shown": ["pixels", "tokens"]},
                "depth": image,
                "shape": {"kind": "vector", "dim": 6, "ranges": [0, 1], "bins": 8},
                "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 6},
            },
        }
    )
    shape = Architecture(dim=32, heads=4, encoder_depth=1, decoder_depth=2, registers=request.param)
    network = assemble(resolve(schema), shape)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("tables."):
                parameter.mul_(20)  # as drawn, an untrained model hardly tells its inputs apart
    return network.eval()


def shown(seed: int = 0) -> dict[str, Tokens]:
    rng = np.random.default_rng(seed)
    return {
        "digit.pixels": Tokens.dense(rng.random((16, 1), dtype=np.float32)),
        "depth.tokens": Tokens.whole(rng.integers(0, 17, 16).astype(np.int32)),
    }


def generate(
    model: AnyToAnyTransformer,
    targets: list[Target],
    shows: dict[str, Tokens],
    seed: int = 0,
    chain: bool = True,
) -> dict[str, Produced]:
    plan = compile_request(model.plan, Request(dict.fromkeys(shows, 1), tuple(targets), chain))
    return run_jobs(model, [Job(plan, shows, seed=seed)])[0]


def forward(model: AnyToAnyTransformer, shows: dict[str, Tokens], stream: str) -> torch.Tensor:
    """Scores of every cell of one grid, by one packed sample written out by hand. (L, V)"""
    zeros = np.zeros
    inputs = {
        name: Selection(zeros(len(tokens.ids), np.int32), tokens.positions, tokens.ids)
        for name, tokens in shows.items()
    }
    length = model.plan.stream(stream).length
    cells = np.arange(length, dtype=np.int32)
    targets = {stream: Selection(zeros(length, np.int32), cells, zeros(length, np.int32))}
    dense = {name: tokens.values[None] for name, tokens in shows.items() if tokens.values is not None}
    (batch,) = pack(
        Masked(1, inputs, targets, dense), model.plan, model.allocation, model.architecture.registers
    )
    with torch.no_grad():
        scores: dict[str, torch.Tensor] = model(batch)
    return scores[stream].double()


def target_plan(scheme: Scheme, counts: tuple[int, ...], temperature: float = 0.0) -> TargetPlan:
    how = Sampling(temperature)
    return TargetPlan("digit.tokens", scheme, counts, (how,) * len(counts), (Pass(1.0, ()),))


def test_one_greedy_step_is_the_argmax_of_one_forward_pass(model: AnyToAnyTransformer) -> None:
    """Generation adds nothing of its own: it asks the model just as training does."""
    made = generate(model, [Target("shape", steps=1, temperature=0.0)], shown())["shape.tokens"]
    scores = forward(model, shown(), "shape.tokens")

    assert made.ids.tolist() == scores.argmax(-1).tolist()
    assert made.confidence == pytest.approx(scores.softmax(-1).max(-1).values.numpy(), abs=1e-6)


def test_guidance_is_u_plus_w_times_c_minus_u(model: AnyToAnyTransformer) -> None:
    """One packed pass with both samples equals two separate passes."""
    target = Target("shape", steps=1, temperature=0.0, guidance=3.0, conditions=("digit.pixels",))
    made = generate(model, [target], shown())["shape.tokens"]
    conditional = forward(model, shown(), "shape.tokens")
    unconditional = forward(model, {"depth.tokens": shown()["depth.tokens"]}, "shape.tokens")
    scores = unconditional + 3.0 * (conditional - unconditional)

    assert made.ids.tolist() == scores.argmax(-1).tolist()
    assert made.confidence == pytest.approx(scores.softmax(-1).max(-1).values.numpy(), abs=1e-5)
    assert not torch.allclose(scores, conditional, atol=1e-3)


def test_unconditional_is_a_sample_that_shows_nothing(model: AnyToAnyTransformer) -> None:
    """Weight 0 leaves u alone, which by default lacks every input: the null token (or just registers)."""
    made = generate(model, [Target("shape", steps=1, temperature=0.0, guidance=0.0)], shown())
    scores = forward(model, {}, "shape.tokens")

    assert made["shape.tokens"].confidence == pytest.approx(
        scores.softmax(-1).max(-1).values.numpy(), abs=1e-6
    )


@pytest.mark.parametrize("scheme", ["maskgit", "roar"])
def test_weights_by_condition_sum_their_differences(model: AnyToAnyTransformer, scheme: str) -> None:
    """u + sum of w_i (c_i - u), each c_i seeing one condition."""
    weights = {"digit.pixels": 2.0, "depth.tokens": -0.5}
    target = Target("shape", scheme=scheme, steps=1, temperature=0.0, guidance=weights)
    made = generate(model, [target], shown())
    nothing = forward(model, {}, "shape.tokens")
    scores = nothing.clone()
    for name, weight in weights.items():
        scores += weight * (forward(model, {name: shown()[name]}, "shape.tokens") - nothing)

    assert made["shape.tokens"].ids.tolist() == scores.argmax(-1).tolist()
    assert made["shape.tokens"].confidence == pytest.approx(
        scores.softmax(-1).max(-1).values.numpy(), abs=1e-5
    )


@pytest.mark.parametrize("scheme", ["maskgit", "roar"])
def test_guidance_of_one_is_no_guidance(model: AnyToAnyTransformer, scheme: str) -> None:
    plain = generate(model, [Target("depth", scheme=scheme)], {"digit.pixels": shown()["digit.pixels"]})
    guided = generate(
        model, [Target("depth", scheme=scheme, guidance=1.0)], {"digit.pixels": shown()["digit.pixels"]}
    )

    assert np.array_equal(plain["depth.tokens"].ids, guided["depth.tokens"].ids)
    assert np.array_equal(plain["depth.tokens"].confidence, guided["depth.tokens"].confidence)


@given(st.integers(1, 30), st.data())
def test_random_order_asks_for_every_cell_once(length: int, data: st.DataObject) -> None:
    """And for no more than the step will fix, in increasing order, as packing wants them."""
    cuts = sorted(data.draw(st.sets(st.integers(1, length - 1))) if length > 1 else [])
    counts = tuple(b - a for a, b in zip([0, *cuts], [*cuts, length], strict=True))
    state = GridDecoding(target_plan("roar", counts), request_generator(data.draw(st.integers(0, 9)), 0, "x"))
    asked: list[Int32] = []
    while not state.finished:
        assert (np.diff(state.asked) > 0).all()
        asked.append(state.asked)
        state.accept(torch.zeros(len(state.asked), 3))

    assert [len(cells) for cells in asked] == list(counts)
    assert sorted(np.concatenate(asked).tolist()) == list(range(length))


def test_maskgit_keeps_the_most_confident_cells_and_the_first_of_equals() -> None:
    """Ties are broken by position: at temperature 0 a result must not depend on how a kernel sorts."""
    state = GridDecoding(target_plan("maskgit", (2, 2, 1)), request_generator(0, 0, "x"))
    state.accept(torch.tensor([[0.0, 1.0], [3.0, 0.0], [0.0, 1.0], [0.0, 5.0], [1.0, 0.0]]))
    assert state.fixed.positions.tolist() == [1, 3]
    assert state.fixed.ids.tolist() == [0, 1]
    assert state.asked.tolist() == [0, 2, 4]

    state.accept(torch.zeros(3, 2))
    assert state.fixed.positions.tolist() == [0, 1, 2, 3]
    assert state.asked.tolist() == [4]

    state.accept(torch.zeros(1, 2))
    assert state.finished


@pytest.mark.parametrize("scheme", ["maskgit", "roar"])
def test_a_given_order_says_which_cells_each_step_fixes(scheme: Scheme) -> None:
    """MaskGIT still samples every open cell, since they look at each other; random order asks for those that
    it fixes. Neither confidence nor chance has a say."""
    plan = attrs.evolve(target_plan(scheme, (2, 1)), order=(2, 0, 1))
    state = GridDecoding(plan, request_generator(0, 0, "x"))
    assert state.asked.tolist() == ([0, 1, 2] if scheme == "maskgit" else [0, 2])
    state.accept(torch.tensor([[0.0, 1.0], [0.0, 9.0], [0.0, 1.0]])[: len(state.asked)])

    assert state.fixed.positions.tolist() == [0, 2]
    assert state.asked.tolist() == [1]


def test_fixed_cells_are_seen_in_the_next_step(
    model: AnyToAnyTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell is either visible or asked for, never both; guidance passes ask for the same cells."""
    passes: list[list[Sample]] = []
    original = packed

    def watched(samples: list[Sample], model: AnyToAnyTransformer) -> object:
        passes.append(samples)
        return original(samples, model)

    monkeypatch.setattr(run, "packed", watched)
    target = Target("depth", scheme="roar", steps=4, guidance=2.0)
    made = generate(model, [target], {"digit.pixels": shown()["digit.pixels"]})["depth.tokens"]

    fixed: set[int] = set()
    assert len(passes) == 4
    for samples in passes:
        conditional, unconditional = samples
        asked = conditional.asks["depth.tokens"].tolist()
        assert asked == unconditional.asks["depth.tokens"].tolist()
        for sample in samples:
            own = sample.shows.get("depth.tokens")
            assert (set() if own is None else set(own.positions.tolist())) == fixed
            if own is not None:
                assert own.ids.tolist() == made.ids[own.positions].tolist()
        assert not fixed & set(asked)
        fixed |= set(asked)


TARGETS = [
    Target("depth", steps=3),
    Target("shape", scheme="roar", steps=2, guidance=2.0),
    Target("caption", top_k=9, guidance=1.5),
]


@pytest.mark.parametrize("chain", [True, False])
def test_a_batch_of_five_is_five_singles(model: AnyToAnyTransformer, chain: bool) -> None:
    """What else is in the batch may round a score differently, but can never change the random numbers."""
    shows = [{"digit.pixels": shown(i)["digit.pixels"]} for i in range(5)]
    plan = compile_request(model.plan, Request({"digit.pixels": 1}, tuple(TARGETS), chain))
    jobs = [Job(plan, one, seed=3, index=i) for i, one in enumerate(shows)]
    together = run_jobs(model, jobs)
    alone = [run_jobs(model, [job])[0] for job in jobs]

    for one, other in zip(together, alone, strict=True):
        assert list(one) == ["depth.tokens", "shape.tokens", "caption.tokens"]
        for name in one:
            assert np.array_equal(one[name].ids, other[name].ids), name
            assert one[name].confidence == pytest.approx(other[name].confidence, abs=1e-5)


def test_samples_that_show_different_things_share_a_batch(model: AnyToAnyTransformer) -> None:
    """Nothing at all, one modality, another, both: what is absent is not there, registers or not."""
    both = shown(4)
    pixels, depth = both
    jobs = []
    for index, names in enumerate([(), (pixels,), (depth,), (pixels, depth)]):
        targets = [
            Target("shape", steps=3, guidance=2.0 if names else 1.0),
            Target("caption", guidance=1.5 if names else 1.0),
        ]
        plan = compile_request(model.plan, Request(dict.fromkeys(names, 1), tuple(targets)))
        jobs.append(Job(plan, {name: both[name] for name in names}, seed=9, index=index))
    together = run_jobs(model, jobs)

    for job, made in zip(jobs, together, strict=True):
        (alone,) = run_jobs(model, [job])
        for name, tokens in made.items():
            assert np.array_equal(tokens.ids, alone[name].ids), name
            assert tokens.confidence == pytest.approx(alone[name].confidence, abs=1e-5)


def test_the_same_seed_gives_the_same_tokens_bit_for_bit_and_another_does_not(
    model: AnyToAnyTransformer,
) -> None:
    first, again, other = (generate(model, TARGETS, {}, seed=seed, chain=True) for seed in (1, 1, 2))

    for name in first:
        assert np.array_equal(first[name].ids, again[name].ids)
        assert np.array_equal(first[name].confidence, again[name].confidence)
    assert any(not np.array_equal(first[name].ids, other[name].ids) for name in first)


def test_a_later_target_of_a_chain_sees_the_earlier_one_as_if_it_were_given(
    model: AnyToAnyTransformer,
) -> None:
    shows = {"digit.pixels": shown()["digit.pixels"]}
    made = generate(model, [Target("depth", steps=2), Target("caption")], shows)
    given_too = {**shows, "depth.tokens": Tokens.whole(made["depth.tokens"].ids)}

    assert np.array_equal(
        made["caption.tokens"].ids, generate(model, [Target("caption")], given_too)["caption.tokens"].ids
    )


def test_independent_targets_share_one_pass_of_the_encoder(
    model: AnyToAnyTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One-step grids and sequences that see the same inputs need them encoded once, and get what they get
    alone."""
    encoded: list[tuple[int, ...]] = []
    original = Trunk.encode

    def counting(self: Trunk, batch: MicroBatch, routes: Routes) -> torch.Tensor:
        encoded.append(batch.encoder_lengths)
        return original(self, batch, routes)

    shows = {"digit.pixels": shown()["digit.pixels"]}
    targets = [Target("depth", steps=1), Target("shape", steps=1), Target("caption")]
    alone = {target.stream: generate(model, [target], shows) for target in targets}
    monkeypatch.setattr(Trunk, "encode", counting)
    together = generate(model, targets, shows, chain=False)

    assert [len(lengths) for lengths in encoded] == [1]
    for target in targets:
        name = f"{target.stream}.tokens"
        assert np.array_equal(together[name].ids, alone[target.stream][name].ids), name


def test_a_model_in_training_mode_is_given_back_as_it_was(model: AnyToAnyTransformer) -> None:
    model.train()
    try:
        generate(model, [Target("shape")], {})
        assert model.training
    finally:
        model.eval()
