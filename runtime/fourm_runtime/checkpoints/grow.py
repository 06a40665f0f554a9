"""Growing a trained model by modalities: rows are appended, never moved, and nothing old is forgotten.

What the old model knew stays bit for bit: its streams give the same logits before the first new step.
New rows, and the projections of new dense streams, start as `assemble` would start them. A modality that
the new schema no longer has leaves its rows behind as a hole, so that nothing after them moves; only the
projection of a removed dense stream is dropped.
"""

from collections.abc import Iterable, Mapping

import attrs
import torch

from fourm_codecs.base import StoredCodec
from fourm_runtime.assemble import STORED_POSITIONS, assemble, stored_tensors
from fourm_runtime.checkpoints.files import listed
from fourm_runtime.checkpoints.state import TrainingState
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_schema.errors import CheckpointError, Fault
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

_SAYS_NOTHING_OF_VALUES = {"description", "source", "derive", "label", "aliases"}
MAY_CHANGE = {*_SAYS_NOTHING_OF_VALUES, "role", "loss_weight", "shown", "views"}
_MEND = "set these fields back, or declare the changed modality under a new name and use --extend"


@attrs.frozen
class SchemaChange:
    """How a schema differs from the one a checkpoint was trained on.

    Attributes:
        added, removed: streams.
        policy: `modality.field` that only says how a stream is used: role, loss weight, number of views.
        broken: what would give trained rows another meaning.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    policy: tuple[Fault, ...]
    broken: tuple[Fault, ...]

    @property
    def is_none(self) -> bool:
        return not (self.added or self.removed or self.policy or self.broken)


def compare_schemas(old: Schema, new: Schema) -> SchemaChange:
    """Say what a new schema changes; descriptions, sources and aliases are no change."""
    before, after = resolve(old), resolve(new)
    policy: list[Fault] = []
    broken = list(_vocabulary_changes(before, after))
    for name in old.modalities.keys() & new.modalities.keys():
        was = old.modalities[name].model_dump(mode="json", by_alias=True)
        now = new.modalities[name].model_dump(mode="json", by_alias=True)
        for field in sorted({*was, *now} - _SAYS_NOTHING_OF_VALUES):
            if was.get(field) != now.get(field) and field != "shown":
                fault = Fault(
                    f"modality {name!r}, field {field}",
                    f"was {was.get(field)!r} when the model was trained",
                    repr(now.get(field)),
                )
                (policy if field in MAY_CHANGE else broken).append(fault)
    return SchemaChange(
        tuple(name for name in after.names if name not in before.names),
        tuple(name for name in before.names if name not in after.names),
        tuple(policy),
        tuple(broken),
    )


def require_same_schema(checkpoint: Checkpoint, schema: Schema) -> None:
    """Refuse to go on with a schema that means something else than the checkpoint's.

    Raises:
        CheckpointError: naming each modality and field that differs, and what to do.
    """
    change = compare_schemas(checkpoint.schema, schema)
    refuse_broken(change)
    if change.is_none:
        return
    lines = [f"stream {name!r} is not in the checkpoint" for name in change.added]
    lines += [f"stream {name!r} of the checkpoint is not in the schema" for name in change.removed]
    lines += [str(fault) for fault in change.policy]
    raise CheckpointError(
        "the schema",
        "is not the one this run was trained with",
        mend=listed("go on with the run's own schema, or take over the new one with --extend", lines),
    )


def grow(
    checkpoint: Checkpoint,
    schema: Schema,
    codecs: Mapping[str, StoredCodec] | None = None,
    seed: int = 0,
) -> Checkpoint:
    """Give a trained model the streams of another schema.

    Args:
        checkpoint: the trained model.
        schema: its modalities, with some added or removed.
        codecs: codecs of the added modalities; those of the others are kept.
        seed: of the first weights of what is new.

    Returns:
        A checkpoint whose old rows are the same bits at the same places.

    Raises:
        CheckpointError: if an entry changed so that trained rows would mean something else.
    """
    change = compare_schemas(checkpoint.schema, schema)
    refuse_broken(change)
    model = assemble(resolve(schema), checkpoint.architecture, seed, checkpoint.allocation)
    weights = {
        name: _over(parameter.detach(), checkpoint.weights.get(name))
        for name, parameter in stored_tensors(model).items()
    }
    kept = {name: codec for name, codec in checkpoint.codecs.items() if name in schema.modalities}
    return Checkpoint(
        schema, model.plan, model.allocation, checkpoint.architecture, weights, {**(codecs or {}), **kept}
    )


def grow_state(state: TrainingState, grown: Checkpoint) -> TrainingState:
    """Give the state of a run the shape of a grown model.

    Moments of new rows are zero. The average of new rows is their first weights.
    """
    fields = ("exp_avg", "exp_avg_sq")
    trained = {name: weight for name, weight in grown.weights.items() if name != STORED_POSITIONS}
    optimizer = {
        f"{name}.{field}": _over(torch.zeros_like(weight), state.optimizer.get(f"{name}.{field}"))
        for name, weight in trained.items()
        for field in fields
    }
    for name in trained:
        optimizer[f"{name}.step"] = state.optimizer.get(f"{name}.step", torch.zeros(()))
    average = state.average
    if average is not None:
        average = {name: _over(weight, average.get(name)) for name, weight in trained.items()}
    return attrs.evolve(state, optimizer=optimizer if state.optimizer else {}, average=average)


def _over(fresh: torch.Tensor, old: torch.Tensor | None) -> torch.Tensor:
    """Lay old values over the first rows of new ones."""
    if old is None:
        return fresh
    if old.shape == fresh.shape:
        return old
    assert old.shape[1:] == fresh.shape[1:] and len(old) <= len(fresh), "tables only gain rows"
    return torch.cat([old, fresh[len(old) :].to(old)])


def _vocabulary_changes(before: Plan, after: Plan) -> Iterable[Fault]:
    old = {vocabulary.name: vocabulary for vocabulary in before.vocabularies}
    for vocabulary in after.vocabularies:
        known = old.get(vocabulary.name)
        if known is None or known == vocabulary:
            continue
        if known.special.sentinel_count != vocabulary.special.sentinel_count:
            yield Fault(
                f"vocabulary {vocabulary.name!r}, field sentinels",
                f"came to {known.special.sentinel_count} when the model was trained",
                str(vocabulary.special.sentinel_count),
                f"write sentinels: {known.special.sentinel_count}, and give longer texts another vocabulary",
            )
        else:
            yield Fault(
                f"vocabulary {vocabulary.name!r}, field size",
                f"was {known.size} when the model was trained",
                str(vocabulary.size),
            )


def refuse_broken(change: SchemaChange, mend: str = _MEND) -> None:
    """Refuse a schema under which trained rows would mean something else.

    Raises:
        CheckpointError: naming each modality and field that differs, and the mend.
    """
    if change.broken:
        what = "would give trained rows another meaning"
        raise CheckpointError("the schema", what, mend=listed(mend, change.broken))
