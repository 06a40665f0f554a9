"""Laws of sets: chunks, the grammar, the order of records, and sequences that no encoder writes."""

import itertools
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from fourm_codecs.base import TokenBatch
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import DrawnSet, Subject, is_native_set, is_set
from fourm_codecs.set_reading import Reading
from fourm_codecs.sets import SetCodec
from fourm_schema.errors import CodecError
from fourm_schema.lawbook.article import Article, Broken, Draw, article, require
from fourm_schema.released_forms import OPEN_FIELDS

LOOKS = 100
"""Places of a long sequence at which all that is admitted is looked at; elsewhere, only whether the id is."""

ROOM = 60
"""Most tokens of a sequence that is drawn under the grammar, beyond the fewest there are."""


def is_sorted_set(tested: Subject) -> bool:
    return is_set(tested) and tested.sets[0].order != "given"


def has_words_for_all(tested: Subject) -> bool:
    """Whether all numbers have a word: 4M writes some in pieces, which its grammar does not draw."""
    return is_set(tested) and (is_native_set(tested) or not set(OPEN_FIELDS) & set(tested.sets[0].fields))


@article(is_set)
def chunks_add_up(tested: Subject, draw: Draw) -> None:
    """The chunks of a set are its ids, none is empty, and the last is the end token alone."""
    _, codec = tested.sets
    value = draw(tested.values)
    tokens = codec.encode([value])
    (chunks,) = tokens.chunks() or [[]]
    told = f"{len(tokens.ids)} ids in chunks of {chunks}: {show(value)}"
    require(sum(chunks) == len(tokens.ids) and all(chunks), told)
    require(chunks[-1] == 1 and tokens.ids[-1] == codec.automaton.special.end, told)


@article(is_native_set)
def chunks_are_items(tested: Subject, draw: Draw) -> None:
    """Each chunk is one record, so that a span, which holds whole chunks, opens in a known state."""
    entry, codec = tested.sets
    assert isinstance(codec, SetCodec)
    tokens = codec.encode([draw(tested.values)])
    (chunks,) = tokens.chunks() or [[]]
    row = tokens.ids.tolist()
    require(
        codec.automaton.chunk_lengths(row) == chunks, f"the grammar cuts {row} elsewhere than at {chunks}"
    )
    starts = [0, *itertools.accumulate(chunks[:-1])]
    items = [[*row[start : start + size], row[-1]] for start, size in zip(starts, chunks[:-1], strict=False)]
    alone = codec.decode(TokenBatch.of(items, codec.vocab_size))
    together = codec.decode(tokens)[0]
    told = f"chunk by chunk the records are {show(alone)}, together {show(together)}"
    require([record for records in alone for record in records] == together or entry.order == "random", told)


@article(is_sorted_set)
def order_of_records_is_nothing(tested: Subject, draw: Draw) -> None:
    """Where the schema orders the records, their order in the value changes no id."""
    entry, codec = tested.sets
    value: Any = draw(tested.values)
    # Of records beyond `max_items` the order says which are kept.
    assume(len(value) > 1 and len(value) <= entry.max_items)
    shuffled = draw(st.permutations(value))
    same = codec.encode([value]).same(codec.encode([shuffled]))
    require(same, lambda: f"{show(value)} and {show(shuffled)} have other ids")


@article(has_words_for_all)
def grammar_admits_what_is_encoded(tested: Subject, draw: Draw) -> None:
    """The grammar admits every id that is encoded, with as many tokens left as there are, and then ends."""
    _, codec = tested.sets
    value = draw(tested.values)
    ids = codec.encode([value]).ids.tolist()
    state = codec.automaton.start
    stride = 1 + len(ids) // LOOKS
    for place, identity in enumerate(ids):
        fits = place % stride or codec.automaton.allowed(state, len(ids) - place)[identity]
        following = codec.automaton.step(state, identity)
        if following is None or not fits:
            raise Broken(f"id {identity} at place {place} of {ids} is not admitted: {show(value)}")
        state = following
    require(codec.automaton.is_final(state), lambda: f"the grammar expects more after {ids}: {show(value)}")


@article(is_set)
def grammar_ends_in_time(tested: Subject, draw: Draw) -> None:
    """Whatever is drawn under the grammar ends within its budget."""
    _walk(tested, draw)


@article(is_set)
def what_the_grammar_admits_is_read(tested: Subject, draw: Draw) -> None:
    """What is drawn under the grammar is read as records, without damage."""
    _, codec = tested.sets
    ids = _walk(tested, draw)
    reading = _read(codec, ids)
    texts = [found for found in reading.damage if "is cut to" not in found.what]
    require(not texts, lambda: f"{ids} is admitted, and read with damage: {texts[0].what}")


@article(is_set)
def encoded_sets_have_no_damage(tested: Subject, draw: Draw) -> None:
    """What is encoded is read without damage."""
    _, codec = tested.sets
    value = draw(tested.values)
    damage = _read(codec, codec.encode([value]).ids.tolist()).damage
    require(not damage, lambda: f"{damage[0].what}: {show(value)}")


