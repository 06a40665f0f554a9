"""A run small enough to be repeated in a test: four streams of made-up samples, a model of width 32.

`train_until` and `one_rank` are what processes of their own do, in tests that kill them or start ranks.
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file

from fourm_codecs.base import StoredCodec
from fourm_codecs.build import build_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.assemble import assemble
from fourm_runtime.batch import Batch, Bools, Column, Dense, Grid, Int64, Sequences
from fourm_runtime.checkpoints import store as checkpoints
from fourm_runtime.checkpoints.state import DatasetMark, TrainingState, save_state
from fourm_runtime.data.order import Order
from fourm_runtime.masking.mask import Masker
from fourm_runtime.training import loop
from fourm_runtime.training.gradients import FlatGradients
from fourm_runtime.training.loop import Samples, TrainedRun, run_steps
from fourm_runtime.training.preparation import Preparation, PreparedStep
from fourm_runtime.training.recipe import Recipe
from fourm_runtime.training.step import StepCounts, StepLosses, compute_gradients, count_step
from fourm_runtime.training.trainer import begin
from fourm_runtime.training.world import World, join_world
from fourm_schema.load import parse_schema
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

SCHEMA = """
version: 1
vocabularies: {words: {kind: wordpiece, size: 64, sentinels: 12}}
modalities:
  digit:
    kind: image
    size: 4
    patch: 1
    cell: {type: continuous, range: [0, 16], levels: 17}
    shown: [pixels, tokens]
  shape: {kind: vector, dim: 3, ranges: [[0, 1]], bins: 8}
  caption: {kind: text, vocabulary: words, max_tokens: 8}
"""

ROWS = 80
"""Fewer than two steps of 64, so that a step straddles two epochs."""


def small_schema(more: str = "") -> Schema:
    return parse_schema(SCHEMA + more)


def small_recipe(**changes: object) -> Recipe:
    """A recipe of 12 steps, with parts of it changed."""
    steps = {"total": 12, "samples_per_step": 16, "warmup": 2}
    model = {"size": "nano", "dim": 32, "heads": 4, "encoder_depth": 1, "decoder_depth": 1}
    told: dict[str, object] = {"budget": {"input": 12, "target": 12}, "steps": steps, "model": model}
    optimizer = {"lr": 3e-3, "ema": 0.9}
    told |= {"optimizer": optimizer, "checkpoint_every": 4, "keep_checkpoints": 9}
    for name, value in changes.items():
        before = told.get(name)
        told[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return Recipe.model_validate(told)


def small_words(schema: Schema, text: str = "one two three four") -> WordVocabulary:
    return WordVocabulary.train([text], "words", 64, resolve(schema).vocabularies[0].special)


def small_codecs(schema: Schema, text: str = "one two three four") -> dict[str, StoredCodec]:
    words = small_words(schema, text)
    return {name: build_codec(schema, name, {"words": words}) for name in schema.modalities}


class MadeUp:
    """Samples that are a function of their row; every third one lacks something, one in ten all."""

    def __init__(self, plan: Plan, rows: int = ROWS) -> None:
        self.plan, self.rows = plan, rows
        self.asked: list[list[int]] = []
        rng = np.random.default_rng(5)
        self._present = rng.random((rows, len(plan.streams))) > 1 / 3
        self._present[::10] = False
        self._ids = rng.integers(0, 2**31, (rows, len(plan.streams), 32))

    def batch(self, rows: Int64, epoch: Int64, seed: int) -> Batch:
        self.asked.append(rows.tolist())
        return Batch(rows, self._columns(rows))

    def _columns(self, rows: Int64) -> Mapping[str, Column]:
        columns: dict[str, Column] = {}
        for index, stream in enumerate(self.plan.streams):
            present, ids = self._present[rows, index], self._ids[rows, index]
            if stream.dense_dim is not None:
                numbers = ids[:, : stream.length, None].repeat(stream.dense_dim, axis=2)
                columns[stream.name] = Dense((numbers % 100 / 50 - 1).astype(np.float32), present)
            elif stream.layout == "grid":
                columns[stream.name] = Grid((ids[:, : stream.length] % stream.vocab_size), present)
            else:
                columns[stream.name] = self._sentences(stream.length, ids, present)
        return columns

    def _sentences(self, longest: int, ids: Int64, present: Bools) -> Sequences:
        lengths = np.where(present, 2 + ids[:, 0] % (longest - 1), 0)
        words = [20 + row[:length] % 40 for row, length in zip(ids, lengths, strict=True)]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Sequences(np.concatenate(words).astype(np.int32), offsets, present)


def small_train(
    run: Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    extend: bool = False,
    more: str = "",
    source: MadeUp | None = None,
    world: World | None = None,
) -> TrainedRun:
    """Train on made-up samples."""
    schema = small_schema(more)
    start = begin(recipe, schema, run, small_codecs(schema), resume=resume, extend=extend)
    samples = Samples(source or MadeUp(resolve(schema)), (DatasetMark("made up", 1, ROWS),))
    return run_steps(recipe, start, samples, run, world, quiet=True)


def step_gradients(
    samples: int = 64, capacity: tuple[int, int] | None = None, world: World | None = None, step: int = 1
) -> tuple[dict[str, torch.Tensor], StepLosses, MadeUp, int]:
    """Gradients of one global step in float64, its losses, what was read, and the micro-batches it took."""
    world = world or World()
    plan, recipe = resolve(small_schema()), small_recipe()
    model = assemble(plan, recipe.model.architecture(), seed=3).double()
    source = MadeUp(plan)
    masker = Masker(plan, recipe.mixture(plan), seed=7)
    order = Order(ROWS, seed=7, block=8, pool=4)
    prepared = Preparation(
        source, order, masker, plan, model.allocation, samples, 0, capacity, world
    ).prepare(step)
    gradients = FlatGradients(model.parameters())
    counts = count_step(prepared, [stream.name for stream in plan.targets], world)
    losses = compute_gradients(model, gradients, prepared, counts, world)
    named = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return named, losses, source, len(prepared.micro_batches)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until(run: Path, threads: int, step: int | None = None, save: int | None = None) -> None:
    """Train, and die in a step, or while the state of so many checkpoints is written.

    Args:
        run: where to.
        threads: of torch; sums in other pieces would differ in their last bits.
        step, save: when to die.
    """
    torch.set_num_threads(threads)
    saves = 0

    def count_or_die(prepared: PreparedStep, names: list[str], world: World, stop: bool) -> StepCounts:
        if prepared.step == step:
            _die()
        return count_step(prepared, names, world, stop)

    def save_or_die(directory: Path, state: TrainingState) -> None:
        nonlocal saves
        saves += 1
        if saves == save:
            _die()
        save_state(directory, state)

    with (
        mock.patch.object(loop, "count_step", count_or_die),
        mock.patch.object(checkpoints, "save_state", save_or_die),
    ):
        small_train(run, small_recipe())


def one_rank(folder: Path, threads: int, rank: int, size: int) -> None:
    """Compute a rank's gradient of one step, then its part of a run of six."""
    torch.set_num_threads(threads)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size
    )
    world = join_world("cpu")
    gradients, losses, source, _ = step_gradients(world=world)
    rows = torch.tensor(source.asked[0])
    found = {**gradients, "rows": rows, "sums": losses.sums, "norm": losses.norm}
    save_file(found, folder / f"rank{rank}.safetensors")
    small_train(folder / "run", small_recipe(steps={"total": 6}), world=world)
    torch.distributed.destroy_process_group()
