"""`train.yaml`: everything about a run that is not the data's description.

Units are in the descriptions. Amounts may be given in steps or in tokens; a step then counts as its
samples times the largest budgets, as 4M counts (a sample that has less to show makes it less).
"""

import importlib.util
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import attrs
import torch
from pydantic import Field, field_validator, model_validator

from fourm_runtime.loss import Divisor
from fourm_runtime.masking.mixture import AllToAll, BudgetEntry, MaskEntry, Mixture, expand
from fourm_runtime.training.schedule import Schedule
from fourm_schema.architecture import SIZES, Architecture, architecture
from fourm_schema.errors import Fault, TrainingError
from fourm_schema.load import load_yaml
from fourm_schema.plan import Plan
from fourm_schema.set_fields import Frozen

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]

EVERY_STREAM_TO_EVERY = (AllToAll.model_validate({"preset": "all_to_all", "alpha": [0.1, 1.0, 10.0]}),)


class Model(Frozen):
    """A size by name, and what differs from it."""

    size: str = Field(
        default="tiny", description=f"one of {', '.join(SIZES)}: width, heads and depths as 4M has them"
    )
    dim: Count | None = Field(default=None, description="width of the residual stream")
    heads: Count | None = Field(default=None, description="attention heads; dim is a multiple of it")
    encoder_depth: Count | None = Field(default=None, description="blocks of the encoder")
    decoder_depth: Count | None = Field(default=None, description="blocks of the decoder")
    mlp_ratio: Positive | None = Field(default=None, description="hidden width of an MLP over dim")
    activation: Literal["silu", "gelu"] | None = Field(default=None, description="activation of an MLP")
    gated_mlp: bool | None = Field(default=None, description="gate the hidden units of an MLP (SwiGLU)")
    qkv_bias: bool | None = Field(default=None, description="queries, keys and values have a bias")
    proj_bias: bool | None = Field(default=None, description="the way out of attention has a bias")
    mlp_bias: bool | None = Field(default=None, description="both layers of an MLP have a bias")
    norm_bias: bool | None = Field(default=None, description="norms have a bias")
    qk_norm: bool | None = Field(default=None, description="normalise queries and keys")
    registers: CountOrZero | None = Field(default=None, description="learned tokens put before each sample")
    tie_head: bool | None = Field(default=None, description="the output head is the decoder's input table")
    share_stream_embedding: bool | None = Field(
        default=None, description="encoder and decoder use one table of stream embeddings"
    )
    decoder_streams_apart: bool | None = Field(
        default=None, description="streams do not see each other in the decoder's self-attention"
    )
    decoder_left_to_right: bool | None = Field(
        default=None, description="in the decoder's self-attention, tokens of grids do not see later ones"
    )
    null_is_silent: bool | None = Field(
        default=None,
        description="when generating, a pass that shows nothing adds nothing, as in 4M",
    )
    stored_positions: bool | None = Field(
        default=None, description="checkpoints hold the sin-cos positions, as imported ones do"
    )

    @field_validator("size")
    @classmethod
    def _size_exists(cls, size: str) -> str:
        if size not in SIZES:
            raise ValueError(f"is no size; known: {', '.join(SIZES)}")
        return size

    def architecture(self) -> Architecture:
        """Shape of the network.

        Raises:
            PlanError: if the numbers do not go together.
        """
        changed = self.model_dump(exclude={"size"}, exclude_none=True)
        return attrs.evolve(architecture(self.size), **changed)


