"""A YAML file as plain values that remember where they stood.

The YAML 1.2 core schema is applied here, to nodes: `1e-4` is a number, `yes` is text, and nothing is
ever constructed from a tag. Whatever is wrong with the text becomes a `Fault` with line and column.
"""

import json
import re
from collections.abc import Iterator, Mapping

import attrs
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from fourm_schema.errors import Fault

Path = tuple[str | int, ...]

MAX_DEPTH = 40
MAX_VALUES = 100_000

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "timestamp", "merge", "value")}
_INT = re.compile(r"[-+]?[0-9]{1,400}")
_OTHER_BASE = re.compile(r"0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NAMED: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{sign + name: float(f"{sign}inf") for sign in ("", "+", "-") for name in (".inf", ".Inf", ".INF")},
}


@attrs.frozen
class Mark:
    """A place in the text; both numbers start at 1."""

    line: int
    column: int


@attrs.define
class Tree:
    """Values of a file, the places they stood at, and what is already known to be wrong.

    Attributes:
        data: mappings, lists and scalars as the file has them.
        values: path -> where the value starts.
        keys: path -> where the value's key starts.
        faults: what could not be read.
        overridden: path -> the override that put its value there.
        unreadable: the text is no YAML at all, so that nothing can be said about its content.
    """

    data: object = None
    values: dict[Path, Mark] = attrs.field(factory=dict)
    keys: dict[Path, Mark] = attrs.field(factory=dict)
    faults: list[Fault] = attrs.field(factory=list)
    overridden: dict[Path, str] = attrs.field(factory=dict)
    unreadable: bool = False

    def get(self, *path: str | int) -> object:
        """The value at a path, or None where the file has none."""
        found = self.data
        for step in path:
            found = child(found, step)
        return found

    def mapping(self, *path: str | int) -> Mapping[str, object]:
        """The mapping at a path; empty when there is something else or nothing."""
        found = self.get(*path)
        return found if isinstance(found, dict) else {}

    def items(self, *path: str | int) -> list[object]:
        """The list at a path; empty when there is something else or nothing."""
        found = self.get(*path)
        return found if isinstance(found, list) else []

    def mark(self, path: Path, at_key: bool = False) -> Mark | None:
        """Where a path stands: its value (or key), else the nearest parent that the file has."""
        first, second = (self.keys, self.values) if at_key else (self.values, self.keys)
        return next((marks[path] for marks in (first, second) if path in marks), None) or (
            self.mark(path[:-1], at_key=True) if path else None
        )

    def fault(self, path: Path, what: str, got: str = "", mend: str = "", *, at_key: bool = False) -> Fault:
        """Describe what is wrong at a path, with its line and column or the override that set it."""
        for length in range(len(path) + 1):
            if path[:length] in self.overridden:
                return Fault(f"{dotted(path)} (set by {self.overridden[path[:length]]!r})", what, got, mend)
        mark = self.mark(path, at_key)
        if mark is None:
            return Fault(dotted(path), what, got, mend)
        return Fault(dotted(path), what, got, mend, mark.line, mark.column)


def child(value: object, step: str | int) -> object:
    """What a mapping or a list holds under a key or an index; None where it holds nothing."""
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
        return value[step]
    return None


def dotted(path: Path) -> str:
    """Write a path as overrides write it: `modalities.digit.size`."""
    return ".".join(map(str, path)) or "(the whole file)"


def shown(value: object, limit: int = 60) -> str:
    """Write a value as YAML would, shortened: for the `got` of a fault."""
    if isinstance(value, dict):
        text = f"a mapping with {', '.join(map(str, value))}" if value else "an empty mapping"
    elif value is None:
        text = "nothing"
    elif isinstance(value, str):
        text = repr(value)
    else:
        text = json.dumps(value).replace("NaN", ".nan").replace("Infinity", ".inf")
    return text if len(text) <= limit else text[: limit - 3] + "..."


def read_tree(text: str) -> Tree:
    """Parse YAML into a tree. Never raises for what a file can hold: see `Tree.faults`."""
    tree = Tree()
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unreadable"
        if error.problem and error.context and error.context_mark is not None:
            problem += f" ({error.context} from line {error.context_mark.line + 1})"
        tree.faults.append(_syntax(problem, mark))
    except ReaderError as error:
        before, character = text[: error.position], text[error.position : error.position + 1]
        what = f"the character U+{ord(character or ' '):04X} is not allowed in YAML"
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        tree.faults.append(Fault(dotted(()), what, line=line, column=column))
    except RecursionError:
        tree.faults.append(Fault(dotted(()), f"is nested deeper than {MAX_DEPTH} levels", line=1, column=1))
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        # The parser lets bare exceptions of these kinds escape on some malformed directives and escapes.
        what = f"is not YAML: {str(error).splitlines()[0] if str(error) else 'unreadable'}"
        tree.faults.append(Fault(dotted(()), what, line=1, column=1))
    else:
        if root is not None:
            tree.data = _Reader(tree).value(root, ())
        return tree
    tree.unreadable = True
    return tree


