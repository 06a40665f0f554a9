"""Claims about several samples of one target: how they are drawn, and what they become."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.build import build_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.assemble import assemble
from fourm_runtime.batch import MicroBatch
from fourm_runtime.generation.combine import Produced, combine
from fourm_runtime.generation.plan import compile_request
from fourm_runtime.generation.request import Request, Target
from fourm_runtime.generation.trunk import Trunk
from fourm_runtime.transformer import Routes
from fourm_schema.architecture import Architecture
from fourm_schema.errors import RequestError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema


@pytest.fixture(scope="module")
def model() -> AnyToAny:
    schema = Schema.model_validate(
        {
            "version": 1,
            "vocabularies": {"words": {"kind": "wordpiece", "size": 60}},
            "modalities": {
                "depth": {
                    "kind": "image",
                    "size": 4,
                    "patch": 1,
                    "cell": {"type": "continuous", "channels": 1, "range": [0, 3], "levels": 4},
                },
                "shape": {"kind": "vector", "dim": 4, "ranges": [0, 1], "bins": 8},
                "dots": {
                    "kind": "set",
                    "max_items": 2,
                    "fields": {"size": {"type": "number", "range": [0, 1], "bins": 8}},
                },
                "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 6},
            },
        }
    )
    plan = resolve(schema)
    words = WordVocabulary.train(["a small three", "a tall seven"], "words", 60, plan.vocabularies[0].special)
    network = assemble(plan, Architecture(dim=32, heads=4, encoder_depth=1, decoder_depth=1))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("tables."):
                parameter.mul_(5)  # as drawn, an untrained model hardly tells its inputs apart
    return AnyToAny(schema, network, {"caption": build_codec(schema, "caption", {"words": words})})


def produced(ids: Sequence[int], sure: Sequence[float] | None = None) -> Produced:
    return Produced(np.array(ids, np.int32), np.array(sure or [0.5] * len(ids), np.float32))


def test_a_vote_takes_the_commonest_id_of_each_token_and_says_how_many_agree() -> None:
    """Three of four, all, and two against two: there the id that its samples were surer of."""
    made = combine(
        "vote",
        [
            produced([1, 7, 3], [0.9, 0.9, 0.1]),
            produced([1, 7, 3], [0.1, 0.9, 0.1]),
            produced([1, 7, 9], [0.1, 0.9, 0.2]),
            produced([5, 7, 9], [1.0, 0.9, 0.1]),
        ],
    )

    assert made.ids.tolist() == [1, 7, 9]
    assert made.confidence.tolist() == [0.75, 1.0, 0.5]


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=9))
def test_no_id_has_more_votes_than_the_winner(rows: list[list[int]]) -> None:
    made = combine("vote", [produced(row) for row in rows])

    for token, (winner, share) in enumerate(zip(made.ids.tolist(), made.confidence.tolist(), strict=True)):
        votes = [row[token] for row in rows]
        assert votes.count(winner) == max(map(votes.count, votes))
        assert share == pytest.approx(votes.count(winner) / len(rows))


def test_the_best_sample_is_the_likeliest_per_token() -> None:
    """Not the shortest: a long text whose words are all likely beats a short unlikely one."""
    long, short = produced([1, 2, 3, 4], [0.6] * 4), produced([1, 2], [0.5] * 2)

    assert combine("best", [short, long]) is long
    assert combine("best", [long, short]) is long


def test_samples_of_a_grid_differ_and_the_first_is_the_one_that_is_drawn_alone(model: AnyToAny) -> None:
    """Raising `samples` refines an answer; it does not draw another one."""
    (alone,) = model.generate({}, {"depth": {}}, seed=3)
    (twice,) = model.generate({}, {"depth": {"samples": 2}}, seed=3)
    (many,) = model.generate({}, {"depth": {"samples": 8}}, seed=3)

    # Of two samples that differ, the vote is the surer one; where they agree it is what both say.
    agreed = twice["depth"].confidence == 1.0
    assert 0 < agreed.sum() < 16
    assert np.array_equal(twice["depth"].tokens[agreed], alone["depth"].tokens[agreed])
    assert set(np.round(many["depth"].confidence * 8).tolist()) <= set(range(1, 9))
    assert not np.array_equal(many["depth"].confidence, alone["depth"].confidence)


@pytest.mark.parametrize("scheme", ["maskgit", "roar"])
def test_samples_see_the_encoder_once_and_draw_for_themselves(
    model: AnyToAny, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a one-step grid look at the same block, whatever the scheme; guidance adds one block, not one
    per sample."""
    blocks: list[int] = []
    encode = Trunk.encode

    def counting(self: Trunk, batch: MicroBatch, routes: Routes) -> torch.Tensor:
        blocks.append(len(batch.encoder_lengths))
        return encode(self, batch, routes)

    monkeypatch.setattr(Trunk, "encode", counting)
    target = Target("depth", scheme=scheme, steps=1, samples=5, guidance=2.0, temperature=5.0)
    (made,) = model.generate({"shape": [0.1, 0.2, 0.3, 0.4]}, [target])

    assert blocks == [2]
    assert made["depth"].confidence.min() < 1.0


