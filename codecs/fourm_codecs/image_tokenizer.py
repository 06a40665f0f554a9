"""`vit-fsq`: an image of numbers or directions becomes one learned id per patch.

A vision transformer turns patches into codes, finite scalar quantization rounds these to ids, a second
transformer turns them back. Values come and go in the schema's units; what it keeps of them was measured
when it was fitted (`fourm_codecs.fit_image`), and is its law.

Shapes: N images, L patches (row by row), C numbers of a patch.
"""

from collections.abc import Sequence
from typing import Self

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_codecs.base import Array, Parts, TokenBatch, grid_of
from fourm_codecs.dense import DenseView
from fourm_codecs.laws import Calibrated
from fourm_codecs.vit import SIZES, Autoencoder
from fourm_schema.codebooks import FSQ_DEFAULT, FSQ_LEVELS, nearest_codebook
from fourm_schema.errors import CodecError, nearest
from fourm_schema.modality import Continuous, Direction, Image, Modality

METRIC = "root mean square error"
SHORTEST = 1e-6
"""A decoded vector shorter than this has no direction; it becomes +z, towards the viewer."""


@attrs.frozen(eq=False)
class ImageTokenizer:
    """One id per patch of an image, by learned weights.

    Build it by `fourm_codecs.fit_image.fit`, or load it with `fourm_codecs.store.load_codec`.

    Attributes:
        modality: whose images it takes.
        entry: the schema entry it was fitted for.
        size: name of its networks' size, a key of `fourm_codecs.vit.SIZES`.
        network: its weights; never trained further.
        law: what was measured at fitting.
    """

    modality: str
    entry: Image
    size: str
    network: Autoencoder = attrs.field(repr=False)
    law: Calibrated
    name: str = attrs.field(default="vit-fsq", init=False)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts) -> Self:
        """The tokenizer whose weights and law `parts` holds.

        Raises:
            CodecError: if the entry is no image of numbers, nothing is fitted yet, or the weights are not
                those of this entry.
        """
        image = image_of_numbers(modality, entry)
        if not parts.tensors:
            raise CodecError(
                modality,
                "its codec 'vit-fsq' is not trained yet",
                mend=f"train it: fourm codec train {modality} --data FILE.lance --to codecs/",
            )
        size, quantile, error = (parts.settings.get(key) for key in ("size", "quantile", "error"))
        if not (isinstance(size, str) and isinstance(quantile, float) and isinstance(error, float)):
            raise CodecError(
                modality, "its settings lack size, quantile or error", mend="they are damaged; train it again"
            )
        network = build_network(modality, image, size)
        _load(network, parts, modality)
        return cls(modality, image, size, network.eval(), law_of(image, quantile, error))

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels of each code dimension."""
        return self.network.quantizer.levels

    @property
    def vocab_size(self) -> int:
        return self.network.quantizer.vocab_size

    @property
    def token_shape(self) -> tuple[int, int]:
        return self.entry.grid

    @property
    def parts(self) -> Parts:
        """Weights, and the settings that give them their meaning."""
        cell = self.entry.cell
        steps = cell.levels if isinstance(cell, Continuous) else None
        return Parts(
            tensors={name: tensor.numpy() for name, tensor in self.network.state_dict().items()},
            settings={
                "size": self.size,
                "codebook": list(self.levels),
                "image": [*self.entry.size, self.entry.channels],
                "patch": list(self.entry.patch),
                "cell": cell.type,
                "range": list(value_range(self.entry)),
                "levels": steps or 0,
                "quantile": self.law.quantile,
                "error": self.law.error,
            },
        )

    def encode(self, values: Sequence[object]) -> TokenBatch:
        """Turn images into ids, one per patch, row by row.

        Raises:
            CodecError: if an image has another shape, is not finite, or lies out of its range.
        """
        length = int(np.prod(self.token_shape))
        ids_NL = np.zeros((len(values), length), np.int64)
        if len(values):
            patches_NLC = torch.from_numpy(view_of(self.modality, self.entry).encode(values))
            with torch.inference_mode():
                # One at a time: a matrix product of another batch size rounds differently, and a latent on
                # the border of two levels would fall to either, depending on what it is encoded with.
                for number in range(len(values)):
                    ids_NL[number] = self.network.encode(patches_NLC[number : number + 1])[1][0].numpy()
        return TokenBatch.of_grid(ids_NL, self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[Array]:
        """Turn ids into images, (H, W) where there is one channel: in range, on the levels, of length one.

        Raises:
            CodecError: if a row has not one id per patch, or an id is out of the vocabulary.
        """
        length = int(np.prod(self.token_shape))
        ids_NL = torch.from_numpy(grid_of(tokens, self.modality, length, self.vocab_size))
        if not len(tokens):
            return []
        with torch.inference_mode():
            rows = [self.network.decode(self.network.quantizer.codes_of(row[None])) for row in ids_NL]
        return natural(self.modality, self.entry, torch.cat(rows).numpy())


def image_of_numbers(modality: str, entry: Modality) -> Image:
    """The entry, if `vit-fsq` can serve it.

    Raises:
        CodecError: if it is no image of numbers or directions, or no codebook has its `vocab_size`.
    """
    if not isinstance(entry, Image) or not isinstance(entry.cell, Continuous | Direction):
        got = f"{entry.cell.type} cells" if isinstance(entry, Image) else entry.kind
        raise CodecError(modality, "vit-fsq is for images of numbers or directions", got=got)
    if entry.vocab_size is not None and entry.vocab_size not in FSQ_LEVELS:
        raise CodecError(
            f"{modality}.vocab_size", "is the size of no codebook of 'vit-fsq'",
            got=str(entry.vocab_size), mend=nearest_codebook(entry.vocab_size),
        )  # fmt: skip
    return entry


def build_network(
    modality: str, entry: Image, size: str, generator: torch.Generator | None = None
) -> Autoencoder:
    """The autoencoder of an entry, its first weights drawn, or unset without a generator.

    Raises:
        CodecError: if there is no such size.
    """
    if size not in SIZES:
        raise CodecError(modality, f"there is no size {size!r} of 'vit-fsq'", mend=nearest(size, list(SIZES)))
    patch_dim = entry.patch[0] * entry.patch[1] * entry.channels
    levels = FSQ_LEVELS[entry.vocab_size or FSQ_DEFAULT]
    return Autoencoder(entry.grid, patch_dim, levels, SIZES[size], generator)


def law_of(entry: Image, quantile: float, error: float) -> Calibrated:
    """What `quantile` of the images held out at fitting kept."""
    unit = entry.cell.unit if isinstance(entry.cell, Continuous) else None
    return Calibrated(METRIC, quantile, error, unit or "")


def value_range(entry: Image) -> tuple[float, float]:
    """Lowest and highest number of a cell."""
    return entry.cell.range if isinstance(entry.cell, Continuous) else (-1.0, 1.0)


def view_of(modality: str, entry: Image) -> DenseView:
    """Values <-> patches in [-1, 1]: the checks and the scale of a dense stream, cut into token patches."""
    return DenseView.of_image(
        entry.size, entry.patch, value_range(entry), entry.channels, entry.out_of_range, modality
    )


def natural(modality: str, entry: Image, patches_NLC: NDArray[np.float32]) -> list[Array]:
    """Values that the modality can hold, as near as may be to what the network gave."""
    low, high = value_range(entry)
    values = np.stack(view_of(modality, entry).decode(patches_NLC)).astype(np.float64)
    if isinstance(entry.cell, Direction):
        length = np.linalg.norm(values, axis=-1, keepdims=True)
        values = np.where(length > SHORTEST, values / np.maximum(length, SHORTEST), (0.0, 0.0, 1.0))
    values = np.clip(values, low, high)
    if isinstance(entry.cell, Continuous) and entry.cell.levels is not None:
        levels = np.linspace(low, high, entry.cell.levels)
        values = levels[np.rint((values - low) / (high - low) * (len(levels) - 1)).astype(np.int64)]
    return list(values.astype(np.float32))


def _load(network: Autoencoder, parts: Parts, modality: str) -> None:
    """Put stored weights in place.

    Raises:
        CodecError: if they are not those of this network; the first that differs is named.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = [f"{name} is missing" for name in expected if name not in parts.tensors]
    for name, tensor in parts.tensors.items():
        if expected.get(name) != tensor.shape:
            wrong.append(f"{name} of shape {list(tensor.shape)}")
        elif tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            wrong.append(f"{name} holds other than finite float32 numbers")
    if wrong:
        raise CodecError(
            modality,
            "its weights are not those of the network that its entry asks for",
            got=wrong[0],
            mend="the entry has changed since, or a file is damaged; train it again",
        )
    network.load_state_dict({name: torch.tensor(tensor) for name, tensor in parts.tensors.items()})
