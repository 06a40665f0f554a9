"""Opening the samples of a run: in the version it began with, and encoded by the model's own codecs."""

from pathlib import Path

from fourm_codecs.dense import DenseView
from fourm_runtime.checkpoints.state import DatasetMark
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.encoding import status_of
from fourm_runtime.data.location import Location
from fourm_schema.errors import DataError, TrainingError


def open_dataset(
    dataset: Dataset | Location | Path | str, model: Checkpoint, mark: DatasetMark | None = None
) -> Dataset:
    """Open the samples of a run, in the version that it began with.

    Args:
        dataset: a path or location, or an open dataset.
        model: its codecs must be those that made the tokens.
        mark: which samples a resumed run was trained on.

    Raises:
        DataError: if there is no such dataset or version, or its tokens were made by other codecs.
        TrainingError: if it holds other samples than the run began with.
    """
    version = mark.version if mark is not None else dataset.version if isinstance(dataset, Dataset) else None
    opened = dataset.at(version) if isinstance(dataset, Dataset) else Dataset.open(dataset, version)
    if mark is not None and opened.rows != mark.rows:
        raise TrainingError(
            str(opened.path),
            f"is not the dataset this run began with: that has {mark.rows} samples",
            got=f"{opened.rows} samples in version {opened.version}",
            mend=f"give {mark.path}, or go on with these samples by --extend",
        )
    for stream in opened.token_streams:
        if stream.name in model.plan.names and stream.modality in model.codecs:
            status = status_of(opened.arrow, opened.schema, stream, model.codecs[stream.modality])
            if status.state == "stale":
                raise DataError(
                    f"{opened.path} column {stream.column}",
                    f"{stream.name} was encoded by another codec than the model's: {status.why}",
                    mend="encode it again with the model's codec (fourm data encode --replace)",
                )
    _require_same_scale(opened, model)
    return opened


def _require_same_scale(dataset: Dataset, model: Checkpoint) -> None:
    """Refuse numbers that would reach the model on another scale than those it was trained on."""
    for stream in dataset.plan.streams:
        if not stream.is_dense or stream.name not in model.plan.names:
            continue
        entries = dataset.schema.modalities[stream.modality], model.schema.modalities[stream.modality]
        theirs, ours = (DenseView.from_entry(stream.modality, entry) for entry in entries)
        if theirs.shape == ours.shape and (theirs.centre, theirs.scale) != (ours.centre, ours.scale):
            raise DataError(
                f"{dataset.path} column {stream.column}",
                f"{stream.name} is brought to another scale than the model's (its range, mean or std differ)",
                got=f"{_scale(theirs)} instead of {_scale(ours)}",
                mend="give the dataset the model's entry: fourm data add-modality with a schema that has it",
            )


def _scale(view: DenseView) -> str:
    pairs = dict.fromkeys(zip(view.centre, view.scale, strict=True))
    shown = ", ".join(f"(value - {centre:.6g}) / {scale:.6g}" for centre, scale in list(pairs)[:3])
    return shown + (", ..." if len(pairs) > 3 else "")
