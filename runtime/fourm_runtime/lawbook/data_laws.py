"""Laws of values in a dataset, and of sets that are masked span by span."""

from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import Subject, has_declared_codec, is_native_set, is_set
from fourm_runtime.data.encoding import raw_values
from fourm_runtime.data.layout import raw_type, token_type
from fourm_runtime.data.raw_values import check_value
from fourm_runtime.data.rows import column_of
from fourm_runtime.masking.spans import Rows, mask_spans, merge, target_sequence
from fourm_schema.lawbook.article import Article, Draw, article, require
from fourm_schema.modality import Features, Image, Set, Text


def is_stored_whole(tested: Subject) -> bool:
    return tested.entry is not None and bool(tested.faces) and not tested.is_sequence_of_vectors


def is_masked_by_items(tested: Subject) -> bool:
    return is_set(tested) and tested.stream is not None and tested.stream.can_be_target


def is_masked_by_own_items(tested: Subject) -> bool:
    return is_masked_by_items(tested) and is_native_set(tested)


@article(is_stored_whole)
def stored_values_read_back(tested: Subject, draw: Draw) -> None:
    """A value, stored in an Arrow column and read again, has the same tokens."""
    entry, value = tested.entry, draw(tested.values)
    assert entry is not None
    if tested.has_ids_for_values and isinstance(entry, Text):
        return
    if isinstance(entry, Image) and isinstance(entry.cell, Features):
        # Features are stored in two bytes.
        value = np.asarray(value).astype(np.float16)
    elif tested.is_array:
        value = _storable(entry, np.asarray(value))
    column = column_of([check_value(entry, value, tested.name), None], raw_type(entry))
    require(column.is_valid().to_pylist() == [True, False], "an absent value is not null")
    back: Any = raw_values(entry, column)[0]
    read = back[0] if isinstance(entry, Text) else back
    for face in tested.faces:
        one, other = face.rows([value])[0], face.rows([read])[0]
        same = np.array_equal(one, other)
        require(same, lambda: f"{show(value)} is read from its column as {show(read)}")


@article(has_declared_codec)
def ids_fit_their_column(tested: Subject, draw: Draw) -> None:
    """The ids of a value fit the type and the size of its token column."""
    stream, codec = tested.stream, tested.code()
    if stream is None or stream.vocab_size != codec.vocab_size:
        return
    ids = codec.encode([draw(tested.values)]).ids
    kind: Any = token_type(stream)
    while hasattr(kind, "value_type"):
        kind = kind.value_type
    require(str(kind) == str(ids.dtype), f"ids are {ids.dtype}, their column holds {kind}")


@article(is_masked_by_items)
def spans_parse_as_the_set(tested: Subject, draw: Draw) -> None:
    """A set that is masked item by item, and put together again, is read as the same set."""
    assert tested.stream is not None
    _, codec = tested.sets
    value: Any = draw(tested.values)
    tokens = codec.encode([value])
    special = codec.automaton.special
    assume(special.sentinel_count > 2)
    seed = draw(st.integers(0, 2**32 - 1))
    rows = Rows(
        ids=tokens.ids.astype(np.int32),
        offsets=tokens.offsets,
        keep=np.array([draw(st.sampled_from([0.0, 0.5, 1.0]))]),
        input_budget=np.array([2 * len(tokens.ids) + 1]),
        target_budget=np.array([2 * len(tokens.ids) + 2]),
        keys=np.array([seed], np.uint64),
        first_sentinel=np.array([special.first_sentinel]),
        sentinel_count=np.array([special.sentinel_count]),
        chunk_lengths=tokens.chunk_lengths,
    )
    shown, asked = mask_spans(rows)
    whole = merge(shown.ids, target_sequence(asked, 0), special)
    back = codec.decode(TokenBatch.of([whole], codec.vocab_size))[0]
    told = f"{show(value)} is put together as {show(back)}"
    require(back == codec.decode(tokens)[0], told)


@article(is_masked_by_own_items)
def spans_open_in_a_known_state(tested: Subject, draw: Draw) -> None:
    """Each hidden span of a set is read by itself: it begins and ends where an item does."""
    _, codec = tested.sets
    tokens = codec.encode([draw(tested.values)])
    (chunks,) = tokens.chunks() or [[]]
    assume(len(chunks) > 1)
    first = draw(st.integers(0, len(chunks) - 2))
    last = draw(st.integers(first + 1, len(chunks) - 1))
    start, stop = sum(chunks[:first]), sum(chunks[:last])
    span = [*tokens.ids[start:stop].tolist(), codec.automaton.special.end]
    (reading,) = codec.decode_with_report(TokenBatch.of([span], codec.vocab_size))
    found = len(reading.records)
    told = f"of items {first} to {last - 1}, masked alone, {found} are read: {reading.damage}"
    require(found == last - first and not reading.damage, told)


DATA_LAWS: tuple[Article[Subject], ...] = (
    stored_values_read_back,
    ids_fit_their_column,
    spans_parse_as_the_set,
    spans_open_in_a_known_state,
)


def _storable(entry: object, value: Any) -> Any:
    """The value as a column can hold it: numbers that are no levels are stored as float32."""
    if isinstance(entry, Set) or value.dtype.kind in "iu":
        return value
    return value.astype(np.float32)
