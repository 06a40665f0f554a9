"""The modalities of 4M and 4M-21 as schema entries.

The released code keeps them in one table of its own; a checkpoint only names them. Here each is an entry of
`modalities.yaml` that goes by its 4M name as an alias: `tok_depth@224` is the modality `tok_depth`.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

from fourm_schema.errors import nearest
from fourm_schema.plan import Stream
from fourm_schema.released_forms import FORMS, FormName

Kind = Literal["pixels", "tokens", "vector", "text", "vectors"]
Entry = dict[str, object]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of red, green and blue in [0, 255]."""

SEQUENCE_POSITIONS = 512
"""Rows of the position table of every sequence, whatever its length."""


@attrs.frozen
class Known:
    """What the released code knows of a modality.

    Attributes:
        kind: `pixels` and `vectors` go in as numbers; `tokens` (a grid), `vector` (one vector as tokens) and
            `text` as ids.
        vocab_size: ids; 0 where there are none.
        length: most tokens of a text or of vectors, tokens of a vector, cells of a grid at 224 pixels.
        target_positions: of a text, how many predicted tokens have a position each.
        cell: what a cell of the raw image holds.
        is_map: the raw value is a feature map: as many cells as tokens.
        dim: numbers of a vector.
        description: for people.
        form: of the records that a text is made of.
        order: that 4M writes these in.
        max_items: most of these.
    """

    kind: Kind
    vocab_size: int
    length: int
    description: str
    target_positions: int = 0
    cell: Mapping[str, object] = attrs.field(factory=dict)
    is_map: bool = False
    dim: int = 0
    form: FormName | None = None
    order: str = "given"
    max_items: int = 0


def _image(vocab_size: int, cell: Entry, description: str, length: int = 196, is_map: bool = False) -> Known:
    return Known("tokens", vocab_size, length, description, cell=cell, is_map=is_map)


def _text(length: int, description: str, target_positions: int | None = None) -> Known:
    return Known("text", 30_000, length, description, target_positions or length)


def _records(known: Known, form: FormName, max_items: int, order: str = "given") -> Known:
    return attrs.evolve(known, form=form, max_items=max_items, order=order)


_COLOURS: Entry = {"type": "continuous", "channels": 3, "range": [0, 255]}
_SHARE: Entry = {"type": "continuous", "channels": 1, "range": [0, 1]}


def _features(channels: int) -> Entry:
    return {"type": "features", "channels": channels}


MODALITIES: dict[str, Known] = {
    "rgb": Known("pixels", 0, 196, "photographs", cell=_COLOURS),
    "tok_rgb": _image(16_384, _COLOURS, "photographs"),
    "tok_depth": _image(8_192, _SHARE, "relative depth"),
    "tok_normal": _image(8_192, {"type": "direction"}, "surface normals"),
    "tok_semseg": _image(4_096, {"type": "categorical", "classes": 134}, "COCO class map, 0 is none"),
    "tok_clip": _image(8_192, _features(512), "CLIP-B/16 features", is_map=True),
    "tok_canny_edge": _image(8_192, _SHARE, "Canny edges"),
    "tok_sam_edge": _image(8_192, _SHARE, "edges of SAM instances"),
    "tok_dinov2": _image(8_192, _features(768), "DINOv2-B/14 features", 256, is_map=True),
    "tok_imagebind": _image(8_192, _features(1_280), "ImageBind-H/14 features", 256, is_map=True),
    "tok_dinov2_global": Known("vector", 8_192, 16, "DINOv2-B/14 global feature", dim=768),
    "tok_imagebind_global": Known("vector", 8_192, 16, "ImageBind-H/14 global feature", dim=1_280),
    "caption": _text(256, "captions and web text"),
    "det": _records(_text(256, "bounding boxes, as text"), "detections", 51, "distance_to_origin"),
    "metadata": _records(_text(40, "metadata, as text"), "metadata", 1, "random"),
    "human_poses": _records(_text(275, "human poses, as text", 263), "poses", 7),
    "color_palette": _records(_text(23, "colour palette, as text"), "palette", 7),
    "sam_instance": _records(_text(290, "SAM instances, as text"), "instances", 72, "random"),
    "t5_caption": Known("vectors", 0, 77, "T5-XXL embeddings of captions", dim=4_096),
}


