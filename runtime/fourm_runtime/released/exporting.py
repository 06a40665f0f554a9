"""A checkpoint of ours as the released code reads it: `export(import(x))` is x, bit for bit."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from fourm_runtime.assemble import STORED_POSITIONS
from fourm_runtime.checkpoints.files import listed, replacing
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.positions import fixed_table
from fourm_runtime.released.config import Config4M, write_config
from fourm_runtime.released.file import CONFIG, DTYPES, WEIGHTS
from fourm_runtime.released.importing import FORMAT
from fourm_runtime.released.modalities import domain_of
from fourm_runtime.released.tensors import places
from fourm_schema.errors import CheckpointError
from fourm_schema.plan import Plan


def released_tensors(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The tensors of a model under 4M's names and in 4M's shapes.

    Raises:
        CheckpointError: if the model has what 4M has not.
    """
    domains, shape = _domains(checkpoint.plan), checkpoint.architecture
    weights = dict(checkpoint.weights)
    if not shape.stored_positions:
        weights[STORED_POSITIONS] = fixed_table(checkpoint.allocation, shape.dim)
    return {
        place.name: place.of(weights)
        for place in places(checkpoint.plan, checkpoint.allocation, shape, domains)
    }


def export_4m(checkpoint: Checkpoint, path: Path | str) -> None:
    """Write a model as the released code reads it.

    Args:
        checkpoint: a model whose streams all have a 4M name as an alias.
        path: a file (`*.safetensors`), with the configuration in its header; or a folder, which also gets
            the configuration as `config.json`.

    Raises:
        CheckpointError: if the model has what 4M has not; everything is named.
    """
    origin = checkpoint.origin if checkpoint.origin and checkpoint.origin.format == FORMAT else None
    tensors = {
        # Names that share their numbers are written apart, as the released files have them.
        name: tensor.to(DTYPES[origin.dtypes.get(name, "F32") if origin else "F32"]).clone().contiguous()
        for name, tensor in released_tensors(checkpoint).items()
    }
    config = write_config(_config(checkpoint))
    metadata = origin.metadata if origin else {key: str(value) for key, value in config.items()}
    target = Path(path)
    if target.suffix == ".safetensors":
        if origin and origin.config is not None:
            metadata = {**_as_text(origin.config), **metadata}
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        save_file(tensors, fresh, metadata=metadata)
        fresh.replace(target)
        return
    text = origin.config if origin and origin.config is not None else None
    with replacing(target) as folder:
        save_file(tensors, folder / WEIGHTS, metadata=metadata)
        (folder / CONFIG).write_text(text or json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _config(checkpoint: Checkpoint) -> Config4M:
    domains = _domains(checkpoint.plan)
    return Config4M(
        tuple(domains[stream.name] for stream in checkpoint.plan.inputs),
        tuple(domains[stream.name] for stream in checkpoint.plan.targets),
        checkpoint.architecture,
    )


def _domains(plan: Plan) -> Mapping[str, str]:
    found = {stream.name: domain_of(stream) or "" for stream in plan.streams}
    unnamed = [f"{name}: has no 4M name" for name, domain in found.items() if not domain]
    unnamed += [
        f"{stream.name}: its positions are not 4M's"
        for stream in plan.streams
        if stream.layout == "sequence" and stream.position_rows is None
    ]
    if unnamed:
        raise CheckpointError(
            "the model",
            "has modalities that 4M does not know",
            mend=listed("export models that were imported, or leave these out", unnamed),
        )
    return found


def _as_text(config: str) -> dict[str, str]:
    found = json.loads(config)
    inner = found.get("config")
    values = inner if isinstance(inner, dict) and "domains_in" not in found else found
    return {key: str(value) for key, value in values.items()}
