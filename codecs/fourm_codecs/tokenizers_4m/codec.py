"""`vq-4m`: values become the ids that a tokenizer released with 4M gives them.

Its weights and its configuration are those of the released file, under a schema entry that says what the
values are. What it keeps of them was not measured here.

Shapes: N values, L ids of one value.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import attrs
import numpy as np
import torch

from fourm_codecs.base import Array, Json, Parts, TokenBatch, grid_of
from fourm_codecs.laws import Unmeasured
from fourm_codecs.tokenizers_4m.design import Design, read_design
from fourm_codecs.tokenizers_4m.served import NAME, require_served
from fourm_codecs.tokenizers_4m.tokenizer import Loaded, load
from fourm_codecs.tokenizers_4m.units import SCALES, Scale, Units
from fourm_schema.errors import CodecError
from fourm_schema.modality import Continuous, Image, Modality, Vector

KEEP_IDS = "import the model without it to have the ids themselves; as an input it serves"


@attrs.frozen(eq=False)
class TokenizerOf4M:
    """One id per patch of an image or cell of a feature map; several of a vector.

    Attributes:
        modality: whose values it takes.
        entry: the schema entry that says what they are.
        design: what the tokenizer computes.
        loaded: its weights; never trained further.
        scale: how values become its numbers.
    """

    modality: str
    entry: Image | Vector
    design: Design
    loaded: Loaded = attrs.field(repr=False)
    scale: Scale
    name: str = attrs.field(default=NAME, init=False)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts) -> Self:
        """The tokenizer whose tensors, configuration and scale `parts` holds.

        Raises:
            CodecError: if the entry is not one of what it takes, nothing is imported yet, or a tensor is
                missing, unknown or of another shape.
        """
        if not parts.tensors:
            raise CodecError(
                modality,
                f"its codec {NAME!r} is not imported yet",
                mend=f"import it: fourm import 4m-tokenizer FILE --schema FILE.yaml --for {modality} "
                f"--to codecs/{modality}",
            )
        config, heads, scale = (parts.settings.get(key) for key in ("config", "heads", "scale"))
        if not isinstance(config, dict) or not isinstance(heads, int) or scale not in SCALES:
            raise CodecError(
                modality, "its settings lack config, heads or scale", mend="they are damaged; import it again"
            )
        shapes = {name: tensor.shape for name, tensor in parts.tensors.items()}
        design = read_design(config, shapes, modality, heads)
        return cls.of_released(modality, entry, design, parts.tensors, scale)

    @classmethod
    def of_released(
        cls,
        modality: str,
        entry: Modality,
        design: Design,
        tensors: Mapping[str, Array],
        scale: Scale,
        where: str = "",
    ) -> Self:
        """The tokenizer of a released file.

        Args:
            modality: whose values it is to take.
            entry: what they are.
            design: what its configuration says.
            tensors: float32, by their released names.
            scale: how values become its numbers.
            where: the file, for errors; the modality where nothing is said.

        Raises:
            CodecError: as `from_entry`.
        """
        served = require_served(modality, entry, design, scale)
        return cls(modality, served, design, load(design, tensors, where or modality), scale)

    @property
    def law(self) -> Unmeasured:
        return Unmeasured()

    @property
    def vocab_size(self) -> int:
        return self.design.codebook_size

    @property
    def token_shape(self) -> tuple[int, ...]:
        return self.entry.grid if isinstance(self.entry, Image) else (self.design.codebooks,)

    @property
    def can_decode(self) -> bool:
        """Whether its ids become values again: not where that takes a diffusion decoder."""
        return self.design.decoder is not None

    @property
    def parts(self) -> Parts:
        """Tensors under their released names, and the settings that give them their meaning."""
        return Parts(
            tensors=self.loaded.tensors,
            settings={
                "config": dict(self.design.config),
                "heads": self.design.heads,
                "scale": self.scale,
                "values": _values_of(self.entry),
            },
        )

    def encode(self, values: Sequence[object]) -> TokenBatch:
        """Turn values into ids: of an image row by row, of a vector codebook by codebook.

        Raises:
            CodecError: if a value has another shape, is not finite, or lies out of its range.
        """
        ids_NL = np.zeros((len(values), int(np.prod(self.token_shape))), np.int64)
        if len(values):
            numbers = torch.from_numpy(self.units.numbers(values))
            with torch.inference_mode():
                # One at a time: a matrix product of another batch size rounds differently, and a latent
                # between two codes would get either, depending on what it is encoded with.
                for number in range(len(values)):
                    found = self.loaded.network.encode(numbers[number : number + 1])
                    ids_NL[number] = found.reshape(-1).numpy()
        return TokenBatch.of_grid(ids_NL, self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[Array]:
        """Turn ids into values that the modality can hold; of class maps the likeliest class.

        Raises:
            CodecError: if a row has another number of ids, an id is out of the vocabulary, or the decoder is
                one that is not run here.
        """
        if not self.can_decode:
            raise CodecError(self.modality, self.why_not_decoded, mend=KEEP_IDS)
        length = int(np.prod(self.token_shape))
        ids_NL = torch.from_numpy(grid_of(tokens, self.modality, length, self.vocab_size))
        if not len(tokens):
            return []
        ids = ids_NL.reshape(-1, *self._ids_shape)
        with torch.inference_mode():
            decoded = torch.cat([self.loaded.network.decode(one[None]) for one in ids])
        return self.units.values(decoded.numpy())

    @property
    def why_not_decoded(self) -> str:
        """What a refusal to decode says."""
        name = self.design.decoder_name
        return f"its ids decode by diffusion (DiVAE, dec_type {name!r}), which this version cannot run"

    @property
    def units(self) -> Units:
        """Between values and the numbers of the network."""
        return Units(self.modality, self.entry, self.scale)

    @property
    def _ids_shape(self) -> tuple[int, ...]:
        """Shape of one value's ids as the network has them."""
        grid = self.entry.grid if isinstance(self.entry, Image) else (1, 1)
        return (self.design.codebooks, *grid) if self.design.quantizer == "memcodes" else grid


def _values_of(entry: Image | Vector) -> list[Json]:
    """What decides the numbers of a value beside the scale: another of these gives other ids."""
    if isinstance(entry, Vector):
        return ["vector", entry.dim]
    span = list(entry.cell.range) if isinstance(entry.cell, Continuous) else []
    return [entry.cell.type, *entry.size, entry.channels, *span]
