"""Learned codecs that nobody has fitted: random weights, so that shapes, ids and laws can be tested at once.

What an unfitted codec keeps of a value is nothing to speak of; what else a codec owes, it owes too.
"""

import torch

from fourm_codecs.base import StoredCodec
from fourm_codecs.learned import learned_class
from fourm_codecs.learned_entry import codec_of
from fourm_codecs.set_codes import entry_of_field, learned_fields
from fourm_codecs.sets import SetCodec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.modality import Modality, Set
from fourm_schema.select import CODES_GRAMMAR


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


def untrained_codecs(modality: str, entry: Set, size: str = "tiny", seed: int = 0) -> dict[str, StoredCodec]:
    """Codecs of a set's learned fields that nobody has fitted, their weights drawn.

    Args:
        modality: its name.
        entry: the declared set.
        size: of the networks.
        seed: of the weights; each field draws its own.
    """
    return {
        name: untrained(f"{modality}.{name}", entry_of_field(field), size, seed + place)
        for place, (name, field) in enumerate(learned_fields(entry).items())
    }
