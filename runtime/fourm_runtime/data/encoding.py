"""Filling token columns: fragment by fragment, each in one commit, so that a killed run loses one fragment.

A column is begun with a stamp: the hash of the codec and of the schema entry. Ids of two makers never stand
in one column; a stale column is refused until it is replaced as a whole.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
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
    ID,
    Stamp,
    hash_of,
    raw_bytes,
    raw_shape,
    stamp_of,
    token_field,
    token_type,
)
from fourm_schema.errors import CodecError, DataError
from fourm_schema.modality import Modality, Set, Text
from fourm_schema.plan import Stream
from fourm_schema.schema import Schema

Progress = Callable[[str, int, int], None]
"""Called with (stream, rows done, rows in all) as encoding goes on."""

State = Literal["missing", "partial", "encoded", "stale"]

_BATCH_ROWS = 256
_BATCH_BYTES = 32 * 2**20


@attrs.frozen
class StreamStatus:
    """How far a token stream is encoded.

    Attributes:
        stream: its name.
        state: `missing` (nothing encoded), `partial`, `encoded`, or `stale`: the codec or the schema entry
            has changed since, and the ids mean something else now.
        encoded_rows: rows in fragments that are encoded (absent samples count).
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
    leaf = store.leaf_field(dataset, stream.column)
    fragments = dataset.get_fragments()
    filled = [fragment.physical_rows for fragment in fragments if not store.lacks(fragment, leaf)]
    why = ""
    if stamp.entry_hash != hash_of(schema, stream.modality):
        why = "its schema entry has changed since it was encoded"
    elif stamp.vocab_size != stream.vocab_size or field.type != token_type(stream):
        why = f"it was encoded with {stamp.vocab_size} ids, the schema has {stream.vocab_size}"
    elif codec is not None and stamp.codec_hash != codec_hash(codec):
        why = "it was encoded by another codec, or by one with other settings or training"
    state: State = "stale" if why else "encoded" if len(filled) == len(fragments) else "partial"
    return StreamStatus(stream.name, state, sum(filled), stamp.codec, stamp.codec_hash, why)


def stale_error(path: Path, stream: Stream, status: StreamStatus) -> DataError:
    """Refuse to mix ids of two makers in one column."""
    return DataError(
        f"{path} column {stream.column}",
        f"holds ids that would not fit new ones: {status.why}",
        got=f"{status.encoded_rows} rows by codec {status.codec!r}",
        mend="encode it anew as a whole: fourm data encode --replace",
    )


def encode_stream(
    path: Path, schema: Schema, stream: Stream, codec: StoredCodec, replace: bool, progress: Progress | None
) -> None:
    """Give every fragment that lacks them the ids of one stream.

    Raises:
        DataError: if the column is stale and not to be replaced, the codec is not one for this stream, or
            a value cannot be encoded; fragments finished before stay encoded.
    """
    where = f"{path} column {stream.column}"
    if codec.vocab_size != stream.vocab_size:
        got = f"{codec.vocab_size} ids of codec {codec.name!r}"
        mend = "build the codec from this dataset's schema"
        raise DataError(where, f"{stream.name} has {stream.vocab_size} ids", got=got, mend=mend)
    dataset = store.open_version(path)
    status = status_of(dataset, schema, stream, codec)
    if status.state == "stale":
        if not replace:
            raise stale_error(path, stream, status)
        dataset = store.drop_column(path, stream.column)
        status = status_of(dataset, schema, stream)
    stamp = Stamp(hash_of(schema, stream.modality), codec.name, codec_hash(codec), codec.vocab_size)
    field = token_field(stream, stamp)
    if status.state == "missing":
        dataset = store.add_columns(path, pa.schema([field]))
        if stamp_of(dataset.schema.field(stream.column)) != stamp:
            # Another process began the column between our look and our commit.
            raise stale_error(path, stream, status_of(dataset, schema, stream, codec))
    modality = schema.modalities[stream.modality]
    leaf = store.leaf_field(dataset, stream.column)
    batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(raw_bytes(modality), 1)))
    total, done = dataset.count_rows(), status.encoded_rows
    for fragment in dataset.get_fragments():
        if not store.lacks(fragment, leaf):
            continue
        parts: list[pa.Array] = []
        for values, ids in _raw_batches(fragment, stream.modality, batch_rows):
            parts.append(_encode_batch(modality, stream, codec, values, ids))
            done += len(values)
            if progress is not None:
                progress(stream.name, done, total)
        whole = pa.concat_arrays(parts) if parts else pa.array([], field.type)
        batch = pa.record_batch([whole], schema=pa.schema([field]))
        store.fill_column(path, fragment.fragment_id, leaf, batch)


def _raw_batches(
    fragment: store.LanceFragment, column: str, rows: int
) -> Iterator[tuple[pa.Array, pa.Array]]:
    store.require_no_deletions(fragment)
    for batch in fragment.to_batches(columns=[column, ID], batch_size=rows):
        yield batch.column(column), batch.column(ID)


def _encode_batch(
    modality: Modality, stream: Stream, codec: StoredCodec, column: pa.Array, ids: pa.Array
) -> pa.Array:
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
