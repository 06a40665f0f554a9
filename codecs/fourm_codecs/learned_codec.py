"""What the learned codecs share: a network turns a value into ids and back; what it keeps was measured.

A subclass says which entries it serves, how values become numbers for the network and the other way round,
and how to measure what came back.

Shapes: N values, L tokens of a value.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, Protocol, Self, TypeVar

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_codecs.base import Array, Json, Parts, TokenBatch, grid_of
from fourm_codecs.code_network import CodeNetwork
from fourm_codecs.laws import Calibrated
from fourm_codecs.learned_entry import codec_of, sized
from fourm_codecs.learned_laws import MeasuredAt, Unfitted, measured_at, unfitted
from fourm_codecs.patches import Resampling
from fourm_codecs.vit import PatchNetwork
from fourm_schema.errors import CodecError
from fourm_schema.modality import Image, Modality

EntryT = TypeVar("EntryT", bound=Modality)

Tally = dict[str, NDArray[np.float64]]
"""Sums over values that scores are computed from; those of two parts add up to those of the whole."""


class View(Protocol):
    """Values <-> what a network is given, (N, token_count, token_dim)."""

    @property
    def token_count(self) -> int: ...

    @property
    def token_dim(self) -> int: ...

    def encode(self, values: Sequence[object]) -> Array:
        """Read values.

        Raises:
            CodecError: if one is not what the modality can hold.
        """
        ...


@attrs.frozen(eq=False)
class LearnedCodec(Generic[EntryT]):
    """A codec whose ids come from a network.

    Fit it with `fourm_codecs.fit.fit`, load it with `fourm_codecs.store.load_codec`, or build one that
    nobody has fitted with `fourm_codecs.untrained.untrained`. The last part of its name says which quantizer
    rounds its codes.

    Attributes:
        modality: whose values it takes.
        entry: the schema entry it was fitted for.
        size: name of its networks' size, a key of `fourm_codecs.vit.SIZES`.
        network: its weights; never trained further.
        law: what was measured at fitting.
    """

    modality: str
    entry: EntryT
    size: str
    network: CodeNetwork = attrs.field(repr=False)
    law: Calibrated

    @classmethod
    def checked(cls, modality: str, entry: Modality) -> EntryT:
        """The entry, if this codec can serve it.

        Raises:
            CodecError: if it cannot.
        """
        raise AssertionError("a codec says what it serves")

    @classmethod
    def built(cls, modality: str, entry: EntryT, size: str) -> CodeNetwork:
        """The network of an entry, its weights unset.

        Raises:
            CodecError: if there is no such size, or no such codebook.
        """
        raise AssertionError("a codec has a network")

    @classmethod
    def law_of(cls, entry: EntryT, quantile: float, error: float) -> Calibrated:
        """What `quantile` of the values held out at fitting kept."""
        raise AssertionError("a codec has a law")

    @classmethod
    def drawn(
        cls, modality: str, entry: Modality, size: str, generator: torch.Generator, values_per_step: int = 0
    ) -> Self:
        """A codec with its first weights.

        Args:
            modality: its name.
            entry: what the schema says of it.
            size: of the networks.
            generator: draws the weights.
            values_per_step: values of a training step; 0 for a codec that is not trained.

        Raises:
            CodecError: if the entry cannot be served, or there is no such size or codebook.
        """
        declared = cls.checked(modality, entry)
        network = cls.built(modality, declared, size)
        codes = declared.grid[0] * declared.grid[1] if isinstance(declared, Image) else 1
        network.draw(generator, values_per_step * codes)
        return cls(modality, declared, size, network.eval(), unfitted(cls.law_of(declared, 0.0, 0.0)))

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts) -> Self:
        """The codec whose weights and law `parts` holds.

        Raises:
            CodecError: if the entry cannot be served, nothing is fitted yet, or the weights are not those
                of this entry.
        """
        declared = cls.checked(modality, entry)
        if not parts.tensors:
            raise CodecError(
                modality,
                f"its codec {codec_of(entry)!r} is not trained yet",
                mend=f"train it: fourm codec train {modality} --data FILE.lance --to codecs/",
            )
        size, quantile, error = (parts.settings.get(key) for key in ("size", "quantile", "error"))
        if not (isinstance(size, str) and isinstance(quantile, float) and isinstance(error, float)):
            raise CodecError(
                modality, "its settings lack size, quantile or error", mend="they are damaged; train it again"
            )
        of_fit, at = _sides(parts.settings.get("fitted_at")), _sides(parts.settings.get("measured_at"))
        there = declared if of_fit is None else cls.checked(modality, sized(declared, of_fit))
        network = cls.built(modality, there, size)
        _load(network, parts.tensors, modality)
        if isinstance(network, PatchNetwork) and isinstance(declared, Image):
            network.see(declared.grid)
        law = cls.law_of(declared, quantile, error)
        if at is not None:
            law = measured_at(law, at)
        return cls(modality, declared, size, network.eval(), law if quantile else unfitted(law))

    @property
    def name(self) -> str:
        """Its name in the selection table."""
        return codec_of(self.entry)

    @property
    def resampling(self) -> Resampling | None:
        """How images come to another size; None for what is no image."""
        return None

    @property
    def view(self) -> View:
        """Values -> what the network is given."""
        raise AssertionError("a codec reads values")

    @property
    def token_shape(self) -> tuple[int, ...]:
        raise AssertionError("a codec has as many tokens as its entry says")

    @property
    def vocab_size(self) -> int:
        return self.network.quantizer.vocab_size

    @property
    def parts(self) -> Parts:
        """Weights, and the settings that give them their meaning."""
        settings: dict[str, Json] = {
            "size": self.size,
            "codebook": list[Json](self.network.quantizer.codebook),
            **self.meaning(),
            "quantile": self.law.quantile,
            "error": self.law.error,
        }
        if self.fitted_at is not None and isinstance(self.entry, Image) and self.fitted_at != self.entry.size:
            settings["fitted_at"] = list[Json](self.fitted_at)
        if isinstance(self.law, MeasuredAt):
            settings["measured_at"] = list[Json](self.law.at)
        tensors = {name: tensor.numpy() for name, tensor in self.network.weights().items()}
        return Parts(tensors=tensors, settings=settings)

    @property
    def fitted_at(self) -> tuple[int, int] | None:
        """Height and width of the images that it was fitted on, in cells; None for what is no image."""
        if not isinstance(self.network, PatchNetwork):
            return None
        assert isinstance(self.entry, Image), "patches are those of images"
        (rows, columns), (high, wide) = self.network.fitted, self.entry.patch
        return rows * high, columns * wide

    def resized(self, size: tuple[int, int], modality: str | None = None) -> Self:
        """The same weights for images of another size, cut into patches of the same size.

        Positions are stretched over the extent of the fit. The law stays what was measured at the size of the
        fit, and says so.

        Args:
            size: height and width, in cells.
            modality: the name of the one that has this size, if another.

        Raises:
            CodecError: if it is no codec of images, or its patches do not tile the size.
        """
        entry, network = self.entry, self.network
        if not isinstance(entry, Image) or size[0] % entry.patch[0] or size[1] % entry.patch[1]:
            got = f"{size[0]}x{size[1]} cells" if isinstance(entry, Image) else entry.kind
            raise CodecError(self.modality, "what is resized is an image that its patches tile", got=got)
        assert self.fitted_at is not None and isinstance(network, PatchNetwork), "an image has patches"
        # Its codec by name: at another size the table might choose one that is exact.
        there = self.checked(self.modality, sized(entry, self.fitted_at, self.name))
        other = self.built(self.modality, there, self.size)
        assert isinstance(other, PatchNetwork), "as above"
        other.load_state_dict(network.state_dict(), assign=True)
        other.see((size[0] // entry.patch[0], size[1] // entry.patch[1]))
        law = self.law
        if isinstance(law, MeasuredAt) and law.at == size:
            law = self.law_of(self.entry, law.quantile, law.error)
        elif not isinstance(law, MeasuredAt | Unfitted) and size != entry.size:
            law = measured_at(law, entry.size)
        resized = self.checked(self.modality, sized(entry, size, self.name))
        name = modality or self.modality
        return attrs.evolve(
            self, modality=name, entry=resized, network=other.eval().requires_grad_(False), law=law
        )

    def calibrated(self, quantile: float, error: float) -> Self:
        """The codec with the law that was measured."""
        return attrs.evolve(self, law=self.law_of(self.entry, quantile, error))

    def meaning(self) -> Mapping[str, Json]:
        """What of the entry gives the ids their meaning."""
        raise AssertionError("a codec says what its ids mean")

    def natural(self, outputs: Array) -> list[Array]:
        """Values that the modality can hold, as near as may be to what the network gave."""
        raise AssertionError("a codec decodes")

    def encode(self, values: Sequence[object]) -> TokenBatch:
        """Turn values into ids.

        Raises:
            CodecError: if a value has another shape, is not finite, or lies out of its range.
        """
        ids_NL = np.zeros((len(values), int(np.prod(self.token_shape))), np.int64)
        if len(values):
            inputs = torch.from_numpy(self.view.encode(values))
            with torch.inference_mode():
                # One at a time: a matrix product of another batch size rounds differently, and a latent on
                # the border of two codes would fall to either, depending on what it is encoded with.
                for number in range(len(values)):
                    ids_NL[number] = self.network.encode(inputs[number : number + 1]).ids.flatten().numpy()
        return TokenBatch.of_grid(ids_NL, self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[Array]:
        """Turn ids into values that the modality can hold, whatever the ids.

        Raises:
            CodecError: if a row has another length, or an id is out of the vocabulary.
        """
        length, per_code = int(np.prod(self.token_shape)), self.network.quantizer.ids_per_code
        ids_NL = torch.from_numpy(grid_of(tokens, self.modality, length, self.vocab_size))
        found = list[Array]()
        with torch.inference_mode():
            for ids_L in ids_NL:
                outputs = self.network.decode(self.network.quantizer.codes_of(ids_L.reshape(1, -1, per_code)))
                found += self.natural(outputs.numpy())
        return found

    def errors(self, given: Sequence[object], back: Sequence[object]) -> NDArray[np.float64]:
        """The metric of the law, value by value: (N,)."""
        raise AssertionError("a codec is measured")

    def tally(self, given: Sequence[object], back: Sequence[object]) -> Tally:
        """What `scores` needs to know of some values."""
        raise AssertionError("a codec is measured")

    def scores(self, tally: Tally) -> dict[str, float | None]:
        """Scores over all values of a tally, by name; None where one cannot be given.

        The first is the metric of the law.
        """
        raise AssertionError("a codec is measured")

    def coloured(self, values: Sequence[object]) -> Iterator[NDArray[np.uint8]]:
        """Values as pictures (H, W, 3)."""
        raise AssertionError("a codec draws what it keeps")


def _load(network: CodeNetwork, tensors: Mapping[str, Array], modality: str) -> None:
    """Put stored weights in place.

    Raises:
        CodecError: if they are not those of this network; the first that differs is named.
    """
    expected = {name: tensor.numpy() for name, tensor in network.weights().items()}
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    for name, tensor in tensors.items():
        wanted = expected.get(name)
        if wanted is None or wanted.shape != tensor.shape:
            wrong.append(f"{name} of shape {list(tensor.shape)}")
        elif tensor.dtype != wanted.dtype or not np.isfinite(tensor).all():
            wrong.append(f"{name} holds other than finite {wanted.dtype} numbers")
    if wrong:
        raise CodecError(
            modality,
            "its weights are not those of the network that its entry asks for",
            got=wrong[0],
            mend="the entry has changed since, or a file is damaged; train it again",
        )
    network.load_state_dict({name: torch.tensor(tensor) for name, tensor in tensors.items()}, strict=False)


def _sides(setting: Json) -> tuple[int, int] | None:
    """Height and width as settings hold them; None for anything else."""
    match setting:
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
    return None
