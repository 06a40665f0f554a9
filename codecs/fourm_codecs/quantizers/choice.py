"""Quantizers by name."""

from fourm_codecs.quantizers.fsq import FiniteScalarQuantizer
from fourm_codecs.quantizers.interface import Quantizer
from fourm_codecs.quantizers.lfq import LookupFreeQuantizer
from fourm_codecs.quantizers.vq import VectorQuantizer
from fourm_schema.codebooks import FSQ_LEVELS, nearest_codebook
from fourm_schema.errors import CodecError, nearest

QUANTIZERS = ("fsq", "lfq", "vq")


def build_quantizer(name: str, vocab_size: int, modality: str, tables: int = 1) -> Quantizer:
    """The quantizer of a modality's codec.

    Args:
        name: one of `QUANTIZERS`.
        vocab_size: of its codebook: a size of the table of codebooks for `fsq`, a power of two for `lfq`,
            any for `vq`.
        modality: errors name it.
        tables: codebooks of `vq`: 1, or one per token of a value.

    Raises:
        CodecError: if there is no such quantizer, or it has no codebook of that size.
    """
    if name == "fsq":
        if vocab_size not in FSQ_LEVELS:
            what, mend = "is the size of no codebook of 'fsq'", nearest_codebook(vocab_size)
            raise CodecError(f"{modality}.vocab_size", what, got=str(vocab_size), mend=mend)
        return FiniteScalarQuantizer(FSQ_LEVELS[vocab_size])
    if name == "lfq":
        if vocab_size < 2 or vocab_size & (vocab_size - 1):
            raise CodecError(
                f"{modality}.vocab_size", "must be a power of two for the quantizer 'lfq'",
                got=str(vocab_size), mend=f"write {2 ** max(1, vocab_size.bit_length() - 1)}",
            )  # fmt: skip
        return LookupFreeQuantizer(vocab_size)
    if name == "vq":
        return VectorQuantizer(vocab_size, tables)
    raise CodecError(modality, f"there is no quantizer {name!r}", mend=nearest(name, list(QUANTIZERS)))
