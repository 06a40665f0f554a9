"""Released 4M models as checkpoints of ours: the same numbers, under a schema.

Tables of each modality become rows of one table per side, biases that are buffers of zeros go, and the
sin-cos positions are kept bit for bit. What is left of the file, for its export, is the `Origin`.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import attrs
import numpy as np
import torch

from fourm_codecs.base import Parts, StoredCodec
from fourm_codecs.build import codec_of_entry
from fourm_codecs.tokenizer_file import TokenizerFile, read_tokenizer
from fourm_runtime.assemble import STORED_POSITIONS, empty_model, stored_tensors
from fourm_runtime.checkpoints.files import TensorFile, listed
from fourm_runtime.checkpoints.store import Checkpoint, Origin
from fourm_runtime.released.attaching import with_tokenizers
from fourm_runtime.released.config import Config4M, read_config
from fourm_runtime.released.file import DTYPES, ReleasedFile, open_released
from fourm_runtime.released.modalities import SEQUENCE_POSITIONS, Found, domain_of
from fourm_runtime.released.positions import released_positions
from fourm_runtime.released.schema import schema_of
from fourm_runtime.released.tensors import Place, places
from fourm_schema.allocation import allocate
from fourm_schema.errors import CheckpointError
from fourm_schema.modality import Set, Text
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.special import special_ids

FORMAT = "4m"
SENTINELS = 200
"""Sentinels of the released text tokenizer."""

_FROM_ELSEWHERE = "convert or restore the file; a model with other code is none of 4M's"


def import_4m(
    path: Path | str,
    text_tokenizer: Path | str | None = None,
    tokenizers: Mapping[str, Path | str] | None = None,
    *,
    progress: Callable[[Iterable[Place]], Iterable[Place]] = iter,
) -> Checkpoint:
    """Read a released 4M or 4M-21 model.

    Args:
        path: `model.safetensors` with the configuration in its header, or a folder with `config.json`.
        text_tokenizer: the tokenizer file that the model was trained with; with it, boxes, metadata, poses,
            palettes and instances are records. Without it, these and texts are given and come back as token
            ids.
        tokenizers: of images and vectors, by 4M name; without its own, each is given and comes back as ids.
        progress: passes the tensors on as they are read, e.g. to count them.

    Returns:
        The model, ready to be saved with `fourm_runtime.checkpoints.store.save`.

    Raises:
        CheckpointError: if the file is none, or its tensors are not those its configuration asks for; every
            tensor that disagrees is named.
        CodecError: if a tokenizer is none, or not the model's.
    """
    file, config, schema, tokenizer = _describe(path, text_tokenizer)
    schema, codecs = with_tokenizers(schema, tokenizers or {})
    plan = resolve(schema)
    allocation = allocate(plan)
    shape = config.architecture
    heads = [name for name in file.shapes if name.endswith(".to_logits.weight")]
    if not heads:
        shape = attrs.evolve(shape, tie_head=True)
    domains = {stream.name: domain_of(stream) or "" for stream in plan.streams}
    expected = places(plan, allocation, shape, domains)
    _check_shapes(expected, file)
    model = empty_model(plan, allocation, shape)
    weights = {name: tensor.detach() for name, tensor in stored_tensors(model).items()}
    for name, tensor in weights.items():
        if name != STORED_POSITIONS:
            # Rows of the other side's modalities, and row 0, have no numbers in the file.
            tensor.zero_()
    with file.tensors() as opened:
        _fill(weights, progress(expected), file, opened)
    dtypes = {name: dtype for name, dtype in file.dtypes.items() if dtype != "F32"}
    origin = Origin(FORMAT, file.metadata, file.config_text, dtypes)
    codecs |= {} if tokenizer is None else _text_codecs(schema, tokenizer)
    return Checkpoint(schema, plan, allocation, shape, weights, codecs, origin)


def schema_of_4m(path: Path | str) -> Schema:
    """Read what the data of a released model is, from the headers of its file alone; texts are ids.

    Raises:
        CheckpointError: as `import_4m`.
    """
    return _describe(path, None)[2]


def _describe(
    path: Path | str, text_tokenizer: Path | str | None
) -> tuple[ReleasedFile, Config4M, Schema, bytes | None]:
    """What a file says of itself before a tensor is read, and its tokenizer."""
    file = open_released(path)
    where = str(file.path)
    config = read_config(file.config, where)
    found = [_found(domain, config, file) for domain in config.domains]
    tokenizer = None if text_tokenizer is None else read_tokenizer(text_tokenizer)
    sentinels = SENTINELS
    if tokenizer is not None:
        sentinels = _check_tokenizer(tokenizer, str(text_tokenizer), found)
    return (
        file,
        config,
        schema_of(found, sentinels, "ids" if tokenizer is None else "tokenizer", where),
        tokenizer,
    )


def _found(domain: str, config: Config4M, file: ReleasedFile) -> Found:
    """Sizes of a modality as its tensors have them; those of the released code where a tensor is missing."""
    inside, outside = domain in config.domains_in, domain in config.domains_out

    def size(axis: int, *parts: str) -> int:
        for side in ("encoder", "decoder"):
            for part in parts:
                shape = file.shapes.get(f"{side}_embeddings.{domain}.{part}", ())
                if len(shape) > axis:
                    return shape[axis]
        return 0

    known = Found(domain, "both", 0, 0, 0).known
    usual = SEQUENCE_POSITIONS if known.kind in ("text", "vectors") else known.length
    numbers = 0
    if known.kind == "pixels":
        numbers = size(1, "proj.weight") or 768
    elif known.kind == "vectors":
        numbers = size(1, "emb_proj.weight") or known.dim
    return Found(
        domain,
        "both" if inside and outside else "input" if inside else "target",
        (size(0, "token_emb.weight", "to_logits.weight") or known.vocab_size) if known.vocab_size else 0,
        size(1, "pos_emb") or usual,
        numbers,
    )


def _check_shapes(expected: tuple[Place, ...], file: ReleasedFile) -> None:
    wanted = {place.name: place for place in expected}
    wrong = []
    for name in sorted({*wanted, *file.shapes}):
        place, shape = wanted.get(name), file.shapes.get(name)
        if place is None:
            wrong.append(f"{name}: expected nothing, found {shape}")
        elif shape is None and not place.optional and not _has_twin(place, expected, file):
            wrong.append(f"{name}: expected {place.shape}, found nothing")
        elif shape is not None and shape != place.shape:
            wrong.append(f"{name}: expected {place.shape}, found {shape}")
        elif shape is not None and file.dtypes[name] not in DTYPES:
            wrong.append(f"{name}: expected one of {', '.join(DTYPES)}, found {file.dtypes[name]}")
    if wrong:
        count = "1 tensor is" if len(wrong) == 1 else f"{len(wrong)} tensors are"
        raise CheckpointError(
            str(file.path),
            f"{count} not what its configuration asks for",
            mend=listed(_FROM_ELSEWHERE, wrong),
        )


def _has_twin(place: Place, expected: tuple[Place, ...], file: ReleasedFile) -> bool:
    """Whether the file has the same tensor under its other name."""
    twins = [other.name for other in expected if other.copy_of == place.name]
    return any(name in file.shapes for name in (*twins, place.copy_of or ""))


def _fill(
    weights: Mapping[str, torch.Tensor],
    expected: Iterable[Place],
    file: ReleasedFile,
    opened: TensorFile,
) -> None:
    """Copy every tensor to its place; what several names share must be the same numbers under each."""
    came_from: dict[tuple[str, int], str] = {}
    faults = []
    lacking = []
    for place in expected:
        if place.name not in file.shapes:
            lacking.append(place)
            continue
        tensor = opened.get_tensor(place.name).to(torch.float32)
        if place.native is None:
            if tensor.any():
                faults.append(f"{place.name}: must be zeros where norm_bias is False")
            continue
        key = (place.native, place.rows.start if place.rows else 0)
        own = place.of(weights)
        if key not in came_from:
            came_from[key] = place.name
            own.copy_(tensor)
        elif not torch.equal(own, tensor):
            faults.append(f"{place.name}: must hold the numbers of {came_from[key]}")
    for place in lacking:
        if (
            place.native == STORED_POSITIONS
            and place.rows
            and (place.native, place.rows.start) not in came_from
        ):
            _, count, dim = place.shape
            table = released_positions(count, dim, on_grid=count != SEQUENCE_POSITIONS)
            place.of(weights).copy_(table[None])
    if faults:
        raise CheckpointError(
            str(file.path), "its tensors contradict each other", mend=listed(_FROM_ELSEWHERE, faults)
        )


def _check_tokenizer(content: bytes, where: str, found: list[Found]) -> int:
    """See that a tokenizer has the ids of every text of the model; how many sentinels it has."""
    file = TokenizerFile(content, where)
    size, special = file.size, file.special
    faults = [
        f"{one.domain}: the model has {one.vocab_size} ids, the tokenizer {size}"
        for one in found
        if one.known.kind == "text" and one.vocab_size != size
    ]
    if special != special_ids(special.sentinel_count):
        faults.append(f"its special tokens have other ids than 4M's: {special}")
    if faults:
        raise CheckpointError(
            where,
            "is not the tokenizer the model was trained with",
            mend=listed("give the model's own, or none", faults),
        )
    return special.sentinel_count


def _text_codecs(schema: Schema, content: bytes) -> dict[str, StoredCodec]:
    parts = Parts(tensors={"tokenizer": np.frombuffer(content, np.uint8)})
    return {
        name: codec_of_entry("grammar-4m" if isinstance(entry, Set) else "tokenizer", name, entry, parts)
        for name, entry in schema.modalities.items()
        if isinstance(entry, Text | Set)
    }
