"""A model in training: parameters, gradients, optimizer and average, moved on one global step at a time."""

from collections.abc import Mapping

import torch

from fourm_runtime.row_gradients import RowGradients
from fourm_runtime.training.averaging import AveragedWeights
from fourm_runtime.training.gradients import FlatGradients
from fourm_runtime.training.optimizer import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from fourm_runtime.training.preparation import PreparedStep
from fourm_runtime.training.recipe import Recipe, compiles, working_precision
from fourm_runtime.training.step import StepCounts, StepLosses, compute_gradients
from fourm_runtime.training.world import World
from fourm_runtime.transformer import AnyToAnyTransformer


class Learner:
    """Takes optimizer steps.

    Args:
        model: what is trained; moved to the world's device.
        recipe: optimizer, loss and precision.
        world: the ranks that train it together; all must hold the same weights.
    """

    def __init__(self, model: AnyToAnyTransformer, recipe: Recipe, world: World) -> None:
        self.model = model.to(world.device).train()
        if compiles(recipe, world.device):
            self.model.compile_blocks()
        self.world = world
        self._recipe = recipe
        settings = recipe.optimizer
        # Elsewhere a row may have its gradient from another rank, or the host cannot know of it.
        alone = world.size == 1 and world.device.type == "cpu" and not settings.decay_tables
        rows = RowGradients(model.tables.vocabulary if alone else ())
        self.gradients = FlatGradients(model.parameters(), rows)
        self.optimizer = build_optimizer(
            model,
            weight_decay=settings.weight_decay,
            betas=settings.betas,
            eps=settings.eps,
            decay_tables=settings.decay_tables,
            rows=rows,
        )
        self.average = None if settings.ema is None else AveragedWeights(model, settings.ema)
        self._precision = working_precision(recipe, world.device)

    def compute(self, prepared: PreparedStep, counts: StepCounts) -> StepLosses:
        """Fill the gradients with those of a global step; nothing is changed yet."""
        divisor = self._recipe.loss.divisor
        return compute_gradients(
            self.model, self.gradients, prepared, counts, self.world, divisor, self._precision
        )

    def update(self, rate: float, norm: torch.Tensor) -> None:
        """Clip the gradients and take one optimizer step.

        Args:
            rate: learning rate.
            norm: of the gradients, as `compute` found it.
        """
        if self._recipe.optimizer.clip is not None:
            self.gradients.clip(norm, self._recipe.optimizer.clip)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def optimizer_state(self) -> dict[str, torch.Tensor]:
        """The optimizer's state by name, for a checkpoint."""
        return optimizer_tensors(self.optimizer, self.model)

    def restore(
        self,
        optimizer: Mapping[str, torch.Tensor],
        average: Mapping[str, torch.Tensor] | None,
        average_updates: int,
    ) -> None:
        """Put back what a checkpoint kept; the model's weights are already right.

        A recipe that has only now asked for an average starts it at the weights as they are.

        Raises:
            CheckpointError: if the state is not one of this model.
        """
        load_optimizer_tensors(self.optimizer, self.model, optimizer)
        if self.average is not None and average is not None:
            self.average.restore(average, average_updates)
