"""Hypothesis strategies for the values of a declared modality, derived from its schema entry alone.

They reach the ends of each range, every level and class, the borders of bins, and texts that spell special
tokens. Needs the extra `test`; nothing else of this room loads Hypothesis or NumPy.
"""

from hypothesis import strategies as st

from fourm_schema.modality import Image, Modality, Set, Text, Vector
from fourm_schema.resolve import PQ_TOKENS
from fourm_schema.strategies_4m import released_records
from fourm_schema.strategies_arrays import id_grids, images, vectors
from fourm_schema.strategies_sets import records, texts


def values(entry: Modality) -> st.SearchStrategy[object]:
    """Values that a modality can hold.

    Images and vectors are arrays; a sequence of vectors is an array (n, dim) of at most `max_length` rows; a
    set is a list of records; a text is a string; of a modality with `codec: ids`, they are its token ids.

    Args:
        entry: what the schema says of the modality.
    """
    if entry.codec == "ids":
        return _ids(entry)
    if isinstance(entry, Image):
        return images(entry)
    if isinstance(entry, Vector):
        return vectors(entry)
    if isinstance(entry, Text):
        return texts(entry.max_tokens)
    assert isinstance(entry, Set), "there is no fifth kind"
    return records(entry) if entry.dialect is None else released_records(entry)


def _ids(entry: Modality) -> st.SearchStrategy[object]:
    if isinstance(entry, Text):
        # Its vocabulary stands elsewhere; any has the ids of a few special tokens, of which 3 ends a text.
        words = st.integers(0, 15).filter(lambda identity: identity != 3)
        return st.lists(words, max_size=min(entry.max_tokens - 1, 12))
    assert isinstance(entry, Image | Vector), "a set has no ids of its own choice"
    shape = entry.grid if isinstance(entry, Image) else (entry.tokens or PQ_TOKENS,)
    return id_grids(shape, entry.vocab_size or 1)