@attrs.frozen
class Found:
    """A modality of one checkpoint, with the sizes that its tensors have.

    Attributes:
        domain: its 4M name, e.g. `tok_depth@224`.
        role: what it is in this checkpoint.
        vocab_size: rows of its token table; 0 where it has none.
        positions: rows of its position table.
        numbers: columns of its projection; 0 where it has none.
    """

    domain: str
    role: Literal["input", "target", "both"]
    vocab_size: int
    positions: int
    numbers: int

    @property
    def known(self) -> Known:
        return MODALITIES[base_name(self.domain)]

    @property
    def side(self) -> int:
        """Cells along a side of its grid."""
        return math.isqrt(self.positions)


def base_name(domain: str) -> str:
    """The name without the resolution: `tok_rgb@448` -> `tok_rgb`."""
    return domain.partition("@")[0]


def is_known(domain: str) -> bool:
    """Whether the released code has a modality of that name."""
    base, at, size = domain.partition("@")
    return base in MODALITIES and (not at or (size.isascii() and size.isdigit() and 0 < int(size) <= 4_096))


def nearest_known(domain: str) -> str:
    """Say which modality an unknown name was probably meant to be."""
    return nearest(base_name(domain), list(MODALITIES))


def native_names(domains: Iterable[str]) -> dict[str, str]:
    """4M name -> name of the modality: without the resolution, where that is enough to tell them apart.

    >>> native_names(["rgb@224", "tok_rgb@224", "tok_rgb@448"])
    {'rgb@224': 'rgb', 'tok_rgb@224': 'tok_rgb_224', 'tok_rgb@448': 'tok_rgb_448'}
    """
    listed = list(domains)
    bases = [base_name(domain) for domain in listed]
    return {
        domain: base if bases.count(base) == 1 else domain.replace("@", "_")
        for domain, base in zip(listed, bases, strict=True)
    }


def domain_of(stream: Stream) -> str | None:
    """4M's name of a stream: an alias, or the modality's own name."""
    return next((name for name in (*stream.aliases, stream.modality) if is_known(name)), None)


def entry(name: str, found: Found, vocabulary: str, text_codec: str) -> Entry:
    """The schema entry of a modality.

    Args:
        name: of the modality.
        found: what the checkpoint has of it.
        vocabulary: name of the word vocabulary, for a text.
        text_codec: how texts become ids.
    """
    known = found.known
    common: Entry = {"description": known.description}
    if found.domain != name:
        common["aliases"] = [found.domain]
    if found.role != "both" and known.kind not in ("pixels", "vectors"):
        common["role"] = found.role
    match known.kind:
        case "pixels":
            patch = round((found.numbers / 3) ** 0.5)
            scale = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
            size = patch * found.side
            own: Entry = {
                "size": size,
                "patch": patch,
                "cell": dict(known.cell),
                "shown": ["pixels"],
                **scale,
            }
            return {"kind": "image", **own, **common}
        case "tokens":
            size, patch = _size(found)
            ids: Entry = {"codec": "ids", "vocab_size": found.vocab_size}
            return {"kind": "image", "size": size, "patch": patch, "cell": dict(known.cell), **ids, **common}
        case "vector":
            ids = {"codec": "ids", "vocab_size": found.vocab_size, "tokens": found.positions}
            return {"kind": "vector", "dim": known.dim, **ids, **common}
        case "vectors":
            sizes: Entry = {"max_length": known.length, "position_rows": found.positions}
            return {"kind": "vector", "dim": found.numbers, **sizes, "shown": ["values"], **common}
        case "text":
            sizes = {"max_tokens": known.length, "position_rows": found.positions}
            sizes["target_positions"] = known.target_positions
            if known.form is not None and text_codec == "tokenizer":
                return {**_set(known, known.form), "dialect": _dialect(vocabulary, sizes), **common}
            return {"kind": "text", "vocabulary": vocabulary, **sizes, "codec": text_codec, **common}


def _set(known: Known, form: FormName) -> Entry:
    """What a set of records says beside its dialect. Metadata are clipped, as 4M does all the time."""
    own: Entry = {"kind": "set", "fields": dict(FORMS[form]), "max_items": known.max_items}
    if known.order != "given":
        own["order"] = known.order
    if form == "metadata":
        own["out_of_range"] = "clip"
    return own


def _dialect(vocabulary: str, sizes: Entry) -> Entry:
    return {"name": "4m", "vocabulary": vocabulary, **sizes}


def _size(found: Found) -> tuple[int, int]:
    """Size and patch of the image behind a grid of tokens; its grid where the name does not tell."""
    asked = found.domain.partition("@")[2]
    if found.known.is_map or not asked or int(asked) % found.side:
        return found.side, 1
    return int(asked), int(asked) // found.side
