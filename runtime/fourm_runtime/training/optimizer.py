"""AdamW (Loshchilov and Hutter 2019, algorithm 2) over a model's parameters, and its state as tensors.

Which parameters decay: matrices of the trunk and of dense projections. Never norms, biases and other
one-dimensional parameters. Tables (vocabulary, learned positions, streams, registers) only if asked:
4M decays them, but a row that few tokens touch then mostly shrinks.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.optim.adamw import adamw

from fourm_runtime.checkpoints.files import listed
from fourm_runtime.row_gradients import RowGradients
from fourm_schema.errors import CheckpointError

STATE_FIELDS = ("step", "exp_avg", "exp_avg_sq")


def decays(name: str, parameter: nn.Parameter, decay_tables: bool) -> bool:
    """Whether weight decay applies to a parameter of this name."""
    if parameter.ndim < 2:
        return False
    is_table = name.startswith("tables.") and not name.startswith("tables.dense.")
    return decay_tables or not is_table


def build_optimizer(
    model: nn.Module,
    *,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
    decay_tables: bool = False,
    rows: RowGradients | None = None,
) -> torch.optim.AdamW:
    """AdamW in two groups, with and without decay. The learning rate is set at each step.

    Args:
        model: already on its device.
        weight_decay: per unit of learning rate.
        betas: decay of the first and second moments.
        eps: added to the root of the second moment.
        decay_tables: decay table rows too, as 4M does.
        rows: knows which rows of tables never had a gradient; no time is spent on them. It must know of no
            table that decays.
    """
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if decays(n, p, decay_tables)], "weight_decay": weight_decay},
        {"params": [p for n, p in named if not decays(n, p, decay_tables)], "weight_decay": 0.0},
    ]
    optimizer = RowAdamW(groups, lr=0.0, betas=betas, eps=eps, fused=True)
    if rows is not None:
        optimizer.rows = rows
    return optimizer


class RowAdamW(torch.optim.AdamW):
    """AdamW that passes by the rows of tables that have neither gradient nor moments.

    m = v = g = 0 gives m' = v' = 0 and a step of 0 / (0 + eps): such a row stays what it is, bit for bit. A
    row that once had a gradient is moved by what is left of its moments, as ever.
    """

    rows = RowGradients()

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]  # nobody evaluates a loss here
        """Take a step; `closure` is not used."""
        gradients = {table: table.grad for table in self.rows.tables}
        for table in gradients:
            table.grad = None
        super().step()
        for table, gradient in gradients.items():
            table.grad = gradient
            self._step_rows(table)

    def _step_rows(self, table: nn.Parameter) -> None:
        (group,) = (group for group in self.param_groups if any(p is table for p in group["params"]))
        assert not group["weight_decay"], "a row that decays is changed without a gradient"
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        assert table.grad is not None
        moments = [state["exp_avg"], state["exp_avg_sq"]]
        live = self.rows.live_rows(table)
        if live:
            values, gradients, means, squares = (
                [whole[rows] for rows in live] for whole in (table, table.grad, *moments)
            )
            beta1, beta2 = group["betas"]
            adamw(
                values, gradients, means, squares, [], [state["step"].clone() for _ in live],
                fused=True, amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=0.0,
                eps=group["eps"], maximize=False,
            )  # fmt: skip
        state["step"] += 1
        self.rows.settle(table, moments)


def set_learning_rate(optimizer: torch.optim.AdamW, rate: float) -> None:
    """Give every group the learning rate of the coming step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.AdamW, model: nn.Module) -> dict[str, torch.Tensor]:
    """State of the optimizer by name: `<parameter>.exp_avg`, `.exp_avg_sq`, `.step`.

    Empty before the first step.
    """
    return {
        f"{name}.{field}": optimizer.state[parameter][field].detach()
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
        for field in STATE_FIELDS
    }


def load_optimizer_tensors(
    optimizer: torch.optim.AdamW, model: nn.Module, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        CheckpointError: if the tensors are not those of this model; every one of them is named.
    """
    named = dict(model.named_parameters())
    if not tensors:
        return
    expected = {
        f"{name}.{field}": torch.Size(()) if field == "step" else parameter.shape
        for name, parameter in named.items()
        for field in STATE_FIELDS
    }
    wrong = [f"{name}: missing" for name in expected if name not in tensors]
    wrong += [f"{name}: not of this model" for name in tensors if name not in expected]
    wrong += [
        f"{name}: expected {list(shape)}, found {list(tensors[name].shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    if wrong:
        raise CheckpointError(
            "training/optimizer.safetensors",
            "holds the state of another model",
            mend=listed("resume from another checkpoint of the run", wrong),
        )
    for name, parameter in named.items():
        optimizer.state[parameter] = {
            field: tensors[f"{name}.{field}"].clone().to(parameter.device, torch.float32)
            if field == "step"
            else tensors[f"{name}.{field}"].to(parameter, copy=True)
            for field in STATE_FIELDS
        }
    if isinstance(optimizer, RowAdamW):
        for table in optimizer.rows.tables:
            state = optimizer.state[table]
            optimizer.rows.restore(table, (state["exp_avg"], state["exp_avg_sq"]))
