"""Small checks that several rules share; each takes a path and looks only at values of the right type."""

import difflib
import sys
from collections.abc import Iterator, Sequence
from typing import TypeGuard

from fourm_schema.class_lists import CLASS_LISTS
from fourm_schema.errors import Fault, nearest
from fourm_schema.yaml_tree import Path, Tree, shown


def is_number(value: object) -> TypeGuard[int | float]:
    largest = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest


def is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def strings(value: object) -> list[str]:
    """The strings of a list; none of anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def pair_of_counts(value: object) -> tuple[int, int] | None:
    """(height, width) of `8` or `[8, 8]`; None of anything else."""
    if is_count(value):
        return value, value
    if isinstance(value, list) and len(value) == 2 and is_count(value[0]) and is_count(value[1]):
        return value[0], value[1]
    return None


def meant(value: object, legal: Sequence[str]) -> str | None:
    """The legal name that was written or, with a typo in it, probably meant."""
    if not isinstance(value, str):
        return None
    return next(iter(difflib.get_close_matches(value, legal, n=1)), None)


def range_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    """A range runs from low to high."""
    match tree.get(*path):
        case [low, high] if is_number(low) and is_number(high) and not low < high:
            mend = f"write [{high}, {low}]" if low > high else "give it a width"
            yield tree.fault(path, "must run from low to high", shown([low, high]), mend)


def duplicate_faults(tree: Tree, path: Path, what: str) -> Iterator[Fault]:
    """No entry of a list of words stands there twice."""
    items = tree.items(*path)
    for index, item in enumerate(items):
        if isinstance(item, str) and item in items[:index]:
            yield tree.fault((*path, index), f"{item!r} {what}", mend="keep one of the two")


def class_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    """Classes are two or more different names, or a known list."""
    classes = tree.get(*path)
    if isinstance(classes, str) and classes not in CLASS_LISTS:
        mend = f"write the names out as a list; {nearest(classes, list(CLASS_LISTS))}"
        yield tree.fault(path, "is no known class list", shown(classes), mend)
    count = len(classes) if isinstance(classes, list) else classes
    if isinstance(count, int) and not isinstance(count, bool) and not 2 <= count <= 65_536:
        yield tree.fault(path, "must be from 2 to 65536 classes", str(count))
    yield from duplicate_faults(tree, path, "is a class twice")


def declared_classes(tree: Tree, path: Path) -> list[str]:
    """Names of the classes at a path, as far as they can be read."""
    classes = tree.get(*path)
    if is_count(classes):
        return [str(number) for number in range(min(classes, 65_536))]
    return list(CLASS_LISTS.get(classes, ())) if isinstance(classes, str) else strings(classes)


def vocabulary_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    """A vocabulary that is named is declared."""
    name, declared = tree.get(*path), list(tree.mapping("vocabularies"))
    if isinstance(name, str) and name not in declared:
        mend = nearest(name, declared)
        if not declared:
            mend = f"declare it: vocabularies: {{{name}: {{kind: wordpiece, size: 1000}}}}"
        yield tree.fault(path, "is no vocabulary of this file", shown(name), mend)