def _syntax(problem: str, mark: object) -> Fault:
    line, column = getattr(mark, "line", 0), getattr(mark, "column", 0)
    mend = "check the indentation, the brackets and the quotes here and on the line before"
    if "\\t" in problem or "'\t'" in problem:
        mend = "indent with spaces, not tabs"
    elif "mapping values" in problem:
        mend = "put text that holds ': ' in quotes, and check the indentation"
    elif "undefined alias" in problem:
        mend = "declare the anchor (&name) before its alias (*name), or put the text in quotes"
    elif "another document" in problem:
        mend = "remove the line '---' and what follows"
    return Fault(dotted(()), f"is not YAML: {problem}", "", mend, line + 1, column + 1)


class _Reader:
    """Turns nodes to values, counting what aliases expand to."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._left = MAX_VALUES

    def value(self, node: Node, path: Path) -> object:
        self._left -= 1
        if self._left < 0 or len(path) > MAX_DEPTH or self._tree.unreadable:
            self._give_up(node, path)
            return None
        if node.start_mark != node.end_mark or not path:
            # An empty value has no place of its own: its key has.
            self._tree.values[path] = _mark(node)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        kind = "map" if isinstance(node, MappingNode) else "seq"
        if str(node.tag) != _TAG + kind:
            self._bad_tag(node, path)
        if isinstance(node, MappingNode):
            return dict(self._pairs(node, path))
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _pairs(self, node: MappingNode, path: Path) -> Iterator[tuple[str, object]]:
        seen: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            if self._tree.unreadable:
                return
            if not isinstance(key_node, ScalarNode):
                self._fault_at(_mark(key_node), path, "a key must be one word, not a list or a mapping")
                continue
            key, mark = str(key_node.value), _mark(key_node)
            here = (*path, key)
            if str(key_node.tag) == f"{_TAG}merge":
                mend = "write the keys out, or use an alias for the whole value"
                self._fault_at(mark, here, "merge keys are not part of YAML 1.2", mend=mend)
            elif key in seen:
                first = f"first on line {seen[key].line}"
                self._fault_at(mark, here, "is given twice", first, "keep one of the two")
            elif _has_surrogate(key):
                self._fault_at(mark, path, "a key holds half a surrogate pair, which is no character")
            else:
                seen[key] = self._tree.keys[here] = mark
                yield key, self.value(value_node, here)

    def _scalar(self, node: ScalarNode, path: Path) -> object:
        text, tag = str(node.value), str(node.tag)
        if _has_surrogate(text):
            self._fault(path, "holds half a surrogate pair, which is no character")
            return None
        if tag == f"{_TAG}str":
            return text
        if tag in _PLAIN_TAGS:
            return core_value(text)
        self._bad_tag(node, path)
        return text

    def _give_up(self, node: Node, path: Path) -> None:
        if not self._tree.unreadable:
            self._tree.unreadable = True
            deep = len(path) > MAX_DEPTH
            what = (
                f"is nested deeper than {MAX_DEPTH} levels"
                if deep
                else f"holds more than {MAX_VALUES:,} values"
            )
            self._fault_at(
                _mark(node), path[:1], what, mend="check the aliases (*name): each repeats all of its anchor"
            )

    def _bad_tag(self, node: Node, path: Path) -> None:
        tag = str(node.tag).replace(_TAG, "!!")
        self._fault(path, "tags are not read here", tag, "remove the tag and write the plain value")

    def _fault(self, path: Path, what: str, got: str = "", mend: str = "") -> None:
        self._tree.faults.append(self._tree.fault(path, what, got, mend))

    def _fault_at(self, mark: Mark, path: Path, what: str, got: str = "", mend: str = "") -> None:
        self._tree.faults.append(Fault(dotted(path), what, got, mend, mark.line, mark.column))


def core_value(text: str) -> object:
    """Read a plain scalar by the YAML 1.2 core schema (section 10.3.2); what is nothing else is text."""
    if text in _NAMED:
        return _NAMED[text]
    if _INT.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _mark(node: Node) -> Mark:
    mark = node.start_mark
    return Mark(getattr(mark, "line", 0) + 1, getattr(mark, "column", 0) + 1)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
