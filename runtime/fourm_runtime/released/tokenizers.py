"""Released tokenizers as codecs.

A tokenizer's file says how values become ids, and not what the values are: that is told by a 4M name, such as
`tok_depth`, or by an entry of a schema.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import attrs
from pydantic import TypeAdapter

from fourm_codecs.base import Array
from fourm_codecs.tokenizers_4m.codec import TokenizerOf4M
from fourm_codecs.tokenizers_4m.design import Design, Vit, read_design
from fourm_codecs.tokenizers_4m.served import NAME
from fourm_codecs.tokenizers_4m.units import Scale
from fourm_runtime.hub import fetch, is_hub_id
from fourm_runtime.released.file import DTYPES, ReleasedFile, open_released
from fourm_runtime.released.modalities import MODALITIES, Entry, base_name, native_names
from fourm_schema.errors import CheckpointError, CodecError, nearest
from fourm_schema.modality import Categorical, Features, Image, Modality, Vector
from fourm_schema.schema import Schema

_MODALITY: TypeAdapter[Modality] = TypeAdapter(Modality)
_LARGEST = 4_096
"""Side of the largest image, in pixels."""


@attrs.frozen
class Subject:
    """What a released tokenizer is of.

    Attributes:
        description: for people.
        scale: how a value becomes its numbers.
        cell: of an image; None for a vector.
    """

    description: str
    scale: Scale
    cell: Mapping[str, object] | None = None


def _subject(name: str) -> Subject:
    known = MODALITIES[name]
    if known.kind == "vector":
        return Subject(known.description, "raw")
    usual: dict[object, Scale] = {"categorical": "classes", "features": "raw"}
    scale = "depth" if name == "tok_depth" else usual.get(known.cell["type"], "range")
    return Subject(known.description, scale, known.cell)


_MASK: Entry = {"type": "continuous", "channels": 1, "range": [0, 1]}
SUBJECTS: dict[str, Subject] = {
    **{name: _subject(name) for name, known in MODALITIES.items() if known.kind in ("tokens", "vector")},
    # Their ids are the codes in the records of `sam_instance` and `human_poses`.
    "sam_mask": Subject("mask of an instance within its box", "mask", _MASK),
    "human_pose": Subject("rotations of the 23 joints of a body, 3x3 each", "raw"),
}


def import_tokenizer(
    path: Path | str, name: str, schema: Schema | None = None, heads: int = 0
) -> TokenizerOf4M:
    """Read a released tokenizer.

    Args:
        path: its safetensors file with the configuration in the header, a folder with `config.json`, or
            OWNER/NAME on the hub.
        name: what its values are: a 4M name such as `tok_rgb@224`, `sam_mask` or `human_pose`; or, with a
            schema, a modality of that.
        schema: a schema whose entry of that name has `codec: vq-4m`.
        heads: of attention, for a transformer that the released code has no name for.

    Returns:
        The codec, to be saved with `fourm_codecs.store.save_codec`.

    Raises:
        CheckpointError: if the file is none, or the name is none of 4M's.
        CodecError: if its configuration or a tensor is not a tokenizer's, or its values are others; every
            fault is named.
    """
    if schema is None and base_name(name) not in SUBJECTS:
        raise CheckpointError(
            name, "is nothing that 4M has a tokenizer of", mend=nearest(base_name(name), list(SUBJECTS))
        )
    file = open_released(fetch(str(path)) if is_hub_id(path) else path)
    where = str(file.path)
    design = read_design(file.config, file.shapes, where, heads)
    if schema is None:
        modality, entry, scale = (
            native_names([name])[name],
            _entry(name, design),
            SUBJECTS[base_name(name)].scale,
        )
    else:
        modality, entry = name, _declared(schema, name, design)
        scale = _scale(name, entry, design)
    return TokenizerOf4M.of_released(modality, entry, design, _tensors(file), scale, where)


def _tensors(file: ReleasedFile) -> dict[str, Array]:
    """All numbers of a file, as float32 where they are of a type that a model has."""
    with file.tensors() as opened:
        return {
            name: (opened.get_tensor(name).float() if dtype in DTYPES else opened.get_tensor(name)).numpy()
            for name, dtype in file.dtypes.items()
        }


def _entry(name: str, design: Design) -> Modality:
    """The schema entry of a 4M name, with the sizes that the tokenizer has."""
    subject = SUBJECTS[base_name(name)]
    common: Entry = {"codec": NAME, "vocab_size": design.codebook_size, "description": subject.description}
    if name != native_names([name])[name]:
        common["aliases"] = [name]
    if subject.cell is None:
        vector: Entry = {"kind": "vector", "dim": design.channels, "tokens": design.codebooks}
        return _MODALITY.validate_json(json.dumps({**vector, **common}))
    cell = dict(subject.cell)
    if cell["type"] == "categorical":
        cell["classes"] = design.labels or cell["classes"]
    elif cell["type"] != "direction":
        cell["channels"] = design.channels
    patch, grid = 1, (1, 1)
    if isinstance(design.encoder, Vit):
        patch, grid = design.encoder.patch, _grid(name, design, design.encoder)
    image: Entry = {"kind": "image", "size": [side * patch for side in grid], "patch": patch, "cell": cell}
    return _MODALITY.validate_json(json.dumps({**image, **common}))


def _grid(name: str, design: Design, encoder: Vit) -> tuple[int, int]:
    """Patches of an image of the size that a name tells, such as `tok_rgb@448`; else of the trained size."""
    size = name.partition("@")[2]
    if not size:
        return encoder.grid
    covered = design.pixels_per_token
    if not (size.isascii() and size.isdecimal() and 0 < int(size) <= _LARGEST) or int(size) % covered:
        raise CheckpointError(
            name, f"names no size that is whole patches of {covered} pixels", got=repr(size)
        )
    side = int(size) // covered
    return side, side


def _declared(schema: Schema, name: str, design: Design) -> Modality:
    if name not in schema.modalities:
        raise CheckpointError(
            name, "is no modality of the schema", mend=nearest(name, list(schema.modalities))
        )
    entry = schema.modalities[name]
    if entry.codec != NAME:
        raise CodecError(
            name,
            f"does not ask for the codec {NAME!r}",
            got=f"codec {entry.codec!r}" if entry.codec else "no codec",
            mend=f"write codec: {NAME}, vocab_size: {design.codebook_size}",
        )
    return entry


def _scale(name: str, entry: Modality, design: Design) -> Scale:
    """The scale of the 4M name that an entry goes by; else the one that its type has."""
    for known in (name, *entry.aliases):
        if base_name(known) in SUBJECTS:
            return SUBJECTS[base_name(known)].scale
    if isinstance(entry, Vector) or (isinstance(entry, Image) and isinstance(entry.cell, Features)):
        return "raw"
    if isinstance(entry, Image) and isinstance(entry.cell, Categorical):
        return "classes"
    # Of the released ones only the tokenizer of masks has these blocks.
    is_mask = isinstance(design.decoder, Vit) and design.decoder.out_conv
    return "mask" if is_mask else "range"
