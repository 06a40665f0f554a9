"""How well a model predicts what it is not shown, on samples it was not trained on.

Masks are drawn as in training, from the same mixture, but each sample has one fixed mask: equal seeds
give equal questions, so two models, or two steps of one run, can be compared.

Beside each stream's loss stands a baseline: the loss of always answering with the frequencies that the ids
have at that position in these very samples (see `fourm_runtime.training.baseline`). A model below it has used
what it was shown.
"""

from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_runtime.batch import Batch, Masked
from fourm_runtime.checkpoints.store import load, load_training_state
from fourm_runtime.data.location import Location
from fourm_runtime.loss import Divisor, stream_factors
from fourm_runtime.masking.mask import Masker
from fourm_runtime.packing import pack
from fourm_runtime.training.baseline import Baseline
from fourm_runtime.training.preparation import Masking, Source
from fourm_runtime.training.recipe import Recipe, working_precision
from fourm_runtime.training.step import autocast
from fourm_runtime.training.world import join_world
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.errors import RequestError

SAMPLES_AT_A_TIME = 64


@attrs.frozen
class StreamScore:
    """How well one stream is predicted.

    Attributes:
        loss: mean cross-entropy of its targets, nats per token.
        accuracy: share of targets whose most likely id is the right one.
        baseline_loss: the same loss of the ids' frequencies at each position.
        targets: how many tokens were predicted.
    """

    loss: float
    accuracy: float
    baseline_loss: float
    targets: int


@attrs.frozen
class Evaluation:
    """How well every stream is predicted.

    Attributes:
        samples: held-out samples.
        loss: the streams' losses combined as in training, nats.
        baseline_loss: the baselines combined likewise.
        streams: target streams that had targets, in the order of the plan.
    """

    samples: int
    loss: float
    baseline_loss: float
    streams: dict[str, StreamScore]

    def to_json(self) -> dict[str, object]:
        """The same as plain values."""
        return attrs.asdict(self)


def evaluate(
    model: AnyToAnyTransformer,
    masking: Masking,
    source: Source,
    rows: NDArray[np.integer],
    *,
    seed: int = 0,
    capacity: tuple[int, int] | None = None,
    divisor: Divisor = "present",
    precision: torch.dtype = torch.float32,
) -> Evaluation:
    """Predict the masked tokens of held-out samples.

    Args:
        model: on the device where it is to run; left in the mode it was in.
        masking: what to show and what to ask, e.g. a `Masker`.
        source: where the samples are, e.g. a `Reader`.
        rows: (N,) which samples.
        seed: decides, with the sample, which of several texts is shown.
        capacity: (T_in, T_out) of a micro-batch; None packs 64 samples into one.
        divisor: how the streams' losses become one, as in training.
        precision: bfloat16 runs the model under autocast.

    Raises:
        RequestError: if there is no sample, or nothing to predict in any.
    """
    if not len(rows):
        raise RequestError("evaluate", "there are no samples", mend="name a dataset with held-out samples")
    was_training = model.training
    model.eval()
    tallies: dict[str, _Tally] = {stream.name: _Tally() for stream in model.plan.targets}
    try:
        with torch.inference_mode():
            for batch, masked in _masked(masking, source, rows, seed):
                for name, selection in masked.targets.items():
                    tallies[name].baseline.add(selection, batch.columns.get(name))
                _tally(model, masked, tallies, capacity, precision)
    finally:
        model.train(was_training)
    scores = {name: tally.score() for name, tally in tallies.items() if tally.targets}
    if not scores:
        raise RequestError(
            "evaluate",
            "the masks leave nothing to predict in these samples",
            mend="look at the masks and budgets",
        )
    counts = {name: score.targets for name, score in scores.items()}
    factors = stream_factors(counts, model.plan, divisor)
    return Evaluation(
        len(rows),
        sum(scores[name].loss * counts[name] * factor for name, factor in factors.items()),
        sum(scores[name].baseline_loss * counts[name] * factor for name, factor in factors.items()),
        scores,
    )


def evaluate_checkpoint(
    path: Path | str,
    dataset: Location | Path | str,
    *,
    recipe: Recipe | None = None,
    averaged: bool = False,
    samples: int | None = None,
    device: str | None = None,
) -> Evaluation:
    """Evaluate a run's newest checkpoint, or one that is named.

    Args:
        path: directory of a checkpoint, or of a run.
        dataset: held-out samples, encoded with the checkpoint's codecs.
        recipe: masks, budgets, seed and precision; None takes those of the run.
        averaged: use the average of the weights that the run kept.
        samples: use only so many, the first ones; None takes all.
        device: `cpu`, `cuda` or `cuda:<n>`; None takes a GPU where there is one.

    Raises:
        CheckpointError: if the checkpoint is missing or damaged, or has no recipe and none is given.
        DataError: if the dataset does not hold what the model was trained on.
    """
    from fourm_runtime.data.reader import Reader
    from fourm_runtime.training.open_dataset import open_dataset

    checkpoint = load(path, averaged=averaged)
    how = recipe or Recipe.model_validate(load_training_state(path).recipe)
    world = join_world(device)
    opened = open_dataset(dataset, checkpoint)
    count = opened.rows if samples is None else min(samples, opened.rows)
    with Reader(opened, checkpoint.plan) as reader:
        return evaluate(
            checkpoint.model().to(world.device),
            Masker(checkpoint.plan, how.mixture(checkpoint.plan), how.seed),
            reader,
            np.arange(count),
            seed=how.seed,
            divisor=how.loss.divisor,
            precision=working_precision(how, world.device),
        )


@attrs.define
class _Tally:
    """Sums over a stream's targets so far."""

    loss: float = 0.0
    right: int = 0
    targets: int = 0
    baseline: Baseline = attrs.field(factory=Baseline)

    def score(self) -> StreamScore:
        share = 1 / self.targets
        return StreamScore(self.loss * share, self.right * share, self.baseline.loss(), self.targets)


def _masked(
    masking: Masking, source: Source, rows: NDArray[np.integer], seed: int
) -> Iterator[tuple[Batch, Masked]]:
    for start in range(0, len(rows), SAMPLES_AT_A_TIME):
        part = rows[start : start + SAMPLES_AT_A_TIME].astype(np.int64)
        epoch = np.zeros(len(part), np.int64)
        batch = source.batch(part, epoch, seed)
        yield batch, masking(batch, epoch)


def _tally(
    model: AnyToAnyTransformer,
    masked: Masked,
    tallies: dict[str, _Tally],
    capacity: tuple[int, int] | None,
    precision: torch.dtype,
) -> None:
    device = model.tables.mask_token.device
    shape = model.architecture
    micro_batches = pack(
        masked,
        model.plan,
        model.allocation,
        shape.registers,
        capacity,
        apart=shape.decoder_streams_apart,
        left_to_right=shape.decoder_left_to_right,
    )
    for packed in micro_batches:
        batch = packed.to(device)
        with autocast(device, precision):
            logits = model(batch)
        for name, scores in logits.items():
            targets = batch.heads[name].targets
            losses = torch.nn.functional.cross_entropy(scores.float(), targets, reduction="none")
            tally = tallies[name]
            tally.loss += float(losses.double().sum())
            tally.right += int((scores.argmax(-1) == targets).sum())
            tally.targets += len(targets)
