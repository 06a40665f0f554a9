"""Claims about `train.yaml` and the learning rate it comes to."""

from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fourm_runtime.training.recipe import Loss, Model, Optimizer, Recipe, Steps, differences, load_recipe
from fourm_runtime.training.schedule import Schedule
from fourm_schema.architecture import SIZES, Architecture
from fourm_schema.errors import PlanError, SchemaError, TrainingError

FULL = """
datasets: {digits.lance: 1}
budget: {input: [16, 64], target: 64}
masks:
  - {preset: all_to_all, alpha: [0.1, 1, 10], weight: 4}
  - {preset: from, stream: digit.pixels, target_alpha: 0.5}
model: {size: nano, decoder_depth: 2, registers: 1}
steps: {tokens: 2e6, samples_per_step: 64, warmup_tokens: 1e5, micro_batch_tokens: [2048, 2048]}
optimizer: {lr: 3.0e-4, min_lr: 1e-6, weight_decay: 0.05, betas: [0.9, 0.95], clip: null, ema: 0.999}
loss: {divisor: declared}
precision: bf16
seed: 3
checkpoint_every: 100
log_every: 20
evaluate_every: 50
"""


def test_a_full_recipe_is_read_as_it_is_written() -> None:
    recipe = load_recipe(FULL, ["optimizer.lr=1e-3", "model.dim=64"])

    assert recipe.optimizer.lr == 1e-3
    assert recipe.optimizer.clip is None
    assert recipe.steps.micro_batch_tokens == (2048, 2048)
    assert recipe.model.architecture() == attrs.evolve(SIZES["nano"], dim=64, decoder_depth=2, registers=1)
    assert (recipe.budget.input_range, recipe.loss.divisor) == ((16, 64), "declared")


def test_only_the_length_of_a_run_has_no_default() -> None:
    """Ten lines are enough to train; everything else is a choice one may make later."""
    assert load_recipe("steps:\n  total: 5\n").total_steps == 5


def test_tokens_are_turned_into_steps_by_the_largest_budgets() -> None:
    """As 4M counts: a step is its samples times both budgets, whatever the masks leave of them."""
    recipe = load_recipe(FULL)

    assert recipe.tokens_per_step == 64 * (64 + 64)
    assert recipe.total_steps == 245  # 2e6 / 8192 = 244.1, and no token is left out
    assert recipe.warmup_steps == 13


