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
from fourm_codecs.vit import SIZES, Size
from fourm_schema.errors import CodecError, nearest
from fourm_schema.modality import Modality

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


@attrs.frozen
class Unfitted(Calibrated):
    """The law of a codec with its first weights: nothing was measured."""

    def describe(self) -> str:
        return "nobody has fitted it: what it decodes has the right shape and range, and no more is promised"


@attrs.frozen(eq=False)
class LearnedCodec(Generic[EntryT]):
    """A codec whose ids come from a network.

    Fit it with `fourm_codecs.fit.fit`, load it with `fourm_codecs.store.load_codec`, or build one that
    nobody has fitted with `fourm_codecs.learned.untrained`.

    Attributes:
        modality: whose values it takes.
        entry: the schema entry it was fitted for.
        size: name of its networks' size, a key of `fourm_codecs.vit.SIZES`.
        network: its weights; never trained further.
        law: what was measured at fitting.
        quantizer: the quantizer's name, one of `fourm_codecs.quantizers.choice.QUANTIZERS`.
    """

    modality: str
    entry: EntryT
    size: str
    network: CodeNetwork = attrs.field(repr=False)
    law: Calibrated
    name: str = attrs.field(default="", init=False)

    @classmethod
    def checked(cls, modality: str, entry: Modality) -> EntryT:
        """The entry, if this codec can serve it.

        Raises:
            CodecError: if it cannot.
        """
        raise AssertionError("a codec says what it serves")

    @classmethod
    def built(cls, modality: str, entry: EntryT, size: str, quantizer: str | None) -> CodeNetwork:
        """The network of an entry, its weights unset; None takes the quantizer that is usual for it.

        Raises:
            CodecError: if there is no such size or quantizer.
        """
        raise AssertionError("a codec has a network")

    @classmethod
    def law_of(cls, entry: EntryT, quantile: float, error: float) -> Calibrated:
        """What `quantile` of the values held out at fitting kept."""
        raise AssertionError("a codec has a law")

    @classmethod
    def drawn(
        cls, modality: str, entry: Modality, size: str, quantizer: str | None, generator: torch.Generator
    ) -> Self:
        """A codec with its first weights.

        Raises:
            CodecError: if the entry cannot be served, or there is no such size or quantizer.
        """
        declared = cls.checked(modality, entry)
        network = cls.built(modality, declared, size, quantizer)
        network.draw(generator)
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
                f"its codec {cls.codec_name()!r} is not trained yet",
                mend=f"train it: fourm codec train {modality} --data FILE.lance --to codecs/",
            )
        size, quantile, error = (parts.settings.get(key) for key in ("size", "quantile", "error"))
        quantizer = parts.settings.get("quantizer")
        if not (
            isinstance(size, str)
            and isinstance(quantile, float)
            and isinstance(error, float)
            and isinstance(quantizer, str | None)
        ):
            raise CodecError(
                modality, "its settings lack size, quantile or error", mend="they are damaged; train it again"
            )
        network = cls.built(modality, declared, size, quantizer)
        _load(network, parts.tensors, modality)
        law = cls.law_of(declared, quantile, error)
        return cls(modality, declared, size, network.eval(), law if quantile else unfitted(law))

    @classmethod
    def codec_name(cls) -> str:
        """Its name in the selection table."""
        name = attrs.fields_dict(cls)["name"].default
        assert isinstance(name, str)
        return name

    @property
    def view(self) -> View:
        """Values -> what the network is given."""
        raise AssertionError("a codec reads values")

    @property
    def token_shape(self) -> tuple[int, ...]:
        raise AssertionError("a codec has as many tokens as its entry says")

    @property
    def quantizer(self) -> str:
        return self.network.quantizer.name

    @property
    def vocab_size(self) -> int:
        return self.network.quantizer.vocab_size

    @property
    def parts(self) -> Parts:
        """Weights, and the settings that give them their meaning."""
        settings: dict[str, Json] = {
            "size": self.size,
            "quantizer": self.quantizer,
            "codebook": list[Json](self.network.quantizer.codebook),
            **self.meaning(),
            "quantile": self.law.quantile,
            "error": self.law.error,
        }
        tensors = {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}
        return Parts(tensors=tensors, settings=settings)

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
                    ids_NL[number] = self.network.encode(inputs[number : number + 1]).ids[0].numpy()
        return TokenBatch.of_grid(ids_NL, self.vocab_size)

    def decode(self, tokens: TokenBatch) -> list[Array]:
        """Turn ids into values that the modality can hold, whatever the ids.

        Raises:
            CodecError: if a row has another length, or an id is out of the vocabulary.
        """
        length = int(np.prod(self.token_shape))
        ids_NL = torch.from_numpy(grid_of(tokens, self.modality, length, self.vocab_size))
        found = list[Array]()
        with torch.inference_mode():
            for ids_L in ids_NL:
                outputs = self.network.decode(self.network.quantizer.codes_of(ids_L[None]))
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
        """Values as pictures (H, W, 3); none where they are no images."""
        return iter(())


def unfitted(law: Calibrated) -> Unfitted:
    """The law of the same codec before its fit."""
    return Unfitted(law.metric, 0.0, 0.0, law.unit)


def size_of(name: str, modality: str, codec: str) -> Size:
    """A size by its name.

    Raises:
        CodecError: if there is no such size.
    """
    if name not in SIZES:
        raise CodecError(modality, f"there is no size {name!r} of {codec!r}", mend=nearest(name, list(SIZES)))
    return SIZES[name]


def _load(network: CodeNetwork, tensors: Mapping[str, Array], modality: str) -> None:
    """Put stored weights in place.

    Raises:
        CodecError: if they are not those of this network; the first that differs is named.
    """
    expected = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
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
    network.load_state_dict({name: torch.tensor(tensor) for name, tensor in tensors.items()})
