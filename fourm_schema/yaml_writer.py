"""Tree of plain values -> YAML that reads back equal.

Written here, not by the parser's own emitter: that one leaves strings like `:0` without the quotes which
its own reader then misses.
"""

import re
from collections.abc import Iterator, Mapping

from fourm_schema.yaml_reader import core_value

LINE_LENGTH = 100

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")


def write_yaml(data: Mapping[str, object]) -> str:
    """Write a mapping: nested mappings as indented blocks, short ones and lists on one line.

    Args:
        data: mappings with text keys, lists, text, numbers, booleans and None.

    Returns:
        YAML 1.2, one document.
    """
    return "\n".join(_block(data, 0)) + "\n"


def _block(data: Mapping[str, object], depth: int) -> Iterator[str]:
    for key, value in data.items():
        name = "  " * depth + _scalar(key) + ":"
        if isinstance(value, Mapping) and value and not _fits(name, value, depth):
            yield name
            yield from _block(value, depth + 1)
        else:
            yield f"{name} {_flow(value)}"


def _fits(name: str, value: Mapping[str, object], depth: int) -> bool:
    return depth > 0 and len(name) + len(_flow(value)) < LINE_LENGTH


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return repr(value).replace("inf", ".inf").replace("nan", ".nan")
    if _PLAIN.fullmatch(value) and core_value(value) == value:
        return value
    return '"' + "".join(map(_quoted, value)) + '"'


def _quoted(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
