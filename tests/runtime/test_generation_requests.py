"""Claims about requests: what they compile to, and every way in which they are refused."""

import copy
from collections.abc import Mapping, Sequence

import attrs
import pytest

from fourm_runtime.generation.plan import GenerationPlan, Pass, compile_request
from fourm_runtime.generation.request import Prefix, Request, Target, TargetsLike, read_targets
from fourm_schema.errors import RequestError
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema


@pytest.fixture(scope="module")
def plan() -> Plan:
    image = {"kind": "image", "size": 4, "patch": 1}
    levels = {"type": "continuous", "channels": 1, "range": [0, 16], "levels": 17}
    return resolve(
        Schema.model_validate(
            {
                "version": 1,
                "vocabularies": {"words": {"kind": "wordpiece", "size": 64}},
                "modalities": {
                    "digit": {**image, "cell": levels, "shown": ["pixels", "tokens"]},
                    "photo": {**image, "cell": levels, "shown": ["pixels"]},
                    "clue": {**image, "cell": levels, "role": "input"},
                    "answer": {**image, "cell": levels, "role": "target"},
                    "strokes": {"kind": "vector", "dim": 6, "ranges": [0, 1], "bins": 8},
                    "boxes": {
                        "kind": "set",
                        "max_items": 2,
                        "fields": {"size": {"type": "number", "range": [0, 1], "bins": 8}},
                    },
                    "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 10},
                },
            }
        )
    )


def compile_(
    plan: Plan, inputs: Sequence[str] | Mapping[str, object], targets: TargetsLike, chain: bool = True
) -> GenerationPlan:
    given = inputs if isinstance(inputs, Mapping) else dict.fromkeys(inputs, 1)
    return compile_request(plan, Request(given, read_targets(targets, plan), chain))


def test_a_chain_says_which_step_feeds_which(plan: Plan) -> None:
    """A user reads the plan before paying for it; this is the whole text."""
    compiled = compile_(
        plan,
        ["digit"],
        [
            Target("caption", temperature=0.3, top_p=0.9),
            Target("strokes", steps=2, guidance=2.0),
            Target("answer", scheme="roar", steps=3, temperature_schedule="linear", top_k=5),
        ],
    )

    assert str(compiled) == "\n".join(
        [
            "inputs: digit.pixels",
            "step 1 sees digit.pixels",
            "  caption.tokens: autoregressive, at most 10 tokens, temperature 0.3, top-p 0.9",
            "step 2 sees digit.pixels, caption.tokens",
            "  strokes.tokens: maskgit, 6 tokens in 2 steps (2 x 3), temperature 1, "
            "guidance 2 by digit.pixels, caption.tokens",
            "step 3 sees digit.pixels, caption.tokens, strokes.tokens",
            "  answer.tokens: roar, 16 tokens in 3 steps (6, 2 x 5), temperature 1 to 0.312, top-k 5",
        ]
    )


def test_targets_that_are_not_chained_stand_in_one_step(plan: Plan) -> None:
    """So they share the pass of the encoder."""
    compiled = compile_(plan, [], ["caption", "strokes"], chain=False)

    assert [[target.stream for target in step.targets] for step in compiled.steps] == [
        ["caption.tokens", "strokes.tokens"]
    ]
    assert "inputs: none" in str(compiled)
    assert "sees nothing" in str(compiled)


def test_guidance_of_one_adds_no_pass(plan: Plan) -> None:
    assert compile_(plan, ["digit"], [Target("strokes", guidance=1)]).targets[0].passes == (
        Pass(1.0, ("digit.pixels",)),
    )


def test_guidance_drops_the_conditions_that_are_named(plan: Plan) -> None:
    """u + w (c - u) = w c + (1 - w) u, with u lacking the named input only."""
    target = Target("strokes", guidance=3.0, conditions=("clue",))

    assert compile_(plan, ["digit", "clue"], [target]).targets[0].passes == (
        Pass(3.0, ("digit.pixels", "clue.tokens")),
        Pass(-2.0, ("digit.pixels",)),
    )


def test_each_condition_can_have_a_weight_of_its_own(plan: Plan) -> None:
    """u + sum of w_i (c_i - u): one pass per condition, weights that sum to one."""
    target = Target("strokes", guidance={"digit": 2.0, "clue": 0.5})
    compiled = compile_(plan, ["digit", "clue", "caption"], [target]).targets[0]

    assert compiled.passes == (
        Pass(2.0, ("digit.pixels", "caption.tokens")),
        Pass(0.5, ("clue.tokens", "caption.tokens")),
        Pass(-1.5, ("caption.tokens",)),
    )
    assert compiled.guidance == "guidance 2 by digit.pixels, 0.5 by clue.tokens"


