"""Pydantic's errors as faults that a person can act on."""

import copy
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import attrs
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fourm_schema.errors import Fault, nearest
from fourm_schema.model_paths import Place, keys_at, locate, tags_of
from fourm_schema.yaml_tree import Path, Tree, shown

MOST_REPAIRS = 3

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "none_required": "left out",
}

_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}

_LENGTHS = {
    "too_short": ("needs at least", "min_length"),
    "too_long": ("can have at most", "max_length"),
    "string_too_short": ("needs at least", "min_length"),
    "string_too_long": ("can have at most", "max_length"),
}


_TAGS = ("union_tag_invalid", "union_tag_not_found")

RULES_CHECKED = {"rules_checked": True}

ModelT = TypeVar("ModelT", bound=BaseModel)


@attrs.frozen
class _Found:
    """A pydantic error in words."""

    place: Place
    type: str
    what: str
    got: str
    mend: str


def model_faults(tree: Tree, model: type[BaseModel], error: ValidationError) -> list[Fault]:
    """Translate every error of a validation; one misspelt key makes one fault, one value makes one.

    A misspelt tag (`kind: imge`) hides all that stands beside it: it is repaired in a copy, and the copy
    validated again, so that those faults are seen too.
    """
    found = list(_described(tree.data, model, error.errors()))
    data = tree.data
    for _ in range(MOST_REPAIRS):
        repaired = _repaired(data, model, error.errors())
        if repaired is None:
            break
        data = repaired
        try:
            validate(model, data)
            break
        except ValidationError as again:
            error = again
        known = {(item.place.path, item.type) for item in found}
        later = _described(data, model, error.errors())
        found += [item for item in later if (item.place.path, item.type) not in known]
    kept = _without_echoes(_one_per_union(found))
    faults = (
        tree.fault(_in_file(tree, item.place.path), item.what, item.got, item.mend, at_key=item.place.at_key)
        for item in kept
    )
    return list(dict.fromkeys(faults))


def validate(model: type[ModelT], data: object) -> ModelT:
    """Validate what a file holds, strictly: a number in quotes is text.

    Validated as JSON, where strict means that a list may become a tuple but a string no number.
    """
    text = json.dumps(data)
    return model.model_validate_json(text, strict=True, by_alias=True, by_name=False, context=RULES_CHECKED)


def _described(data: object, model: type[BaseModel], errors: Sequence[ErrorDetails]) -> Iterator[_Found]:
    for error in errors:
        place = locate(model, error["loc"])
        what, got, mend = _words(data, model, place, error)
        if error["type"] == "missing" and isinstance(place.path[-1], int):
            what = f"needs at least {place.path[-1] + 1} entries"
            place = attrs.evolve(place, path=place.path[:-1])
        if error["type"] == "extra_forbidden":
            place = attrs.evolve(place, at_key=True)
        if error["type"] in _TAGS:
            place = attrs.evolve(place, path=(*place.path, _discriminator(error)))
        yield _Found(place, error["type"], what, got, mend)


def _words(data: object, model: type[BaseModel], place: Place, error: ErrorDetails) -> tuple[str, str, str]:
    kind, got, context = error["type"], shown(error["input"]), error.get("ctx", {})
    if kind == "missing":
        described = place.field.description if place.field else None
        return f"is required: {described}" if described else "is required", "", ""
    if kind == "extra_forbidden":
        return "is no key here", "", nearest(str(place.path[-1]), keys_at(model, data, place.path[:-1]))
    if kind in _TYPES:
        mend = "put it in quotes" if kind == "string_type" and isinstance(error["input"], int | float) else ""
        return f"must be {_TYPES[kind]}", got, mend
    if kind in _BOUNDS:
        words, limit = _BOUNDS[kind]
        return f"must be {words} {_plain(context[limit])}", got, ""
    if kind in _LENGTHS:
        words, limit = _LENGTHS[kind]
        unit = "character" if kind.startswith("string") else "entry"
        plural = "characters" if kind.startswith("string") else "entries"
        count = int(context[limit])
        return f"{words} {count} {unit if count == 1 else plural}", got, ""
    if kind in _TAGS:
        legal = [str(tag) for tag in tags_of(place.members, _discriminator(error))]
        value = error["input"].get(_discriminator(error)) if isinstance(error["input"], dict) else None
        if value is None:
            return "is required", "", f"one of: {', '.join(legal)}"
        return f"must be one of {', '.join(legal)}", shown(value), _guess(value, legal)
    if kind == "literal_error":
        legal = re.sub(r" or (?=\S+$)", ", ", str(context["expected"])).replace("'", "").split(", ")
        return (
            f"must be one of {', '.join(legal)}" if len(legal) > 1 else f"must be {legal[0]}",
            got,
            _guess(error["input"], legal),
        )
    if kind in ("value_error", "assertion_error"):
        return str(context["error"]), got, ""
    return error["msg"][0].lower() + error["msg"][1:], got, ""


