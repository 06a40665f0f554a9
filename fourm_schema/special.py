"""Ids of a word vocabulary that stand for no word."""

from collections.abc import Iterable

from fourm_schema.plan import Special

FIRST_SENTINEL = 4
SHARED_WORDS = "words"


def shared_vocabulary(declared: Iterable[str]) -> str:
    """The vocabulary that sets write in: `words` where it is declared or none is, else the first by name."""
    names = sorted(declared)
    return SHARED_WORDS if SHARED_WORDS in names or not names else names[0]


def sentinels_needed(longest: int) -> int:
    """Sentinels that a sequence of `longest` tokens can need at worst.

    Every other token masked makes (longest + 1) // 2 spans; one more closes the targets, and number 0
    is left unused, as 4M has it.
    """
    return (longest + 1) // 2 + 2


def special_ids(sentinel_count: int) -> Special:
    """The layout all word vocabularies share: `[PAD] [UNK] [SOS] [EOS] [S_0] [S_1] ...`."""
    return Special(
        pad=0, unknown=1, start=2, end=3, first_sentinel=FIRST_SENTINEL, sentinel_count=sentinel_count
    )
