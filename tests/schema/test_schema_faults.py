"""Faults of a schema file: all at once, each with its place, its reason and its mend.

The messages are pinned in `messages/`, as a user sees them.
"""

from pathlib import Path

import pytest

from fourm_schema.errors import SchemaError
from fourm_schema.load import load_schema, parse_schema
from fourm_schema.schema import Schema

MESSAGES = Path(__file__).with_name("messages")


def faults_of(text: str) -> list[str]:
    """The fault lines of a text."""
    with pytest.raises(SchemaError) as caught:
        parse_schema(text)
    return [str(fault) for fault in caught.value.faults]


def pinned_cases() -> list[tuple[str, str, list[str]]]:
    """(entry of modality `a`, vocabularies, expected fault lines) of `messages/rules.txt`."""
    cases: list[tuple[str, str, list[str]]] = []
    for line in (MESSAGES / "rules.txt").read_text().splitlines():
        if line.startswith("    "):
            cases[-1][2].append(line.strip())
        elif line and not line.startswith("#"):
            entry, _, vocabularies = line.partition(" | ")
            cases.append((entry, vocabularies, []))
    return cases


def test_every_fault_of_a_file_is_told_at_once_with_line_and_column() -> None:
    """A user mends a file in one pass: typos, types, ranges, names, a duplicate key hide nothing else."""
    with pytest.raises(SchemaError) as caught:
        load_schema(MESSAGES / "many.yaml")

    told = str(caught.value).replace(str(MESSAGES / "many.yaml"), "many.yaml")
    assert told.splitlines() == (MESSAGES / "many.txt").read_text().splitlines()
    assert len(caught.value.faults) >= 15


@pytest.mark.parametrize(("entry", "vocabularies", "expected"), pinned_cases())
def test_each_rule_says_what_is_wrong_and_how_to_mend_it(
    entry: str, vocabularies: str, expected: list[str]
) -> None:
    """Messages are what a newcomer reads most: they are pinned word by word."""
    text = f"version: 1\nvocabularies: {{{vocabularies}}}\nmodalities:\n  a: {{{entry}}}\n"

    assert faults_of(text) == expected


def test_a_chain_of_derivations_that_comes_round_is_told_once() -> None:
    """Nothing in a circle can be computed first; what hangs on the circle is no fault of its own."""
    text = """\
version: 1
modalities:
  a: {kind: vector, dim: 1, derive: {from: b, by: x}}
  b: {kind: vector, dim: 1, label: {from: c, by: x}}
  c: {kind: vector, dim: 1, derive: {from: a, by: x}}
  d: {kind: vector, dim: 1, derive: {from: a, by: x}}
"""

    assert faults_of(text) == [
        "line 3, column 44: modalities.a.derive.from: comes round to itself: a <- b <- c <- a; "
        "give one of them a source of its own"
    ]


def test_a_vocabulary_whose_name_a_text_misspells_is_not_called_unused() -> None:
    """One slip is one fault."""
    words = "vocabularies: {words: {kind: wordpiece, size: 100}}"
    text = f"version: 1\n{words}\nmodalities:\n  a: {{kind: text, vocabulary: wrds, max_tokens: 5}}\n"

    assert faults_of(text) == [
        "line 4, column 31: modalities.a.vocabulary: is no vocabulary of this file; got 'wrds'; "
        "did you mean 'words'? known: words"
    ]


def test_a_schema_built_in_python_obeys_the_same_rules() -> None:
    """The rules are about the data, not about YAML."""
    entry = {"kind": "vector", "dim": 2, "ranges": [[1, 0]], "names": ["a"]}

    with pytest.raises(
        ValueError, match=r"(?s)names: must be one for each.*ranges.0: must run from low to high"
    ):
        Schema.model_validate({"version": 1, "modalities": {"a": entry}})
