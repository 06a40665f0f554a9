"""Claims about compiled plans that are used again, and about giving what was generated to a next model."""

from pathlib import Path

import attrs
import numpy as np
import pytest

from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.assemble import assemble
from fourm_runtime.generation.request import Prefix, Target
from fourm_runtime.released.exporting import export_4m
from fourm_runtime.released.modalities import Found
from fourm_schema.architecture import Architecture
from fourm_schema.errors import RequestError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.runtime.small_release import SHAPE, WORDS, small_checkpoint


def made_of(modalities: dict[str, object]) -> AnyToAny:
    schema = Schema.model_validate({"version": 1, "modalities": modalities})
    shape = Architecture(dim=32, heads=4, encoder_depth=1, decoder_depth=1)
    return AnyToAny(schema, assemble(resolve(schema), shape))


LEVELS = {"type": "continuous", "channels": 1, "range": [0, 3], "levels": 4}
DEPTH = {"kind": "image", "size": 4, "patch": 1, "cell": LEVELS}
DOTS = {"kind": "set", "max_items": 2, "fields": {"size": {"type": "number", "range": [0, 1], "bins": 8}}}
VECTOR = {"kind": "vector", "dim": 4, "ranges": [0, 1], "bins": 8}


@pytest.fixture(scope="module")
def model() -> AnyToAny:
    return made_of({"depth": DEPTH, "shape": VECTOR, "dots": DOTS})


GIVEN = {"shape": [0.1, 0.2, 0.3, 0.4]}


def test_a_compiled_plan_runs_as_the_request_it_was_made_of(model: AnyToAny) -> None:
    targets = [Target("depth", steps=3, guidance=2.0), Target("dots")]
    plan = model.compile(["shape"], targets)
    (first,) = model.generate(GIVEN, targets, seed=4)
    (again,) = model.generate(GIVEN, plan=plan, seed=4)

    assert str(plan) == model.explain(["shape"], targets)
    for name in first:
        assert np.array_equal(first[name].tokens, again[name].tokens)
        assert np.array_equal(first[name].confidence, again[name].confidence)


def test_a_plan_can_be_changed_by_hand_and_serves_many_samples(model: AnyToAny) -> None:
    """It is plain data: here the cells of a grid are decided one row after the other."""
    plan = model.compile(["shape"], {"depth": {"steps": 4, "scheme": "roar"}})
    (step,) = plan.steps
    rows = attrs.evolve(step.targets[0], order=tuple(range(16)))
    changed = attrs.evolve(plan, steps=(attrs.evolve(step, targets=(rows,)),))
    made = model.generate([GIVEN, {"shape": [1, 1, 1, 1]}], plan=changed)

    assert [np.asarray(sample["depth"].value).shape for sample in made] == [(4, 4)] * 2
    assert "roar, 16 tokens in 4 steps (4 x 4), in a given order" in str(changed)


def test_a_plan_that_does_not_fit_is_refused_with_all_its_faults(model: AnyToAny) -> None:
    """Those of the model and those of what is given, before anything is computed."""
    larger = made_of({"depth": {**DEPTH, "size": 8}, "shape": VECTOR, "other": VECTOR, "dots": DOTS})
    plan = larger.compile({"shape": 1, "other": 1, "dots": Prefix([])}, ["depth", "dots"])
    with pytest.raises(RequestError) as refusal:
        model.generate({"dots": [], "depth": np.zeros((4, 4))}, ["depth"], plan=plan, temperature=0.5)

    model_too = "compile the request for this model"
    assert str(refusal.value).splitlines() == [
        "the request has 9 faults:",
        "  targets: the plan has it already; give the plan, or this",
        "  temperature: the plan has it already; give the plan, or this",
        f"  plan.inputs.other: the model has no such stream; got other.tokens; {model_too}",
        f"  plan.targets.depth.tokens: it has 16 tokens; got a plan for 64; {model_too}",
        "  request 0, inputs: the plan needs other.tokens, which is not given; give it, or compile anew",
        "  request 0, inputs: the plan needs shape.tokens, which is not given; give it, or compile anew",
        "  request 0, inputs.dots: the plan makes no use of it; leave it out, or compile anew",
        "  request 0, inputs.depth: the plan makes no use of it; leave it out, or compile anew",
        "  request 0, inputs: the plan continues dots.tokens, whose beginning is not given; compile anew",
    ]


def test_what_was_generated_can_be_given_as_it_is(model: AnyToAny) -> None:
    (first,) = model.generate(GIVEN, ["depth"], seed=1)
    (by_result,) = model.generate(first, ["dots"], seed=2)
    (by_value,) = model.generate({"depth": first["depth"].value}, ["dots"], seed=2)

    assert by_result["dots"].value == by_value["dots"].value


def test_a_second_model_makes_the_same_modality_at_another_size(tmp_path: Path) -> None:
    """Super-resolution as 4M has it: a model of its own, whose request is one like any other."""
    coarse = (Found("rgb@224", "input", 0, 16, 56 * 56 * 3), Found("tok_rgb@224", "both", 40, 16, 0))
    fine = (
        Found("caption", "both", WORDS, 512, 0),
        Found("tok_rgb@224", "input", 40, 16, 0),
        Found("tok_rgb@448", "target", 40, 64, 0),
    )
    models = []
    for name, found in (("base", coarse), ("fine", fine)):
        export_4m(small_checkpoint(shape=SHAPE, found=found), tmp_path / f"{name}.safetensors")
        models.append(AnyToAny.from_pretrained(tmp_path / f"{name}.safetensors"))
    base, upscaler = models
    (small,) = base.generate({"rgb@224": np.zeros((224, 224, 3))}, ["tok_rgb@224"], steps=2)
    target = Target("tok_rgb@448", steps=4, guidance=2.0, conditions=("tok_rgb@224",))
    (large,) = upscaler.generate({"tok_rgb@224": small["tok_rgb"]}, [target])

    assert np.asarray(small["tok_rgb"].value).shape == (4, 4)
    assert np.asarray(large["tok_rgb_448"].value).shape == (8, 8)
