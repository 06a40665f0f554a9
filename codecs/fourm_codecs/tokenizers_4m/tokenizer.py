"""A whole tokenizer of 4M's, and the check that a file holds its tensors and nothing else.

Shapes: N samples, C channels, H rows, W columns, h x w places of the grid, B codebooks.
"""

from collections.abc import Mapping

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from fourm_codecs.base import Array
from fourm_codecs.tokenizers_4m.blocks import position_table
from fourm_codecs.tokenizers_4m.codebooks import Codebook, Memcodes
from fourm_codecs.tokenizers_4m.design import Design, Shapes, Vit
from fourm_codecs.tokenizers_4m.networks import BottleneckMlp, VitDecoder, VitEncoder
from fourm_schema.errors import CodecError

DIFFUSION = "decoder."
"""Tensors of a diffusion decoder are named so; they are kept as they are."""


class Tokenizer(nn.Module):
    """Numbers as the encoder takes them <-> ids.

    Args:
        design: what it computes. Made on the `meta` device: its weights are those of a file, never drawn.
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design, latent = design, design.latent_dim
        self.encoder: VitEncoder | BottleneckMlp
        self.decoder: VitDecoder | BottleneckMlp | None = None
        if isinstance(design.encoder, Vit):
            self.encoder = VitEncoder(design.encoder, design.channels)
        else:
            self.encoder = BottleneckMlp(design.encoder, design.channels, design.encoder.dim)
        self.cls_emb = nn.Embedding(design.labels, design.channels) if design.labels else None
        self.quant_proj = nn.Conv2d(self.encoder.out_dim, latent, 1)
        self.quantize: Codebook | Memcodes
        if design.quantizer == "memcodes":
            self.quantize = Memcodes(design.codebooks, design.codebook_size, latent)
        else:
            cosine = design.quantizer == "cosine"
            self.quantize = Codebook(design.codebook_size, latent, cosine, design.norm_latents)
        if isinstance(design.decoder, Vit):
            self.decoder = VitDecoder(design.decoder, design.outputs)
        elif design.decoder is not None:
            self.decoder = BottleneckMlp(design.decoder, design.decoder.dim, design.outputs)
        if self.decoder is not None:
            self.post_quant_proj = nn.Conv2d(latent, self.decoder.in_dim, 1)

    def latents(self, x: Tensor) -> Tensor:
        """Latents (N, latent_dim, h, w) of numbers (N, C, H, W), or of class numbers (N, H, W)."""
        if self.cls_emb is not None:
            x = self.cls_emb(x).permute(0, 3, 1, 2)
        z: Tensor = self.quant_proj(self.encoder(x))
        return z

    def encode(self, x: Tensor) -> Tensor:
        """Ids (N, h, w), or (N, B, h, w) of several codebooks."""
        return self.quantize.ids_of(self.latents(x))

    def decode(self, ids: Tensor) -> Tensor:
        """Numbers (N, C, H, W), or scores of the classes."""
        assert self.decoder is not None, "who asks for values has looked"
        x_NCHW: Tensor = self.decoder(self.post_quant_proj(self.quantize.codes_of(ids)))
        return x_NCHW


@attrs.frozen(eq=False)
class Loaded:
    """A tokenizer with its weights.

    Attributes:
        network: for encoding, and for decoding where its decoder can be run.
        kept: tensors of a decoder that cannot be run here.
    """

    network: Tokenizer
    kept: Mapping[str, Array]

    @property
    def tensors(self) -> dict[str, Array]:
        """All of them, by their released names."""
        return {**{name: tensor.numpy() for name, tensor in self.network.state_dict().items()}, **self.kept}


def load(design: Design, tensors: Mapping[str, Array], where: str) -> Loaded:
    """Build a tokenizer and give it the tensors of a file.

    Args:
        design: what it computes.
        tensors: float32, by their released names; position tables may be missing.
        where: the file or modality, for errors.

    Raises:
        CodecError: naming every tensor that is missing, unknown, of another shape, or not finite float32.
    """
    with torch.device("meta"):
        network = Tokenizer(design)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    by_diffusion = design.decoder is None
    kept = {name: tensor for name, tensor in tensors.items() if by_diffusion and name.startswith(DIFFUSION)}
    given = {name: tensor for name, tensor in tensors.items() if name not in kept}
    wrong = _shape_faults(expected, {name: tensor.shape for name, tensor in given.items()})
    wrong += [
        f"{name}: expected finite float32 numbers, found {_numbers(tensor)}"
        for name, tensor in sorted(tensors.items())
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all()
    ]
    if wrong:
        count = "1 tensor is" if len(wrong) == 1 else f"{len(wrong)} tensors are"
        raise CodecError(
            where, f"{count} not what its configuration asks for", mend="\n    ".join(["", *wrong])
        )
    state = {name: torch.tensor(tensor) for name, tensor in given.items()}
    for name in expected.keys() - state.keys():
        _, dim, rows, columns = expected[name]
        state[name] = position_table((rows, columns), dim)
    network.load_state_dict(state, assign=True)
    return Loaded(network.requires_grad_(False).eval(), kept)


def _shape_faults(expected: Shapes, found: Shapes) -> list[str]:
    faults = []
    for name in sorted({*expected, *found}):
        wanted, got = expected.get(name), found.get(name)
        if got is None and name.endswith(".pos_emb"):
            continue
        if wanted != got:
            faults.append(f"{name}: expected {_told(wanted)}, found {_told(got)}")
    return faults


def _told(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(shape)


def _numbers(tensor: Array) -> str:
    return "NaN or infinity" if tensor.dtype == np.float32 else str(tensor.dtype)
