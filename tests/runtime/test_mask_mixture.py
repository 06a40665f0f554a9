"""Mask presets: what they expand to, and what they refuse."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from fourm_runtime.batch import Batch, Column, Dense, Grid, Sequences
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import BudgetEntry, Component, MaskEntry, Mixture, expand
from fourm_schema.errors import PlanError
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

ENTRY: TypeAdapter[MaskEntry] = TypeAdapter(MaskEntry)
GREY = {"type": "continuous", "channels": 1, "range": [0, 16], "levels": 17}
SHOWN_ONLY = ("digit.pixels", "clue.tokens")


def make_plan(**more: dict[str, object]) -> Plan:
    modalities: dict[str, dict[str, object]] = {
        "digit": {"kind": "image", "size": 8, "patch": 1, "cell": GREY, "shown": ["pixels", "tokens"]},
        "ink": {"kind": "image", "size": 8, "patch": 1, "cell": GREY},
        "clue": {"kind": "vector", "dim": 3, "ranges": [0, 1], "bins": 8, "role": "input"},
        "caption": {"kind": "text", "vocabulary": "words", "max_tokens": 16},
    }
    words = {"kind": "wordpiece", "size": 256}
    declared = {"version": 1, "vocabularies": {"words": words}, "modalities": modalities | more}
    return resolve(Schema.model_validate(declared))


def expanded(*entries: dict[str, object], plan: Plan | None = None) -> tuple[Component, ...]:
    masks = [ENTRY.validate_python(entry) for entry in entries]
    return expand(masks, BudgetEntry(), plan or make_plan()).components


def test_all_to_all_covers_streams_by_role() -> None:
    """Dense and input-only streams are shown and never predicted."""
    (component,) = expanded({"preset": "all_to_all", "alpha": 0.5, "weight": 2})

    assert component.weight == 2
    assert component.input_alphas == {
        "digit.pixels": 0.5,
        "digit.tokens": 0.5,
        "ink.tokens": 0.5,
        "clue.tokens": 0.5,
        "caption.tokens": 0.5,
    }
    assert component.target_alphas == {"digit.tokens": 0.5, "ink.tokens": 0.5, "caption.tokens": 0.5}
    assert component.keep == {"caption.tokens": "random"}


def test_a_new_modality_needs_no_entry() -> None:
    """The first promise of the framework: a modality is YAML, and the recipe does not change."""
    plan = make_plan(edges={"kind": "image", "size": 8, "patch": 1, "cell": GREY})
    entries: list[dict[str, object]] = [
        {"preset": "all_to_all", "alpha": 1.0},
        {"preset": "from", "stream": "digit.pixels"},
        {"preset": "biased", "stream": "caption"},
    ]

    assert all(component.target_alphas["edges.tokens"] > 0 for component in expanded(*entries, plan=plan))


def test_each_alpha_of_a_list_is_a_component_with_its_part_of_the_weight() -> None:
    """4M's four symmetric concentrations in one line."""
    components = expanded({"preset": "all_to_all", "alpha": [0.01, 0.1, 1, 10], "weight": 4})

    assert [component.weight for component in components] == [1.0] * 4
    assert [component.input_alphas["ink.tokens"] for component in components] == [0.01, 0.1, 1, 10]


def test_all_to_all_leaves_out_what_is_excluded() -> None:
    """A modality's name stands for its default stream, so its pixels stay."""
    (component,) = expanded({"preset": "all_to_all", "alpha": 1, "exclude": ["digit", "caption.tokens"]})

    assert set(component.input_alphas) == {"digit.pixels", "ink.tokens", "clue.tokens"}
    assert set(component.target_alphas) == {"ink.tokens"}


