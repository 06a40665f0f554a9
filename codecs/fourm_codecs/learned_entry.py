"""Schema entry -> what a learned codec needs to know: its name, its quantizer, the size of its networks."""

from fourm_codecs.quantizers.choice import build_quantizer
from fourm_codecs.quantizers.interface import Quantizer
from fourm_codecs.vit import SIZES, Size
from fourm_schema.codebooks import LEARNED, LEARNED_VOCAB_SIZES
from fourm_schema.errors import CodecError, nearest
from fourm_schema.modality import Image, Modality, Vector
from fourm_schema.resolve import PQ_TOKENS
from fourm_schema.select import select


def codec_of(entry: Modality) -> str:
    """The codec of an entry's tokens, by name."""
    return select(entry, "tokens").codec


def quantizer_of(modality: str, entry: Image | Vector) -> Quantizer:
    """The quantizer that the name of an entry's codec asks for.

    Raises:
        CodecError: if it has no codebook of the entry's size.
    """
    codec = codec_of(entry)
    tokens = (entry.tokens or PQ_TOKENS) if isinstance(entry, Vector) else 1
    return build_quantizer(codec, entry.vocab_size or LEARNED_VOCAB_SIZES[codec], modality, tokens)


def check_network(modality: str, entry: Modality, network: str, serves: str, can: bool) -> None:
    """Refuse an entry that codecs of a network cannot serve.

    Args:
        modality: its name.
        entry: what the schema says of it.
        network: the first part of the codecs' names.
        serves: what they are for, in words.
        can: whether the entry is such.

    Raises:
        CodecError: if it is not, or asks for another codec.
    """
    if not can:
        got = f"image of {entry.cell.type} cells" if isinstance(entry, Image) else entry.kind
        raise CodecError(modality, f"codecs {network}-... are for {serves}", got=got)
    codec = codec_of(entry)
    if codec not in LEARNED or LEARNED[codec].network != network:
        raise CodecError(modality, f"its entry asks for no codec {network}-...", got=codec)


def size_of(name: str, modality: str, entry: Modality) -> Size:
    """A size by its name.

    Raises:
        CodecError: if there is no such size.
    """
    if name not in SIZES:
        raise CodecError(
            modality, f"there is no size {name!r} of {codec_of(entry)!r}", mend=nearest(name, list(SIZES))
        )
    return SIZES[name]


def sized(entry: Modality, size: tuple[int, int], codec: str | None = None) -> Modality:
    """The entry of an image of another size."""
    assert isinstance(entry, Image), "only images have been fitted at a size"
    return entry.model_copy(update={"size": size, "codec": codec or codec_of(entry)})
