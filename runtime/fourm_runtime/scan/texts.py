"""Strings -> an entry of kind text, and the vocabulary that all texts share."""

import re
from collections.abc import Iterable, Sequence

from fourm_runtime.scan.proposal import Proposal
from fourm_runtime.scan.ranges import between
from fourm_schema.special import FIRST_SENTINEL, sentinels_needed

VOCABULARY = "words"
MOST_TOKENS = 1024
_SIZES = (256, 512, 1000, 2000, 4000, 8000, 16_000, 30_000)

# A letter of a script that this does not know counts as a word, as which it may end.
_WORD = re.compile(r"[a-z0-9]+|\S", re.IGNORECASE)


def propose_text(views: Sequence[Sequence[str]]) -> Proposal:
    """Choose the entry for texts.

    Args:
        views: the alternative texts of each sample, one or more.
    """
    texts = [text for alternatives in views for text in alternatives]
    most_words = max(map(word_count, texts))
    entry: dict[str, object] = {"kind": "text", "vocabulary": VOCABULARY, "max_tokens": max_tokens(texts)}
    notes = [f"Texts of {between(min(map(word_count, texts)), most_words)} words."]
    entry["out_of_range"] = "clip"
    if most_words * 3 // 2 + 2 > MOST_TOKENS:
        notes.append(f"Longer ones are cut after {MOST_TOKENS} tokens; raise max_tokens to keep more.")
    else:
        notes.append("max_tokens allows three tokens to two words; a longer text is cut.")
    alternatives = max(map(len, views))
    if alternatives > 1:
        entry["views"] = alternatives
        notes.append(f"Up to {alternatives} texts per sample, alternatives of each other.")
    return Proposal(entry, tuple(notes), texts=tuple(texts), example=texts[0])


def max_tokens(texts: Iterable[str]) -> int:
    """Tokens that the longest text will take, by guess: three to two words, and an end."""
    guess = max(map(word_count, texts)) * 3 // 2 + 2
    return min(-(-guess // 8) * 8, MOST_TOKENS)


def word_count(text: str) -> int:
    """Words and punctuation marks of a text.

    >>> word_count("A dog, asleep."), word_count("画像")
    (5, 2)
    """
    return len(_WORD.findall(text))


def vocabulary_size(texts: Iterable[str], longest: int) -> int:
    """Ids that a vocabulary for these texts may have: half as many again as words were seen.

    Args:
        texts: those seen.
        longest: the largest `max_tokens` of a text modality; 0 where only sets have texts.
    """
    seen = {word.lower() for text in texts for word in _WORD.findall(text)}
    wanted = len(seen) * 3 // 2 + FIRST_SENTINEL + sentinels_needed(longest) + 64
    return next((size for size in _SIZES if size >= wanted), _SIZES[-1])