@pytest.mark.parametrize(
    "entry",
    [
        {"preset": "all_to_all", "alpha": [0.01, 0.5, 10.0]},
        {"preset": "from", "stream": "digit.pixels"},
        {"preset": "biased", "stream": "clue"},
    ],
)
def test_streams_that_are_only_shown_take_nothing_of_the_target_budget(entry: dict[str, object]) -> None:
    """4M gives such a modality a share of the targets that nothing fills; here the whole budget is spent
    on what can be predicted, as long as that has room."""
    plan = make_plan(edges={"kind": "image", "size": 8, "patch": 1, "cell": GREY})
    shown_only = [plan.index(name) for name in SHOWN_ONLY]
    mixture = expand([ENTRY.validate_python(entry)], BudgetEntry(input=16, target=(4, 12)), plan)
    size = 500
    present = np.ones(size, np.bool_)
    columns: dict[str, Column] = {}
    for stream in plan.streams:
        if stream.is_dense:
            columns[stream.name] = Dense(np.zeros((size, stream.length, 1), np.float32), present)
        elif stream.layout == "grid":
            columns[stream.name] = Grid(np.zeros((size, stream.length), np.uint8), present)
        else:
            offsets = np.arange(size + 1) * stream.length
            columns[stream.name] = Sequences(np.zeros(int(offsets[-1]), np.uint8), offsets, present)
    masker = Masker(plan, mixture, seed=3)
    drawn = masker.budgets(Batch(np.arange(size), columns), 0)
    masked = masker(Batch(np.arange(size), columns), 0)

    assert all(name not in component.target_alphas for component in mixture.components for name in SHOWN_ONLY)
    assert not drawn.targets[:, shown_only].any()
    assert drawn.targets.sum(axis=1).tolist() == drawn.target_totals.tolist()
    assert not masked.targets.keys() & set(SHOWN_ONLY)


def test_from_shows_its_stream_whole_and_predicts_other_modalities() -> None:
    """The pixels of a modality give its tokens away, so those are no target unless named."""
    (component,) = expanded({"preset": "from", "stream": "digit.pixels", "target_alpha": 0.25})

    assert component.input_alphas == {"digit.pixels": 1000.0}
    assert component.target_alphas == {"ink.tokens": 0.25, "caption.tokens": 0.25}


def test_from_predicts_exactly_the_targets_it_names() -> None:
    """Tokenising pixels is a task one may ask for."""
    (component,) = expanded({"preset": "from", "stream": ["digit.pixels", "caption"], "targets": ["digit"]})

    assert component.input_alphas == {"digit.pixels": 1000.0, "caption.tokens": 1000.0}
    assert component.target_alphas == {"digit.tokens": 0.5}
    assert component.keep == {"caption.tokens": "all"}, "shown whole means: not masked by spans either"


def test_biased_favours_its_stream_and_shows_a_little_of_the_rest() -> None:
    """4M's caption bias: 5 against 0.05, nothing of the caption hidden, the caption no target."""
    (component,) = expanded({"preset": "biased", "stream": "caption"})

    assert component.input_alphas["caption.tokens"] == 5.0
    assert component.input_alphas["digit.pixels"] == component.input_alphas["clue.tokens"] == 0.05
    assert component.target_alphas == {"digit.tokens": 0.5, "ink.tokens": 0.5}
    assert component.keep == {"caption.tokens": "all"}


def test_custom_says_everything_itself() -> None:
    """What no preset says can still be said."""
    (component,) = expanded(
        {
            "preset": "custom",
            "input_alphas": {"clue": 2.0},
            "target_alphas": {"ink.tokens": 1.0, "caption": 0.0},
            "keep": {"caption": "binary"},
        }
    )

    assert component.input_alphas == {"clue.tokens": 2.0}
    assert component.target_alphas == {"ink.tokens": 1.0, "caption.tokens": 0.0}
    assert component.keep == {"caption.tokens": "binary"}


