"""A profile -> what a person should act on, the worst first, each with its mend."""

from collections.abc import Iterator, Mapping

import attrs

from fourm_runtime.profiling.arrays import BLANK, CONSTANT_DIMENSIONS, NOT_UNIT
from fourm_runtime.profiling.part_findings import part_findings
from fourm_runtime.profiling.record import Finding, Level, ModalityProfile, Profile, TokenProfile
from fourm_runtime.profiling.records import EMPTY, FLAT
from fourm_runtime.profiling.shares import count_of, percent
from fourm_runtime.training.recipe import Recipe
from fourm_schema.modality import Image, Modality, Vector
from fourm_schema.plan import Plan, Stream
from fourm_schema.schema import Schema
from fourm_schema.select import LEARNED_CODECS

_ORDER: tuple[Level, ...] = ("fault", "warning", "note")

_RARE = 0.01
_FEW_IDS = 0.25
_TOKENS_PER_ID = 20
"""Tokens per id from which on an id that never occurs is one that is not needed."""

_CELLS_OF_PICTURES = 256
"""Images with fewer cells may be equal by chance."""


def find(
    found: Profile, schema: Schema, plan: Plan, states: Mapping[str, str], recipe: Recipe | None
) -> Profile:
    """The profile with its findings.

    Args:
        found: the profile without them.
        schema, plan: of the dataset.
        states: token stream -> how far it is encoded.
        recipe: whose budgets count; None holds no budget against the samples.
    """
    every = [
        *_of_samples(found),
        *(
            finding
            for name, entry in schema.modalities.items()
            for finding in _of_modality(name, entry, found.modalities[name], found.profiled)
        ),
        *(
            finding
            for stream in plan.streams
            if not stream.is_dense
            for finding in _of_stream(stream, states[stream.name], found.streams.get(stream.name), found.rows)
        ),
        *_of_budgets(found, recipe),
    ]
    return attrs.evolve(found, findings=tuple(sorted(every, key=lambda one: _ORDER.index(one.level))))


def _of_samples(found: Profile) -> Iterator[Finding]:
    if not found.rows:
        yield Finding("fault", "samples", "there are none", "append some (fourm data append)")
    copies = found.copies
    if copies.copies:
        some = f" (of one in {copies.one_in}, compared by hash)" if copies.one_in > 1 else ""
        what = f"{count_of(copies.copies, copies.values, 'samples')}{some} equal another in all modalities"
        mend = "import each once: copies count double, and leak between training and held-out samples"
        yield Finding("warning", "samples", what, mend)
    if found.same_ids:
        what = f"{found.same_ids:,} have the id of another"
        mend = "give each its own: values that are filled in later are matched by id"
        yield Finding("warning", "samples", what, mend)


def _of_modality(name: str, entry: Modality, found: ModalityProfile, rows: int) -> Iterator[Finding]:
    if not rows:
        return
    if not found.present:
        derived = entry.derive is not None
        verb = "fourm data derive" if derived else "fourm data fill"
        yield Finding(
            "warning", name, "no sample has it", f"give it values ({verb}), or take it out of the schema"
        )
        return
    if found.present < _RARE * rows:
        what = f"only {count_of(found.present, rows, 'samples')} have it"
        yield Finding("note", name, what, "it will seldom be trained: raise its share, or weigh its loss")
    yield from _of_odd(name, entry, found)
    for part_name, part in found.parts.items():
        yield from part_findings(name, entry, part_name, part)
    copies = found.copies
    is_picture = isinstance(entry, Image) and entry.cell_count >= _CELLS_OF_PICTURES
    if is_picture and copies.copies:
        what = f"{count_of(copies.copies, copies.values, 'images')} equal another, to the last cell"
        yield Finding("note", name, what, "keep all copies of an image on one side of held-out splits")


