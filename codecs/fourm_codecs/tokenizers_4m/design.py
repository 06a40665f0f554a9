"""What a released tokenizer computes: its configuration, and the shapes of its tensors, understood.

A size is what the configuration says; where that is silent, what the tensors have.
"""

import re
from collections.abc import Mapping
from typing import Literal

import attrs

from fourm_codecs.base import Json
from fourm_codecs.tokenizers_4m.keys import DIFFUSION, kept, misspelled
from fourm_schema.errors import CodecError

Shapes = Mapping[str, tuple[int, ...]]

PRESETS: dict[str, tuple[int, int, int]] = {"s": (512, 8, 8), "b": (768, 12, 12), "l": (1024, 24, 16)}
"""Width, blocks and heads of the released transformers."""

PATCH = 16
"""Side of a patch where nothing says another."""

EXPANSION = 4
"""Hidden width of every feed-forward net, in widths."""

_CONTROLNET = ("vae.", "decoder.unet.", "decoder.controlnet.")
_LARGEST = 2**16
_LARGEST_GRID = 256
"""Patches along a side. A table of positions that a file lacks is computed: it must have an end."""

_VIT = re.compile(r"vit_([a-z0-9]{1,16})_(enc|dec)")
_MLP = re.compile(r"BottleneckMLP/B_(\d{1,3})-Wi_(\d{1,5})(?:-E_(\d{1,2}))?")


@attrs.frozen
class Vit:
    """A vision transformer.

    Attributes:
        dim, depth, heads: width, blocks and heads of attention.
        patch: side of a patch in pixels; 1 of a feature map.
        grid: (rows, columns) of its position table.
        post_mlp: a last feed-forward net, after a norm of its own.
        out_conv: two convolutional blocks over what a decoder gives.
    """

    dim: int
    depth: int
    heads: int
    patch: int
    grid: tuple[int, int]
    post_mlp: bool
    out_conv: bool = False


@attrs.frozen
class Mlp:
    """Feed-forward blocks on single vectors: width, blocks, and hidden width in widths."""

    dim: int
    depth: int
    expansion: int


@attrs.frozen
class Design:
    """A tokenizer.

    Attributes:
        channels: numbers of a cell that the encoder takes; of class maps, numbers of a class's embedding.
        labels: classes of a class map; 0 of anything else.
        encoder: what turns values into latents.
        decoder: what turns latents into values; None where diffusion does.
        decoder_name: as the configuration has it.
        quantizer: how a latent finds its id.
        codebook_size: ids.
        codebooks: ids of one latent.
        latent_dim: numbers of a latent.
        norm_latents: latents are brought to length 1 first.
        config: the keys that decide all this, as they were.
        heads: of attention, where `enc_type` and `dec_type` do not say it; 0 where they do.
    """

    channels: int
    labels: int
    encoder: Vit | Mlp
    decoder: Vit | Mlp | None
    decoder_name: str
    quantizer: Literal["cosine", "euclidean", "memcodes"]
    codebook_size: int
    codebooks: int
    latent_dim: int
    norm_latents: bool
    config: Mapping[str, Json]
    heads: int = 0

    @property
    def outputs(self) -> int:
        """Numbers of a cell that the decoder gives: scores of the classes, or the channels."""
        return self.labels or self.channels

    @property
    def is_map(self) -> bool:
        """Whether it takes maps of feature vectors, one cell per token."""
        return isinstance(self.encoder, Vit) and self.encoder.patch == 1

    @property
    def pixels_per_token(self) -> int:
        """Side of what one token covers in the picture, also where that was made a feature map first."""
        told = self.config.get("patch_size")
        own = self.encoder.patch if isinstance(self.encoder, Vit) else 1
        return own if own > 1 else told if isinstance(told, int) else PATCH


