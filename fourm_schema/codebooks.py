"""Codebooks that learned codecs of images can have: vocabulary size -> levels of finite scalar quantization.

Source: Mentzer et al. 2023, https://arxiv.org/abs/2309.15505, table 1 and its advice of five levels or more
per dimension; the smaller rows follow the same advice. The powers of two from 1,024 on are the sizes of 4M's
codebooks, for which it gives way: eight and four levels.
"""

FSQ_LEVELS: dict[int, tuple[int, ...]] = {
    40: (8, 5),
    64: (8, 8),
    240: (8, 6, 5),
    512: (8, 8, 8),
    1_000: (8, 5, 5, 5),
    1_024: (8, 8, 4, 4),
    2_560: (8, 8, 8, 5),
    4_096: (8, 8, 8, 8),
    4_375: (7, 5, 5, 5, 5),
    8_192: (8, 8, 8, 4, 4),
    15_360: (8, 8, 8, 6, 5),
    16_384: (8, 8, 8, 8, 4),
    64_000: (8, 8, 8, 5, 5, 5),
}

FSQ_DEFAULT = 15_360


def nearest_codebook(vocab_size: int) -> str:
    """Say which codebook is closest to a size that none has, and which there are.

    >>> nearest_codebook(4100)
    'the nearest is 4096; there are 40, 64, 240, 512, 1000, 1024, 2560, 4096, 4375, 8192, 15360, 16384, 64000'
    """
    near = min(FSQ_LEVELS, key=lambda size: abs(size - vocab_size))
    return f"the nearest is {near}; there are {', '.join(map(str, FSQ_LEVELS))}"