def test_samples_in_random_order_ask_for_cells_of_their_own(model: AnyToAny) -> None:
    """Greedy samples differ only by their order, so a vote over orders is one over different answers."""
    target = Target("depth", scheme="roar", steps=8, samples=6, temperature=0.0)
    (made,) = model.generate({"shape": [0.9, 0.2, 0.3, 0.4]}, [target])

    assert made["depth"].confidence.shape == (16,)
    assert set(np.round(made["depth"].confidence * 6).tolist()) <= set(range(1, 7))


def test_sets_are_joined_one_after_the_other_and_not_shown_to_what_comes_later(model: AnyToAny) -> None:
    """Many instances from a set that holds two at most; no model was trained to see so many."""
    wanted = {"dots": {"samples": 6, "temperature": 2.0}, "caption": {}}
    (made,) = model.generate({}, wanted, seed=1)
    alone = [model.generate({}, {"dots": {"temperature": 2.0}}, seed=1)[0]["dots"]]
    end = model.plan.special(model.plan.stream("dots")).end
    records = made["dots"].value

    assert isinstance(records, list) and len(records) > 2
    assert (made["dots"].tokens == end).sum() == 6
    assert records[: len(list(alone[0].value))] == alone[0].value
    assert made["dots"].confidence.shape == made["dots"].tokens.shape
    assert model.explain([], wanted).splitlines()[-2] == "step 2 sees nothing"


def test_joined_texts_have_a_line_each_and_the_best_text_is_one_of_them(model: AnyToAny) -> None:
    (joined,) = model.generate({}, {"caption": {"samples": 4, "combine": "join"}}, seed=2)
    (best,) = model.generate({}, {"caption": {"samples": 4}}, seed=2)
    lines = str(joined["caption"].value).split("\n")

    assert len(lines) == 4
    assert best["caption"].value in lines


def test_a_plan_says_how_many_samples_it_draws_and_what_becomes_of_them(model: AnyToAny) -> None:
    wanted = {"depth": {"samples": 4}, "dots": {"samples": 2}, "caption": {"samples": 3}}
    lines = [line for line in model.explain([], wanted).splitlines() if line.startswith("  ")]

    assert [line.partition("temperature 1, ")[2] for line in lines] == [
        "4 samples, voted",
        "2 samples, joined",
        "3 samples, the likeliest kept",
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("depth", samples=0), "targets.depth: samples must be a whole number, 1 or more; got 0"),
        (
            Target("depth", combine="join"),
            "targets.depth: samples of a grid cannot be combined by join; depth.tokens takes combine vote or "
            "best",
        ),
        (
            Target("caption", combine="vote"),
            "targets.caption: samples of a sequence cannot be combined by vote; caption.tokens takes combine "
            "best or join",
        ),
        (
            Target("caption", combine="bets"),
            "targets.caption: 'bets' combines nothing; did you mean 'best'? known: best, join",
        ),
    ],
)
def test_samples_that_cannot_be_combined_are_refused(model: AnyToAny, target: Target, message: str) -> None:
    with pytest.raises(RequestError) as refusal:
        compile_request(model.plan, Request({}, (target,)))
    assert str(refusal.value) == f"the request has 1 fault:\n  {message}"
