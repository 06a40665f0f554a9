"""Sets of records as tokens of their grammar, item by item.

A value is a list of records, each a dict from field to number, name, text, list of numbers, mask, or None
where an optional field is absent. Where the schema says `max_items: 1`, a single dict is taken as a list of
one; decoding always gives a list, since a record may be missing.

A set with masks or long vectors has a learned codec for each of these fields and is called `grammar-codes`;
without, `grammar`.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self, cast

import attrs
import numpy as np

from fourm_codecs.base import Array, FieldValue, Parts, Record, StoredCodec, TokenBatch
from fourm_codecs.grammar import NATIVE, Automaton, Dialect, Fixed, Production
from fourm_codecs.set_codes import CodesForm, codes_form, parts_of_codecs, stored_codecs
from fourm_codecs.set_columns import encode_columns
from fourm_codecs.set_decoding import decode_columns
from fourm_codecs.set_faults import raise_faults
from fourm_codecs.set_items import is_record, listed_records
from fourm_codecs.set_order import Item, ItemOrder
from fourm_codecs.set_promise import records_apart, said_bounds, said_order
from fourm_codecs.set_reading import Damage, Reading, find_items
from fourm_codecs.set_values import UNKNOWN_WORD, BoxForm, Form, NumbersForm, TextForm, form_of
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.errors import CodecError, Fault
from fourm_schema.modality import Modality, Set
from fourm_schema.select import CODES_GRAMMAR
from fourm_schema.set_fields import is_learned
from fourm_schema.set_layout import text_vocabulary

COLUMNS_FROM = 8
"""Values from which on it pays to encode, or decode, field by field."""

BLOCK_RECORDS, MANY_RECORDS = 4096, 4
"""Values are encoded in blocks of the first number of records, if each had as many as it may and at most the
second: a block stays in the processor's cache while it is read field after field."""


