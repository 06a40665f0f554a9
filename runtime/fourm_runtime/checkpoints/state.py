"""What a run needs to go on exactly where a checkpoint was made, beside the model itself.

    training/state.json               step, recipe, datasets
    training/optimizer.safetensors    moments and step of each parameter
    training/average.safetensors      the averaged weights, if the run keeps them

The position in the data, the masks and the learning rate are functions of the step, so they need no state.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs
import torch

from fourm_runtime.checkpoints.files import read_json, read_record, read_tensors, write_record, write_tensors
from fourm_schema.errors import CheckpointError

FOLDER, STATE = "training", "state.json"
OPTIMIZER, AVERAGE = "optimizer.safetensors", "average.safetensors"


@attrs.frozen
class DatasetMark:
    """Which samples a run was trained on.

    Attributes:
        path: where the dataset was.
        version: its version; an older one stays readable.
        rows: its samples; the order of samples depends on it.
        weight: how often it is drawn from, relative to the other datasets of a mixture.
    """

    path: str
    version: int
    rows: int
    weight: float = 1.0


@attrs.frozen
class _Record:
    step: int
    recipe: dict[str, object]
    datasets: tuple[DatasetMark, ...]
    average_updates: int | None


@attrs.frozen(eq=False)
class TrainingState:
    """State of a run between two steps.

    Attributes:
        step: steps done; the next one has this number.
        recipe: the run's recipe as plain values.
        datasets: what it reads; several are a mixture, in this order.
        optimizer: see `fourm_runtime.training.optimizer.optimizer_tensors`.
        average: averaged weights by name; None if the run keeps none.
        average_updates: how often the average was updated.
    """

    step: int
    recipe: Mapping[str, object]
    datasets: tuple[DatasetMark, ...]
    optimizer: Mapping[str, torch.Tensor]
    average: Mapping[str, torch.Tensor] | None = None
    average_updates: int = 0


def save_state(checkpoint: Path, state: TrainingState) -> None:
    """Write the state into a checkpoint's directory that is being filled."""
    folder = checkpoint / FOLDER
    folder.mkdir()
    updates = None if state.average is None else state.average_updates
    write_record(folder / STATE, _Record(state.step, dict(state.recipe), state.datasets, updates))
    write_tensors(folder / OPTIMIZER, state.optimizer)
    if state.average is not None:
        write_tensors(folder / AVERAGE, state.average)


def load_state(checkpoint: Path) -> TrainingState:
    """Read the state from a checkpoint's directory.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    folder = checkpoint / FOLDER
    if not (folder / STATE).exists():
        raise CheckpointError(
            str(checkpoint),
            "has no training state, so no run can go on from it",
            mend="resume from a run's checkpoint",
        )
    found = read_json(folder / STATE)
    if isinstance(found, dict) and "dataset" in found:
        # As it was written before there were mixtures.
        found["datasets"] = [found.pop("dataset")]
    record = read_record(folder / STATE, _Record, found)
    average = None if record.average_updates is None else read_tensors(folder / AVERAGE)
    return TrainingState(
        record.step,
        record.recipe,
        record.datasets,
        read_tensors(folder / OPTIMIZER),
        average,
        record.average_updates or 0,
    )