def test_a_condition_goes_by_any_name_of_its_stream(plan: Plan) -> None:
    """An alias (a name of 4M's) is a name like another, in guidance too."""
    streams = [
        attrs.evolve(s, aliases=("tok_clue@224",)) if s.modality == "clue" else s for s in plan.streams
    ]
    aliased = attrs.evolve(plan, streams=tuple(streams))
    for target in (
        Target("strokes", guidance=2.0, conditions=("tok_clue@224",)),
        Target("strokes", guidance={"tok_clue@224": 2.0}),
    ):
        assert (
            compile_(aliased, ["tok_clue@224"], [target]).targets[0].guidance == "guidance 2 by clue.tokens"
        )


def test_a_prefix_is_no_input_but_the_beginning_of_a_target(plan: Plan) -> None:
    compiled = compile_(plan, {"caption": Prefix("a")}, ["caption"])

    assert compiled.inputs == {}
    assert compiled.targets[0].continued
    assert "at most 10 tokens, after the given prefix" in str(compiled)


def test_tokens_may_be_predicted_from_pixels_when_both_streams_are_named(plan: Plan) -> None:
    """That is what a tokeniser does, so it is allowed to who says it in full."""
    assert compile_(plan, ["digit.pixels"], ["digit.tokens"]).inputs == {"digit.pixels": "digit.pixels"}


