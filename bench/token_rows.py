"""A dataset of tokens as 4M-21 has them, in Lance and as WebDataset tars: what `bench/loader.py` reads.

Twelve grids of 14 x 14 ids below 8192 and eight texts of 10 to 110 ids below 30,000, all present: about
5.2 KB a row. Ids are drawn, so nothing compresses that would not compress in a real vocabulary.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fourm_codecs.build import build_codec
from fourm_codecs.store import codec_hash
from fourm_runtime.data.columns import Nested, cumulated, write_fixed, write_nested
from fourm_runtime.data.layout import ID, SAMPLE, Stamp, hash_of, table_schema, token_field
from fourm_schema.load import parse_schema
from fourm_schema.plan import Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

GRIDS, TEXTS = 12, 8
CELLS, SIDE, CODES, WORDS = 196, 14, 8192, 30_000
SHORTEST, LONGEST = 10, 110
_CHUNK = 512


def token_schema() -> Schema:
    """The schema of the rows: ids that were made elsewhere."""
    entry = (
        f"{{kind: image, size: {SIDE}, patch: 1, cell: {{type: continuous, range: [0, 1]}}, "
        f"codec: ids, vocab_size: {CODES}}}"
    )
    grids = "".join(f"  grid{number:02d}: {entry}\n" for number in range(GRIDS))
    text = f"{{kind: text, vocabulary: words, max_tokens: {LONGEST}, codec: ids}}"
    texts = "".join(f"  text{number}: {text}\n" for number in range(TEXTS))
    words = f"vocabularies: {{words: {{kind: wordpiece, size: {WORDS}}}}}\n"
    return parse_schema(f"version: 1\n{words}modalities:\n{grids}{texts}")


def draw_rows(schema: Schema, rows: int, seed: int = 0) -> Iterator[tuple[int, dict[str, pa.Array]]]:
    """Draw token columns, some hundred rows at a time: the first row of each part, and its columns.

    Fewer rows are the first of more.
    """
    plan = resolve(schema)
    present = np.ones(_CHUNK, np.bool_)
    for first in range(0, rows, _CHUNK):
        rng = np.random.default_rng([seed, first])
        drawn = {
            stream.name: write_fixed(rng.integers(0, CODES, (_CHUNK, CELLS), np.uint16), present)
            if stream.layout == "grid"
            else _texts(rng, _CHUNK, plan.special(stream).end, plan.special(stream).first_sentinel)
            for stream in plan.streams
        }
        yield first, {name: column[: rows - first] for name, column in drawn.items()}


def _texts(rng: np.random.Generator, count: int, end: int, first_sentinel: int) -> pa.Array:
    lengths = rng.integers(SHORTEST, LONGEST, count)
    bounds = cumulated(lengths)
    # Above the special ids, which no text holds but the end.
    ids = rng.integers(first_sentinel + 400, WORDS, int(bounds[-1]), np.uint16)
    ids[bounds[1:] - 1] = end
    views = np.arange(count + 1, dtype=np.int64)
    return write_nested(Nested(views, bounds, ids, np.ones(count, np.bool_)))


def write_lance(path: Path, schema: Schema, rows: int, rows_per_fragment: int = 25_000) -> None:
    """Write the rows as a dataset whose tokens are there and whose raw values are not."""
    streams = resolve(schema).streams
    raw = table_schema(schema)
    fields = [_field(schema, stream) for stream in streams]
    table = pa.schema([*raw, *fields], metadata=raw.metadata)

    def batches() -> Iterator[pa.RecordBatch]:
        for first, columns in draw_rows(schema, rows):
            numbers = np.arange(first, first + len(next(iter(columns.values()))))
            made = {ID: pa.array(numbers.astype(str)), SAMPLE: pa.array(numbers)}
            nulls = {name: pa.nulls(len(numbers), raw.field(name).type) for name in schema.modalities}
            tokens = {stream.column: columns[stream.name] for stream in streams}
            filled = {**made, **nulls, **tokens}
            yield pa.record_batch([filled[name] for name in table.names], schema=table)

    lance.write_dataset(
        pa.RecordBatchReader.from_batches(table, batches()),
        str(path),
        max_rows_per_file=rows_per_fragment,
        data_storage_version="2.2",
        enable_stable_row_ids=True,
    )


def _field(schema: Schema, stream: Stream) -> pa.Field:
    codec = build_codec(schema, stream.modality)
    made_by = Stamp(hash_of(schema, stream.modality), codec.name, codec_hash(codec), codec.vocab_size)
    return token_field(stream, made_by)


def write_tars(folder: Path, schema: Schema, rows: int, rows_per_shard: int = 1000) -> None:
    """Write the rows as 4M does: a folder of tars per modality, grids as .npy, texts as .json."""
    streams = resolve(schema).streams
    open_tars: dict[str, tarfile.TarFile] = {}
    for first, columns in draw_rows(schema, rows):
        values = {name: column.to_pylist() for name, column in columns.items()}
        for place in range(len(next(iter(values.values())))):
            row = first + place
            if row % rows_per_shard == 0:
                open_tars = _next_shard(folder, streams, open_tars, row // rows_per_shard)
            for stream in streams:
                _add(open_tars[stream.name], row, stream, values[stream.name][place])
    for tar in open_tars.values():
        tar.close()


def _next_shard(
    folder: Path, streams: tuple[Stream, ...], before: dict[str, tarfile.TarFile], shard: int
) -> dict[str, tarfile.TarFile]:
    for tar in before.values():
        tar.close()
    opened = {}
    for stream in streams:
        (folder / stream.modality).mkdir(parents=True, exist_ok=True)
        opened[stream.name] = tarfile.open(folder / stream.modality / f"shard-{shard:05d}.tar", "w")  # noqa: SIM115 - closed when the next shard begins
    return opened


def _add(tar: tarfile.TarFile, row: int, stream: Stream, value: list[int] | list[list[int]]) -> None:
    if stream.layout == "grid":
        file = io.BytesIO()
        np.save(file, np.asarray(value, np.uint16).reshape(SIDE, SIDE))
        data, extension = file.getvalue(), "npy"
    else:
        data, extension = json.dumps(cast("list[list[int]]", value)[0]).encode(), "json"
    member = tarfile.TarInfo(f"{row:08d}.{extension}")
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def ids_of(sample: dict[str, object]) -> NDArray[np.uint16]:
    """The ids of one decoded member of a tar."""
    found = sample["npy"] if "npy" in sample else sample["json"]
    return np.asarray(found, np.uint16).reshape(-1)
