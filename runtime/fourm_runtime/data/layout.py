"""How a schema becomes columns: names, Arrow types and the metadata that travels with each column.

    id       string           the user's name of the sample
    sample   int64            our number of it: given once, never reused, the seed of its masks
    <modality>                its raw values, null where the sample lacks it
    <modality>__tokens        its ids, null where it is absent or not encoded yet

Raw images are one flat row of the smallest type that is exact; tokens have the smallest type that holds
the vocabulary. A column's schema entry, and the codec that made a token column, stand in its metadata.
"""

import json
import math
from typing import Final

import attrs
import numpy as np
import pyarrow as pa

from fourm_codecs.base import id_dtype
from fourm_codecs.set_codes import learned_fields
from fourm_schema.digest import entry_hash
from fourm_schema.errors import DataError
from fourm_schema.load import dump_schema, parse_schema
from fourm_schema.modality import Categorical, Continuous, Features, Image, Modality, Set, Text, Vector
from fourm_schema.plan import Stream
from fourm_schema.resolve import PQ_TOKENS
from fourm_schema.schema import Schema
from fourm_schema.set_fields import MaskField
from fourm_schema.set_layout import text_vocabulary

ID: Final = "id"
SAMPLE: Final = "sample"

_MASK_BYTES = 3
_NUMBER_BYTES = 20
"""Characters of a cell of a mask, and of a number, as JSON, about."""

FORMAT: Final = 1
"""Counts up when a dataset can no longer be read by programs that know the numbers before."""

_FORMAT = b"fourm.format"
_SCHEMA = b"fourm.schema"
_ENTRY = b"fourm.entry"
_ENTRY_HASH = b"fourm.entry_hash"
_CODEC = b"fourm.codec"
_CODEC_HASH = b"fourm.codec_hash"
_VOCAB_SIZE = b"fourm.vocab_size"


@attrs.frozen
class Stamp:
    """Who made a token column, and from which schema entry.

    Attributes:
        entry_hash: hash of the modality's schema entry when the column was begun.
        codec: name of the codec.
        codec_hash: hash of everything the codec's ids depend on.
        vocab_size: ids are below it.
    """

    entry_hash: str
    codec: str
    codec_hash: str
    vocab_size: int


def raw_shape(modality: Modality) -> tuple[int, ...]:
    """Shape of one raw array value: (h, w), (h, w, channels) or (dim,); () for texts and sets. Of a sequence
    of vectors, that of each vector.

    Where ids are given as they are, a value is the grid or the row of them.
    """
    if modality.codec == "ids" and isinstance(modality, Image | Vector):
        return modality.grid if isinstance(modality, Image) else (modality.tokens or PQ_TOKENS,)
    if isinstance(modality, Image):
        size = (modality.height, modality.width)
        flat = isinstance(modality.cell, Categorical) or modality.channels == 1
        return size if flat else (*size, modality.channels)
    return modality.shape if isinstance(modality, Vector) else ()


def raw_dtype(modality: Image | Vector) -> np.dtype[np.generic]:
    """The smallest type that holds every value the schema admits, exactly if the values are discrete."""
    if modality.codec == "ids":
        return id_dtype(modality.vocab_size or 0)
    if isinstance(modality, Vector):
        return np.dtype(np.float32)
    cell = modality.cell
    if isinstance(cell, Categorical):
        return _integer_type(0, cell.class_count - 1)
    if isinstance(cell, Features):
        return np.dtype(np.float16)
    if isinstance(cell, Continuous) and has_whole_levels(cell):
        return _integer_type(*(int(end) for end in cell.range))
    return np.dtype(np.float32)


def raw_bytes(modality: Modality) -> int:
    """Bytes of one stored image or vector, of the longest sequence of them, or of the masks and long vectors
    of a full set; 0 for what is small: texts, and other fields of sets."""
    if isinstance(modality, Set):
        return modality.max_items * sum(
            _MASK_BYTES * field.size**2 if isinstance(field, MaskField) else _NUMBER_BYTES * field.dim
            for field in learned_fields(modality).values()
        )
    if not isinstance(modality, Image | Vector):
        return 0
    longest = most_vectors(modality) or 1
    return longest * math.prod(raw_shape(modality)) * raw_dtype(modality).itemsize


def most_vectors(modality: Modality) -> int | None:
    """Most vectors of a value that is a sequence of them; None of others."""
    return modality.max_length if isinstance(modality, Vector) else None


def _integer_type(low: int, high: int) -> np.dtype[np.generic]:
    for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32"):
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return np.dtype(name)
    return np.dtype(np.int64)


def has_whole_levels(cell: Continuous) -> bool:
    """Whether every level of the range is a whole number, so that an integer type is exact."""
    low, high = cell.range
    return (
        cell.levels is not None
        and low.is_integer()
        and high.is_integer()
        and ((high - low) / (cell.levels - 1)).is_integer()
    )