@attrs.frozen
class SetCodec:
    """A set becomes its items' tokens and the end token.

    Attributes:
        modality: whose values it takes.
        entry: the declared set.
        vocabulary: the trained word vocabulary of its text fields, if it has any.
        dialect: which tokens each field is written in.
        codecs: field -> its codec, of the fields in learned codes.
        name: `grammar`, or `grammar-codes` where there are such fields.
    """

    modality: str
    entry: Set
    vocabulary: WordVocabulary | None = None
    dialect: Dialect = NATIVE
    codecs: Mapping[str, StoredCodec] = attrs.field(factory=dict, repr=False)

    def __attrs_post_init__(self) -> None:
        assert len(self._forms) == len(self.automaton.productions)

    @classmethod
    def from_entry(cls, modality: str, entry: Modality, parts: Parts) -> Self:
        """The codec of a declared set, given its trained vocabulary if a field is a text, and the fitted
        weights of fields in learned codes.

        Raises:
            CodecError: if the entry is no set, lacks its vocabulary, or has a field that is not trained yet.
        """
        if not isinstance(entry, Set):
            raise CodecError(modality, "a grammar is for sets", got=f"kind {entry.kind!r}")
        return cls(modality, entry, parts.vocabulary, codecs=stored_codecs(modality, entry, parts))

    @property
    def name(self) -> str:
        return CODES_GRAMMAR if self._coded else "grammar"

    @property
    def automaton(self) -> Automaton:
        """The grammar that its sequences follow."""
        return self._grammar

    @cached_property
    def _grammar(self) -> Automaton:
        words = self.vocabulary
        pieces = words.size - words.special.size if words else 0
        return Automaton.of_entry(self.modality, self.entry, pieces, self.dialect)

    @cached_property
    def _forms(self) -> dict[str, Form]:
        clip = self.entry.out_of_range == "clip"
        return {
            name: codes_form(name, field, self.codecs, clip, self.modality)
            or form_of(name, field, self.vocabulary, clip, self.modality)
            for name, field in self.entry.fields.items()
        }

    @cached_property
    def _coded(self) -> frozenset[str]:
        """The fields in learned codes."""
        return frozenset(name for name, field in self.entry.fields.items() if is_learned(field))

    @cached_property
    def _order(self) -> ItemOrder:
        scales = {n: form.scale for n, form in self._forms.items() if isinstance(form, BoxForm | NumbersForm)}
        return ItemOrder(self.entry, self.automaton.productions, scales, self._coded)

    @property
    def vocab_size(self) -> int:
        return self.automaton.vocab_size

    @property
    def token_shape(self) -> None:
        return None

    @property
    def parts(self) -> Parts:
        """The vocabulary, the parts of the fields' codecs, and as a tensor the fields as canonical JSON: they
        are what the ids mean."""
        fields = [
            [name, field.model_dump(mode="json", exclude={"description"}) | {"classes": _names(field)}]
            for name, field in self.entry.fields.items()
        ]
        text = json.dumps([self.dialect.name, fields], sort_keys=True, separators=(",", ":"))
        words = self.vocabulary if text_vocabulary(self.modality, self.entry) else None
        learned = parts_of_codecs(self.codecs)
        grammar = {"grammar": np.frombuffer(text.encode(), np.uint8)}
        return Parts(words, {**grammar, **learned.tensors}, learned.settings)

    @property
    def law(self) -> "BoundedFields":
        return BoundedFields(self)

    def encode(
        self, values: Sequence[object] | Array, *, rng: np.random.Generator | None = None
    ) -> TokenBatch:
        """Turn sets into ids, each item one chunk and the end token one.

        Args:
            values: sets of records.
            rng: shuffles sets of `order: random`; without it they are written in a fixed order of their
                own, whatever the order of their records.

        Raises:
            CodecError: naming every fault of every record, if a set cannot be held.
        """
        if isinstance(values, Mapping | str):
            raise CodecError(self.modality, "encode takes a batch", got="one value", mend="put it in a list")
        faults: list[Fault] = []
        block = BLOCK_RECORDS // min(self.entry.max_items, MANY_RECORDS)
        found = [
            self._encode_block(values[start : start + block], start, faults, rng)
            for start in range(0, max(len(values), 1), block)
        ]
        raise_faults(self.modality, faults)
        return TokenBatch.joined(found)

    def _encode_block(
        self,
        values: Sequence[object] | Array,
        first: int,
        faults: list[Fault],
        rng: np.random.Generator | None,
    ) -> TokenBatch:
        """Some of the values, the number of the first given; field by field if that is possible."""
        if len(values) >= COLUMNS_FROM and not isinstance(values, np.ndarray):
            grammar, forms, order = self.automaton, self._forms, self._order
            found = encode_columns(values, self.entry, grammar, forms, order, rng)
            if found is not None:
                return found
        rows, chunks = [], []
        for number, value in enumerate(values, first):
            read = self._items(value, f"{self.modality}, value {number}", faults)
            items = [read[k] for k in self._order(read, rng)]
            rows.append([*(identity for item in items for ids in item for identity in ids), self._end])
            chunks.append([*(sum(map(len, item)) for item in items), 1])
        return TokenBatch.of(rows, self.vocab_size, chunks)

    def decode(self, tokens: TokenBatch) -> list[list[Record]]:
        """Turn ids into sets of records: from any ids, all that can be read up to the first end token.

        Records come in the order that the schema asks for, in whatever order the ids give them; those of
        `order: given` and `order: random` as the ids give them.
        """
        found = None
        if len(tokens) >= COLUMNS_FROM:
            found = decode_columns(tokens, self.automaton, self._forms, self._order)
        if found is None:
            return [reading.records for reading in self.decode_with_report(tokens)]
        rows = zip(found, tokens.rows(), strict=True)
        return [self._read(row.tolist()).records if whole is None else whole for whole, row in rows]

    def decode_with_report(self, tokens: TokenBatch) -> list[Reading]:
        """Turn ids into sets of records, and say where each was read and which ids could not be."""
        return [self._read(row.tolist()) for row in tokens.rows()]

    def sort_places(self, ids: Sequence[int]) -> list[int]:
        """The places of a row of ids, moved so that its items stand in the order the schema asks for.

        What is in no item, the end token among it, follows after them.
        """
        spans = self._read(ids).spans
        places = [place for span in spans for place in range(*span)]
        return [*places, *sorted(set(range(len(ids))).difference(places))]

    @property
    def _end(self) -> int:
        return self.automaton.special.end

    def _items(self, value: object, where: str, faults: list[Fault], coded: bool = True) -> list[Item]:
        """The ids of a value's records; what is wrong with them is added to `faults`.

        Args:
            value: a set.
            where: which one.
            faults: of the whole batch.
            coded: fields in learned codes are looked at too; without, they are taken to have no ids.
        """
        found = []
        for number, record in enumerate(listed_records(self.entry, value, where, faults)):
            ids = self.fields(record, f"{where}, item {number}", faults, coded=coded)
            if len(ids) == len(self.entry.fields):
                found.append(tuple(ids.values()))
        return found

    def fields(
        self, record: object, where: str, faults: list[Fault], in_part: bool = False, coded: bool = True
    ) -> dict[str, tuple[int, ...]]:
        """Field -> its ids, in the order they are written; what is wrong with the record joins `faults`.

        Args:
            record: one item.
            where: which one, for the faults.
            faults: of the whole batch.
            in_part: a record may lack any field, and only those that it names are looked at.
            coded: as in `_items`.
        """
        if not is_record(record, self.entry.fields, where, faults):
            return {}
        found: dict[str, tuple[int, ...]] = {}
        for production in self.automaton.productions:
            name, value = production.name, record.get(production.name)
            here = f"{where}, field {name!r}"
            if in_part and name not in record:
                continue
            if not coded and name in self._coded:
                found[name] = ()
            elif value is not None:
                try:
                    found[name] = _ids_of(production, self._forms[name].read(value, here))
                except CodecError as error:
                    faults.extend(error.faults)
            elif production.absent is not None:
                found[name] = (production.absent,)
            else:
                faults.append(Fault(here, "is missing", mend="give it, or declare `optional: true`"))
        return found

    def _read(self, ids: Sequence[int]) -> Reading:
        spans, damage = find_items(self.automaton, ids)
        records: list[Record] = []
        for span in spans:
            record, cut = self._record(ids[span.start : span.stop])
            records.append(record)
            damage += [Damage(*span, f"field {name!r} is cut to the length it may have") for name in cut]
        numbers = list(range(len(records)))
        if self._order.sorts and len(records) > 1:
            # By the ids of what was read: a text that was cut has others than the row. Learned codes may have
            # others too; items that differ in nothing else stay as they stand.
            faults: list[Fault] = []
            numbers = self._order(self._items(records, self.modality, faults, coded=False))
            assert not faults, "a decoded record can be encoded"
        damage.sort(key=lambda found: found.start)
        return Reading([records[k] for k in numbers], tuple(spans[k] for k in numbers), tuple(damage))

    def _record(self, ids: Sequence[int]) -> tuple[Record, list[str]]:
        """The record of one whole item, and the texts that had to be cut."""
        record: Record = {}
        cut, state, begun = list[str](), self.automaton.start, 0
        for place, identity in enumerate(ids):
            following = self.automaton.step(state, identity)
            assert following is not None, "the item has been read"
            if following.field != state.field or self.automaton.at_border(following):
                production = self.automaton.productions[state.field]
                written = tuple(ids[begun : place + 1])
                record[production.name] = self._field(production, written, cut)
                begun = place + 1
            state = following
        return record, cut

    def _field(self, production: Production, ids: tuple[int, ...], cut: list[str]) -> FieldValue:
        if ids == (production.absent,):
            return None
        form, places = self._forms[production.name], _places_of(production, ids)
        if isinstance(form, TextForm) and not form.fits(places):
            cut.append(production.name)
        return form.write(places)


