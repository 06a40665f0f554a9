"""Rules of `set` modalities: what binds the keys of their fields."""

import itertools
from collections.abc import Iterator
from math import isqrt

from fourm_schema.codebooks import codebook_fault
from fourm_schema.dialect_rules import dialect_faults
from fourm_schema.errors import Fault, nearest
from fourm_schema.set_fields import MASK_CODEC, VECTOR_CODEC, MaskField
from fourm_schema.value_rules import (
    class_faults,
    declared_classes,
    is_count,
    is_number,
    range_faults,
    vocabulary_faults,
)
from fourm_schema.yaml_tree import Path, Tree, shown

_ORDER_NEEDS = {"distance_to_origin": ("box", "point"), "area": ("box",)}


def set_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    """Find every broken rule of one set."""
    fields: Path = (*path, "fields")
    for name in tree.mapping(*fields):
        field: Path = (*fields, name)
        match tree.get(*field, "type"):
            case "number":
                yield from _number_faults(tree, field)
            case "category":
                yield from class_faults(tree, (*field, "classes"))
            case "text":
                yield from vocabulary_faults(tree, (*field, "vocabulary"))
            case "mask":
                yield from _mask_faults(tree, field)
            case "vector":
                yield from _vector_faults(tree, field)
        if tree.get(*field, "type") != "number":
            yield from range_faults(tree, (*field, "range"))
    yield from _text_faults(tree, fields)
    yield from _order_faults(tree, path)
    yield from _mirror_faults(tree, path)
    yield from dialect_faults(tree, path)


def _number_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    field = tree.mapping(*path)
    if not field:
        return
    if ("range" in field) == ("edges" in field):
        got = "both" if "range" in field else "neither"
        yield tree.fault(path, "needs either range or edges", got, "write range: [lo, hi]", at_key=True)
    yield from range_faults(tree, (*path, "range"))
    match field:
        case {"scale": "log", "range": [low, *_]} if is_number(low) and low <= 0:
            mend = "start above 0, or write scale: linear"
            yield tree.fault((*path, "range", 0), "must be above 0 on a log scale", str(low), mend)
    edges = tree.items(*path, "edges")
    numbers = [edge for edge in edges if is_number(edge)]
    if "edges" in field and isinstance(field["edges"], list) and len(edges) < 3:
        yield tree.fault((*path, "edges"), "needs three borders or more: two bins", shown(edges))
    if len(numbers) == len(edges) and any(low >= high for low, high in itertools.pairwise(numbers)):
        yield tree.fault((*path, "edges"), "must ascend", shown(edges), "sort them, each once")
    if "edges" in field and "bins" in field:
        what = f"does nothing beside edges, which make {len(edges) - 1} bins"
        yield tree.fault((*path, "bins"), what, mend="remove bins", at_key=True)


def _mask_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    written = tree.mapping(*path)
    size, tokens, ids = (
        written.get(key, MaskField.model_fields[key].default) for key in ("size", "tokens", "vocab_size")
    )
    if (
        is_count(size)
        and is_count(tokens)
        and not (isqrt(tokens) ** 2 == tokens and size % isqrt(tokens) == 0)
    ):
        # Where only one of them is written, it is the one to change.
        key = "size" if "tokens" not in written else "tokens"
        what = f"must be a square whose side divides the {size} x {size} cells of the mask"
        if key == "size":
            what = f"must be divided by {isqrt(tokens)}, the side of its {tokens} tokens"
        sides = [side for side in range(1, size + 1) if size % side == 0]
        near = min(sides, key=lambda side: abs(side**2 - tokens))
        mend = f"write tokens: {near**2}, each for {size // near} x {size // near} cells"
        yield tree.fault((*path, key), what, str(written[key]), mend)
    if is_count(ids) and (fault := codebook_fault(MASK_CODEC, ids)):
        yield tree.fault((*path, "vocab_size"), fault[0], str(ids), fault[1])


def _vector_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    field = tree.mapping(*path)
    if "tokens" in field and "bins" in field:
        what = "does nothing beside tokens: the ids are those of a learned codec"
        yield tree.fault((*path, "bins"), what, mend="remove one of them", at_key=True)
    if "vocab_size" in field and "tokens" not in field:
        what = "does nothing without tokens: each number has a bin"
        yield tree.fault((*path, "vocab_size"), what, mend="remove it, or write tokens", at_key=True)
    elif is_count(ids := field.get("vocab_size")) and (fault := codebook_fault(VECTOR_CODEC, ids)):
        yield tree.fault((*path, "vocab_size"), fault[0], str(ids), fault[1])


def _text_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    named = [(name, tree.get(*path, name, "vocabulary")) for name in tree.mapping(*path)]
    texts = [(name, words) for name, words in named if isinstance(words, str)]
    for name, words in texts[1:]:
        if words != texts[0][1]:
            what = f"must be that of {texts[0][0]}: the texts of one set write in one vocabulary"
            yield tree.fault((*path, name, "vocabulary"), what, shown(words), f"write {texts[0][1]}")


def _order_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    order = tree.get(*path, "order")
    needed = _ORDER_NEEDS.get(order) if isinstance(order, str) else None
    types = [tree.get(*path, "fields", name, "type") for name in tree.mapping(*path, "fields")]
    if needed and types and not any(kind in needed for kind in types):
        what = f"order {order!r} needs a field of type {' or '.join(needed)}"
        yield tree.fault((*path, "order"), what, mend="add one, or write order: given")


def _mirror_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    fields = tree.mapping(*path, "fields")
    classes = [declared_classes(tree, (*path, "fields", name, "classes")) for name in fields]
    known, taken = [*fields, *itertools.chain(*classes)], set[str]()
    for index, pair in enumerate(tree.items(*path, "mirror")):
        here: Path = (*path, "mirror", index)
        match pair:
            case [str() as left, str() as right]:
                if left == right:
                    yield tree.fault(here, "must pair two different names", shown(pair))
                for side, name in enumerate((left, right)):
                    if name not in known:
                        mend = nearest(name, known)
                        yield tree.fault((*here, side), "is no field or class of this set", shown(name), mend)
                if left == right or not {left, right} <= set(known):
                    continue
                alike = left in fields and right in fields and _form(fields[left]) == _form(fields[right])
                if not alike and not any({left, right} <= set(names) for names in classes):
                    what = "must pair two fields of one form, or two classes of one field"
                    yield tree.fault(here, what, shown(pair), "what changes places must fit there")
                for side, name in enumerate((left, right)):
                    if name in taken:
                        yield tree.fault((*here, side), f"{name!r} is in two pairs", mend="keep one of them")
                taken |= {left, right}


def _form(field: object) -> object:
    """A field's declaration without what people read."""
    return {k: v for k, v in field.items() if k != "description"} if isinstance(field, dict) else field