def raw_type(modality: Modality) -> pa.DataType:
    """Arrow type of a modality's raw column."""
    if isinstance(modality, Text):
        return pa.list_(pa.list_(pa.int32()) if modality.codec == "ids" else pa.string())
    if isinstance(modality, Set):
        return pa.string()
    numbers = math.prod(raw_shape(modality))
    array = pa.list_(pa.from_numpy_dtype(raw_dtype(modality)), numbers)
    return pa.list_(array) if most_vectors(modality) else array


def token_type(stream: Stream) -> pa.DataType:
    """Arrow type of a stream's token column: a fixed row of ids, or a list of views of ids."""
    ids = pa.from_numpy_dtype(id_dtype(stream.vocab_size))
    return pa.list_(ids, stream.length) if stream.layout == "grid" else pa.list_(pa.list_(ids))


def word_vocabulary(name: str, modality: Modality) -> str | None:
    """The word vocabulary that a text, or the texts of a set, are written in; None if it has no texts."""
    if isinstance(modality, Text):
        return modality.vocabulary
    if isinstance(modality, Set) and modality.dialect is not None:
        return modality.dialect.vocabulary
    return text_vocabulary(name, modality) if isinstance(modality, Set) else None


def has_strings(name: str, modality: Modality) -> bool:
    """Whether values hold strings that are to be written in words; texts that are given as ids do not."""
    return word_vocabulary(name, modality) is not None and modality.codec != "ids"


def hash_of(schema: Schema, name: str) -> str:
    """Hash of what a modality's tokens depend on; the vocabulary of its texts counts too."""
    modality = schema.modalities[name]
    return entry_hash(modality, schema.vocabularies.get(word_vocabulary(name, modality) or ""))


def raw_field(schema: Schema, name: str) -> pa.Field:
    """The raw column of a modality, its schema entry in the metadata."""
    modality = schema.modalities[name]
    entry = modality.model_dump(mode="json", by_alias=True, exclude_unset=True)
    metadata = {_ENTRY: json.dumps(entry, sort_keys=True), _ENTRY_HASH: hash_of(schema, name)}
    return pa.field(name, raw_type(modality), metadata=metadata)


def token_field(stream: Stream, stamp: Stamp) -> pa.Field:
    """The token column of a stream, stamped with its maker."""
    metadata = {
        _ENTRY_HASH: stamp.entry_hash,
        _CODEC: stamp.codec,
        _CODEC_HASH: stamp.codec_hash,
        _VOCAB_SIZE: str(stamp.vocab_size),
    }
    return pa.field(stream.column, token_type(stream), metadata=metadata)


def stamp_of(field: pa.Field) -> Stamp:
    """Read back what `token_field` wrote."""
    metadata = {key: value.decode() for key, value in (field.metadata or {}).items()}
    try:
        size = int(metadata[_VOCAB_SIZE])
        return Stamp(metadata[_ENTRY_HASH], metadata[_CODEC], metadata[_CODEC_HASH], size)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"column {field.name}",
            "does not say which codec made it",
            mend="drop the column and encode again",
        ) from error


def table_schema(schema: Schema) -> pa.Schema:
    """Columns of a fresh dataset: id, sample number, and one raw column per modality.

    Raises:
        DataError: if a modality takes the name of one of the first two.
    """
    for name in (ID, SAMPLE):
        if name in schema.modalities:
            raise DataError(
                f"modalities.{name}", "is the name of a column that every dataset has", mend="rename it"
            )
    fields = [pa.field(ID, pa.string(), nullable=False), pa.field(SAMPLE, pa.int64(), nullable=False)]
    fields += [raw_field(schema, name) for name in schema.modalities]
    return pa.schema(fields, metadata=schema_metadata(schema))


def schema_metadata(schema: Schema) -> dict[str, str]:
    """The frozen schema and the format, as the dataset's own metadata."""
    return {_SCHEMA.decode(): dump_schema(schema), _FORMAT.decode(): str(FORMAT)}


def entry_metadata(schema: Schema, name: str) -> dict[str, str]:
    """The metadata of a raw column alone."""
    return {key.decode(): value.decode() for key, value in raw_field(schema, name).metadata.items()}


def read_schema(table: pa.Schema, source: str) -> Schema:
    """Read back the schema that a dataset was written with.

    Raises:
        DataError: if the dataset is none of ours, or one of a newer version of this program.
    """
    metadata = table.metadata or {}
    written = metadata.get(_FORMAT, b"1").decode()
    if not written.isdecimal() or int(written) > FORMAT:
        raise DataError(
            source,
            f"is of a newer version of this program, which reads formats up to {FORMAT}",
            got=f"format {written}",
            mend="upgrade it: pip install --upgrade fourm-schema",
        )
    text = metadata.get(_SCHEMA)
    if text is None:
        raise DataError(
            source,
            "holds no schema: it was not written by this program",
            mend="import its files with: fourm data import",
        )
    return parse_schema(text.decode(), source=f"{source} (its own schema)")
