"""The learned codecs by name, and ones that nobody has fitted: random weights, so that shapes, ids and laws
can be tested at once.

What an unfitted codec keeps of a value is nothing to speak of; what else a codec owes, it owes too.
"""

import torch

from fourm_codecs.base import StoredCodec
from fourm_codecs.class_tokenizer import ClassTokenizer
from fourm_codecs.feature_tokenizer import FeatureTokenizer
from fourm_codecs.image_tokenizer import ImageTokenizer
from fourm_codecs.learned_entry import codec_of
from fourm_codecs.set_codes import untrained_codecs
from fourm_codecs.sets import SetCodec
from fourm_codecs.vector_tokenizer import VectorTokenizer
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema import codebooks
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality, Set
from fourm_schema.select import CODES_GRAMMAR

AnyLearned = ImageTokenizer | ClassTokenizer | FeatureTokenizer | VectorTokenizer

_BY_NETWORK: dict[str, type[AnyLearned]] = {
    "vit": ImageTokenizer,
    "vit-class": ClassTokenizer,
    "vit-feature": FeatureTokenizer,
    "mlp": VectorTokenizer,
}
LEARNED: dict[str, type[AnyLearned]] = {
    codec: _BY_NETWORK[name.network] for codec, name in codebooks.LEARNED.items()
}


def untrained(
    modality: str,
    entry: Modality,
    size: str = "tiny",
    seed: int = 0,
    vocabulary: WordVocabulary | None = None,
) -> StoredCodec:
    """The learned codec of an entry with its first weights.

    Args:
        modality: its name.
        entry: what the schema says of it.
        size: of the networks.
        seed: of the weights.
        vocabulary: of the text fields of a set with learned fields, if it has some.

    Raises:
        CodecError: if the entry's codec is no learned one.
    """
    if isinstance(entry, Set) and codec_of(entry) == CODES_GRAMMAR:
        codecs = untrained_codecs(modality, entry, size, seed)
        return SetCodec(modality, entry, vocabulary, codecs=codecs)
    generator = torch.Generator().manual_seed(seed)
    return learned_class(modality, entry).drawn(modality, entry, size, generator)


def learned_class(modality: str, entry: Modality) -> type[AnyLearned]:
    """The class of an entry's codec.

    Raises:
        CodecError: if it is no learned one.
    """
    codec = codec_of(entry)
    if codec not in LEARNED:
        raise CodecError(modality, f"its codec {codec!r} is not learned", mend="build it with build_codec")
    return LEARNED[codec]
