"""Learned codecs by name: which network and which quantizer each has, and the codebooks that can have.

A name is `<network>-<quantizer>`: `vit-fsq`, `mlp-pq`. The first quantizer of a network is the one that the
selection table chooses; the others are asked for (`codec: vit-vq`).

Source of the FSQ sizes: Mentzer et al. 2023, https://arxiv.org/abs/2309.15505, table 1 and its advice of five
levels or more per dimension; the smaller rows follow the same advice. The powers of two from 1,024 on are the
sizes of 4M's codebooks, for which it gives way: eight and four levels.
"""

import attrs

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

LFQ_MOST_BITS = 14
"""The entropy of lookup-free codes is taken over all of them for each patch that is trained on."""
TABLE_MOST = 65_536
"""Codes of a learned table: ids of two bytes."""

IMAGE_QUANTIZERS = ("fsq", "lfq", "vq")
VECTOR_QUANTIZERS = ("pq", "rvq")


@attrs.frozen
class LearnedName:
    """What the name of a learned codec stands for.

    Attributes:
        network: `vit`, `vit-class`, `vit-feature` or `mlp`.
        quantizer: `fsq`, `lfq`, `vq`, `pq` or `rvq`.
    """

    network: str
    quantizer: str


LEARNED: dict[str, LearnedName] = {
    f"{network}-{quantizer}": LearnedName(network, quantizer)
    for network, quantizers in {
        "vit": IMAGE_QUANTIZERS,
        "vit-class": IMAGE_QUANTIZERS,
        "vit-feature": IMAGE_QUANTIZERS,
        "mlp": VECTOR_QUANTIZERS,
    }.items()
    for quantizer in quantizers
}

_USUAL_SIZES: dict[str, int] = {"fsq": 15_360, "lfq": 4_096, "vq": 4_096, "pq": 1_024, "rvq": 1_024}

LEARNED_VOCAB_SIZES: dict[str, int] = {
    codec: _USUAL_SIZES[name.quantizer] for codec, name in LEARNED.items()
} | {"vit-class-fsq": 4_375}
"""Ids of a learned codec whose entry names no other number."""


def codebook_fault(codec: str, vocab_size: int) -> tuple[str, str] | None:
    """Say why a learned codec cannot have so many ids, and which numbers it can have; None where it can.

    >>> codebook_fault("vit-lfq", 1000)
    ("is the size of no codebook of 'vit-lfq'", 'the nearest is 1024; it is a power of two from 2 to 16384')
    >>> codebook_fault("vit-vq", 1000)
    """
    quantizer, what = LEARNED[codec].quantizer, f"is the size of no codebook of {codec!r}"
    if quantizer == "fsq":
        return None if vocab_size in FSQ_LEVELS else (what, nearest_codebook(vocab_size))
    if quantizer == "lfq":
        powers = [2**bits for bits in range(1, LFQ_MOST_BITS + 1)]
        near = min(powers, key=lambda size: abs(size - vocab_size))
        mend = f"the nearest is {near}; it is a power of two from 2 to {powers[-1]}"
        return None if vocab_size in powers else (what, mend)
    return None if 2 <= vocab_size <= TABLE_MOST else (what, f"it is a number from 2 to {TABLE_MOST}")


def nearest_codebook(vocab_size: int) -> str:
    """Say which codebook of `fsq` is closest to a size that none has, and which there are.

    >>> nearest_codebook(4100)
    'the nearest is 4096; there are 40, 64, 240, 512, 1000, 1024, 2560, 4096, 4375, 8192, 15360, 16384, 64000'
    """
    near = min(FSQ_LEVELS, key=lambda size: abs(size - vocab_size))
    return f"the nearest is {near}; there are {', '.join(map(str, FSQ_LEVELS))}"
