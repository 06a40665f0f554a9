"""Hold a codec to its word: run its law over values, whoever wrote the codec."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Codec, TokenBatch, id_dtype
from fourm_schema.errors import CodecError


def violations(codec: Codec, values: Sequence[object]) -> list[str]:
    """Say how a codec breaks its law, or what every codec owes, on some values.

    Every codec owes: ids in range, in the smallest type and of `token_shape`; the same ids for the same
    value, alone or in a batch; a value for its own ids; and where lengths differ, an end: ids after it
    change nothing.

    Args:
        codec: any codec.
        values: values that its modality can hold.

    Returns:
        One sentence per violation, empty when all is well.
    """
    tokens = codec.encode(values)
    faults = _shape_faults(codec, tokens, len(values))
    if faults:
        return faults
    for number, (value, row) in enumerate(zip(values, tokens.rows(), strict=True)):
        alone = codec.encode([value]).ids
        if not np.array_equal(alone, row):
            faults.append(f"value {number} has other ids alone than in its batch")
    try:
        decoded = codec.decode(tokens)
    except CodecError as fault:
        return [*faults, f"its own ids are refused: {fault}"]
    if len(decoded) != len(values):
        return [*faults, f"{len(values)} values came back as {len(decoded)}"]
    kept = np.ones(len(values), np.bool_)
    for number, (value, back) in enumerate(zip(values, decoded, strict=True)):
        broken = codec.law.check(value, back)
        kept[number] = not broken
        faults += [f"value {number}: {fault}" for fault in broken]
    if codec.token_shape is None:
        faults += _end_faults(codec, tokens, decoded)
    if codec.law.keeps_ids:
        faults += _id_faults(codec, tokens, decoded, kept)
    return faults


def _shape_faults(codec: Codec, tokens: TokenBatch, count: int) -> list[str]:
    faults = []
    if len(tokens) != count:
        faults.append(f"{count} values became {len(tokens)} rows of ids")
    if tokens.ids.dtype != id_dtype(codec.vocab_size):
        faults.append(f"ids are {tokens.ids.dtype}, {id_dtype(codec.vocab_size)} is enough")
    if len(tokens.ids) and int(tokens.ids.max()) >= codec.vocab_size:
        faults.append(f"id {int(tokens.ids.max())} is not below vocab_size {codec.vocab_size}")
    if codec.token_shape is not None:
        length = int(np.prod(codec.token_shape))
        if (tokens.lengths != length).any():
            faults.append(f"token_shape says {length} ids, rows have {sorted(set(tokens.lengths.tolist()))}")
    return faults


def _end_faults(codec: Codec, tokens: TokenBatch, decoded: Sequence[object]) -> list[str]:
    doubled = codec.decode(TokenBatch.of([[*row, *row] for row in tokens.rows()], codec.vocab_size))
    return [
        f"value {number}: its ids do not say where they end, twice the ids read {longer!r}"
        for number, (back, longer) in enumerate(zip(decoded, doubled, strict=True))
        if not np.array_equal(np.asarray(back), np.asarray(longer))
    ]


def _id_faults(
    codec: Codec, tokens: TokenBatch, decoded: Sequence[object], kept: NDArray[np.bool_]
) -> list[str]:
    """Values that decode to what has other ids; one that did not come back right has others anyway."""
    numbers = np.flatnonzero(kept).tolist()
    try:
        again = codec.encode([decoded[number] for number in numbers])
    except CodecError as fault:
        return [f"a decoded value cannot be encoded: {fault}"]
    rows = tokens.rows()
    return [
        f"value {number}: its ids {rows[number].tolist()} decode to a value whose ids are {back.tolist()}"
        for number, back in zip(numbers, again.rows(), strict=True)
        if not np.array_equal(rows[number], back)
    ]
