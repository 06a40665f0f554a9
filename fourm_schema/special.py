"""Ids of a sequence's vocabulary that stand for no content."""

from fourm_schema.plan import Special

FIRST_SENTINEL = 4


def sentinels_needed(longest: int) -> int:
    """Sentinels that a sequence of `longest` chunks (a text's tokens, a set's items) can need at worst.

    Every other chunk masked makes (longest + 1) // 2 spans; one more closes the targets, and number 0
    is left unused, as 4M has it.
    """
    return (longest + 1) // 2 + 2


def special_ids(sentinel_count: int) -> Special:
    """The layout all vocabularies of sequences share: `[PAD] [UNK] [SOS] [EOS] [S_0] [S_1] ...`."""
    return Special(
        pad=0, unknown=1, start=2, end=3, first_sentinel=FIRST_SENTINEL, sentinel_count=sentinel_count
    )
