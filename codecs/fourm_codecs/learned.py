"""Learned codecs that nobody has fitted: random weights, so that shapes, ids and laws can be tested at once.

What they keep of a value is nothing to speak of; everything else that a codec owes, they owe too.
"""

import torch

from fourm_codecs.base import StoredCodec
from fourm_codecs.image_tokenizer import ImageTokenizer, build_network, image_of_numbers, law_of, value_range
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality
from fourm_schema.select import LEARNED_CODECS, select


def untrained(modality: str, entry: Modality, size: str = "tiny", seed: int = 0) -> StoredCodec:
    """The learned codec of an entry with its first weights.

    Args:
        modality: its name.
        entry: what the schema says of it.
        size: of the networks.
        seed: of the weights.

    Raises:
        CodecError: if the entry's codec is no learned one, or one that this version cannot build.
    """
    codec = entry.codec or select(entry, "tokens").codec
    if codec not in LEARNED_CODECS:
        raise CodecError(modality, f"its codec {codec!r} is not learned", mend="build it with build_codec")
    if codec != "vit-fsq":
        raise CodecError(modality, f"codec {codec!r} comes in a later release")
    image = image_of_numbers(modality, entry)
    low, high = value_range(image)
    network = build_network(modality, image, size, torch.Generator().manual_seed(seed))
    # Of images of its range, none is further off than the range is wide.
    return ImageTokenizer(modality, image, size, network.eval(), law_of(image, 1.0, float(high - low)))
