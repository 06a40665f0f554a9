"""Filling token columns: fragment by fragment, each in one commit. A killed run loses one fragment."""

from collections.abc import Mapping, Sequence

import attrs
import pyarrow as pa

from fourm_codecs.base import StoredCodec
from fourm_codecs.store import codec_hash
from fourm_runtime.data import staged_files, store
from fourm_runtime.data.encoding import Progress, encode_batch, stale_error, status_of, unencoded
from fourm_runtime.data.engines import Engine, LocalEngine, Moved
from fourm_runtime.data.layout import ID, Stamp, hash_of, raw_bytes, read_schema, stamp_of, token_field
from fourm_runtime.data.location import Location
from fourm_runtime.data.storage_faults import RewrittenError
from fourm_schema.errors import DataError
from fourm_schema.modality import Modality
from fourm_schema.plan import Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

_BATCH_ROWS = 256
_BATCH_BYTES = 32 * 2**20
_ROUNDS = 3
"""How often fragments are looked up anew that compactions took away."""


@attrs.frozen
class FragmentWork:
    """Encodes one modality of a fragment into a file that no version refers to yet.

    Attributes:
        location: the dataset.
        modality: the schema entry of the values.
        stream: the stream that the ids are for.
        codec: makes the ids.
        field: the token column.
    """

    location: Location
    modality: Modality
    stream: Stream
    codec: StoredCodec
    field: pa.Field

    def __call__(self, fragment: int, moved: Moved) -> staged_files.StagedColumn:
        where = f"{self.location} column {self.field.name}"
        # The latest version, not the one of the plan: that may have been cleaned up hours later.
        found = store.open_version(self.location).get_fragment(fragment)
        if found is None:
            raise RewrittenError(where, "was rewritten meanwhile, by a compaction")
        store.require_no_deletions(found)
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(raw_bytes(self.modality), 1)))
        parts: list[pa.Array] = []
        for batch in store.batches(found, self.location, [self.stream.modality, ID], rows):
            values, ids = batch.column(self.stream.modality), batch.column(ID)
            parts.append(encode_batch(self.modality, self.stream, self.codec, values, ids))
            moved(len(batch))
        whole = pa.concat_arrays(parts) if parts else pa.array([], self.field.type)
        return staged_files.stage_column(
            self.location, fragment, pa.record_batch([whole], schema=pa.schema([self.field]))
        )


def encode_streams(
    location: Location,
    codecs: Mapping[str, StoredCodec],
    streams: Sequence[str] | None,
    replace: bool,
    progress: Progress | None,
    engine: Engine | None,
) -> None:
    """Fill token columns of a dataset; see `Dataset.encode`."""
    dataset = store.open_version(location)
    schema = read_schema(dataset.schema, str(location))
    plan = resolve(schema)
    chosen = [stream for stream in plan.streams if not stream.is_dense and stream.modality in codecs]
    if streams is not None:
        chosen = [plan.stream(name) for name in streams]
    for stream in chosen:
        if stream.is_dense:
            raise DataError(stream.name, "is shown dense and has no ids to encode")
        if stream.modality not in codecs:
            mend = f"given: {', '.join(sorted(codecs)) or 'none'}"
            raise DataError(stream.name, "no codec is given for it", mend=mend)
    # A stale column must not show up after an hour of encoding another.
    for stream in () if replace else chosen:
        status = status_of(dataset, schema, stream, codecs[stream.modality])
        if status.state == "stale":
            raise stale_error(location, stream, status)
    for stream in chosen:
        encode_stream(location, schema, stream, codecs[stream.modality], replace, progress, engine)


def encode_stream(
    location: Location,
    schema: Schema,
    stream: Stream,
    codec: StoredCodec,
    replace: bool,
    progress: Progress | None,
    engine: Engine | None,
) -> None:
    """Give every fragment that lacks them the ids of one stream.

    The column is begun, and a stale one dropped, when the first fragment's ids lie on the disk.

    Raises:
        DataError: if the column is stale and not to be replaced, the codec is not one for this stream, or
            a value cannot be encoded; fragments finished before stay encoded.
    """
    if codec.vocab_size != stream.vocab_size:
        got = f"{codec.vocab_size} ids of codec {codec.name!r}"
        mend = "build the codec from this dataset's schema"
        where = f"{location} column {stream.column}"
        raise DataError(where, f"{stream.name} has {stream.vocab_size} ids", got=got, mend=mend)
    stamp = Stamp(hash_of(schema, stream.modality), codec.name, codec_hash(codec), codec.vocab_size)
    work = FragmentWork(
        location, schema.modalities[stream.modality], stream, codec, token_field(stream, stamp)
    )
    leaf: int | None = None
    for last in (*[False] * _ROUNDS, True):
        dataset = store.open_version(location)
        status = status_of(dataset, schema, stream, codec)
        if status.state == "stale" and not replace:
            raise stale_error(location, stream, status)
        anew = status.state == "stale"
        fragments = unencoded(dataset, stream, anew)
        moved = _counter(stream, dataset.count_rows(), 0 if anew else status.encoded_rows, progress)
        try:
            for staged in (engine or LocalEngine()).run(work, fragments, moved):
                try:
                    leaf = (
                        _begin(location, schema, stream, codec, work.field, replace) if leaf is None else leaf
                    )
                except BaseException:
                    staged_files.remove_unless_used(location, [staged.file])
                    raise
                staged_files.commit_column(location, stream.column, leaf, staged)
        except RewrittenError:
            if last:
                raise
        else:
            break
    if leaf is None:
        _begin(location, schema, stream, codec, work.field, replace)


def _counter(stream: Stream, total: int, done: int, progress: Progress | None) -> Moved:
    def moved(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(stream.name, done, total)

    return moved


def _begin(
    location: Location, schema: Schema, stream: Stream, codec: StoredCodec, field: pa.Field, replace: bool
) -> int:
    """See to it that the stream's column is there, stamped with this codec; its innermost field."""
    dataset = store.open_version(location)
    status = status_of(dataset, schema, stream, codec)
    if status.state == "stale":
        if not replace:
            raise stale_error(location, stream, status)
        dataset = store.drop_column(location, stream.column)
    if stream.column not in dataset.schema.names:
        dataset = store.add_columns(location, pa.schema([field]))
        if stamp_of(dataset.schema.field(stream.column)) != stamp_of(field):
            # Another process began the column between our look and our commit.
            raise stale_error(location, stream, status_of(dataset, schema, stream, codec))
    return store.leaf_field(dataset, stream.column)
