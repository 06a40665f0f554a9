"""The integer mixer behind every draw that must be the same for years: masks and the order of samples.

Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", section 3 (SplitMix64),
with the finaliser constants of Stafford's variant 13. NumPy promises no streams of its own across
versions, so the formula is ours to keep; tests publish its vectors.
"""

import numpy as np
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio, odd: steps of it visit every word before one comes again (Weyl)."""

_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(words: UInt64) -> UInt64:
    """Scramble 64-bit words so that any changed bit changes half of the result; a bijection.

    The words are overwritten, since this is where masking spends its time.

    >>> [hex(word) for word in mix(np.array([1, 2], dtype=np.uint64)).tolist()]
    ['0x5692161d100b05e5', '0xdbd238973a2b148a']
    """
    words ^= words >> np.uint64(30)
    words *= _FIRST
    words ^= words >> np.uint64(27)
    words *= _SECOND
    words ^= words >> np.uint64(31)
    return words
