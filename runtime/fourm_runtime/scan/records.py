"""Records (rows of a table, objects of a list) -> an entry of kind set: what each of their fields is."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from fourm_runtime.scan.names import Names, is_text, listed
from fourm_runtime.scan.proposal import Proposal
from fourm_runtime.scan.ranges import between, count_up, outward, whole
from fourm_runtime.scan.texts import VOCABULARY, max_tokens
from fourm_runtime.scan.vectors import whole_bins
from fourm_schema.class_lists import CLASS_LISTS
from fourm_schema.errors import DataError

Record = Mapping[str, object]
Field = dict[str, object]

MOST_CLASSES = 100
LONGEST_LABEL = 32
MOST_LABEL_WORDS = 4
MOST_CLASS_NUMBERS = 256
_LOG_FROM = 1000
"""Positive numbers whose largest is so many times the smallest get bins of equal ratio."""

_BOX = re.compile(r"box|xyxy|xywh|rect")
_POINT = re.compile(r"point|position|^xy$|cent(re|er)|location")
_CLASS = re.compile(r"(^|_)(class|classes|cls|labels?|category|categories|type|kind|id)(_|$)")
_NAME = re.compile(r"\S*[\d/\\_:.@]\S*|\d{4}-\d\d-\d\d[T ].*")


def propose_set(samples: Sequence[Sequence[Record]], one: bool = False) -> Proposal:
    """Choose the entry for lists of records.

    Args:
        samples: the records of each sample.
        one: a sample is one record, not a list.

    Raises:
        DataError: if no field of the records is understood.
    """
    records = [record for sample in samples for record in sample]
    keys = list(dict.fromkeys(key for record in records for key in record))
    names, fields, notes, before, texts = Names(), dict[str, Field](), list[str](), list[str](), list[str]()
    left: dict[str, list[str]] = {}
    todo: dict[str, list[str]] = {}
    renamed: dict[str, str] = {}
    for key in keys:
        values = [record[key] for record in records if record.get(key) is not None]
        name = names.take(key)
        try:
            field, needs = propose_field(name, values)
        except DataError as error:
            left.setdefault(error.faults[0].what, []).append(key)
            continue
        if len(values) < len(records):
            field["optional"] = True
        if field["type"] == "text":
            texts += [value for value in values if isinstance(value, str)]
        if name != key:
            needs.append(f"rename it from {listed([key])}")
            renamed[name] = key
        fields[name] = field
        for need in needs:
            todo.setdefault(need, []).append(name)
    before += [f"{listed(fields_of_it)}: {need}" for need, fields_of_it in todo.items()]
    for why, without in left.items():
        before.append(f"leave out {listed(without)}: {why}")
    if not fields:
        reasons = [f"{listed(without, 3)} {why}" for why, without in left.items()]
        raise DataError("records", "; ".join(reasons) or "have no fields")
    entry: dict[str, object] = {"kind": "set", "max_items": 1 if one else count_up(max(map(len, samples)))}
    if any(field["type"] in ("box", "point") for field in fields.values()):
        entry["order"] = "distance_to_origin"
    entry["fields"] = fields
    if not one:
        notes.append(f"{between(min(map(len, samples)), max(map(len, samples)))} records per sample.")
    notes.append("Ranges and classes are those seen, rounded outward; a value outside is refused.")
    for name, field in fields.items():
        if field["type"] == "box":
            is_corners = field["convention"] == "xyxy"
            evidence = (
                "none speaks against it, but COCO's are xywh" if is_corners else "some cannot be corners"
            )
            notes.append(f"The boxes in {name} are taken for {field['convention']}: {evidence}.")
    if {"x0", "y0", "x1", "y1"} <= set(fields):
        notes.append("x0, y0, x1, y1 could be one field: box: {type: box, range: [...]}.")
    example = next((list(sample) for sample in samples if sample), None)
    return Proposal(entry, tuple(notes), tuple(before), (), tuple(texts), renamed, example)


def propose_field(name: str, values: Sequence[object]) -> tuple[Field, list[str]]:
    """Choose what a field is.

    Args:
        name: of the field; it tells boxes from vectors and classes from counts.
        values: those that are present.

    Returns:
        The field's keys, and what must be done to the values before they can be imported.

    Raises:
        DataError: if no type of field holds the values.
    """
    if not values:
        raise DataError(name, "never has a value")
    if all(isinstance(value, bool) for value in values):
        return {"type": "category", "classes": 2}, ["write 0 and 1 for false and true"]
    if all(is_number(value) for value in values):
        return _number_field(name, values)
    if all(isinstance(value, str) for value in values):
        return _string_field([str(value) for value in values]), []
    if all(isinstance(value, list) for value in values):
        return _list_field(name, [value for value in values if isinstance(value, list)])
    kinds = sorted({type(value).__name__ for value in values})
    raise DataError(name, "holds objects" if kinds == ["dict"] else f"holds {' and '.join(kinds)}")


def is_number(value: object) -> bool:
    """Whether a value of JSON is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_label(strings: Sequence[str]) -> bool:
    """Whether strings are names of classes: short, few, and most seen twice or more."""
    different = set(strings)
    return (
        2 <= len(different) <= MOST_CLASSES
        and 2 * len(different) <= len(strings)
        and all(0 < len(text) <= LONGEST_LABEL and is_text(text) for text in different)
        and max(len(text.split()) for text in different) <= MOST_LABEL_WORDS
    )


