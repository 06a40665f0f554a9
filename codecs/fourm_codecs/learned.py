"""The learned codecs by name."""

from fourm_codecs.class_tokenizer import ClassTokenizer
from fourm_codecs.feature_tokenizer import FeatureTokenizer
from fourm_codecs.image_tokenizer import ImageTokenizer
from fourm_codecs.learned_entry import codec_of
from fourm_codecs.vector_tokenizer import VectorTokenizer
from fourm_schema import codebooks
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality

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


def learned_class(modality: str, entry: Modality) -> type[AnyLearned]:
    """The class of an entry's codec.

    Raises:
        CodecError: if it is no learned one.
    """
    codec = codec_of(entry)
    if codec not in LEARNED:
        raise CodecError(modality, f"its codec {codec!r} is not learned", mend="build it with build_codec")
    return LEARNED[codec]
