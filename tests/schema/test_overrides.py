"""`a.b=c` on a command line: set before validation, refused with the nearest path."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from fourm_schema.errors import SchemaError
from fourm_schema.load import load_schema, parse_schema, parse_yaml
from fourm_schema.modality import Image


class Rate(BaseModel):
    """A part of a recipe."""

    lr: float = 1.0
    betas: list[float] = Field(default_factory=list)


class Recipe(BaseModel):
    """A stand-in for a training recipe."""

    datasets: dict[str, float]
    optimizer: Rate = Rate()


RECIPE = "datasets: {photos.lance: 1}\n"


def test_an_override_sets_a_value_read_as_yaml(root: Path) -> None:
    """The same words mean the same in the file and on the command line."""
    schema = load_schema(
        root / "examples/quickstart/modalities.yaml",
        ["modalities.digit.shown=[tokens]", "modalities.digit.role=input"],
    )
    digit = schema.modalities["digit"]

    assert isinstance(digit, Image)
    assert (digit.shown, digit.role) == (("tokens",), "input")


def test_keys_with_dots_and_lists_and_absent_sections_can_be_set() -> None:
    """A dataset's name has a dot; a section that the file leaves to its defaults can be reached."""
    overrides = [
        "datasets.photos.lance=0.5",
        "optimizer.lr=1e-4",
        "optimizer.betas=[0.9, 0.95]",
        "optimizer.betas.1=0",
    ]

    recipe = parse_yaml(RECIPE, Recipe, overrides=overrides)

    assert recipe == Recipe(datasets={"photos.lance": 0.5}, optimizer=Rate(lr=1e-4, betas=[0.9, 0]))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "optimzer.lr=1",
            "override 'optimzer.lr=1': optimzer is no key; "
            "did you mean 'optimizer'? known: datasets, optimizer",
        ),
        (
            "optimizer.rl=1",
            "override 'optimizer.rl=1': optimizer.rl is no key; known: betas, lr",
        ),
        ("optimizer.lr=fast", "optimizer.lr (set by 'optimizer.lr=fast'): must be a number; got 'fast'"),
        ("optimizer.betas.0=1", "override 'optimizer.betas.0=1': optimizer.betas has no items; got 0"),
        (
            "datasets.photos.lance.x=1",
            "override 'datasets.photos.lance.x=1': datasets.photos.lance is a value and has no keys; got 1",
        ),
        (
            "optimizer.lr",
            "override 'optimizer.lr': assigns nothing; write path=value, e.g. modalities.digit.patch=2",
        ),
        (
            "optimizer.lr=[1",
            "override 'optimizer.lr=[1': is not YAML: expected ',' or ']', but got '<stream end>' "
            "(while parsing a flow sequence from line 1); "
            "check the indentation, the brackets and the quotes here and on the line before",
        ),
    ],
)
def test_a_wrong_override_is_a_fault_like_those_of_the_file(override: str, told: str) -> None:
    """It is told beside the faults of the file, and says that it came from outside."""
    with pytest.raises(SchemaError) as caught:
        parse_yaml(RECIPE + "optimizer: {betas: []}", Recipe, overrides=[override])

    assert [str(fault) for fault in caught.value.faults] == [told]


def test_a_rule_broken_by_an_override_names_the_override() -> None:
    """The file is innocent, so no line of it is blamed."""
    text = "version: 1\nmodalities:\n  a: {kind: image, size: 8, patch: 2, cell: {type: direction}}\n"

    with pytest.raises(
        SchemaError, match=r"a\.patch \(set by 'modalities\.a\.patch=3'\): must divide the size"
    ):
        parse_schema(text, overrides=["modalities.a.patch=3"])