MODALITY_NAMES = (
    "answer, answer.tokens, boxes, boxes.tokens, caption, caption.tokens, digit, digit.tokens, "
    "strokes, strokes.tokens"
)
AGAIN = "set its role to both in the schema, and train again"


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (
            ["digt"],
            ["caption"],
            "inputs.digt: is no stream or modality; did you mean 'digit'? known: boxes, boxes.tokens, "
            "caption, caption.tokens, clue, clue.tokens, digit, digit.pixels, digit.tokens, photo, "
            "photo.pixels, strokes, strokes.tokens",
        ),
        (
            [],
            ["captoin"],
            f"targets.captoin: is no stream or modality; did you mean 'caption'? known: {MODALITY_NAMES}",
        ),
        (
            [],
            [],
            "targets: nothing is asked for; name one or more of: digit.tokens, answer.tokens, "
            "strokes.tokens, boxes.tokens, caption.tokens",
        ),
        (
            [],
            ["photo"],
            "targets.photo: photo.pixels is dense, and only tokens can be generated; add tokens to `shown` "
            "of photo in "
            "the schema, and train again",
        ),
        (
            [],
            ["digit.pixels"],
            "targets.digit.pixels: digit.pixels is dense, and only tokens can be generated; add tokens to "
            "`shown` of "
            "digit in the schema, and train again",
        ),
        (
            ["answer"],
            ["caption"],
            f"inputs.answer: answer.tokens has role target and cannot be given; {AGAIN}",
        ),
        ([], ["clue"], f"targets.clue: clue.tokens has role input and cannot be generated; {AGAIN}"),
        (
            ["digit", "digit.pixels"],
            ["caption"],
            "inputs.digit.pixels: digit.pixels is given twice; give it under one name",
        ),
        ([], ["caption", "caption"], "targets.caption: caption.tokens is asked for twice; ask for it once"),
        (
            ["caption"],
            ["caption"],
            "targets.caption.tokens: caption is already given; got input caption; drop one of the two",
        ),
        (
            ["digit"],
            ["digit"],
            "targets.digit.tokens: digit is already given; got input digit; drop one of the two, or name "
            "streams: "
            "input digit.pixels, target digit.tokens",
        ),
        (
            {"digit": Prefix("x")},
            ["digit"],
            "inputs.digit: only a text or a set can be given in part; got digit.pixels, of kind image",
        ),
        (
            {"caption": Prefix("x")},
            ["digit"],
            "inputs.caption: a prefix is continued by generating it; add caption to the targets",
        ),
        (
            [],
            {"digit": {"scheme": "autoregressive"}},
            "targets.digit: autoregressive does not generate a grid; digit.tokens takes scheme maskgit or "
            "roar",
        ),
        (
            [],
            {"caption": {"scheme": "roar"}},
            "targets.caption: roar does not generate a sequence; caption.tokens takes scheme autoregressive",
        ),
        (
            [],
            {"digit": {"scheme": "maskgitt"}},
            "targets.digit: 'maskgitt' is no scheme; did you mean 'maskgit'? known: autoregressive, "
            "maskgit, roar",
        ),
        ([], {"digit": {"steps": 17}}, "targets.digit: steps must be between 1 and its 16 tokens; got 17"),
        ([], {"digit": {"steps": 0}}, "targets.digit: steps must be between 1 and its 16 tokens; got 0"),
        ([], {"digit": {"steps": 2.5}}, "targets.digit: steps must be between 1 and its 16 tokens; got 2.5"),
        *(
            (
                [],
                {"digit": {"order": order}},
                "targets.digit: an order names each of its 16 cells once, from 0; got " + told,
            )
            for order, told in [
                ([*range(15)], "15 entries"),
                ([*range(15), 14], "16 entries"),
                ([*range(15), 15.0], "16 entries"),
                ("raster", "6 entries"),
                (3, "3"),
            ]
        ),
        (
            [],
            {"caption": {"order": [0]}},
            "targets.caption: autoregressive decoding has no order; leave it out: a sequence takes one "
            "step per token",
        ),
        (
            [],
            {"caption": {"steps": 4}},
            "targets.caption: autoregressive decoding has no steps; leave it out: a sequence takes one "
            "step per token",
        ),
        (
            [],
            {"digit": {"temperature": -0.5}},
            "targets.digit: temperature must be 0 or more; got -0.5; 0 is the most likely token",
        ),
        (
            [],
            {"digit": {"top_k": -1}},
            "targets.digit: top_k must be a whole number, 0 or more; got -1; 0 sets no limit",
        ),
        (
            [],
            {"digit": {"top_p": 0.0}},
            "targets.digit: top_p must be above 0 and at most 1; got 0.0; 1 sets no limit",
        ),
        (
            [],
            {"digit": {"token_schedule": "cos"}},
            "targets.digit.token_schedule: 'cos' is no schedule; did you mean 'cosine'? known: cosine, "
            "linear",
        ),
        (
            [],
            {"digit": {"temperature_schedule": "onex"}},
            "targets.digit.temperature_schedule: onex needs a lowest temperature >= 0 and a power > 0; got "
            "'onex'; "
            "write it as onex:MIN:POWER, e.g. onex:0.5:0.5",
        ),
        (
            [],
            {"digit": {"guidance": 2.0}},
            "targets.digit: guidance needs a condition, and nothing is given; give an input, or leave "
            "guidance at 1",
        ),
        (["clue"], {"digit": {"guidance": "big"}}, "targets.digit: guidance is a finite number; got 'big'"),
        (
            ["clue"],
            {"digit": {"guidance": {"clue": float("nan")}}},
            "targets.digit: guidance by clue is a finite number; got nan",
        ),
        (
            ["clue"],
            {"digit": {"guidance": 2.0, "conditions": ("clu",)}},
            "targets.digit: condition 'clu' is no input or earlier target; did you mean 'clue'? "
            "known: clue, clue.tokens",
        ),
        (
            ["clue"],
            {"digit": {"guidance": {"clue": 2.0}, "conditions": ("clue",)}},
            "targets.digit: conditions are given twice; leave `conditions` out: `guidance` names them",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_loaded(
    plan: Plan, inputs: Sequence[str] | Mapping[str, object], targets: TargetsLike, message: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        compile_(plan, inputs, targets)
    assert str(refusal.value) == f"the request has 1 fault:\n  {message}"


def test_all_faults_of_a_request_are_told_at_once(plan: Plan) -> None:
    """Whoever mends a request should have to do it once."""
    with pytest.raises(RequestError) as refusal:
        compile_(
            plan, ["digt"], {"caption": {"steps": 3, "top_k": -2}, "photo": {}, "digit": {"guidance": 2}}
        )

    assert [fault.where for fault in refusal.value.faults] == [
        "inputs.digt",
        "targets.photo",
        "targets.caption",
        "targets.caption",
    ]
    again = copy.copy(refusal.value)
    assert str(again) == str(refusal.value)
    assert again.faults == refusal.value.faults


def test_a_setting_that_does_not_exist_is_refused(plan: Plan) -> None:
    with pytest.raises(
        RequestError, match=r"targets\.caption: 'temprature' is no setting; did you mean 'temperature'\?"
    ):
        read_targets({"caption": {"temprature": 1}}, plan)
    with pytest.raises(RequestError, match=r"targets: 'step' is no setting; did you mean 'steps'\?"):
        read_targets(["caption"], plan, {"step": 1})


def test_settings_of_one_target_win_over_those_of_all(plan: Plan) -> None:
    first, second, third = read_targets(
        {"digit": {"steps": 2}, "strokes": {}, "answer": {"temperature": 0.0}},
        plan,
        {"steps": 4, "temperature": None},
    )

    assert (first.steps, second.steps, third.steps) == (2, 4, 4)
    assert (second.temperature, third.temperature) == (1.0, 0.0)


def test_settings_of_all_reach_only_those_to_whom_they_mean_something(plan: Plan) -> None:
    """`--to caption,strokes --steps 4` should not fail because a text has no steps."""
    caption, strokes = read_targets(["caption", "strokes"], plan, {"steps": 4, "temperature": 0.5})

    assert (caption.steps, strokes.steps) == (None, 4)
    assert caption.temperature == strokes.temperature == 0.5


def test_one_name_is_one_target(plan: Plan) -> None:
    """A string is a sequence of letters to Python, but not to whoever asks for a caption."""
    assert read_targets("caption", plan) == (Target("caption"),)
