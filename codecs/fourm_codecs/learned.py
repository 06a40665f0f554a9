"""The learned codecs by name, and ones that nobody has fitted: random weights, so that shapes, ids and laws
can be tested at once.

What an unfitted codec keeps of a value is nothing to speak of; what else a codec owes, it owes too.
"""

import torch

from fourm_codecs.base import StoredCodec
from fourm_codecs.class_tokenizer import ClassTokenizer
from fourm_codecs.feature_tokenizer import FeatureTokenizer
from fourm_codecs.image_tokenizer import ImageTokenizer
from fourm_codecs.vector_tokenizer import VectorTokenizer
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality
from fourm_schema.select import select

AnyLearned = ImageTokenizer | ClassTokenizer | FeatureTokenizer | VectorTokenizer

LEARNED: dict[str, type[AnyLearned]] = {
    kind.codec_name(): kind for kind in (ImageTokenizer, ClassTokenizer, FeatureTokenizer, VectorTokenizer)
}


def untrained(
    modality: str, entry: Modality, size: str = "tiny", seed: int = 0, quantizer: str | None = None
) -> StoredCodec:
    """The learned codec of an entry with its first weights.

    Args:
        modality: its name.
        entry: what the schema says of it.
        size: of the networks.
        seed: of the weights.
        quantizer: one of `fourm_codecs.quantizers.choice.QUANTIZERS`; None takes the usual one.

    Raises:
        CodecError: if the entry's codec is no learned one.
    """
    generator = torch.Generator().manual_seed(seed)
    return learned_class(modality, entry).drawn(modality, entry, size, quantizer, generator)


def learned_class(modality: str, entry: Modality) -> type[AnyLearned]:
    """The class of an entry's codec.

    Raises:
        CodecError: if it is no learned one.
    """
    codec = entry.codec or select(entry, "tokens").codec
    if codec not in LEARNED:
        raise CodecError(modality, f"its codec {codec!r} is not learned", mend="build it with build_codec")
    return LEARNED[codec]
