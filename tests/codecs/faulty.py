"""Codecs with one fault planted: what checks of laws have to notice."""

from collections.abc import Callable, Sequence

import attrs

from fourm_codecs.base import Array, Codec, TokenBatch, Value
from fourm_codecs.laws import Law
from fourm_schema.modality import Modality


@attrs.frozen
class Faulty:
    """A sound codec whose batches or ids are changed on the way, as somebody might write one."""

    sound: Codec
    entry: Modality | None = None
    before_encode: Callable[[Sequence[object]], Sequence[object]] = lambda batch: batch
    after_encode: Callable[[TokenBatch], TokenBatch] = lambda tokens: tokens
    after_decode: Callable[[Sequence[Value]], Sequence[Value]] = lambda found: found

    @property
    def name(self) -> str:
        return self.sound.name

    @property
    def modality(self) -> str:
        return self.sound.modality

    @property
    def vocab_size(self) -> int:
        return self.sound.vocab_size

    @property
    def token_shape(self) -> tuple[int, ...] | None:
        return self.sound.token_shape

    @property
    def law(self) -> Law:
        return self.sound.law

    def encode(self, values: Sequence[object] | Array) -> TokenBatch:
        return self.after_encode(self.sound.encode(list(self.before_encode(list(values)))))

    def decode(self, tokens: TokenBatch) -> Sequence[Value]:
        return self.after_decode(self.sound.decode(tokens))
