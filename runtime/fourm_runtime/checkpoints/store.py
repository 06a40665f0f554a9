"""A checkpoint is a directory that holds all a model needs, readable without running anything of it.

config.json          format, framework, plan, allocation, architecture
schema.yaml          the schema, frozen
model.safetensors    every parameter, by name
codecs/<modality>/   the codec of each token stream
README.md            a card for people
origin.json          of an imported model: what its export gives back
training/            what a run needs to go on (see `fourm_runtime.checkpoints.state`); not for use
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs
import torch

from fourm_codecs.base import StoredCodec
from fourm_codecs.store import load_codec, save_codec
from fourm_runtime.assemble import STORED_POSITIONS, empty_model, stored_tensors
from fourm_runtime.checkpoints.files import (
    CONVERTER,
    listed,
    read_json,
    read_record,
    read_tensors,
    read_text,
    replacing,
    tensor_shapes,
    write_record,
    write_tensors,
)
from fourm_runtime.checkpoints.run_folder import CONFIG, find_checkpoint
from fourm_runtime.checkpoints.state import TrainingState, load_state, save_state
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.allocation import Allocation, Span, allocate
from fourm_schema.architecture import Architecture
from fourm_schema.digest import schema_hash
from fourm_schema.errors import CheckpointError, FourmError, PlanError, SchemaError
from fourm_schema.load import dump_schema, parse_schema
from fourm_schema.plan import Plan
from fourm_schema.schema import Schema

FORMAT = 1
SCHEMA, WEIGHTS, CODECS, CARD = "schema.yaml", "model.safetensors", "codecs", "README.md"
ORIGIN = "origin.json"

_MEND = "restore the checkpoint, or use another one"


@attrs.frozen
class Config:
    """What `config.json` holds.

    Attributes:
        format: version of this layout.
        framework: release that wrote it.
        plan_hash: hash of the plan.
        plan: the streams the model was trained on, with the choices made for them at the time.
        allocation: rows of the tables.
        architecture: shape of the network.
    """

    format: int
    framework: str
    plan_hash: str
    plan: Plan
    allocation: Allocation
    architecture: Architecture


@attrs.frozen
class Origin:
    """What an imported checkpoint does not need, and its export gives back.

    Attributes:
        format: `4m`.
        metadata: of the header of the file with the weights.
        config: text of `config.json`, where the weights had one beside them.
        dtypes: tensor of that format -> its type, where that was not float32.
    """

    format: str
    metadata: dict[str, str] = attrs.field(factory=dict)
    config: str | None = None
    dtypes: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class Checkpoint:
    """A trained model with everything that gives its tokens meaning.

    Attributes:
        schema: what the data is.
        plan, allocation, architecture: what the schema came to when the model was built.
        weights: parameters (and stored positions) by name, on the CPU.
        codecs: modality -> codec of its token stream.
        origin: what the checkpoint was imported from, where it was.
    """

    schema: Schema
    plan: Plan
    allocation: Allocation
    architecture: Architecture
    weights: Mapping[str, torch.Tensor]
    codecs: Mapping[str, StoredCodec] = attrs.field(factory=dict)
    origin: Origin | None = None

    @classmethod
    def of(
        cls, model: AnyToAnyTransformer, schema: Schema, codecs: Mapping[str, StoredCodec] | None = None
    ) -> "Checkpoint":
        """Take the weights of a model as they are now (they are not copied on the CPU)."""
        weights = {name: tensor.detach().cpu() for name, tensor in stored_tensors(model).items()}
        return cls(schema, model.plan, model.allocation, model.architecture, weights, dict(codecs or {}))

    def model(self) -> AnyToAnyTransformer:
        """Build the model, on the CPU, with these weights."""
        model = empty_model(self.plan, self.allocation, self.architecture)
        with torch.no_grad():
            for name, tensor in stored_tensors(model).items():
                tensor.copy_(self.weights[name])
        return model


def plan_hash(plan: Plan) -> str:
    """Hash of a plan: SHA-256 of its canonical JSON."""
    text = json.dumps(CONVERTER.unstructure(plan), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def save(directory: Path | str, checkpoint: Checkpoint, training: TrainingState | None = None) -> None:
    """Write a checkpoint, in one piece: a killed process leaves the old directory, or the new one.

    Args:
        directory: what to create or replace.
        checkpoint: the model.
        training: state of the run, for checkpoints to resume from.
    """
    with replacing(Path(directory)) as fresh:
        config = Config(
            FORMAT,
            _framework(),
            plan_hash(checkpoint.plan),
            checkpoint.plan,
            checkpoint.allocation,
            checkpoint.architecture,
        )
        write_record(fresh / CONFIG, config)
        (fresh / SCHEMA).write_text(dump_schema(checkpoint.schema), encoding="utf-8")
        write_tensors(fresh / WEIGHTS, checkpoint.weights)
        if checkpoint.origin is not None:
            write_record(fresh / ORIGIN, checkpoint.origin)
        for modality, codec in checkpoint.codecs.items():
            save_codec(codec, fresh / CODECS / modality)
        (fresh / CARD).write_text(_card(checkpoint, training), encoding="utf-8")
        if training is not None:
            save_state(fresh, training)


def load(path: Path | str, *, averaged: bool = False) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: its directory, or a run's directory, which means its latest checkpoint.
        averaged: take the average of the weights that the run kept (`optimizer.ema`).

    Raises:
        CheckpointError: if there is none, or something of it is missing, damaged, or disagrees with the rest;
            every tensor that disagrees is named.
    """
    directory = find_checkpoint(path)
    config = _read_config(directory / CONFIG)
    schema = _read_schema(directory / SCHEMA, config)
    file = directory / WEIGHTS
    if averaged:
        file = directory / "training" / "average.safetensors"
        if not file.exists():
            raise CheckpointError(
                str(directory),
                "keeps no average of the weights",
                mend="train with optimizer.ema, or use the weights",
            )
    stored = config.architecture.stored_positions
    _check_weights(file, config, lacking=STORED_POSITIONS if averaged and stored else None)
    weights = read_tensors(file)
    if averaged and stored:
        weights[STORED_POSITIONS] = read_tensors(directory / WEIGHTS)[STORED_POSITIONS]
    return Checkpoint(
        schema,
        config.plan,
        config.allocation,
        config.architecture,
        weights,
        _read_codecs(directory / CODECS, config.plan),
        read_record(directory / ORIGIN, Origin) if (directory / ORIGIN).exists() else None,
    )