@article(is_set)
def damaged_sets_are_read(tested: Subject, draw: Draw) -> None:
    """Whatever slips a writer makes, what is read is a set of records that can be encoded."""
    _, codec = tested.sets
    ids = _harmed(tested, draw)
    records = _read(codec, ids).records
    try:
        codec.encode([records])
    except CodecError as fault:
        raise Broken(f"the ids {ids} are read as {show(records)}, which is refused: {fault}") from None


@article(is_set)
def no_id_is_lost(tested: Subject, draw: Draw) -> None:
    """Whatever slips a writer makes, each id is in a record, is the end, says `none`, or is damage."""
    _, codec = tested.sets
    ids = _harmed(tested, draw)
    reading = _read(codec, ids)
    end = codec.automaton.special.end
    places = {place for span in reading.spans for place in range(*span)}
    places |= {place for found in reading.damage for place in range(found.start, found.stop)}
    # The whole row of a set without records is its end; 4M writes `none` before that of poses.
    marks = [end] if reading.records else codec.encode([[]]).ids.tolist()
    places |= {ids.index(mark) for mark in marks if mark in ids}
    lost = sorted(set(range(len(ids))) - places)
    require(not lost, lambda: f"of {ids}, what stands at {lost[:5]} is neither read nor reported")


@article(is_native_set)
def damage_costs_no_other_item(tested: Subject, draw: Draw) -> None:
    """A row that was cut off is reported, and the records before the cut are kept."""
    entry, codec = tested.sets
    tokens = codec.encode([draw(tested.values)])
    (chunks,) = tokens.chunks() or [[]]
    assume(len(chunks) > 1)
    whole = draw(st.integers(0, len(chunks) - 1))
    begin = sum(chunks[:whole])
    into = draw(st.integers(0, max(chunks[whole] - 1, 0)))
    reading = _read(codec, tokens.ids[: begin + into].tolist())
    require(reading.damage, f"the row was cut at place {begin + into}, and nothing is reported")
    found = len(reading.records)
    told = f"{entry.order}: {found} records are read of {whole} that stand whole in the row"
    require(found == whole, told)


SET_LAWS: tuple[Article[Subject], ...] = (
    chunks_add_up,
    chunks_are_items,
    order_of_records_is_nothing,
    grammar_admits_what_is_encoded,
    grammar_ends_in_time,
    what_the_grammar_admits_is_read,
    encoded_sets_have_no_damage,
    damaged_sets_are_read,
    no_id_is_lost,
    damage_costs_no_other_item,
)


def _read(codec: DrawnSet, ids: list[int]) -> Reading:
    (reading,) = codec.decode_with_report(TokenBatch.of([ids], codec.vocab_size))
    return reading


def _walk(tested: Subject, draw: Draw) -> list[int]:
    """Ids that the grammar admits, each drawn evenly from the ranges there are."""
    entry, codec = tested.sets
    grammar = codec.automaton
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    budget = min(grammar.distance(grammar.start) + draw(st.integers(0, ROOM)), entry.max_tokens)
    state, ids = grammar.start, list[int]()
    while not grammar.is_final(state):
        choices = np.flatnonzero(grammar.allowed(state, budget - len(ids)))
        require(len(choices), f"after {ids} nothing may follow, {budget - len(ids)} tokens are left")
        # Ranges are wide; each of them, the end among them, should come as often.
        ranges = np.split(choices, np.flatnonzero(np.diff(choices) > 1) + 1)
        ids.append(int(rng.choice(ranges[rng.integers(len(ranges))])))
        following = grammar.step(state, ids[-1])
        require(following is not None, f"{ids} is admitted, but leads nowhere")
        assert following is not None
        state = following
    require(len(ids) <= budget, f"{len(ids)} tokens were drawn, {budget} were allowed")
    return ids


def _harmed(tested: Subject, draw: Draw) -> list[int]:
    """The ids of a set with a few slips of a writer."""
    _, codec = tested.sets
    ids: list[int] = codec.encode([draw(tested.values)]).ids.tolist()
    for _ in range(draw(st.integers(1, 4))):
        _slip(ids, codec.vocab_size, draw)
    return ids


def _slip(ids: list[int], vocab_size: int, draw: Draw) -> None:
    """What a writer may do wrong: leave an id out, put one in, write one twice, stop."""
    place = draw(st.integers(0, max(len(ids) - 1, 0)))
    match draw(st.sampled_from(["drop", "put", "double", "change", "cut"])):
        case "drop":
            del ids[place : place + 1]
        case "put":
            ids.insert(place, draw(st.integers(0, vocab_size - 1)))
        case "double":
            ids[place:place] = ids[place : place + 1]
        case "change":
            ids[place : place + 1] = [draw(st.integers(0, vocab_size - 1))]
        case "cut":
            del ids[place:]
