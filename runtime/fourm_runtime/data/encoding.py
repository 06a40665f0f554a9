"""Token columns: how far they are encoded, whether they still hold, and the ids of some rows.

A column is begun with a stamp: the hash of the codec and of the schema entry. Ids of two makers never stand
in one column; a stale column is refused until it is replaced as a whole.
"""

import json
from collections.abc import Callable, Sequence
from typing import Literal

import attrs
import numpy as np
import pyarrow as pa

from fourm_codecs.base import StoredCodec, TokenBatch, id_dtype
from fourm_codecs.store import codec_hash
from fourm_runtime.data import store
from fourm_runtime.data.chunks import nested_chunks
from fourm_runtime.data.columns import (
    Nested,
    cumulated,
    is_present,
    is_ragged,
    read_fixed,
    read_ragged,
    write_fixed,
    write_nested,
)
from fourm_runtime.data.layout import (
    hash_of,
    raw_shape,
    stamp_of,
    token_type,
)
from fourm_schema.errors import CodecError, DataError
from fourm_schema.modality import Modality, Set, Text
from fourm_schema.plan import Stream
from fourm_schema.schema import Schema

Progress = Callable[[str, int, int], None]
"""Called with (stream, rows done, rows in all) as encoding goes on."""

State = Literal["missing", "partial", "encoded", "stale"]


@attrs.frozen
class StreamStatus:
    """How far a token stream is encoded.

    Attributes:
        stream: its name.
        state: `missing` (nothing encoded), `partial`, `encoded`, or `stale`: the codec or the schema entry
            has changed since, and the ids mean something else now.
        encoded_rows: rows in fragments that are encoded (absent samples count), or have nothing to encode
            yet: there, a modality that was added later has not been filled.
        codec: name of the codec that made the column; empty when missing.
        codec_hash: `fourm_codecs.store.codec_hash` of it; empty when missing.
        why: for a stale column, what has changed.
    """

    stream: str
    state: State
    encoded_rows: int
    codec: str = ""
    codec_hash: str = ""
    why: str = ""


def status_of(
    dataset: store.LanceDataset, schema: Schema, stream: Stream, codec: StoredCodec | None = None
) -> StreamStatus:
    """How far a token stream is encoded, and whether what is there still holds.

    Args:
        dataset: a version of the dataset.
        schema: the dataset's schema.
        stream: a token stream of it.
        codec: the codec to compare with; None compares the schema entry alone.
    """
    if stream.column not in dataset.schema.names:
        return StreamStatus(stream.name, "missing", 0)
    field = dataset.schema.field(stream.column)
    stamp = stamp_of(field)
    open_ones = set(unencoded(dataset, stream))
    fragments = dataset.get_fragments()
    filled = [fragment.physical_rows for fragment in fragments if fragment.fragment_id not in open_ones]
    why = ""
    if stamp.entry_hash != hash_of(schema, stream.modality):
        why = "its schema entry has changed since it was encoded"
    elif stamp.vocab_size != stream.vocab_size or field.type != token_type(stream):
        why = f"it was encoded with {stamp.vocab_size} ids, the schema has {stream.vocab_size}"
    elif codec is not None and stamp.codec_hash != codec_hash(codec):
        why = "it was encoded by another codec, or by one with other settings or training"
    state: State = "stale" if why else "partial" if open_ones else "encoded"
    return StreamStatus(stream.name, state, sum(filled), stamp.codec, stamp.codec_hash, why)


def unencoded(dataset: store.LanceDataset, stream: Stream, anew: bool = False) -> list[int]:
    """Numbers of fragments with values of the stream's modality, if only absent ones, and no ids of it.

    Where a modality that was added later is not filled yet there is nothing to encode: ids that stood there
    would be taken for those of the values to come. With `anew`, ids that are there do not count.
    """
    raw, ids = (store.leaf_field(dataset, name) for name in (stream.modality, stream.column))
    return [
        fragment.fragment_id
        for fragment in dataset.get_fragments()
        if (anew or store.lacks(fragment, ids)) and not store.lacks(fragment, raw)
    ]


def stale_error(path: store.Place, stream: Stream, status: StreamStatus) -> DataError:
    """Refuse to mix ids of two makers in one column."""
    return DataError(
        f"{path} column {stream.column}",
        f"holds ids that would not fit new ones: {status.why}",
        got=f"{status.encoded_rows} rows by codec {status.codec!r}",
        mend="encode it anew as a whole: fourm data encode --replace",
    )


def encode_batch(
    modality: Modality, stream: Stream, codec: StoredCodec, column: pa.Array, ids: pa.Array
) -> pa.Array:
    """The token column of some rows: ids where there is a value, null where there is none.

    Raises:
        DataError: if a value cannot be encoded; it names the sample.
    """
    present = is_present(column)
    names = [name for name, there in zip(ids.to_pylist(), present, strict=True) if there]
    if isinstance(modality, Text):
        views = [row for row in column.to_pylist() if row is not None]
        counts = np.zeros(len(column), np.int64)
        counts[present] = [len(row) for row in views]
        owners = [name for name, row in zip(names, views, strict=True) for _ in row]
        tokens = _encode(codec, stream, [text for row in views for text in row], owners)
        return write_nested(Nested(cumulated(counts), tokens.offsets, tokens.ids, present))
    values = raw_values(modality, column)
    if isinstance(modality, Set):
        tokens = _encode(codec, stream, [value for value in values if value is not None], names)
        return write_nested(nested_chunks(tokens, present))
    tokens = _encode(codec, stream, [value for value in values if value is not None], names)
    wrong = tokens.lengths != stream.length
    if wrong.any():
        got = f"{int(tokens.lengths[wrong.argmax()])} ids from codec {codec.name!r}"
        raise DataError(stream.name, f"a value has {stream.length} ids", got=got)
    table = np.zeros((len(column), stream.length), id_dtype(stream.vocab_size))
    table[present] = tokens.ids.reshape(-1, stream.length)
    return write_fixed(table, present)


def raw_values(modality: Modality, column: pa.Array | pa.ChunkedArray) -> list[object]:
    """Raw values of a column as a user gave them: arrays in their shape, texts, records; None if absent."""
    if isinstance(modality, Set):
        return [None if text is None else json.loads(text) for text in column.to_pylist()]
    if is_ragged(column.type):
        rows = read_ragged(column)
        sequences = np.split(rows.vectors, rows.bounds[1:-1]) if len(rows.present) else []
        return [value if there else None for value, there in zip(sequences, rows.present, strict=True)]
    if not pa.types.is_fixed_size_list(column.type):
        return list(column.to_pylist())
    table, present = read_fixed(column)
    stack = table.reshape(len(table), *raw_shape(modality))
    return [value if there else None for value, there in zip(stack, present, strict=True)]


def _encode(codec: StoredCodec, stream: Stream, values: Sequence[object], names: Sequence[str]) -> TokenBatch:
    try:
        return codec.encode(values)
    except CodecError as error:
        fault, name = error, ""
    # Batches are for speed; a message names the sample, so look for the first that fails alone.
    for value, owner in zip(values, names, strict=True):
        try:
            codec.encode([value])
        except CodecError as alone:
            fault, name = alone, owner
            break
    raise DataError(f"sample {name!r}, {stream.name}", f"cannot be encoded: {fault}") from fault
