"""Statistics of one part of a modality -> what a person should act on: ranges, classes, lengths."""

from collections.abc import Iterator

from fourm_runtime.profiling.record import Classes, Finding, Lengths, Numbers, Part
from fourm_runtime.profiling.records import ITEMS, WORDS
from fourm_runtime.profiling.shares import count_of, percent
from fourm_runtime.scan.ranges import outward
from fourm_schema.modality import Continuous, Image, Modality, Set, Vector
from fourm_schema.set_fields import NumberField

_AT_THE_END = 0.01
_NARROW = 0.25
_WIDE = 16
"""Of a range so wide, values between -1 and 1 alone are seldom meant."""
_ONE_CLASS = 0.99
_MOST_NAMED = 5


def part_findings(modality: str, entry: Modality, name: str, part: Part) -> Iterator[Finding]:
    """What there is to say of a part of a modality.

    Args:
        modality: its name.
        entry: what the schema says of it.
        name: of the part.
        part: its statistics.
    """
    where = modality if name in ("cells", WORDS, ITEMS) else f"{modality}.{name}"
    match part:
        case Numbers():
            yield from _of_numbers(where, entry, name, part)
        case Classes():
            yield from _of_classes(where, part)
        case Lengths():
            yield from _of_lengths(where, entry, name, part)


def _of_numbers(where: str, entry: Modality, name: str, part: Numbers) -> Iterator[Finding]:
    # What is computed of a field is no field that could be left out.
    is_own = "," not in name
    if part.is_constant and is_own:
        mend = "leave it out: it costs tokens and teaches nothing"
        yield Finding("warning", where, f"is always {part.least:g}", mend)
        return
    if part.low is None or part.high is None:
        return
    outside = part.below + part.above
    if outside:
        sides = [
            f"{percent(count, part.count)} {side} {end:g}"
            for count, side, end in ((part.below, "below", part.low), (part.above, "above", part.high))
            if count
        ]
        low, high = outward(part.least, part.most)
        mend = f"widen the range to [{low:g}, {high:g}], or clip (out_of_range: clip) and import again"
        yield Finding("fault", where, f"values lie outside the declared range: {' and '.join(sides)}", mend)
        return
    if entry.out_of_range == "clip":
        for count, end, side in ((part.at_low, part.low, "lower"), (part.at_high, part.high, "upper")):
            if count >= _AT_THE_END * part.count:
                share = percent(count, part.count)
                what = f"{share} of values lie on the {side} end {end:g}, to which others are clipped"
                yield Finding(
                    "warning", where, what, "widen the range if they are no mistakes, and import again"
                )
    used = (part.most - part.least) / (part.high - part.low)
    if part.least >= -1 and part.most <= 1 and part.high - part.low >= _WIDE:
        low = 0 if part.least >= 0 else -1
        what = f"all values lie in [{low}, 1] of the range [{part.low:g}, {part.high:g}]: normalised already?"
        mend = f"import them in the unit of the schema, or declare range: [{low}, 1]"
        yield Finding("warning", where, what, mend)
    elif used < _NARROW and _is_cut_by_range(entry, name):
        low, high = outward(part.least, part.most)
        if high - low < part.high - part.low:
            what = f"values take {100 * used:.2g} % of the range [{part.low:g}, {part.high:g}]"
            yield Finding(
                "note", where, what, f"narrow it to [{low:g}, {high:g}]: the same bins are finer then"
            )


def _is_cut_by_range(entry: Modality, name: str) -> bool:
    """Whether the range decides how finely values are told apart."""
    if isinstance(entry, Set):
        field = entry.fields.get(name)
        return isinstance(field, NumberField) and field.scale == "linear" and field.edges is None
    if isinstance(entry, Image):
        return isinstance(entry.cell, Continuous) and entry.cell.levels is None
    return isinstance(entry, Vector)


def _of_classes(where: str, part: Classes) -> Iterator[Finding]:
    if part.outside:
        what = f"{part.outside:,} values are no declared class"
        yield Finding("fault", where, what, "declare the class, or map it to one that is, and import again")
    if not part.counts:
        return
    first, count = next(iter(part.counts.items()))
    if count >= _ONE_CLASS * part.total and len(part.counts) + len(part.unseen) > 1:
        what = f"{percent(count, part.total)} are {first!r}"
        yield Finding(
            "warning", where, what, "a model that always says so is nearly always right: weigh or split it"
        )
    if part.unseen:
        named = ", ".join(part.unseen[:_MOST_NAMED]) + (", ..." if len(part.unseen) > _MOST_NAMED else "")
        classes = len(part.counts) + len(part.unseen)
        what = f"{len(part.unseen):,} of {classes:,} classes never occur: {named}"
        yield Finding("note", where, what, "keep them if other data have them")


def _of_lengths(where: str, entry: Modality, name: str, part: Lengths) -> Iterator[Finding]:
    if part.limit is None or not part.values:
        return
    over = part.above(part.limit)
    if over and name.endswith(WORDS):
        what = (
            f"at least {count_of(over, part.values, 'texts')} are longer than max_tokens "
            f"(up to {part.most:,} words and marks, {part.limit + 1:,} tokens)"
        )
        is_cut = entry.out_of_range == "clip"
        mend = (
            "raise max_tokens, or their ends are cut"
            if is_cut
            else ("raise max_tokens or write out_of_range: clip; as it is they are refused when encoded")
        )
        yield Finding("warning" if is_cut else "fault", where, what, mend)
    elif over:
        many = count_of(over, part.values, "values")
        what = f"{many} have more than {part.limit:,} {name}, up to {part.most:,}"
        yield Finding("fault", where, what, "raise the limit in the schema")
    elif (
        name == ITEMS
        and entry.out_of_range == "clip"
        and (full := part.above(part.limit - 1))
        and part.limit > 1
    ):
        what = f"{count_of(full, part.values, 'samples')} have all {part.limit:,} items that max_items admits"
        yield Finding("note", where, what, "raise max_items if more were cut off")
    if name == ITEMS and part.limit > 1 and not part.most:
        yield Finding("warning", where, "every set is empty", "fill it, or take it out of the schema")