def read_design(config: Mapping[str, object], shapes: Shapes, where: str, heads: int = 0) -> Design:
    """Understand a configuration.

    Args:
        config: its keys and values.
        shapes: of the tensors.
        where: the file or modality, for errors.
        heads: of attention, for a transformer that the released code has no name for; 0 says nothing.

    Raises:
        CodecError: if it is none of a tokenizer that can be read here; every fault is named.
    """
    if config.get("sd_path") or any(name.startswith(_CONTROLNET) for name in shapes):
        raise CodecError(
            where,
            "is a VQControlNet, which decodes by Stable Diffusion and is not read here",
            mend="import the DiVAE or VQ-VAE of the same modality, which has its own encoder and ids",
        )
    if not any(name.startswith("quantize.") for name in shapes) and "enc_type" not in config:
        raise CodecError(
            where,
            "has no configuration of a 4M tokenizer",
            got=f"keys {', '.join(sorted(config)[:8])}" if config else "no metadata",
            mend="give its model.safetensors, with its configuration in the header or in config.json",
        )
    reader = _Reader(config, shapes, heads)
    design = reader.design()
    if reader.faults:
        count = "1 fault" if len(reader.faults) == 1 else f"{len(reader.faults)} faults"
        raise CodecError(where, f"its configuration has {count}", mend="\n    ".join(["", *reader.faults]))
    return design