def load_schema(path: Path | str) -> Schema:
    """Read what the data of a checkpoint is, and nothing else; raises what `load` raises."""
    directory = find_checkpoint(path)
    return _read_schema(directory / SCHEMA, _read_config(directory / CONFIG))


def load_training_state(path: Path | str) -> TrainingState:
    """Read what a run needs to go on from a checkpoint.

    Raises:
        CheckpointError: if the checkpoint has no training state, or it is damaged.
    """
    return load_state(find_checkpoint(path))


def _read_config(path: Path) -> Config:
    found = read_json(path)
    written = found.get("format") if isinstance(found, dict) else None
    if written != FORMAT:
        raise CheckpointError(
            str(path),
            f"is not of format {FORMAT}, the one this release reads",
            got=f"format {written!r}",
            mend="read it with the release that wrote it" if isinstance(written, int) else _MEND,
        )
    config = read_record(path, Config, found)
    if plan_hash(config.plan) != config.plan_hash:
        raise CheckpointError(str(path), "was edited: its plan has another hash", mend=_MEND)
    try:
        fits = allocate(config.plan, config.allocation) == config.allocation and _tiles(config.allocation)
    except PlanError as error:
        raise CheckpointError(str(path), "its rows do not fit its plan", got=str(error)) from None
    if not fits:
        raise CheckpointError(str(path), "its rows do not fit its plan", mend=_MEND)
    return config


def _tiles(allocation: Allocation) -> bool:
    """Whether each table's spans lie end to end, without overlap."""

    def end_to_end(spans: Mapping[str, Span], first: int) -> bool:
        for span in sorted(spans.values(), key=lambda span: span.start):
            if span.start != first or span.size < 0:
                return False
            first = span.stop
        return True

    rows = sorted(allocation.streams.values())
    return (
        end_to_end(allocation.tokens, 1)
        and end_to_end(allocation.fixed_positions, 1)
        and end_to_end(allocation.learned_positions, 0)
        and rows == list(range(1, 1 + len(rows)))
    )


def _read_schema(path: Path, config: Config) -> Schema:
    try:
        schema = parse_schema(read_text(path), source=str(path))
    except SchemaError as error:
        raise CheckpointError(str(path), "is damaged", got=str(error), mend=_MEND) from None
    if schema_hash(schema) != config.plan.schema_hash:
        raise CheckpointError(
            str(path),
            "is not the schema the model was trained on",
            mend="restore it; to train with another schema, use: fourm train --resume --extend",
        )
    return schema


def _read_codecs(folder: Path, plan: Plan) -> dict[str, StoredCodec]:
    names = {stream.modality for stream in plan.streams if not stream.is_dense}
    present = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    try:
        return {name: load_codec(folder / name) for name in present if name in names}
    except FourmError as error:
        raise CheckpointError(str(folder), "a codec is damaged", got=str(error), mend=_MEND) from None


def _check_weights(path: Path, config: Config, lacking: str | None = None) -> None:
    """Compare names and shapes with what the configuration says, before a number is read.

    Args:
        path: of the weights.
        config: what they should be.
        lacking: a tensor that this file need not have.
    """
    with torch.device("meta"):
        model = AnyToAnyTransformer(config.plan, config.allocation, config.architecture)
    expected = {name: tuple(tensor.shape) for name, tensor in stored_tensors(model).items()}
    expected = {name: shape for name, shape in expected.items() if name != lacking}
    found = tensor_shapes(path)
    wrong = [
        f"{name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]
    if wrong:
        count = "1 tensor disagrees" if len(wrong) == 1 else f"{len(wrong)} tensors disagree"
        raise CheckpointError(
            str(path),
            f"{count} with {CONFIG}",
            mend=listed("the two files are not of one checkpoint, restore both", wrong),
        )


def _framework() -> str:
    try:
        return version("fourm-schema")
    except PackageNotFoundError:
        return "not installed"


def _card(checkpoint: Checkpoint, training: TrainingState | None) -> str:
    numbers = sum(tensor.numel() for tensor in checkpoint.weights.values())
    shape = checkpoint.architecture
    rows = [
        f"| `{stream.name}` | {stream.kind} | {stream.role} | {stream.length} | {stream.codec} |"
        for stream in checkpoint.plan.streams
    ]
    trained = "" if training is None else f" after {training.step:,} steps"
    return "\n".join(
        [
            "# Any-to-any model",
            "",
            f"{numbers:,} parameters, width {shape.dim}, {shape.encoder_depth} encoder and "
            f"{shape.decoder_depth} decoder blocks{trained}. Written by fourm {_framework()}.",
            "",
            "| stream | kind | role | tokens | codec |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "`schema.yaml` says what each modality is. Predict with: `fourm generate <this directory>`.",
            "",
        ]
    )
