"""Which entries of a schema a tokenizer of 4M's can serve."""

from typing import Literal

from fourm_codecs.tokenizers_4m.design import Design, Mlp, Vit
from fourm_codecs.tokenizers_4m.units import Scale
from fourm_schema.errors import CodecError
from fourm_schema.modality import Categorical, Features, Image, Modality, Vector
from fourm_schema.resolve import PQ_TOKENS

NAME = "vq-4m"

Kind = Literal["vectors", "class maps", "feature maps", "images of numbers"]

_SCALES: dict[Kind, tuple[Scale, ...]] = {
    "vectors": ("raw",),
    "class maps": ("classes",),
    "feature maps": ("raw",),
    "images of numbers": ("range", "depth", "mask"),
}


def require_served(modality: str, entry: Modality, design: Design, scale: Scale) -> Image | Vector:
    """The entry, if a tokenizer can serve it.

    Raises:
        CodecError: naming everything that the entry says and the tokenizer has not.
    """
    if not isinstance(entry, Image | Vector):
        raise CodecError(modality, f"{NAME} is for images and vectors", got=f"kind {entry.kind!r}")
    given, taken = _kind_of(entry), _kind_taken(design)
    pairs: dict[str, tuple[object, object]] = {"values": (given, taken)}
    if given == taken:
        pairs = _vector(entry, design) if isinstance(entry, Vector) else _image(entry, design)
    pairs["vocab_size"] = entry.vocab_size, design.codebook_size
    faults = [
        f"{key}: the entry has {declared}, the tokenizer {has}"
        for key, (declared, has) in pairs.items()
        if declared != has
    ]
    decoded = design.decoder.patch if isinstance(design.decoder, Vit) else 0
    if decoded and isinstance(design.encoder, Vit) and decoded != design.encoder.patch:
        faults.append(f"patch_size_dec: images come back in patches of {decoded}, which changes their size")
    if not faults and scale not in _SCALES[given]:
        faults.append(f"scale: must be one of {', '.join(_SCALES[given])} for {given}; got {scale}")
    if faults:
        raise CodecError(modality, "its entry does not fit its tokenizer", mend="\n    ".join(["", *faults]))
    return entry


def _vector(entry: Vector, design: Design) -> dict[str, tuple[object, object]]:
    """What an entry says and what a tokenizer has, by key."""
    return {
        "dim": (entry.dim, design.channels),
        "tokens": (entry.tokens or PQ_TOKENS, design.codebooks),
        "max_length": (entry.max_length, None),
    }


def _image(entry: Image, design: Design) -> dict[str, tuple[object, object]]:
    patch = design.encoder.patch if isinstance(design.encoder, Vit) else 1
    pairs: dict[str, tuple[object, object]] = {
        "patch": (entry.patch, (patch, patch)),
        "tokens per patch": (1, design.codebooks),
    }
    if isinstance(entry.cell, Categorical):
        return {**pairs, "classes": (entry.cell.class_count, design.labels)}
    return {**pairs, "channels": (entry.channels, design.channels)}


def _kind_of(entry: Image | Vector) -> Kind:
    if isinstance(entry, Vector):
        return "vectors"
    if isinstance(entry.cell, Categorical):
        return "class maps"
    return "feature maps" if isinstance(entry.cell, Features) else "images of numbers"


def _kind_taken(design: Design) -> Kind:
    if isinstance(design.encoder, Mlp):
        return "vectors"
    if design.labels:
        return "class maps"
    return "feature maps" if design.is_map else "images of numbers"
