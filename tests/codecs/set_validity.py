"""Whether records are a value of a drawn set, whose texts are written in `WORDS`."""

from collections.abc import Sequence

from fourm_codecs.base import Record
from fourm_codecs.lawbook.set_validity import record_faults
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.modality import Set
from tests.codecs.drawn_sets import WORDS


def faults_of(entry: Set, records: Sequence[Record], words: WordVocabulary = WORDS) -> list[str]:
    """What is wrong with decoded records; empty for a value of the set, in the order that its schema says."""
    return record_faults(entry, records, words)
