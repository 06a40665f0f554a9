"""Codebooks that `vit-fsq` can have: vocabulary size -> levels of finite scalar quantization.

Source: Mentzer et al. 2023, https://arxiv.org/abs/2309.15505, table 1 and its advice of five levels or more
per dimension; the smaller rows follow the same advice.
"""

FSQ_LEVELS: dict[int, tuple[int, ...]] = {
    40: (8, 5),
    64: (8, 8),
    240: (8, 6, 5),
    512: (8, 8, 8),
    1_000: (8, 5, 5, 5),
    2_560: (8, 8, 8, 5),
    4_375: (7, 5, 5, 5, 5),
    15_360: (8, 8, 8, 6, 5),
    64_000: (8, 8, 8, 5, 5, 5),
}

FSQ_DEFAULT = 15_360


def nearest_codebook(vocab_size: int) -> str:
    """Say which codebook is closest to a size that none has, and which there are.

    >>> nearest_codebook(4096)
    'the nearest is 4375; there are 40, 64, 240, 512, 1000, 2560, 4375, 15360, 64000'
    """
    near = min(FSQ_LEVELS, key=lambda size: abs(size - vocab_size))
    return f"the nearest is {near}; there are {', '.join(map(str, FSQ_LEVELS))}"
