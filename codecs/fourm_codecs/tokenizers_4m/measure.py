"""What a released tokenizer keeps of given values."""

from collections.abc import Sequence

import numpy as np

from fourm_codecs.tokenizers_4m.codec import TokenizerOf4M
from fourm_schema.modality import Categorical, Image

CHUNK = 32


def measured(codec: TokenizerOf4M, values: Sequence[object]) -> str:
    """Say what comes back of values, and how many ids they use.

    Raises:
        CodecError: if a value is not one the modality can hold.
    """
    assert len(values), "nothing can be measured on no values"
    counts = np.zeros(codec.vocab_size, np.int64)
    squares, right, numbers = 0.0, 0, 0
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        tokens = codec.encode(chunk)
        counts += np.bincount(tokens.ids, minlength=codec.vocab_size)
        if not codec.can_decode:
            continue
        for given, back in zip(chunk, codec.decode(tokens), strict=True):
            value, found = np.asarray(given, np.float64).reshape(back.shape), back.astype(np.float64)
            squares += float(np.square(value - found).sum())
            right += int((value == found).sum())
            numbers += found.size
    used = f"{int((counts > 0).sum()):,} of {len(counts):,} ids in {len(values):,} values"
    if not codec.can_decode:
        return f"{used}; {codec.why_not_decoded}"
    if isinstance(codec.entry, Image) and isinstance(codec.entry.cell, Categorical):
        return f"{right / numbers:.1%} of the cells right; {used}"
    return f"root mean square error {(squares / numbers) ** 0.5:.3g}; {used}"