@attrs.frozen
class BoundedFields:
    """decode(encode(x)) has the records of x, each number within half a bin, what is in learned codes near.

    Attributes:
        codec: whose promise it is.
    """

    codec: SetCodec = attrs.field(repr=False)

    @property
    def keeps_ids(self) -> bool:
        return not self.codec.codecs

    def describe(self) -> str:
        coded = {n: form for n, form in self.codec._forms.items() if isinstance(form, CodesForm)}
        forms = {name: form for name, form in self.codec._forms.items() if name not in coded}
        near = said_bounds(forms, "off by at most half a bin") if forms else ""
        exact = [name for name, form in forms.items() if not form.promise()]
        rest = f"; {', '.join(exact)} as encoded" if 0 < len(exact) < len(forms) else ""
        codes = "".join(f"; {name} {form.promise()}" for name, form in coded.items())
        return f"decoding gives back the records{said_order(self.codec.entry.order)}{near}{rest}{codes}"

    def check(self, value: object, decoded: object) -> list[str]:
        """Compare the records of both, in the order the codec writes them."""
        found: list[list[Record]] = []
        numbers: list[int] = []
        for given in (value, decoded):
            faults: list[Fault] = []
            items = self.codec._items(given, self.codec.modality, faults, coded=False)
            numbers = self.codec._order(items)
            if faults:
                return [f"it came back as no value of this set: {faults[0]}"]
            records = cast("list[Record]", [given] if isinstance(given, Mapping) else given)
            found.append([records[number] for number in numbers])
        return records_apart(self.codec._forms, *found) or self._disorder(numbers)

    def _disorder(self, numbers: list[int]) -> list[str]:
        """Whether decoded records, to be written in the order of their numbers, stand in another."""
        moved = [place for place, number in enumerate(numbers) if place != number]
        if not moved or not self.codec._order.sorts:
            return []
        place, order = moved[0], self.codec.entry.order
        return [f"came back out of order: by {order}, item {numbers[place]} belongs where item {place} is"]


def _ids_of(production: Production, places: Sequence[int]) -> tuple[int, ...]:
    if isinstance(production, Fixed):
        slots = zip(production.slots, places, strict=True)
        return tuple(slot.range.start + place for slot, place in slots)
    unknown, pieces = production.pieces
    return (*(unknown.start if k == UNKNOWN_WORD else pieces.start + k for k in places), production.end)


def _places_of(production: Production, ids: Sequence[int]) -> list[int]:
    if isinstance(production, Fixed):
        slots = zip(production.slots, ids, strict=True)
        return [identity - slot.range.start for slot, identity in slots]
    unknown, pieces = production.pieces
    return [UNKNOWN_WORD if k == unknown.start else k - pieces.start for k in ids[:-1]]


def _names(field: object) -> list[str] | None:
    names = getattr(field, "names", None)
    return None if names is None else list(names)
