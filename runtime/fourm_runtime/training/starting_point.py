"""Where the weights of a run come from, if not from chance: a checkpoint, a run, or a released model.

Only weights and codecs are taken over. The optimizer, the step and the order of samples begin anew.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fourm_codecs.base import StoredCodec
from fourm_codecs.build import build_codec
from fourm_runtime.checkpoints import store as checkpoints
from fourm_runtime.checkpoints.files import listed
from fourm_runtime.checkpoints.grow import compare_schemas, grow, refuse_broken
from fourm_runtime.checkpoints.run_folder import has_checkpoint
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.hub import fetch, is_hub_id
from fourm_runtime.released.file import is_released
from fourm_runtime.released.importing import import_4m, schema_of_4m
from fourm_runtime.training.recipe import Model, Recipe
from fourm_schema.architecture import SIZES, Architecture
from fourm_schema.errors import Fault, TrainingError
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

if TYPE_CHECKING:
    from fourm_runtime.training.mixing import Given

_SAID_BY_SIZE = ("dim", "heads", "encoder_depth", "decoder_depth")


def load_start(path: Path | str) -> Checkpoint:
    """Read the model to start from.

    Args:
        path: directory of a checkpoint or of a run, a released 4M model, or OWNER/NAME of the hub.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    place = _located(path)
    return import_4m(place) if is_released(place) else checkpoints.load(place)


def schema_of_start(path: Path | str) -> Schema:
    """Read what a model's data is, without its weights.

    Raises:
        CheckpointError: as `load_start`.
    """
    place = _located(path)
    return schema_of_4m(place) if is_released(place) else checkpoints.load_schema(place)


def begin_at(
    recipe: Recipe,
    schema: Schema | None,
    start: Path | str,
    codecs: Mapping[str, StoredCodec] | None = None,
) -> Checkpoint:
    """The checkpoint that a run begins with: trained weights, under the schema of the run.

    Args:
        recipe: how to train; what it says of the model must be so.
        schema: what the data is; modalities that the model lacks are added to it, those that the schema
            lacks are taken from it. None keeps the model's own.
        start: as `load_start` takes it.
        codecs: of added modalities; those of the others are the model's.

    Raises:
        TrainingError: if the recipe asks for another network.
        CheckpointError: if there is no such model, or the schema gives trained rows another meaning.
    """
    found = load_start(start)
    wrong = differing(recipe.model, found.architecture)
    if wrong:
        raise TrainingError(
            "the recipe's model",
            f"is not the network of {start}",
            mend=listed("leave `model` out of the recipe, or set these", wrong),
        )
    own = found.schema if schema is None else schema
    change = compare_schemas(found.schema, own)
    refuse_broken(change, "set these fields back, or declare the changed modality under a new name")
    plan = found.plan if change.is_none else resolve(own)
    complete = complete_codecs(own, plan, {**(codecs or {}), **found.codecs})
    if change.is_none:
        return attrs.evolve(found, codecs=complete)
    return grow(found, own, complete, recipe.seed)


def differing(model: Model, shape: Architecture) -> tuple[Fault, ...]:
    """What a recipe says of the network that a trained one is not; what it leaves out may be anything."""
    told = model.model_dump(exclude_unset=True, exclude_none=True)
    size = told.pop("size", None)
    if size is not None:
        told = {key: getattr(SIZES[size], key) for key in _SAID_BY_SIZE} | told
    return tuple(
        Fault(f"model.{key}", f"is {getattr(shape, key)!r} in the checkpoint", repr(value))
        for key, value in told.items()
        if getattr(shape, key) != value
    )


def complete_codecs(
    schema: Schema, plan: Plan, codecs: Mapping[str, StoredCodec] | None
) -> dict[str, StoredCodec]:
    """The codec of every token stream: the given ones, and those that follow from the schema alone.

    Raises:
        CodecError: if one is missing that has to be trained.
    """
    names = dict.fromkeys(stream.modality for stream in plan.streams if not stream.is_dense)
    given = codecs or {}
    return {name: given[name] if name in given else build_codec(schema, name) for name in names}


def schema_of_run(
    dataset: "Given", run: Path, start: Path | str | None = None, *, resume: bool, extend: bool
) -> Schema:
    """The schema of a run that was given none: that of the model it starts from, else the datasets' own.

    A dataset may have fewer modalities than the model it trains. So a run that goes on keeps its schema if
    all that the dataset says is less.

    Raises:
        CheckpointError: if there is no such model.
        DataError: if there is no such dataset, or several mean different things by one name.
    """
    from fourm_runtime.training.mixing import schema_of_samples

    goes_on = resume and has_checkpoint(run)
    if start is not None and not goes_on:
        return schema_of_start(start)
    own = schema_of_samples(dataset)
    if not goes_on:
        return own
    known = checkpoints.load_schema(run)
    change = compare_schemas(known, own)
    says_less = not (change.added or change.policy or change.broken)
    return known if says_less and not extend else own


def _located(path: Path | str) -> Path:
    return fetch(str(path)) if is_hub_id(path) else Path(path)
