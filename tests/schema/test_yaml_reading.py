"""Reading YAML: what a file's text can be, and what is said when it is no YAML."""

import math
from pathlib import Path

import pytest
from pydantic import BaseModel

from fourm_schema.errors import SchemaError
from fourm_schema.load import load_schema, load_yaml, parse_yaml
from fourm_schema.yaml_reader import core_value, read_tree
from fourm_schema.yaml_tree import Mark


class Limits(BaseModel):
    """A stand-in for any model: the loader knows nothing of schemas."""

    lr: float
    steps: int | list[int] = 1
    betas: tuple[float, float] = (0.9, 0.95)


def error_of(text: str) -> str:
    """The message for a text, without its first line."""
    with pytest.raises(SchemaError) as caught:
        parse_yaml(text, Limits)
    return "\n".join(str(fault) for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("+12", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("012", 12),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("~", None),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    """A learning rate of 1e-4 is a number, a class named `on` is text: YAML 1.1 has both the other way."""
    assert core_value(text) == value
    assert read_tree(f"a: {text}").data == {"a": value}


def test_quotes_and_the_text_tag_keep_a_number_text() -> None:
    assert read_tree("a: '1'\nb: !!str 1\n? 2\n: c").data == {"a": "1", "b": "1", "2": "c"}


def test_every_value_and_key_knows_its_place() -> None:
    """Faults point into the file: lines and columns start at 1."""
    tree = read_tree("a:\n  - b: [1,\n     22]\n")

    assert tree.values[("a", 0, "b", 1)] == Mark(3, 6)
    assert tree.keys[("a", 0, "b")] == Mark(2, 5)


def test_an_alias_repeats_its_anchor() -> None:
    assert read_tree("a: &x [1, 2]\nb: *x").data == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.filterwarnings("error")
def test_an_anchor_declared_again_counts_from_there_on() -> None:
    """YAML 1.2 allows it, so the parser's warning must not reach a user who turns warnings into errors."""
    assert read_tree("a: &x 1\nb: *x\nc: &x 2\nd: *x").data == {"a": 1, "b": 1, "c": 2, "d": 2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "(the whole file): is empty; start with lr:"),
        ("# a comment\n", "(the whole file): is empty; start with lr:"),
        (
            "[1]",
            "line 1, column 1: (the whole file): must be a mapping of keys to values; start with lr:",
        ),
        (
            "lr: 1\nlr: 2\nlr: 3",
            "line 2, column 1: lr: is given twice; got first on line 1; keep one of the two\n"
            "line 3, column 1: lr: is given twice; got first on line 1; keep one of the two",
        ),
        (
            "lr: a: b",
            "line 1, column 6: (the whole file): is not YAML: mapping values are not allowed here; "
            "put text that holds ': ' in quotes, and check the indentation",
        ),
        (
            "lr: 1\n\tsteps: 2",
            "line 2, column 1: (the whole file): is not YAML: found character '\\t' that cannot start "
            "any token; indent with spaces, not tabs",
        ),
        (
            "lr: [1,\nsteps: 2",
            "line 2, column 9: (the whole file): is not YAML: expected ',' or ']', but got '<stream end>' "
            "(while parsing a flow sequence from line 1); "
            "check the indentation, the brackets and the quotes here and on the line before",
        ),
        (
            "lr: *rate",
            "line 1, column 5: (the whole file): is not YAML: found undefined alias 'rate'; "
            "declare the anchor (&name) before its alias (*name), or put the text in quotes",
        ),
        (
            "lr: 1\n---\nlr: 2",
            "line 2, column 1: (the whole file): is not YAML: but found another document "
            "(expected a single document in the stream from line 1); remove the line '---' and what follows",
        ),
        (
            "lr: 1\nsteps: !!python/object:os.system x",
            "line 2, column 8: steps: tags are not read here; got !!python/object:os.system; "
            "remove the tag and write the plain value",
        ),
        (
            "lr: 1\nsteps: \x01",
            "line 2, column 8: (the whole file): the character U+0001 is not allowed in YAML",
        ),
        (
            'lr: 1\nsteps: "\\ud800"',
            "line 2, column 8: steps: holds half a surrogate pair, which is no character",
        ),
        (
            "lr: 1\n? [a]\n: 1",
            "line 2, column 3: (the whole file): a key must be one word, not a list or a mapping",
        ),
        (
            "lr: &a [*a]",
            "line 1, column 5: lr: is nested deeper than 40 levels; "
            "check the aliases (*name): each repeats all of its anchor",
        ),
        ("lr: " + "[" * 5000, "line 1, column 405: (the whole file): is nested deeper than 40 levels"),
        (
            "<<: {lr: 1}",
            "line 1, column 1: <<: merge keys are not part of YAML 1.2; "
            "write the keys out, or use an alias for the whole value\n"
            "line 1, column 1: lr: is required",
        ),
    ],
)
def test_what_is_no_plain_yaml_is_answered_with_place_and_mend(text: str, told: str) -> None:
    """Not one of these may end in another exception, or be read as something it is not."""
    assert error_of(text) == told


def test_aliases_that_multiply_are_stopped() -> None:
    """Ten short lines must not fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    assert error_of("\n".join(lines)).endswith(
        "holds more than 100,000 values; check the aliases (*name): each repeats all of its anchor"
    )


def test_a_value_that_no_member_of_a_union_takes_makes_one_fault() -> None:
    """The reader sees one wrong value, so one line names all it could be."""
    assert error_of("lr: 1\nsteps: often") == (
        "line 2, column 8: steps: must be a whole number or a list; got 'often'"
    )
    assert error_of("lr: 1\nsteps: [1, x]") == "line 2, column 12: steps.1: must be a whole number; got 'x'"


def test_numbers_in_quotes_are_text() -> None:
    """Strict reading: what stands in quotes was meant as text, whatever it looks like."""
    assert error_of("lr: '0.1'") == "line 1, column 5: lr: must be a number; got '0.1'"
    assert error_of("lr: 1\nbetas: [0.9]") == "line 2, column 8: betas: needs at least 2 entries"


def test_a_model_of_any_kind_is_read_from_a_file_and_from_text(tmp_path: Path) -> None:
    """Training recipes use the same machinery."""
    path = tmp_path / "limits.yaml"
    path.write_text("\ufefflr: 1e-4\nsteps: [1, 2]\n", encoding="utf-8")

    assert load_yaml(path, Limits) == load_yaml("lr: 1e-4\nsteps: [1, 2]\n", Limits)


def test_a_missing_file_names_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "modalities.yaml").touch()
    path = tmp_path / "modalties.yaml"

    with pytest.raises(SchemaError) as caught:
        load_schema(path)

    assert str(caught.value) == (
        f"{path} has 1 fault:\n"
        "  the file: does not exist; did you mean 'modalities.yaml'? its folder has: modalities.yaml"
    )


def test_a_folder_and_a_file_of_another_encoding_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"the file: cannot be read: .*Is a directory"):
        load_schema(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(
        SchemaError, match=r"line 2, column 7: .* is not UTF-8; got byte 0xe9; save it as UTF-8"
    ):
        load_schema(tmp_path / "latin.yaml")
