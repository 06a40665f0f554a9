"""Quantizers by the names that learned codecs have them under."""

from fourm_codecs.quantizers.fsq import FiniteScalarQuantizer
from fourm_codecs.quantizers.interface import Quantizer
from fourm_codecs.quantizers.lfq import LookupFreeQuantizer
from fourm_codecs.quantizers.rvq import ResidualQuantizer
from fourm_codecs.quantizers.vq import VectorQuantizer
from fourm_schema.codebooks import FSQ_LEVELS, LEARNED, codebook_fault
from fourm_schema.errors import CodecError


def build_quantizer(codec: str, vocab_size: int, modality: str, tokens: int = 1) -> Quantizer:
    """The quantizer of a modality's codec.

    Args:
        codec: a learned codec's name, whose last part is that of its quantizer.
        vocab_size: of its codebook.
        modality: errors name it.
        tokens: how many ids a code is written in, by `pq` and `rvq`.

    Raises:
        CodecError: if the codec has no codebook of that size.
    """
    if fault := codebook_fault(codec, vocab_size):
        raise CodecError(f"{modality}.vocab_size", fault[0], got=str(vocab_size), mend=fault[1])
    match LEARNED[codec].quantizer:
        case "fsq":
            return FiniteScalarQuantizer(FSQ_LEVELS[vocab_size])
        case "lfq":
            return LookupFreeQuantizer(vocab_size)
        case "vq":
            return VectorQuantizer(vocab_size)
        case "pq":
            return VectorQuantizer(vocab_size, tokens, cosine=False)
        case _:
            return ResidualQuantizer(vocab_size, tokens)
