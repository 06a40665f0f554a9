"""What a codec is fitted on: batches in a reproducible order, and a share that is held out.

Values are read in chunks, as often as needed; at most `BUFFER_BYTES` of them are held to draw from, and
`HELD_OUT_BYTES` to measure on.

Shapes: B values of a batch, L tokens or 1, C numbers of each.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice

import attrs
import numpy as np

from fourm_codecs.base import Array
from fourm_codecs.learned_codec import View
from fourm_schema.errors import CodecError

Values = Sequence[object] | Array | Callable[[], Iterable[Sequence[object] | Array]]
"""Values at once, or a function that reads them in chunks, from the first, in the same order each time."""

HELD_OUT_EVERY = 10
HELD_OUT_MOST = 1024
HELD_OUT_BYTES = 256 * 2**20
BUFFER_BYTES = 512 * 2**20
CHUNK = 256
ENCODED = 32
"""Values turned into numbers together: a few, since they are float64 on the way."""


@attrs.frozen
class FitValues:
    """The values of a fit as a network is given them.

    Every tenth is held out, 1,024 or 256 MiB at most, whatever the seed: two fits of the same values are
    measured on the same ones, and neither has been trained on them.

    Attributes:
        modality: whose values they are.
        source: where they come from.
        view: turns them into what a network is given.
        buffer_bytes: how much is held to draw from.
    """

    modality: str
    source: Values
    view: View
    buffer_bytes: int = BUFFER_BYTES

    @property
    def held_out_most(self) -> int:
        """How many values are held out at most."""
        return max(1, min(HELD_OUT_MOST, HELD_OUT_BYTES // self._value_bytes))

    @property
    def _value_bytes(self) -> int:
        return 4 * self.view.token_count * self.view.token_dim

    def held_out(self) -> list[object]:
        """The values, as given, that no batch holds.

        Raises:
            CodecError: if there are fewer values than one to train on and one to hold out.
        """
        found = []
        for number, value in enumerate(self._all()):
            if self._is_held_out(number):
                found.append(value)
            if len(found) == self.held_out_most:
                break
        if not found:
            raise CodecError(
                self.modality,
                f"a fit needs {HELD_OUT_EVERY} values or more",
                got=str(sum(1 for _ in self._all())),
                mend="one in ten is held out to measure on",
            )
        return found

    def first(self, count: int) -> Iterator[Array]:
        """The first training values, (32, L, C) or fewer at a time."""
        for chunk in _batched(islice(self._training(), count), ENCODED):
            yield np.stack(chunk)

    def batches(self, size: int, seed: int, skip: int = 0) -> Iterator[Array]:
        """Batches (B, L, C) without end; each pass over the values takes each once, in an order of its own.

        Args:
            size: B.
            seed: of the orders.
            skip: batches to pass over: those of the steps that a resumed fit has done.
        """
        drawn = self._drawn(seed)
        for _ in range(skip * size):
            next(drawn)
        while True:
            yield np.stack([next(drawn) for _ in range(size)])

    def _drawn(self, seed: int) -> Iterator[Array]:
        room = max(1, self.buffer_bytes // self._value_bytes)
        for epoch in count():
            generator = np.random.default_rng([seed, epoch])
            held: list[Array] = []
            for patches in self._training():
                if len(held) < room:
                    held.append(patches)
                    continue
                place = int(generator.integers(room))
                yield held[place]
                held[place] = patches
            for place in generator.permutation(len(held)):
                yield held[place]

    def _training(self) -> Iterator[Array]:
        number = 0
        for chunk in self._chunks():
            kept = [value for place, value in enumerate(chunk) if not self._is_held_out(number + place)]
            number += len(chunk)
            for start in range(0, len(kept), ENCODED):
                for patches in self.view.encode(kept[start : start + ENCODED]):
                    # A row that waits to be drawn must not keep the table it was a row of.
                    yield patches.copy()

    def _is_held_out(self, number: int) -> bool:
        last = HELD_OUT_EVERY - 1
        return number % HELD_OUT_EVERY == last and number < HELD_OUT_EVERY * self.held_out_most

    def _all(self) -> Iterator[object]:
        for chunk in self._chunks():
            yield from chunk

    def _chunks(self) -> Iterable[Sequence[object] | Array]:
        if callable(self.source):
            return self.source()
        values = self.source
        return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


def _batched(items: Iterator[Array], size: int) -> Iterator[list[Array]]:
    # itertools has it from Python 3.12 on.
    while batch := list(islice(items, size)):
        yield batch
