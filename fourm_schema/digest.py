"""Hashes that say whether two schemas, or two entries, mean the same."""

import hashlib
import json

from fourm_schema.modality import Modality
from fourm_schema.schema import Schema, Wordpiece

# What neither a stored column nor a fitted codec depends on.
_USE = {"role", "loss_weight", "shown", "embedding", "positions"}
_ORIGIN = {"source", "derive", "label", "aliases"}


def schema_hash(schema: Schema) -> str:
    """Hash of all a schema means.

    Two files that differ only in comments, layout, descriptions, the order of keys, or in writing a
    default out, have one hash; a key that a later release adds changes none. The order of the modalities
    counts: it is the order of the streams.

    Returns:
        SHA-256 of the canonical JSON, 64 hexadecimal digits.
    """
    return _hash(_meaning(schema.model_dump(mode="json", by_alias=True, exclude_defaults=True)))


def entry_hash(entry: Modality, vocabulary: Wordpiece | None = None) -> str:
    """Hash of what an entry's stored tokens and its codec depend on.

    Role, loss weight, embedding, positions, sources and descriptions may change under stored tokens;
    anything else makes them stale.

    Args:
        entry: the modality.
        vocabulary: for a text, what its vocabulary's name stands for.

    Returns:
        SHA-256 of the canonical JSON, 64 hexadecimal digits.
    """
    content = _meaning(
        entry.model_dump(mode="json", by_alias=True, exclude=_USE | _ORIGIN, exclude_defaults=True)
    )
    return _hash([content, vocabulary and vocabulary.model_dump(mode="json", exclude_defaults=True)])


def _meaning(content: object) -> object:
    """Leave descriptions out; write mappings whose order counts (modalities, a record's fields) as lists."""
    if isinstance(content, list):
        return [_meaning(item) for item in content]
    if not isinstance(content, dict):
        return content
    told = {
        key: value for key, value in content.items() if not (key == "description" and isinstance(value, str))
    }
    return {
        key: [[name, _meaning(item)] for name, item in value.items()]
        if key in ("modalities", "fields") and isinstance(value, dict)
        else _meaning(value)
        for key, value in told.items()
    }


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