class _Reader:
    """Reads keys one by one, and notes what is wrong with each."""

    def __init__(self, config: Mapping[str, object], shapes: Shapes, heads: int) -> None:
        self.config, self.shapes, self.heads = config, shapes, heads
        self.faults = misspelled(config)
        self.heads_used = False

    def design(self) -> Design:
        quantizer = self._choice("quant_type", ("lucid", "memcodes"), "lucid")
        codebook = "quantize.codes" if quantizer == "memcodes" else "quantize._codebook.embed"
        books = self._count("num_codebooks", 1, codebook if quantizer == "memcodes" else "", 0)
        cosine = self._switch("norm_codes", True)
        if quantizer == "lucid" and books > 1:
            self.faults.append(
                f"num_codebooks: only memcodes has several codebooks that can be decoded; got {books}"
            )
        latent_dim = self._count("latent_dim", 32, "quant_proj.weight", 0)
        if latent_dim % books:
            self.faults.append(f"latent_dim: must be divisible by the {books} codebooks; got {latent_dim}")
        labels = 0 if self.config.get("n_labels") is None else self._count("n_labels", 1)
        channels = self._count("n_channels", 3, "encoder.linear_in.weight", 1, "encoder.proj.weight", 1)
        encoder = self._network("enc", "vit_b_enc")
        by_diffusion = bool(set(self.config) & set(DIFFUSION))
        name = str(self.config.get("dec_type", "unet_patched" if by_diffusion else "vit_b_dec"))
        diffusion = name.startswith(("unet", "uvit"))
        decoder = None if diffusion else self._network("dec", "vit_b_dec")
        if decoder is not None and type(decoder) is not type(encoder) and not self.faults:
            self.faults.append(f"dec_type: must be of the kind of enc_type; got {name!r}")
        self._switch("undo_std", False)
        if self.heads and not self.heads_used:
            self.faults.append(f"heads: enc_type and dec_type say how many there are; got {self.heads}")
        return Design(
            channels=channels,
            labels=labels,
            encoder=encoder,
            decoder=decoder,
            decoder_name=name,
            quantizer="memcodes" if quantizer == "memcodes" else "cosine" if cosine else "euclidean",
            codebook_size=self._count("codebook_size", 16_384, codebook, 1 if quantizer == "memcodes" else 0),
            codebooks=books,
            latent_dim=latent_dim,
            norm_latents=self._switch("norm_latents", False),
            config=kept(self.config),
            heads=self.heads,
        )

    def _network(self, end: Literal["enc", "dec"], usual: str) -> Vit | Mlp:
        key, name = f"{end}_type", self.config.get(f"{end}_type", usual)
        if mlp := _MLP.fullmatch(str(name)):
            depth, dim, expansion = (int(number) for number in (mlp[1], mlp[2], mlp[3] or EXPANSION))
            return Mlp(max(dim, 1), depth, max(expansion, 1))
        if (vit := _VIT.fullmatch(str(name))) and vit[2] == end:
            return self._vit(end, vit[1], key, str(name))
        known = ", ".join(f"vit_{size}_{end}" for size in PRESETS)
        other = ", unet_*, uvit_*" if end == "dec" else ""
        self.faults.append(f"{key}: must be {known}{other} or BottleneckMLP/B_N-Wi_N; got {name!r}")
        return Mlp(1, 0, 1)

    def _vit(self, end: Literal["enc", "dec"], size: str, key: str, name: str) -> Vit:
        side = "encoder" if end == "enc" else "decoder"
        if size in PRESETS:
            dim, depth, heads = PRESETS[size]
        else:
            width = "encoder.proj.bias" if end == "enc" else "post_quant_proj.bias"
            blocks = {
                tensor.removeprefix(f"{side}.blocks.").partition(".")[0]
                for tensor in self.shapes
                if tensor.startswith(f"{side}.blocks.")
            }
            dim, depth, heads = (
                self._size(width, 0) or self._size(f"{side}.pos_emb", 1) or 1,
                len(blocks),
                self.heads,
            )
            self.heads_used = True
            if not heads:
                self.faults.append(
                    f"{key}: {name!r} is none of the released ones: say how many heads it has (--heads)"
                )
        if heads and dim % heads:
            self.faults.append(f"{key}: its width, {dim}, must be divisible by its heads; got {heads}")
        has_patches = self._switch("patch_proj", True)
        patch = self._count("patch_size", PATCH, *(("encoder.proj.weight", 2) if has_patches else ()))
        if end == "dec" and self.config.get("patch_size_dec") is not None:
            patch = self._count("patch_size_dec", patch)
        return Vit(
            dim=dim,
            depth=depth,
            heads=heads or 1,
            patch=patch if has_patches else 1,
            grid=self._grid(end, side, patch),
            post_mlp=self._switch("post_mlp", False),
            out_conv=end == "dec" and self._switch("out_conv", False),
        )

    def _grid(self, end: str, side: str, patch: int) -> tuple[int, int]:
        """Size of the position table: the image's in patches."""
        given = self.config.get(f"image_size_{end}")
        given = self.config.get("image_size") if given is None else given
        table = self.shapes.get(f"{side}.pos_emb", ())
        if given is None and len(table) == 4:
            return table[2], table[3]
        sides = given if isinstance(given, list | tuple) else (given or 224,) * 2
        whole = [one for one in sides if isinstance(one, int) and not isinstance(one, bool)]
        most = patch * _LARGEST_GRID
        if len(whole) != 2 or len(sides) != 2 or any(not 0 < one <= most or one % patch for one in whole):
            self.faults.append(
                f"image_size: must be a side, or [height, width], of 1 to {_LARGEST_GRID} whole patches of "
                f"{patch}; got {given!r}"
            )
            return 1, 1
        return whole[0] // patch, whole[1] // patch

    def _count(self, key: str, usual: int, *of: str | int) -> int:
        """A whole number: the key's, else that of the first tensor that is there, else the usual one."""
        value = self.config.get(key)
        if value is None:
            found = [self._size(str(name), int(axis)) for name, axis in zip(of[::2], of[1::2], strict=True)]
            return next((size for size in found if size), usual)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
            return value
        self.faults.append(f"{key}: must be a whole number from 1 to {_LARGEST}; got {str(value)[:80]}")
        return usual

    def _size(self, name: str, axis: int) -> int:
        """Size of a tensor along an axis; 0 where it is not there."""
        shape = self.shapes.get(name, ())
        return shape[axis] if len(shape) > axis else 0

    def _switch(self, key: str, usual: bool) -> bool:
        value = self.config.get(key)
        if value is None or isinstance(value, bool):
            return usual if value is None else value
        fault = f"{key}: must be True or False; got {str(value)[:80]}"
        if fault not in self.faults:
            self.faults.append(fault)
        return usual

    def _choice(self, key: str, known: tuple[str, ...], usual: str) -> str:
        value = self.config.get(key, usual)
        if value in known:
            return str(value)
        self.faults.append(f"{key}: must be one of {', '.join(known)}; got {str(value)[:80]}")
        return usual
