"""How text becomes words and words become text again: the canonical form of a text, spelled out.

A text is cleaned and split as BERT does (Devlin et al. 2019): control characters go, white space
separates, every punctuation mark and every CJK ideograph is a word of its own; with `lowercase`, letters
are lowered and their accents dropped. Splitting what `join` wrote gives the same words again, since
punctuation is split off whether or not a space precedes it.
"""

from collections.abc import Callable, Sequence

from tokenizers import normalizers, pre_tokenizers

UNKNOWN = "\u2047"
"""The mark `⁇` that stands for a word with unknown characters. It is punctuation and never learned,
so that it is read back as unknown."""

NO_SPACE_BEFORE = frozenset(",.;:!?%)]}'-/")
NO_SPACE_AFTER = frozenset("([{-/")
CLITICS = frozenset({"s", "t", "d", "m", "re", "ve", "ll"})


def splitter(lowercase: bool) -> Callable[[str], list[str]]:
    """The function that splits a text into its words."""
    clean, cut = normaliser(lowercase), pre_tokenizers.BertPreTokenizer()

    def split(text: str) -> list[str]:
        return [word for word, _ in cut.pre_tokenize_str(clean.normalize_str(text))]

    return split


def normaliser(lowercase: bool) -> normalizers.Normalizer:
    """The cleaning step of `splitter`, for a tokenizer that runs it over whole batches."""
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lowercase, lowercase=lowercase
    )


def join(words: Sequence[str]) -> str:
    """Write words as a text, punctuation set as in English.

    >>> join(["it", "'", "s", "a", "two", "-", "tone", "cat", "(", "grey", ")", "."])
    "it's a two-tone cat (grey)."
    """
    text: list[str] = []
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        clitic = before == "'" and word in CLITICS
        if place and word not in NO_SPACE_BEFORE and before not in NO_SPACE_AFTER and not clitic:
            text.append(" ")
        text.append(word)
    return "".join(text)


def stands_alone(character: str) -> bool:
    """Whether a character is always a word of its own, so that no piece continues with it."""
    return len(_SPLIT("a" + character + "a")) == 3


_SPLIT = splitter(lowercase=False)
