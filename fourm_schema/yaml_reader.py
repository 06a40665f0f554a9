"""Text -> tree: YAML 1.2, read without ever constructing anything from a tag.

The core schema is applied here, to the parser's nodes: `1e-4` is a number, `yes` is text. Whatever is wrong
with the text becomes a `Fault` with line and column.
"""

import re
import warnings
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from fourm_schema.errors import Fault
from fourm_schema.yaml_tree import Mark, Path, Tree, dotted

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


def read_tree(text: str) -> Tree:
    """Parse YAML into a tree. Never raises for what a file can hold: see `Tree.faults`."""
    tree = Tree()
    runaway = _runaway_bracket(text)
    if runaway is not None:
        tree.faults.append(_at_position(text, runaway, f"is nested deeper than {MAX_DEPTH} levels"))
        tree.unreadable = True
        return tree
    try:
        with warnings.catch_warnings():
            # An anchor may be declared again (YAML 1.2, section 3.2.2.2): the later one counts from there on.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unreadable"
        if error.problem and error.context and error.context_mark is not None:
            problem += f" ({error.context} from line {error.context_mark.line + 1})"
        tree.faults.append(_syntax(problem, mark))
    except ReaderError as error:
        character = text[error.position : error.position + 1]
        what = f"the character U+{ord(character or ' '):04X} is not allowed in YAML"
        tree.faults.append(_at_position(text, error.position, what))
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


def _runaway_bracket(text: str) -> int | None:
    """Where brackets open so much more often than they close that the parser would take minutes to say so.

    Quotes are not looked at: the bound is ten times what is allowed, beyond what any text would hold.
    """
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > 10 * MAX_DEPTH:
            return bracket.start()
    return None


def _at_position(text: str, position: int, what: str) -> Fault:
    before = text[:position]
    return Fault(dotted(()), what, line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))


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