def _plain(number: object) -> str:
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def _guess(value: object, legal: Sequence[str]) -> str:
    """Which of a few names, all told already, was probably meant."""
    close = difflib.get_close_matches(value, legal, n=1) if isinstance(value, str) else []
    if not close:
        return ""
    return "remove the quotes" if close[0] == value else f"did you mean {close[0]!r}?"


def _discriminator(error: ErrorDetails) -> str:
    return str(error.get("ctx", {})["discriminator"]).strip("'")


def _one_per_union(found: Sequence[_Found]) -> list[_Found]:
    """Of a value that no member of a union takes, make one fault instead of one per member.

    Where a member took the value and only refused something inside it, the other members are left out.
    """
    tried: dict[Path, dict[str, None]] = {}
    for item in found:
        for path, member in item.place.branches:
            tried.setdefault(path, {})[member] = None
    kept: list[_Found] = []
    grouped: dict[Path, list[_Found]] = {}
    for item in found:
        unions = [path for path, _ in item.place.branches if len(tried[path]) > 1]
        if unions:
            grouped.setdefault(unions[0], []).append(item)
        else:
            kept.append(item)
    for path, group in grouped.items():
        inner = [item for item in group if len(item.place.path) > len(path)]
        if inner:
            kept += inner
            continue
        ways = dict.fromkeys(item.what.removeprefix("must be ") for item in group)
        first = group[0]
        kept.append(attrs.evolve(first, what=f"must be {' or '.join(ways)}", mend=""))
    return kept


def _in_file(tree: Tree, path: Path) -> Path:
    """Cut a path where the file is less deep than the model: `size: 8` stands for two sides."""
    for length in range(1, len(path)):
        if not isinstance(tree.get(*path[:length]), dict | list):
            return path[: length - 1] if isinstance(path[length - 1], int) else path[:length]
    return path


def _without_echoes(found: Sequence[_Found]) -> list[_Found]:
    """Leave out what another fault explains.

    That is a missing key with a misspelt one beside it, and a list called too short because its entries
    were refused.
    """
    explained: set[Path] = {item.place.path[:-1] for item in found}
    found = [item for item in found if item.type != "too_short" or item.place.path not in explained]
    explained = set()
    kept = []
    for item in found:
        if item.type != "extra_forbidden":
            kept.append(item)
            continue
        *parent, name = item.place.path
        missing = {
            str(other.place.path[-1])
            for other in found
            if other.type == "missing" and other.place.path[:-1] == tuple(parent)
        }
        close = difflib.get_close_matches(str(name), missing, n=1)
        if close:
            explained.add((*parent, close[0]))
            item = attrs.evolve(item, mend=f"did you mean {close[0]!r}?")
        kept.append(item)
    return [item for item in kept if item.type != "missing" or item.place.path not in explained]


def _repaired(data: object, model: type[BaseModel], errors: Sequence[ErrorDetails]) -> object:
    """A copy of the data with its misspelt tags set right; None where there is nothing to repair."""
    repaired, changed = copy.deepcopy(data), False
    for error in errors:
        if error["type"] != "union_tag_invalid":
            continue
        place, key = locate(model, error["loc"]), _discriminator(error)
        value = error["input"].get(key)
        legal = [str(tag) for tag in tags_of(place.members, key)]
        close = difflib.get_close_matches(value, legal, n=1) if isinstance(value, str) else []
        target = repaired
        for step in place.path:
            target = target[step]  # type: ignore[index]  # pydantic has just found a mapping there
        if close and isinstance(target, dict):
            target[key] = close[0]
            changed = True
    return repaired if changed else None
