"""Whatever a file holds, reading it ends in a schema or in a FourmError: never in another exception."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fourm_schema.errors import Fault, FourmError, SchemaError
from fourm_schema.load import dump_schema, parse_schema
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

MUTATED_FILES = 2_000

BASES = (
    """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 128}
modalities:
  digit: {kind: image, size: 8, patch: 1, cell: {type: continuous, range: [0, 16], levels: 17}}
  caption: {kind: text, vocabulary: words, max_tokens: 16, views: 4}
""",
    """\
version: 1
modalities:
  shape:
    kind: vector
    dim: 3
    ranges: [[0, 1], [0, 1], [-1e-4, 2.5]]
    names: [a, b, c]
    shown: [values, tokens]
  edges:
    kind: image
    size: [8, 16]
    patch: 4
    cell: {type: categorical, classes: [on, off], ignore: off}
    derive: {from: shape, by: canny}
    aliases: ["tok_edges@8"]
""",
    """\
version: 1
modalities:
  boxes:
    kind: set
    max_items: 20
    order: area
    mirror: [[left, right]]
    fields:
      box: {type: box, bins: 100}
      side: {type: category, classes: [left, right]}
      size: {type: number, range: [0.1, 10], scale: log, optional: true}
  normals: {kind: image, size: 8, patch: 2, cell: {type: direction}, codec: "plugin:mine", vocab_size: 9}
""",
)

# Written as running text: it is a list of words, not of lines.
# fmt: off
WORDS = (
    "kind", "size", "patch", "cell", "type", "range", "levels", "shown", "pixels", "tokens", "values",
    "dim", "bins", "image", "vector", "set", "text", "classes", "fields", "edges", "role", "target",
    "codec", "axes", "mirror", "null", "true", "1", "0", "-1", "1e400", "1e-4", ".inf", ".nan",
    "99999999999999999999", "0x1F", "0o17", "''", "[", "]", "{", "}", ":", ",", "- ", "&a ", "*a", "!!int ",
    "!x ", "? ", "| ", "> ", "<<: ", "# ", "'", '"', "%", "---", "...", "\t", "\n", "  ", "\\", '"\\ud800"',
    "\x00", "\ufeff", "é", "[[[[", "{a: {a: 1}}", "[1, [2]]",
)
# fmt: on


@dataclass(frozen=True)
class Edit:
    """One change of a text, at a place given as a fraction of it."""

    act: str
    place: float
    other: float
    word: str

    def apply(self, text: str) -> str:
        if self.act in LINE_ACTS:
            lines = text.split("\n")
            at, to = int(self.place * len(lines)), int(self.other * len(lines))
            if self.act == "delete line":
                del lines[at]
            elif self.act == "double line":
                lines.insert(to, lines[at])
            elif self.act == "swap lines":
                lines[at], lines[to] = lines[to], lines[at]
            else:
                lines[at] = " " * int(self.other * 5) + lines[at]
            return "\n".join(lines)
        tokens = text.split(" ")
        at, to = int(self.place * len(tokens)), int(self.other * len(tokens))
        if self.act == "replace":
            tokens[at] = self.word
        elif self.act == "insert":
            tokens.insert(at, self.word)
        elif self.act == "delete":
            del tokens[at]
        elif self.act == "swap":
            tokens[at], tokens[to] = tokens[to], tokens[at]
        elif self.act == "misspell" and len(tokens[at]) > 2:
            tokens[at] = tokens[at][0] + tokens[at][2:]
        else:
            cut = int(self.place * len(text))
            return text[:cut] + self.word + text[cut:]
        return " ".join(tokens)


def read(text: str) -> tuple[Schema | None, tuple[Fault, ...]]:
    """The schema of a text, or its faults."""
    try:
        return parse_schema(text), ()
    except SchemaError as error:
        return None, error.faults


FRACTIONS = st.floats(0, 1, exclude_max=True)
LINE_ACTS = ("delete line", "double line", "swap lines", "indent")
ACTS = (*LINE_ACTS, "replace", "insert", "delete", "swap", "misspell", "splice")
EDITS = st.lists(
    st.builds(Edit, st.sampled_from(ACTS), FRACTIONS, FRACTIONS, st.sampled_from(WORDS)),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=MUTATED_FILES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.sampled_from(BASES), EDITS)
def test_a_mutated_file_loads_or_raises_a_fourm_error(base: str, edits: list[Edit]) -> None:
    """A user's slip of any kind is answered with a place and a reason; what loads, loads back equal."""
    text = base
    for edit in edits:
        text = edit.apply(text) if text else text

    schema, faults = read(text)

    assert all(fault.line and fault.column for fault in faults if text.strip()), text
    if schema is None:
        return
    assert parse_schema(dump_schema(schema)) == schema
    try:
        resolve(schema)
    except FourmError:
        assert any(entry.axes for entry in schema.modalities.values())


@pytest.mark.parametrize("base", BASES)
def test_the_files_that_are_mutated_load(base: str) -> None:
    """A base that does not load would leave the fuzz with nothing to break."""
    assert resolve(parse_schema(base)).streams


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_any_text_at_all_loads_or_raises_a_schema_error(text: str) -> None:
    """Not even a file of another kind, given by mistake, breaks the loader."""
    with pytest.raises(SchemaError):
        parse_schema(text)
