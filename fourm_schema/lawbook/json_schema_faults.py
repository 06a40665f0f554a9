"""Whether a file fits the exported JSON Schema, as an editor would judge it.

It reads the keywords that our export uses, and asserts that there are no others.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]

_SILENT = {"$defs", "$schema", "title", "description", "default", "discriminator"}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def json_schema_faults(content: object, schema: Node) -> list[str]:
    """Say where plain data does not fit a JSON Schema of ours; empty where it does."""
    return list(_faults(content, schema, schema, "$"))


def _faults(content: object, node: Node, schema: Node, where: str) -> Iterator[str]:
    for keyword, said in node.items():
        if keyword not in _SILENT:
            yield from _keyword(keyword, said, content, node, schema, where)


def _keyword(keyword: str, said: Any, content: Any, node: Node, schema: Node, where: str) -> Iterator[str]:
    match keyword:
        case "$ref":
            yield from _faults(content, schema["$defs"][said.rpartition("/")[2]], schema, where)
        case "type":
            if not isinstance(content, _TYPES[said]) or (isinstance(content, bool) and said != "boolean"):
                yield f"{where} is no {said}"
        case "const" | "enum":
            if content not in (said if keyword == "enum" else [said]):
                yield f"{where} is {content!r}, not {said!r}"
        case "anyOf" | "oneOf":
            tried = [list(_faults(content, choice, schema, where)) for choice in said]
            if not any(not faults for faults in tried):
                # The choice that fits best is the one that was meant.
                yield from min(tried, key=len)
        case "properties" | "patternProperties" | "additionalProperties" | "required":
            if isinstance(content, dict):
                yield from _object(keyword, said, content, node, schema, where)
        case "items" | "prefixItems" | "minItems" | "maxItems":
            if isinstance(content, list):
                yield from _array(keyword, said, content, schema, where)
        case _:
            yield from _bound(keyword, said, content, where)


def _object(
    keyword: str, said: Any, content: dict[str, object], node: Node, schema: Node, where: str
) -> Iterator[str]:
    declared, patterns = node.get("properties", {}), node.get("patternProperties", {})
    for name, item in content.items():
        inner = f"{where}.{name}"
        matching = [kind for pattern, kind in patterns.items() if re.search(pattern, name)]
        if keyword == "properties" and name in declared:
            yield from _faults(item, declared[name], schema, inner)
        elif keyword == "patternProperties":
            for kind in matching:
                yield from _faults(item, kind, schema, inner)
        elif keyword == "additionalProperties" and name not in declared and not matching:
            if isinstance(said, dict):
                yield from _faults(item, said, schema, inner)
            elif not said:
                yield f"{inner} is unknown"
    if keyword == "required":
        needed: list[str] = node["required"]
        yield from (f"{where}.{name} is missing" for name in needed if name not in content)


def _array(keyword: str, said: Any, content: list[object], schema: Node, where: str) -> Iterator[str]:
    if keyword == "items" and isinstance(said, dict):
        for place, item in enumerate(content):
            yield from _faults(item, said, schema, f"{where}[{place}]")
    elif keyword == "prefixItems":
        for place, (item, kind) in enumerate(zip(content, said, strict=False)):
            yield from _faults(item, kind, schema, f"{where}[{place}]")
    elif (keyword == "minItems" and len(content) < said) or (keyword == "maxItems" and len(content) > said):
        yield f"{where} has {len(content)} items"


def _bound(keyword: str, said: Any, content: Any, where: str) -> Iterator[str]:
    holds: Mapping[str, Callable[[], bool]] = {
        "minimum": lambda: content >= said,
        "maximum": lambda: content <= said,
        "exclusiveMinimum": lambda: content > said,
        "minLength": lambda: len(content) >= said,
        "minProperties": lambda: len(content) >= said,
        "pattern": lambda: re.search(said, content) is not None,
    }
    assert keyword in holds, f"{keyword} is a keyword that the export did not use before"
    kinds = {"pattern": str, "minLength": str, "minProperties": dict}
    if isinstance(content, kinds.get(keyword, (int, float))) and not holds[keyword]():
        yield f"{where} is {content!r}: {keyword} {said}"