def test_epochs_are_counted_in_whole_steps_of_one_dataset() -> None:
    """Of a mixture, whose datasets come to their ends at different times, nobody can say what one is."""
    recipe = load_recipe("steps: {epochs: 2.5, samples_per_step: 32}\n")

    assert recipe.counted([100]).total_steps == 8  # 250 / 32 = 7.8, and no sample is left out
    assert recipe.counted([100]).steps.epochs is None
    with pytest.raises(
        TrainingError, match=r"steps\.epochs: .*of a mixture.*got 2 datasets; give steps\.total"
    ):
        recipe.counted([100, 50])
    fixed = load_recipe("steps: {total: 3}\n")
    assert fixed.counted([100, 50]) == fixed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: {samples_per_step: 4}\n", r"needs one of `total` \(steps\), `epochs` and `tokens`"),
        ("steps: {total: 4, tokens: 1e6}\n", r"needs one of `total` \(steps\), `epochs` and `tokens`"),
        ("steps: {total: 4, epochs: 1}\n", r"needs one of `total` \(steps\), `epochs` and `tokens`"),
        (
            "steps: {total: 4, warmup: 1, warmup_tokens: 5}\n",
            r"has both `warmup` \(steps\) and `warmup_tokens`",
        ),
        (
            "steps: {total: 4}\ndatasets: {a.lance: 0, b.lance: -0.2}\n",
            r"(?s)datasets.a\.lance: must be above 0; got 0\n.*datasets.b\.lance: must be above 0; got -0\.2",
        ),
        ("steps: {total: 4}\nmodel: {size: huge}\n", r"known: nano, tiny, small, base, large, xlarge"),
        ("steps: {total: 4}\nmasks: []\n", r"is empty; leave it out, or add e\.g\. \{preset: all_to_all"),
        ("steps: {total: 4}\noptimizer: {lr: 1e-4, min_lr: 1e-3}\n", r"min_lr 0\.001 is above lr 0\.0001"),
        ("steps: {total: 4}\nbudget: {input: [9, 3]}\n", r"input range \[9, 3\] descends"),
        ("steps: {total: 4}\noptimiser: {lr: 1}\n", r"optimizer"),
        ("steps: {total: 4}\nloss: {divisor: mean}\n", r"present"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as error:
        load_recipe(text)

    assert all(fault.line for fault in error.value.faults)


def test_all_faults_of_a_recipe_come_together() -> None:
    """Nobody wants to start a run five times to learn of five typos."""
    with pytest.raises(SchemaError) as error:
        load_recipe("steps: {total: 0}\noptimizer: {lr: -1, betas: [0.9]}\nprecision: fp8\n")

    assert {fault.line for fault in error.value.faults} == {1, 2, 3}
    assert len(error.value.faults) == 4


def test_a_width_that_its_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(PlanError, match=r"dim must be a multiple of heads and of 4; got dim 30, heads 4"):
        load_recipe("steps: {total: 1}\nmodel: {size: nano, dim: 30}\n").model.architecture()


def test_every_field_of_the_architecture_can_be_set_in_a_recipe() -> None:
    """A checkpoint's architecture must be expressible, and a new field must not be forgotten here."""
    fields = {field.name for field in attrs.fields(Architecture)}

    assert set(Model.model_fields) == {"size", *fields}


@pytest.mark.parametrize("model", [Recipe, Model, Steps, Optimizer, Loss])
def test_every_field_is_described(model: type[Recipe]) -> None:
    """The description is what an editor shows and what the reference prints."""
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_a_recipe_survives_the_checkpoint() -> None:
    recipe = load_recipe(FULL)

    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_what_may_change_on_resume_is_no_difference() -> None:
    """A longer run, another learning rate or another micro-batch still sees the same samples and masks."""
    free = ["steps.tokens=3e6", "optimizer.lr=1e-5", "steps.micro_batch_tokens=[64, 64]", "log_every=1"]

    assert differences(load_recipe(FULL), load_recipe(FULL, free)) == ()
    (fault,) = differences(load_recipe(FULL), load_recipe(FULL, ["seed=4"]))
    assert str(fault) == "seed: was 3 when the run began; got 4"


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"train\.yaml"):
        load_recipe(tmp_path / "train.yaml")


@example(peak=0.1875, share=1.0, warmup=0, more=17)
@given(peak=st.floats(1e-6, 1.0), share=st.floats(0, 1), warmup=st.integers(0, 50), more=st.integers(1, 200))
def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_floor(
    peak: float, share: float, warmup: int, more: int
) -> None:
    """No step has rate 0, none is above the peak, and none after the warm-up is above the one before.

    Not by a rounding either, also where the floor is the peak.
    """
    schedule = Schedule(peak, peak * share, warmup, warmup + more)
    rates = [schedule.at(step) for step in range(warmup + more + 3)]

    assert max(rates) == rates[warmup] == peak
    assert all(now < later for now, later in pairwise(rates[: warmup + 1]))
    assert all(now >= later for now, later in pairwise(rates[warmup:]))
    assert min(rates[: warmup + more]) > 0
    assert rates[-1] == peak * share


def test_half_way_the_cosine_is_half_way() -> None:
    assert Schedule(peak=1.0, floor=0.2, warmup=10, total=30).at(20) == pytest.approx(0.6)


def test_a_warmup_longer_than_the_run_never_reaches_the_peak() -> None:
    assert Schedule(peak=1.0, floor=0.0, warmup=10, total=5).at(4) == pytest.approx(5 / 11)