def _of_odd(name: str, entry: Modality, found: ModalityProfile) -> Iterator[Finding]:
    odd = found.odd
    if count := odd.get(BLANK):
        is_map = isinstance(entry, Image) and entry.cell.type == "categorical"
        what = f"{count_of(count, found.present, 'images')} hold one value in all cells"
        mend = "write null where there is no image"
        yield Finding("note" if is_map else "warning", name, what, mend)
    if count := odd.get(NOT_UNIT):
        what = f"{count_of(count, found.present, 'images')} have cells whose vector is not of length 1"
        yield Finding("fault", name, what, "normalise each cell")
    if count := odd.get(CONSTANT_DIMENSIONS):
        size = entry.dim if isinstance(entry, Vector) else count
        what = f"{count:,} of {size:,} numbers never change"
        yield Finding("note", name, what, "leave them out: they teach nothing")
    if count := odd.get(EMPTY):
        what = "1 text is empty" if count == 1 else f"{count:,} texts are empty"
        yield Finding("warning", name, what, "write null where there is no text")
    if count := odd.get(FLAT):
        what = "1 box has no area" if count == 1 else f"{count:,} boxes have no area"
        yield Finding("warning", name, what, "leave them out, or mend their corners")


def _of_stream(stream: Stream, state: str, found: TokenProfile | None, rows: int) -> Iterator[Finding]:
    if state == "stale":
        what = "its tokens were made by another codec or entry than the present one"
        yield Finding("fault", stream.name, what, "encode it anew (fourm data encode --replace)")
    elif state != "encoded" and rows:
        what = "is not encoded yet" if state == "missing" else "is encoded in part"
        yield Finding("note", stream.name, what, "fourm data encode")
    if found is None or not found.tokens:
        return
    if found.unknown and found.unknown >= _RARE * found.tokens:
        what = f"{percent(found.unknown, found.tokens)} of its tokens are the id for unknown signs"
        mend = f"learn the vocabulary anew from these texts (fourm codec train {stream.vocabulary})"
        yield Finding("warning", stream.name, what, mend)
    is_learned = stream.codec in LEARNED_CODECS
    if is_learned and found.tokens >= _TOKENS_PER_ID * found.vocabulary:
        if found.used < _FEW_IDS * found.vocabulary:
            what = f"only {count_of(found.used, found.vocabulary, 'ids')} are used"
            yield Finding("note", stream.name, what, "a smaller vocab_size would do")
        if found.commonest > 0.5:
            what = f"one id makes up {found.commonest:.0%} of its tokens"
            yield Finding("warning", stream.name, what, "fit the codec for longer, or look at what it drew")
    limit = found.lengths.limit
    if stream.layout == "sequence" and limit is not None and stream.kind == "text":
        full = found.lengths.above(limit - 1)
        if full:
            what = (
                f"{count_of(full, found.lengths.values, 'texts')} take all {limit} tokens: cut, or nearly so"
            )
            yield Finding("note", stream.name, what, "raise max_tokens to keep their ends")


def _of_budgets(found: Profile, recipe: Recipe | None) -> Iterator[Finding]:
    if recipe is None or not found.tokens_per_sample.values:
        return
    most = recipe.budget.input_range[1] + recipe.budget.target_range[1]
    over = found.tokens_per_sample.above(most)
    if over:
        longest = found.tokens_per_sample.most
        what = (
            f"{count_of(over, found.tokens_per_sample.values, 'samples')} have more tokens "
            f"(up to {longest:,}) than the budgets of both sides together ({most:,})"
        )
        mend = (
            "each epoch shows another part of them; raise budget.input or budget.target to use more at once"
        )
        yield Finding("note", "budget", what, mend)
    usual, offered = found.tokens_per_sample.quantile(0.99), recipe.budget.input_range[0]
    if usual < offered:
        what = f"99 % of the samples have at most {usual:,} tokens, the encoder is offered {offered:,}"
        yield Finding(
            "note", "budget", what, "lower budget.input: with everything shown nothing is left to predict"
        )
