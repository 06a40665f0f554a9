"""Fitting a learned codec: values of a modality -> the codec and a report of what it keeps.

One loop for all: what differs between them, the codec's class knows (`fourm_codecs.learned_codec`).
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn

from fourm_codecs.base import Array, Json
from fourm_codecs.code_network import CodeNetwork
from fourm_codecs.files import to_bytes, write_file
from fourm_codecs.fit_report import FitReport, RoundTrip, picture, round_trip
from fourm_codecs.fit_state import FitFolder
from fourm_codecs.fit_values import FitValues, Values
from fourm_codecs.learned import AnyLearned, learned_class
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality

FIT = "fit"
PICTURE = "round_trip.png"
QUANTILE = 0.95
BETAS = (0.9, 0.99)
CLIP_NORM = 1.0
WARMUP_SHARE = 0.05
MEASURED_MOST = 4096
"""Training values that means and deviations are measured on."""

LOOKS = ("save_every", "log_every")
"""Fields of a recipe that change nothing of the weights."""

Progress = Callable[[str, int, int], None]
"""Called with (modality, steps done, steps in all)."""


@attrs.frozen
class FitRecipe:
    """How to fit.

    Attributes:
        size: of the networks: `tiny`, `small` or `base`.
        quantizer: `fsq`, `lfq` or `vq`; None takes `vq` for vectors and `fsq` for images.
        steps: of the optimizer, in all.
        batch_size: values per step.
        lr: highest learning rate of AdamW; warm-up over the first twentieth of the steps, then half a cosine.
        weight_decay: of matrices, per unit of learning rate.
        seed: of the first weights and of the order of the values.
        ema: how much of the moving average of the weights stays at each step, e.g. 0.999; the codec has the
            average. 0 takes the last weights.
        save_every: steps between saved states.
        log_every: steps between lines of metrics.
    """

    size: str = "tiny"
    quantizer: str | None = None
    steps: int = 2_000
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    ema: float = 0.0
    save_every: int = 500
    log_every: int = 20

    def __attrs_post_init__(self) -> None:
        for key in ("steps", "batch_size", "save_every", "log_every"):
            if getattr(self, key) < 1:
                raise CodecError(f"fit.{key}", "must be 1 or more", got=str(getattr(self, key)))
        if self.seed < 0:
            raise CodecError("fit.seed", "must be 0 or more", got=str(self.seed))
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise CodecError("fit.lr", "must be above 0", got=str(self.lr))
        if not 0 <= self.ema < 1:
            raise CodecError("fit.ema", "must be 0 or more and below 1", got=str(self.ema))


@attrs.frozen
class Fitted:
    """A codec and what was measured of it."""

    codec: AnyLearned
    report: FitReport


def fit(
    modality: str,
    entry: Modality,
    values: Values,
    out_dir: Path | str,
    recipe: FitRecipe | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the learned codec of a modality; one in ten values is held out to measure on.

    The same values, recipe and machine give the same weights, bit for bit, also if the fit was killed and
    resumed in between.

    Args:
        modality: its name.
        entry: what the schema says of it.
        values: in the schema's units, or a function that reads them in chunks, anew at each call.
        out_dir: state, metrics, report and picture go to its folder `fit`.
        recipe: how to fit; None takes the defaults.
        resume: go on from the state in `out_dir` where there is one; otherwise it is replaced.
        progress: called after each step.

    Returns:
        The codec (`fourm_codecs.store.save_codec` writes it) and the report.

    Raises:
        CodecError: if the entry's codec is not a learned one, a value does not fit it, there are fewer than
            ten, or the state to resume is of another fit.
    """
    asked = recipe or FitRecipe()
    generator = torch.Generator().manual_seed(asked.seed)
    codec = learned_class(modality, entry).drawn(modality, entry, asked.size, asked.quantizer, generator)
    network = codec.network
    data = FitValues(modality, values, codec.view)
    held_out = data.held_out()
    folder = FitFolder(Path(out_dir) / FIT, _identity(codec, asked, held_out))
    optimizer = _optimizer(network, asked)
    average = {name: weight.detach().clone() for name, weight in network.named_parameters() if asked.ema}
    done = 0
    if resume:
        done = folder.load(network, optimizer, average)
    else:
        folder.clear()
    if not done:
        network.measure(data.first(MEASURED_MOST))
    folder.trim_metrics(done)
    batches = data.batches(asked.batch_size, asked.seed, skip=done)
    network.train()
    for step in range(done, asked.steps):
        rate = learning_rate(asked, step)
        loss = _step(network, optimizer, next(batches), rate)
        if not math.isfinite(loss):
            raise CodecError(
                modality, f"the loss of step {step + 1} is not finite", mend="lower the learning rate"
            )
        _move(average, network, asked.ema)
        if (step + 1) % asked.log_every == 0 or step + 1 == asked.steps:
            folder.note({"step": step + 1, "loss": loss, "lr": rate})
        if (step + 1) % asked.save_every == 0 or step + 1 == asked.steps:
            folder.save(step + 1, network, optimizer, average)
        if progress is not None:
            progress(modality, step + 1, asked.steps)
    network.load_state_dict(average, strict=False)
    network.eval().requires_grad_(False)
    report = FitReport(
        asked.steps,
        folder.recent_loss(),
        round_trip(codec, held_out, QUANTILE),
        sum(parameter.numel() for parameter in network.parameters()),
    )
    codec = codec.calibrated(QUANTILE, report.held_out.error_quantile)
    write_file(folder.path / "report.json", to_bytes(report_record(report)))
    (folder.path / PICTURE).unlink(missing_ok=True)
    if shown := picture(codec, held_out):
        write_file(folder.path / PICTURE, shown)
    return Fitted(codec, report)


def report_record(report: FitReport) -> dict[str, Json]:
    """A report as plain data, what follows from its numbers included."""
    kept: RoundTrip = report.held_out
    shares: dict[str, Json] = {"dead_ids": kept.dead_ids, "codebook_use": kept.codebook_use}
    return attrs.asdict(report) | {"held_out": attrs.asdict(kept) | shares}


def learning_rate(recipe: FitRecipe, step: int) -> float:
    """Rate of a step, from 0: linear warm-up, then half a cosine towards 0 (Loshchilov and Hutter 2017).

    >>> recipe = FitRecipe(steps=40, lr=1.0)
    >>> [round(learning_rate(recipe, step), 3) for step in (0, 1, 2, 21, 39)]
    [0.333, 0.667, 1.0, 0.5, 0.002]
    """
    warmup = int(recipe.steps * WARMUP_SHARE)
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (recipe.steps - warmup)))


def _step(network: CodeNetwork, optimizer: torch.optim.AdamW, batch: Array, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = network(torch.from_numpy(batch))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def _move(average: dict[str, Tensor], network: CodeNetwork, kept: float) -> None:
    if average:
        for name, weight in network.named_parameters():
            average[name].lerp_(weight, 1 - kept)


def _optimizer(network: CodeNetwork, recipe: FitRecipe) -> torch.optim.AdamW:
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=BETAS, fused=True)


def _identity(codec: AnyLearned, recipe: FitRecipe, held_out: list[object]) -> dict[str, Json]:
    asked: dict[str, Json] = attrs.asdict(recipe, filter=lambda field, _: field.name not in LOOKS)
    declared: dict[str, Json] = codec.entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    digest = hashlib.sha256()
    for value in held_out:
        digest.update(codec.view.encode([value]).tobytes())
    return {"modality": codec.modality, "recipe": asked, "entry": declared, "dataset": digest.hexdigest()}
