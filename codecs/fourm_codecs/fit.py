"""Fitting a learned codec: values of a modality -> the codec and a report of what it keeps.

One loop for all: what differs between them, the codec's class knows (`fourm_codecs.learned_codec`).
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from fourm_codecs.base import Json
from fourm_codecs.code_network import Also, CodeNetwork
from fourm_codecs.files import to_bytes, write_file
from fourm_codecs.fit_report import FitReport, RoundTrip, picture, round_trip
from fourm_codecs.fit_state import FitFolder
from fourm_codecs.fit_values import FitValues, Values
from fourm_codecs.image_tokenizer import ImageTokenizer
from fourm_codecs.learned import AnyLearned, learned_class
from fourm_codecs.patches import at_size, images_of, patches_of
from fourm_codecs.perceptual import PerceptualLoss
from fourm_codecs.vit import PatchNetwork
from fourm_schema.errors import CodecError
from fourm_schema.modality import Image, Modality

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
        steps: of the optimizer, in all.
        batch_size: values per step.
        lr: highest learning rate of AdamW; warm-up over the first twentieth of the steps, then half a cosine.
        weight_decay: of matrices, per unit of learning rate.
        seed: of the first weights and of the order of the values.
        ema: how much of the moving average of the weights stays at each step, e.g. 0.999; the codec has the
            average. 0 takes the last weights.
        sizes: heights and widths, in cells, that images are brought to for a step, one drawn for each; none
            leaves them as they are.
        perceptual_weight: of the loss that `fit` is given as `perceptual`.
        save_every: steps between saved states.
        log_every: steps between lines of metrics.
    """

    size: str = "tiny"
    steps: int = 2_000
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    ema: float = 0.0
    sizes: tuple[tuple[int, int], ...] = ()
    perceptual_weight: float = 1.0
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
        if not (self.perceptual_weight >= 0 and math.isfinite(self.perceptual_weight)):
            raise CodecError("fit.perceptual_weight", "must be 0 or more", got=str(self.perceptual_weight))


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
    perceptual: PerceptualLoss | None = None,
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
        perceptual: a loss of pictures that is added, for images of numbers; who resumes gives the same.

    Returns:
        The codec (`fourm_codecs.store.save_codec` writes it) and the report.

    Raises:
        CodecError: if the entry's codec is not a learned one, a value does not fit it, there are fewer than
            ten, the recipe asks for what the type does not have, or the state to resume is of another fit.
    """
    asked = recipe or FitRecipe()
    generator = torch.Generator().manual_seed(asked.seed)
    codec = learned_class(modality, entry).drawn(modality, entry, asked.size, generator, asked.batch_size)
    network = codec.network
    check_sizes(codec, asked)
    also = _pictures(codec, asked, perceptual)
    data = FitValues(modality, values, codec.view)
    held_out = data.held_out()
    folder = FitFolder(Path(out_dir) / FIT, _identity(codec, asked, held_out, perceptual))
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
        batch = _at_a_size(codec, asked, step, torch.from_numpy(next(batches)))
        loss = _step(network, optimizer, batch, rate, also)
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
    if isinstance(network, PatchNetwork):
        network.see(network.fitted)
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
    write_file(folder.path / PICTURE, picture(codec, held_out))
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


def check_sizes(codec: AnyLearned, recipe: FitRecipe) -> None:
    """Refuse sizes that a codec's values cannot have.

    Raises:
        CodecError: if it is no codec of images, or its patches do not tile one of the sizes.
    """
    for size in recipe.sizes:
        entry, got = codec.entry, f"{size[0]}x{size[1]}"
        if not isinstance(entry, Image):
            raise CodecError("fit.sizes", f"a {entry.kind} has no size", got, "leave sizes out")
        if min(size) < 1 or size[0] % entry.patch[0] or size[1] % entry.patch[1]:
            what = f"patches of {entry.patch[0]}x{entry.patch[1]} cells must tile each size"
            raise CodecError("fit.sizes", what, got)


def _at_a_size(codec: AnyLearned, recipe: FitRecipe, step: int, batch: Tensor) -> Tensor:
    """A batch of images at the size that is drawn for a step; the network takes that size from now on."""
    if not recipe.sizes:
        return batch
    entry, network = codec.entry, codec.network
    assert isinstance(entry, Image) and isinstance(network, PatchNetwork), "others have no sizes"
    assert codec.resampling is not None, "images can be brought to another size"
    # By the number of the step, so that a resumed fit draws the same.
    generator = np.random.default_rng([recipe.seed, step])
    height, width = recipe.sizes[int(generator.integers(len(recipe.sizes)))]
    images = at_size(images_of(batch, entry.grid, entry.patch), (height, width), codec.resampling)
    network.see((height // entry.patch[0], width // entry.patch[1]))
    return patches_of(images, entry.patch)


def _pictures(codec: AnyLearned, recipe: FitRecipe, loss: PerceptualLoss | None) -> Also | None:
    """The perceptual loss over patches, at its weight."""
    if loss is None:
        return None
    if not isinstance(codec, ImageTokenizer):
        raise CodecError(codec.modality, "a perceptual loss is for images of numbers", got=codec.name)
    network, patch = codec.network, codec.entry.patch
    assert isinstance(network, PatchNetwork), "images have patches"

    def also(outputs: Tensor, inputs: Tensor) -> Tensor:
        back, given = (images_of(side, network.grid, patch) for side in (outputs, inputs))
        return recipe.perceptual_weight * loss(back, given)

    return also


def _step(
    network: CodeNetwork, optimizer: torch.optim.AdamW, batch: Tensor, rate: float, also: Also | None
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = network(batch, also)
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


def _identity(
    codec: AnyLearned, recipe: FitRecipe, held_out: list[object], perceptual: PerceptualLoss | None
) -> dict[str, Json]:
    asked: dict[str, Json] = attrs.asdict(recipe, filter=lambda field, _: field.name not in LOOKS)
    asked["perceptual"] = None if perceptual is None else getattr(perceptual, "__qualname__", "unnamed")
    declared: dict[str, Json] = codec.entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    digest = hashlib.sha256()
    for value in held_out:
        digest.update(codec.view.encode([value]).tobytes())
    return {"modality": codec.modality, "recipe": asked, "entry": declared, "dataset": digest.hexdigest()}