class Steps(Frozen):
    """How long to train, and on how much at a time."""

    total: Count | None = Field(
        default=None, description="optimizer steps of the run; give this, epochs or tokens"
    )
    epochs: Positive | None = Field(
        default=None, description="passes over the samples, of one dataset; the last step is a whole one"
    )
    tokens: Positive | None = Field(
        default=None, description="tokens of the run, visible and predicted, as many as the budgets allow"
    )
    samples_per_step: Count = Field(default=256, description="samples of one optimizer step, over all ranks")
    warmup: CountOrZero | None = Field(
        default=None, description="steps of rising learning rate; this or warmup_tokens"
    )
    warmup_tokens: PositiveOrZero | None = Field(
        default=None, description="tokens of rising learning rate; this or warmup"
    )
    micro_batch_tokens: tuple[Count, Count] | None = Field(
        default=None,
        description="[visible, predicted] tokens that the model holds at a time; a step is split into as "
        "many micro-batches as it needs, with the same result; left out: a rank's whole part at once",
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if sum(length is not None for length in (self.total, self.epochs, self.tokens)) != 1:
            raise ValueError("needs one of `total` (steps), `epochs` and `tokens`")
        if self.warmup is not None and self.warmup_tokens is not None:
            raise ValueError("has both `warmup` (steps) and `warmup_tokens`; keep one")
        return self


class Optimizer(Frozen):
    """AdamW and its learning rate: linear warm-up, then half a cosine."""

    lr: Positive = Field(default=1e-4, description="highest learning rate, per step")
    min_lr: PositiveOrZero = Field(default=0.0, description="learning rate that the cosine approaches")
    weight_decay: PositiveOrZero = Field(
        default=0.05, description="decay of matrices, per step and unit of learning rate"
    )
    decay_tables: bool = Field(
        default=False, description="decay the rows of vocabulary, position and stream tables too, as 4M does"
    )
    betas: tuple[Share, Share] = Field(
        default=(0.9, 0.95), description="decay of the first and second moments, per step"
    )
    eps: Positive = Field(default=1e-8, description="added to the root of the second moment")
    clip: Positive | None = Field(
        default=1.0, description="largest Euclidean norm of a step's gradient; null: no limit"
    )
    ema: Share | None = Field(
        default=None, description="decay per step of an average of the weights, kept beside them; null: none"
    )

    @model_validator(mode="after")
    def _rates_descend(self) -> Self:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self


class Loss(Frozen):
    """How the streams' mean losses become one number."""

    divisor: Divisor = Field(
        default="present",
        description="divide the weighted sum by the weights of the streams that have targets in the step "
        "(present), or by the number of streams that could be targets, as 4M does (declared); "
        "or weigh streams by targets times ids, as 4M's loss type token (scores)",
    )


class Reading(Frozen):
    """How samples are made ready while the model computes; it changes nothing but the speed."""

    threads: CountOrZero = Field(
        default=1, description="steps that are prepared at a time; 0: each when the model is waiting for it"
    )
    ahead: Count = Field(default=2, description="steps that may wait, prepared")


class Recipe(Frozen):
    """A training run, as `train.yaml` declares it."""

    datasets: dict[str, Positive] = Field(
        default_factory=dict, description="dataset path -> how often it is drawn from, relative to the others"
    )
    budget: BudgetEntry = Field(
        default=BudgetEntry.model_validate({}), description="tokens per sample, on either side"
    )
    masks: tuple[MaskEntry, ...] = Field(
        default=EVERY_STREAM_TO_EVERY,
        description="what is shown and predicted; presets expand over streams",
    )
    model: Model = Field(default=Model(), description="shape of the network")
    steps: Steps = Field(description="how long to train, and on how much at a time")
    optimizer: Optimizer = Field(default=Optimizer(), description="AdamW and its learning rate")
    loss: Loss = Field(default=Loss(), description="how the streams' losses become one number")
    reading: Reading = Field(
        default=Reading(), description="how samples are made ready while the model computes"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="dtype of the matrix products; auto: bf16 on a GPU, fp32 on a CPU"
    )
    compile: Literal["auto"] | bool = Field(
        default="auto",
        description="compile the blocks of the model with torch.compile, which takes a minute or so at the "
        "first step; auto: on a GPU, where Triton is installed",
    )
    seed: CountOrZero = Field(default=0, description="of first weights, order of samples, and masks")
    checkpoint_every: Count = Field(
        default=1000, description="steps between checkpoints; the last step always has one"
    )
    keep_checkpoints: Count = Field(default=3, description="how many of the latest checkpoints stay on disk")
    log_every: Count = Field(default=10, description="steps between two looks at the numbers of the device")
    evaluate_every: Count | None = Field(
        default=None, description="steps between evaluations on held-out samples; null: only when asked"
    )

    @field_validator("masks")
    @classmethod
    def _some_mask(cls, masks: tuple[MaskEntry, ...]) -> tuple[MaskEntry, ...]:
        if not masks:
            raise ValueError("is empty; leave it out, or add e.g. {preset: all_to_all, alpha: 1.0}")
        return masks

    @property
    def tokens_per_step(self) -> int:
        """Most tokens one step can have: samples times the largest budgets of both sides."""
        return self.steps.samples_per_step * (self.budget.input_range[1] + self.budget.target_range[1])

    @property
    def total_steps(self) -> int:
        """Steps of the run; epochs must be `counted`."""
        assert self.steps.epochs is None, "how many samples there are decides"
        return self._in_steps(self.steps.total, self.steps.tokens)

    @property
    def warmup_steps(self) -> int:
        """Steps of rising learning rate; 0 if neither amount is given."""
        return self._in_steps(self.steps.warmup, self.steps.warmup_tokens)

    def _in_steps(self, steps: int | None, tokens: float | None) -> int:
        if steps is not None:
            return steps
        return math.ceil((tokens or 0.0) / max(1, self.tokens_per_step))

    def counted(self, rows: Sequence[int]) -> Self:
        """The same recipe, its epochs counted in steps.

        Args:
            rows: samples of each dataset.

        Raises:
            TrainingError: if it asks for epochs of several datasets.
        """
        epochs = self.steps.epochs
        if epochs is None:
            return self
        if len(rows) > 1:
            what = "are passes over one dataset; of a mixture each has its own pace"
            raise TrainingError("steps.epochs", what, got=f"{len(rows)} datasets", mend="give steps.total")
        total = math.ceil(epochs * rows[0] / self.steps.samples_per_step)
        steps = self.steps.model_copy(update={"total": total, "epochs": None})
        return self.model_copy(update={"steps": steps})

    def schedule(self) -> Schedule:
        """Learning rate of every step."""
        return Schedule(self.optimizer.lr, self.optimizer.min_lr, self.warmup_steps, self.total_steps)

    def mixture(self, plan: Plan) -> Mixture:
        """What samples show and must predict.

        Raises:
            PlanError: if a mask names what the plan does not have.
        """
        return expand(self.masks, self.budget, plan)


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        source: path of a YAML file.
        overrides: `a.b=c`, applied over the file, e.g. `optimizer.lr=3e-4`.

    Raises:
        SchemaError: with every fault of the file.
    """
    return load_yaml(source, Recipe, overrides=overrides)


# What a resumed run may change: not which samples it sees, in which order, under which masks.
FREE_ON_RESUME = frozenset(
    {
        "checkpoint_every",
        "compile",
        "datasets",
        "evaluate_every",
        "keep_checkpoints",
        "log_every",
        "optimizer",
        "precision",
        "reading",
        "steps.epochs",
        "steps.micro_batch_tokens",
        "steps.tokens",
        "steps.total",
        "steps.warmup",
        "steps.warmup_tokens",
    }
)


def differences(old: Recipe, new: Recipe) -> tuple[Fault, ...]:
    """Name what a resumed run may not change: all but lengths, intervals, optimizer and how it computes."""
    before, after = dict(_leaves(old.model_dump(mode="json"))), dict(_leaves(new.model_dump(mode="json")))
    return tuple(
        Fault(path, f"was {before.get(path)!r} when the run began", repr(after.get(path)))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
        and not any(path == free or path.startswith(f"{free}.") for free in FREE_ON_RESUME)
    )


def _leaves(value: object, path: str = "") -> Iterable[tuple[str, object]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, below in value.items():
        yield from _leaves(below, f"{path}.{key}" if path else str(key))


def working_precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """The dtype that a recipe's `precision` means on a device."""
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and device.type == "cuda")
    return torch.bfloat16 if bf16 else torch.float32


def compiles(recipe: Recipe, device: torch.device) -> bool:
    """Whether a recipe's `compile` means compiled blocks on a device.

    Not on a CPU unless asked: there it saves a few percent, and costs half a minute of the compiler's time.
    """
    if recipe.compile == "auto":
        return device.type == "cuda" and importlib.util.find_spec("triton") is not None
    return recipe.compile
