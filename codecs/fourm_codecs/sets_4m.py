"""Sets of records as the texts that released 4M models read and write: the same words, the same ids.

A value is a list of records, as of any set. `fourm_codecs.forms_4m` has the words of each form, the tokenizer
their ids, and `fourm_codecs.grammar_4m` which ids may follow which.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self, cast

import attrs
import numpy as np

from fourm_codecs.base import Array, Parts, Record, TokenBatch
from fourm_codecs.fields_4m import CodesOf
from fourm_codecs.forms_4m import RecordForm, record_form
from fourm_codecs.grammar_4m import TextGrammar
from fourm_codecs.order_4m import RecordOrder
from fourm_codecs.set_faults import raise_faults
from fourm_codecs.set_items import is_record, listed_records
from fourm_codecs.set_promise import records_apart, said_bounds, said_order
from fourm_codecs.set_reading import Damage, Reading, Span
from fourm_codecs.set_values import CategoryForm, Form
from fourm_codecs.symbols_4m import Cursor, Unreadable
from fourm_codecs.tokenizer_file import TokenizerFile
from fourm_codecs.words_4m import Words
from fourm_schema.errors import CodecError, Fault
from fourm_schema.modality import Dialect, Modality, Set

TOGETHER = (("polygon", "codes"),)
"""Optional fields that come together or not at all."""


@attrs.define(slots=False, frozen=True)
class RecordTextCodec:
    """A set becomes the words that 4M writes it in, and the end id.

    Attributes:
        modality: whose values it takes.
        entry: the declared set.
        file: the tokenizer file.
    """

    modality: str
    entry: Set
    file: TokenizerFile
    name: str = attrs.field(default="grammar-4m", init=False)

    def __attrs_post_init__(self) -> None:
        assert self.words.class_ids or not self.words.classes, "the tokenizer has its words"

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts) -> Self:
        """The codec of a declared set, given its tokenizer file as the bytes of the tensor `tokenizer`.

        Raises:
            CodecError: if the entry is no set in 4M's words, or the tokenizer is missing or lacks some.
        """
        if not isinstance(entry, Set) or entry.dialect is None:
            got = f"kind {entry.kind!r}" + (" without a dialect" if isinstance(entry, Set) else "")
            raise CodecError(modality, "a grammar of 4M is for sets in its words", got=got)
        return cls(modality, entry, TokenizerFile.of_parts(modality, parts))

    @cached_property
    def words(self) -> Words:
        """What its tokenizer makes of the words."""
        label = self._fields.get("label")
        classes = label.names if isinstance(label, CategoryForm) else ()
        return Words(self.file, self._form.keywords, classes)

    @property
    def automaton(self) -> TextGrammar:
        """The grammar that its sequences follow."""
        return self._grammar

    @cached_property
    def _grammar(self) -> TextGrammar:
        return TextGrammar(self._form, self.words, self.entry.max_items)

    @cached_property
    def _parts(self) -> tuple[RecordForm, dict[str, Form]]:
        return record_form(self.entry)

    @property
    def _form(self) -> RecordForm:
        return self._parts[0]

    @property
    def _fields(self) -> dict[str, Form]:
        return self._parts[1]

    @property
    def _dialect(self) -> Dialect:
        assert self.entry.dialect is not None, "from_entry has refused everything else"
        return self.entry.dialect

    @cached_property
    def _order(self) -> RecordOrder:
        return RecordOrder(self._form.name, self.entry.order)

    @property
    def vocab_size(self) -> int:
        return self.file.size

    @property
    def token_shape(self) -> None:
        return None

    @property
    def parts(self) -> Parts:
        """The tokenizer file, and the fields as canonical JSON: they are what the ids mean."""
        fields = [
            [name, field.model_dump(mode="json", exclude={"description"})]
            for name, field in self.entry.fields.items()
        ]
        text = json.dumps([self.words.classes, fields], sort_keys=True, separators=(",", ":"))
        tensors = {"tokenizer": self.file.content, "grammar": text.encode()}
        return Parts(tensors={name: np.frombuffer(held, np.uint8) for name, held in tensors.items()})

    @property
    def law(self) -> "BoundedWords":
        return BoundedWords(self)

    def texts(self, values: Sequence[object]) -> list[str]:
        """The texts that 4M's tokenizer is given, one per value.

        Raises:
            CodecError: as `encode` does.
        """
        return [" ".join(word for chunk in chunks for word in chunk) for chunks in self._chunks(values, None)]

    def encode(
        self, values: Sequence[object] | Array, *, rng: np.random.Generator | None = None
    ) -> TokenBatch:
        """Turn sets into ids; the end id is a chunk of its own.

        Args:
            values: sets of records.
            rng: shuffles sets of `order: random`; without it they are written in an order of their own,
                whatever the order of their records.

        Raises:
            CodecError: naming every fault of every record, if a set cannot be held.
        """
        rows, lengths = [], []
        for chunks in self._chunks(values, rng):
            ids = [self.words.spell_chunk(chunk) for chunk in chunks]
            rows.append([*(identity for chunk in ids for identity in chunk), self._end])
            lengths.append([*map(len, ids), 1])
        return TokenBatch.of(rows, self.vocab_size, lengths)

    def decode(self, tokens: TokenBatch) -> list[list[Record]]:
        """Turn ids into sets of records: from any ids, all that can be read up to the first end id."""
        return [reading.records for reading in self.decode_with_report(tokens)]

    def decode_with_report(self, tokens: TokenBatch) -> list[Reading]:
        """Turn ids into sets of records, and say where each was read and which ids could not be."""
        return [self._read(row.tolist()) for row in tokens.rows()]

    def sort_places(self, ids: Sequence[int]) -> list[int]:
        """The places of a row of ids, moved so that its records stand in the order the schema asks for."""
        if not self._order.sorts:
            return list(range(len(ids)))
        places = [place for span in self._read(ids).spans for place in range(*span)]
        return [*places, *sorted(set(range(len(ids))).difference(places))]

    @property
    def _end(self) -> int:
        return self.file.special.end

    def _chunks(
        self, values: Sequence[object] | Array, rng: np.random.Generator | None
    ) -> list[list[list[str]]]:
        if isinstance(values, Mapping | str):
            raise CodecError(self.modality, "encode takes a batch", got="one value", mend="put it in a list")
        faults: list[Fault] = []
        found = []
        for number, value in enumerate(values):
            where = f"{self.modality}, value {number}"
            written = self.written(value, where, faults, rng)
            found.append(self._form.chunks([codes for codes, _ in written]))
        raise_faults(self.modality, faults)
        return found

    def written(
        self, value: object, where: str, faults: list[Fault], rng: np.random.Generator | None = None
    ) -> list[tuple[CodesOf, Mapping[str, object]]]:
        """The codes of a value's records, and the records, in the order they are written, as many as fit.

        Args:
            value: a set of records.
            where: which one, for the faults.
            faults: of the whole batch; what is wrong joins them.
            rng: as in `encode`.
        """
        records = listed_records(self.entry, value, where, faults)
        read = [
            self._codes(record, f"{where}, item {number}", faults) for number, record in enumerate(records)
        ]
        pairs = [
            (codes, cast("Mapping[str, object]", record))
            for codes, record in zip(read, records, strict=True)
            if codes is not None
        ]
        order = self._order([codes for codes, _ in pairs], rng)[: self.entry.max_items]
        pairs = [(self._order.within(pairs[k][0], rng), pairs[k][1]) for k in order]
        return self._fitting(pairs, where, faults)

    def _fitting(
        self, pairs: list[tuple[CodesOf, Mapping[str, object]]], where: str, faults: list[Fault]
    ) -> list[tuple[CodesOf, Mapping[str, object]]]:
        most = self._dialect.max_tokens
        length = self._length([codes for codes, _ in pairs])
        if length > most and self.entry.out_of_range == "error":
            what = f"a set has at most {most} tokens, its end included"
            mend = "leave items out, or set `out_of_range: clip` to keep the first"
            faults.append(Fault(where, what, f"{length} tokens", mend))
            return []
        while pairs and length > most:
            codes, record = pairs[-1]
            shorter = dict(list(codes.items())[:-1]) if self._form.name == "metadata" else {}
            pairs = [*pairs[:-1], (shorter, record)] if shorter else pairs[:-1]
            length = self._length([codes for codes, _ in pairs])
        return pairs

    def _length(self, records: Sequence[CodesOf]) -> int:
        return 1 + sum(len(self.words.spell_chunk(chunk)) for chunk in self._form.chunks(records))

    def _codes(self, record: object, where: str, faults: list[Fault]) -> CodesOf | None:
        """The codes of a record; None if it has none, and why joins the faults."""
        if not is_record(record, self.entry.fields, where, faults):
            return None
        before = len(faults)
        found: CodesOf = {}
        # In the order of the record where that is the text's to keep.
        names = [name for name in record if name in self._fields]
        for name in names if self._form.name == "metadata" else self._fields:
            value = record.get(name)
            here = f"{where}, field {name!r}"
            if value is not None:
                try:
                    found[name] = self._fields[name].read(value, here)
                except CodecError as error:
                    faults.extend(error.faults)
            elif not self.entry.fields[name].optional:
                faults.append(Fault(here, "is missing", mend="give it"))
        if len(faults) > before:
            return None
        for pair in TOGETHER:
            if sum(name in found for name in pair) == 1:
                faults.append(Fault(where, f"has {' and '.join(pair)}, or neither", ", ".join(found)))
        if not found:
            faults.append(Fault(where, "says nothing", mend="leave the record out"))
        return found if len(faults) == before else None

    def _read(self, ids: Sequence[int]) -> Reading:
        end = self._end
        stop = ids.index(end) if end in ids else len(ids)
        damage: list[Damage] = []
        length = min(stop, self._dialect.max_tokens - 1)
        if length < stop:
            damage.append(Damage(length, stop, f"after {length} tokens, the most there can be"))
        found = self._items(ids[:length], damage)
        if stop == len(ids):
            damage.append(Damage(stop, stop, "the end token is missing"))
        elif stop + 1 < len(ids):
            damage.append(Damage(stop + 1, len(ids), "after the end token"))
        if self._form.name == "metadata" and found:
            merged: CodesOf = {name: codes[name] for codes, _ in found for name in codes}
            found = [(merged, Span(found[0][1].start, found[-1][1].stop))]
        while found and self._length([codes for codes, _ in found]) > self._dialect.max_tokens:
            *found, (_, span) = found
            damage.append(Damage(*span, "there is no room for it beside what its row lacks"))
        if self._order.sorts:
            found = [found[k] for k in self._order([codes for codes, _ in found], None)]
        damage.sort(key=lambda one: one.start)
        records = [self._record(codes) for codes, _ in found]
        return Reading(records, tuple(span for _, span in found), tuple(damage))

    def _items(self, ids: Sequence[int], damage: list[Damage]) -> list[tuple[CodesOf, Span]]:
        """The records of a row without its end; what is in none joins the damage."""
        symbols, reader = self.words.symbols(ids), self._form.reader()
        found: list[tuple[CodesOf, Span]] = []
        place, begun = 0, -1
        apart = Span(len(ids), len(ids))
        most = self.entry.max_items if self._form.name != "metadata" else len(ids)
        while place < len(symbols):
            start = symbols[place].start
            if len(found) == most:
                damage.append(Damage(start, len(ids), f"after {most} items, the most there can be"))
                break
            cursor = Cursor(symbols, place)
            try:
                codes = reader.item(cursor)
            except Unreadable as fault:
                # Words that fail one by one are one damage: the first says why.
                joins = bool(damage) and damage[-1].stop == start
                first = damage.pop() if joins else Damage(start, start, str(fault))
                damage.append(attrs.evolve(first, stop=symbols[place].stop))
                place += 1
                continue
            stop = symbols[cursor.place - 1].stop
            if codes is None:
                begun, apart = start, Span(start, stop)
            else:
                found.append((codes, Span(begun if begun >= 0 else start, stop)))
                begun = -1
            place = cursor.place
        if what := reader.finish(len(found)):
            damage.append(Damage(*apart, what))
        return found

    def _record(self, codes: CodesOf) -> Record:
        names = list(codes) if self._form.name == "metadata" else []
        return {
            name: self._fields[name].write(codes[name]) if name in codes else None
            for name in dict.fromkeys((*names, *self._fields))
        }


@attrs.frozen
class BoundedWords:
    """decode(encode(x)) has the records of x, each number as near as its word tells.

    Attributes:
        codec: whose promise it is.
    """

    codec: RecordTextCodec = attrs.field(repr=False)
    keeps_ids: bool = attrs.field(default=True, init=False)

    def describe(self) -> str:
        order, near = said_order(self.codec.entry.order), said_bounds(self.codec._fields, "off by at most")
        return f"decoding gives back the records that 4M's words can say{order}{near}"

    def check(self, value: object, decoded: object) -> list[str]:
        """Compare the records of both, in the order the codec writes them."""
        faults: list[Fault] = []
        given = self.codec.written(value, self.codec.modality, faults)
        back = self.codec.written(decoded, self.codec.modality, faults)
        if faults:
            return [f"it came back as no value of this set: {faults[0]}"]
        # What has no codes was left out, as what a text has no room for.
        written = [{name: record.get(name) for name in codes} for codes, record in given]
        return records_apart(self.codec._fields, written, [other for _, other in back])