def refuse_names(strings: Sequence[str]) -> None:
    """Refuse strings from which no words can be learned.

    Raises:
        DataError: if they are always the same short one, or names of files, addresses, dates or keys.
    """
    if len(set(strings)) == 1 and len(strings) > 3 and len(strings[0]) <= LONGEST_LABEL:
        raise DataError("strings", f"is always {strings[0]!r}")
    if sum(_NAME.fullmatch(text) is not None for text in strings) >= 0.9 * len(strings):
        raise DataError("strings", "holds names, addresses or dates, not words")


def _numbers(values: Sequence[object]) -> tuple[list[float], list[str]]:
    """The finite numbers, and what to do about the others."""
    numbers = []
    for value in values:
        try:
            numbers.append(float(value))  # type: ignore[arg-type]  # the caller has seen that they are numbers
        except OverflowError:
            numbers.append(math.inf)
    finite = [number for number in numbers if math.isfinite(number)]
    if not finite:
        raise DataError("numbers", "holds no finite number")
    off = len(numbers) - len(finite)
    return finite, [f"replace NaN and infinity by null, found in {off} of {len(numbers)}"] if off else []


def _number_field(name: str, values: Sequence[object]) -> tuple[Field, list[str]]:
    numbers, needs = _numbers(values)
    low, high = min(numbers), max(numbers)
    if all(isinstance(value, int) for value in values):
        is_class = high < MOST_CLASS_NUMBERS and _CLASS.search(name) is not None
        if low >= 0 and (is_class or set(numbers) == {0, 1}):
            return {"type": "category", "classes": max(int(high) + 1, 2)}, needs
        first, last, bins = whole_bins(low, high)
        if last - first == bins:
            return {"type": "number", "range": [first, last], "bins": bins}, needs
    elif low > 0 and high / low >= _LOG_FROM:
        ends = [whole(10.0 ** math.floor(math.log10(low))), whole(10.0 ** math.ceil(math.log10(high)))]
        if 0 < ends[0] <= low < high <= ends[1] < math.inf:
            return {"type": "number", "range": ends, "scale": "log"}, needs
    return {"type": "number", "range": list(outward(low, high))}, needs


def _string_field(strings: list[str]) -> Field:
    if is_label(strings):
        seen = set(strings)
        known = [name for name, names in CLASS_LISTS.items() if seen <= set(names) and len(seen) > 4]
        return {"type": "category", "classes": known[0] if known else sorted(seen)}
    refuse_names(strings)
    return {"type": "text", "vocabulary": VOCABULARY, "max_tokens": max_tokens(strings)}


def _list_field(name: str, lists: list[list[object]]) -> tuple[Field, list[str]]:
    flat = list(itertools.chain.from_iterable(lists))
    if not all(map(is_number, flat)):
        raise DataError(name, "holds lists of lists or of words")
    lengths = {len(items) for items in lists}
    if len(lengths) > 1 or lengths == {0}:
        raise DataError(name, "holds lists of different lengths" if len(lengths) > 1 else "holds empty lists")
    (dim,) = lengths
    numbers, needs = _numbers(flat)
    if dim == 4 and _BOX.search(name) and not needs:
        return _box_field([tuple(numbers[at : at + 4]) for at in range(0, len(numbers), 4)])
    ends = list(outward(min(numbers), max(numbers)))
    if dim == 2 and _POINT.search(name):
        return {"type": "point", "range": ends}, needs
    return {"type": "vector", "dim": dim, "range": ends}, needs


def _box_field(boxes: list[tuple[float, ...]]) -> tuple[Field, list[str]]:
    """Corners where no box contradicts it, else corner and size."""
    needs = []
    if all(x0 <= x1 and y0 <= y1 for x0, y0, x1, y1 in boxes):
        convention, ends = "xyxy", list(itertools.chain.from_iterable(boxes))
    else:
        convention = "xywh"
        ends = [end for x, y, width, height in boxes for end in (x, y, x + width, y + height)]
        odd = sum(width < 0 or height < 0 for _, _, width, height in boxes)
        needs = [f"leave out boxes of negative size, {odd} of {len(boxes)}"] if odd else []
    return {"type": "box", "convention": convention, "range": list(outward(min(ends), max(ends)))}, needs
