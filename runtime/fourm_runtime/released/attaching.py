"""Giving the modalities of an imported model the tokenizers that made their ids: ids become values."""

import json
from collections.abc import Mapping
from pathlib import Path

import attrs
from pydantic import TypeAdapter

from fourm_codecs.base import StoredCodec
from fourm_codecs.store import MANIFEST, load_codec
from fourm_codecs.tokenizers_4m.codec import TokenizerOf4M
from fourm_codecs.tokenizers_4m.served import require_served
from fourm_runtime.checkpoints.files import listed
from fourm_runtime.released.modalities import is_known
from fourm_runtime.released.tokenizers import import_tokenizer
from fourm_schema.errors import CheckpointError, CodecError, nearest
from fourm_schema.modality import Image, Modality, Vector
from fourm_schema.resolve import PQ_TOKENS
from fourm_schema.schema import Schema

_MODALITY: TypeAdapter[Modality] = TypeAdapter(Modality)
_OF_THE_MODEL = ("description", "aliases", "role")


def with_tokenizers(
    schema: Schema, tokenizers: Mapping[str, Path | str]
) -> tuple[Schema, dict[str, StoredCodec]]:
    """Give modalities their tokenizers.

    Args:
        schema: of an imported model, whose images and vectors are ids.
        tokenizers: modality, by its name or its 4M name -> folder of a codec, or a released tokenizer as
            `import_tokenizer` takes it.

    Returns:
        The schema, in which these modalities are values; and modality -> codec.

    Raises:
        CheckpointError: if a modality is none of the model's, or a tokenizer is not that of its modality;
            all that disagree are told.
        CodecError: if a tokenizer cannot be read.
    """
    content = schema.model_dump(mode="json", by_alias=True, exclude_unset=True)
    codecs: dict[str, StoredCodec] = {}
    faults = []
    for name, path in tokenizers.items():
        modality = _named(schema, name)
        ids = schema.modalities[modality]
        known = next((known for known in (*ids.aliases, modality) if is_known(known)), name)
        codec = _read(known, path)
        wrong = _differences(ids, codec)
        faults += [f"{name}: {one}" for one in wrong]
        if not wrong:
            content["modalities"][modality] = _entry(ids, codec.entry)
            entry = _MODALITY.validate_json(json.dumps(content["modalities"][modality]))
            served = require_served(modality, entry, codec.design, codec.scale)
            codecs[modality] = attrs.evolve(codec, modality=modality, entry=served)
    if faults:
        raise CheckpointError(
            "the tokenizers", "are not those of the model", mend=listed("give each its own, or none", faults)
        )
    return Schema.model_validate_json(json.dumps(content)), codecs


def _named(schema: Schema, name: str) -> str:
    ids = {
        modality: entry
        for modality, entry in schema.modalities.items()
        if isinstance(entry, Image | Vector) and entry.codec == "ids"
    }
    for modality, entry in ids.items():
        if name in (modality, *entry.aliases):
            return modality
    raise CheckpointError(
        name, "is no image or vector that the model has as token ids", mend=nearest(name, list(ids))
    )


def _read(name: str, path: Path | str) -> TokenizerOf4M:
    if not (Path(path) / MANIFEST).is_file():
        return import_tokenizer(path, name)
    codec = load_codec(path)
    if not isinstance(codec, TokenizerOf4M):
        raise CodecError(
            str(path),
            "is no tokenizer of 4M's",
            got=f"codec {codec.name!r}",
            mend="import one with: fourm import 4m-tokenizer",
        )
    return codec


def _differences(ids: Modality, codec: TokenizerOf4M) -> list[str]:
    """What the model's ids and those of a tokenizer do not have in common."""
    assert isinstance(ids, Image | Vector), "only these are ids"
    if ids.kind != codec.entry.kind:
        return [f"the model has it as {ids.kind}, the tokenizer as {codec.entry.kind}"]
    faults = []
    if isinstance(ids, Image) and isinstance(codec.entry, Image) and ids.cell.type != codec.entry.cell.type:
        faults.append(f"the model has {ids.cell.type} cells, the tokenizer {codec.entry.cell.type} ones")
    if isinstance(ids, Vector) and (ids.tokens or PQ_TOKENS) != codec.design.codebooks:
        faults.append(
            f"the model has {ids.tokens or PQ_TOKENS} tokens, the tokenizer {codec.design.codebooks}"
        )
    if ids.vocab_size != codec.vocab_size:
        faults.append(f"the model has {ids.vocab_size} ids, the tokenizer {codec.vocab_size}")
    return faults


def _entry(ids: Modality, values: Image | Vector) -> dict[str, object]:
    """What the tokenizer takes, at the size that the model has, under the model's names."""
    told = ids.model_dump(mode="json", by_alias=True, exclude_unset=True)
    found: dict[str, object] = values.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for key in _OF_THE_MODEL:
        found.pop(key, None)
    found |= {key: told[key] for key in _OF_THE_MODEL if key in told}
    if isinstance(ids, Image) and isinstance(values, Image):
        found["size"] = [count * side for count, side in zip(ids.grid, values.patch, strict=True)]
    return found