def test_budgets_are_numbers_or_ranges() -> None:
    """One number is a range of one."""
    mixture = expand(
        [ENTRY.validate_python({"preset": "all_to_all", "alpha": 1})],
        BudgetEntry.model_validate({"input": [16, 64], "target": 32}),
        make_plan(),
    )

    assert isinstance(mixture, Mixture)
    assert (mixture.input_budget, mixture.target_budget) == ((16, 64), (32, 32))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"preset": "from", "stream": "captoin"},
            r"masks\[0\]\.stream: is no stream or modality of this schema; got 'captoin'; "
            r"did you mean 'caption'\?",
        ),
        (
            {"preset": "all_to_all", "alpha": 1, "exclude": ["inc"]},
            r"masks\[0\]\.exclude: .* got 'inc'; did you mean 'ink'\?",
        ),
        (
            {"preset": "custom", "input_alphas": {"clue": 1}, "target_alphas": {"clue": 1}},
            r"masks\[0\]\.target_alphas: cannot be predicted; got 'clue\.tokens' with role 'input'; "
            r"these can: caption\.tokens, digit\.tokens, ink\.tokens",
        ),
        (
            {"preset": "from", "stream": "caption", "targets": ["digit.pixels"]},
            r"masks\[0\]\.targets: cannot be predicted; got 'digit\.pixels' with role 'input'",
        ),
        (
            {"preset": "biased", "stream": "ink", "exclude": ["digit", "caption"]},
            r"masks\[0\]: leaves no stream to predict; declare a stream whose role is target or both",
        ),
        (
            {"preset": "biased", "stream": []},
            r"masks\[0\]\.stream: is an empty list; name the stream to show",
        ),
        ({"preset": "all_to_all", "alpha": []}, r"masks\[0\]\.alpha: is an empty list"),
        (
            {"preset": "all_to_all", "alpha": 1, "keep": {"cap": "all"}},
            r"masks\[0\]\.keep: is no stream or modality .* got 'cap'",
        ),
    ],
)
def test_what_a_plan_cannot_do_is_refused_by_place_and_name(entry: dict[str, object], message: str) -> None:
    """The message says which key of the recipe, what stands there, and what could."""
    with pytest.raises(PlanError, match=message):
        expanded(entry)


def test_a_target_only_stream_cannot_be_shown() -> None:
    """Roles hold in both directions."""
    plan = make_plan(score={"kind": "vector", "dim": 2, "ranges": [0, 1], "bins": 8, "role": "target"})

    with pytest.raises(PlanError, match=r"masks\[0\]\.stream: cannot be shown; got 'score\.tokens'"):
        expanded({"preset": "from", "stream": "score"}, plan=plan)


def test_an_empty_recipe_is_refused() -> None:
    """Nothing to draw from."""
    with pytest.raises(PlanError, match=r"masks: is empty; add an entry"):
        expand([], BudgetEntry(), make_plan())


@pytest.mark.parametrize(
    "entry",
    [
        {"preset": "all_to_all", "alpha": 0},
        {"preset": "all_to_all", "alpha": [1, -1]},
        {"preset": "all_to_all", "alpha": 1, "weight": 0},
        {"preset": "all_to_all", "alpha": 1, "weigth": 1},
        {"preset": "all_to_all", "alpha": float("inf")},
        {"preset": "all_to_all", "alpha": 1, "keep": "some"},
        {"preset": "everything", "alpha": 1},
        {"preset": "custom", "input_alphas": {"clue": -1}, "target_alphas": {}},
    ],
)
def test_malformed_entries_are_refused(entry: dict[str, object]) -> None:
    """Concentrations and weights are positive numbers; unknown keys and presets are faults."""
    with pytest.raises(ValidationError):
        ENTRY.validate_python(entry)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"input": [64, 16]}, r"input range \[64, 16\] descends; write \[16, 64\]"),
        ({"target": -1}, "greater than or equal to 0"),
        ({"input": [1, 2, 3]}, "at most 2 items"),
    ],
)
def test_malformed_budgets_are_refused(budget: dict[str, object], message: str) -> None:
    """A range that descends is most likely swapped: say so."""
    with pytest.raises(ValidationError, match=message):
        BudgetEntry.model_validate(budget)


def test_every_key_is_described() -> None:
    """Editors show these descriptions while a recipe is written."""
    schema = TypeAdapter(MaskEntry).json_schema()
    presets = [name for name in schema["$defs"] if name in {"AllToAll", "From", "Biased", "Custom"}]
    keys = {
        f"{name}.{key}": value
        for name in presets
        for key, value in schema["$defs"][name]["properties"].items()
    }

    assert len(presets) == 4
    assert [key for key, value in keys.items() if "description" not in value] == []
