"""The pages cannot drift: examples run, verbs and keys are documented, generated parts are current."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs
import pytest
import typer.main
from typer.testing import CliRunner

from fourm_runtime.cli.app import app
from fourm_runtime.training.recipe import Recipe
from fourm_schema.json_schema import json_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Example:
    """A fenced block of a page: its language, its text and the line it starts at."""

    language: str
    text: str
    line: int


def examples(page: Path) -> list[Example]:
    text = page.read_text()
    return [Example(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in FENCE.finditer(text)]


def run(example: Example, page: Path, names: dict[str, object]) -> None:
    """Do what a reader would: save a named YAML file, run Python, type the `fourm` lines of a console."""
    first, _, _ = example.text.partition("\n")
    if example.language == "yaml" and re.fullmatch(r"# [\w.]+\.yaml", first):
        Path(first[2:]).write_text(example.text)
    elif example.language == "python":
        exec(compile("\n" * (example.line - 1) + example.text, str(page), "exec"), names)
    elif example.language == "console":
        for line in re.findall(r"^\$ fourm (.*)$", example.text, re.MULTILINE):
            done = CliRunner().invoke(app, shlex.split(line), catch_exceptions=False)
            assert done.exit_code == 0, f"{page.name}: fourm {line}\n{done.output}"


def verbs(command: object = None, path: str = "fourm") -> Iterator[str]:
    """Every verb by its full name, e.g. `fourm data import`."""
    found = typer.main.get_command(app) if command is None else command
    children = getattr(found, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from verbs(child, f"{path} {name}")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_reference", ROOT / "docs" / "generate_reference.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader copies works, in the order of the page, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__example__"}
    for example in examples(page):
        run(example, page, names)


def test_examples_are_found_where_there_are_some() -> None:
    """The claim above holds of a page in which none is found: each language has to come up in the README."""
    found = examples(PAGES[0])
    lines = PAGES[0].read_text().splitlines()

    assert {"yaml", "python", "console"} <= {example.language for example in found}
    assert len(found) == sum(line.startswith("```") for line in lines) / 2
    assert all(example.text.startswith(lines[example.line - 1]) for example in found)


@pytest.mark.parametrize("verb", list(verbs()))
def test_every_verb_is_a_heading_of_the_reference(verb: str) -> None:
    assert f"\n## {verb}\n" in (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("verb", list(verbs()))
def test_every_verb_has_help_and_an_example(verb: str) -> None:
    """Help without an example makes a reader guess the order of the arguments."""
    text = CliRunner().invoke(app, [*verb.split()[1:], "--help"]).output

    assert "Example" in text
    assert verb in text.partition("Example")[2]


def keys(node: object) -> Iterator[str]:
    """Names of the properties anywhere in a JSON Schema."""
    if isinstance(node, dict):
        properties = node.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for child in node.values():
            yield from keys(child)
    elif isinstance(node, list):
        for child in node:
            yield from keys(child)


@pytest.mark.parametrize(
    ("name", "schema"),
    [("modalities.md", json_schema()), ("training.md", Recipe.model_json_schema(by_alias=True))],
    ids=["modalities", "recipe"],
)
def test_every_key_of_a_yaml_file_stands_in_the_reference(name: str, schema: dict[str, object]) -> None:
    """Someone who reads a YAML file can look up each word of it."""
    page = (ROOT / "docs" / name).read_text()
    missing = {key for key in keys(schema) if f"`{key}`" not in page}

    assert missing == set()


def test_generated_pages_are_up_to_date() -> None:
    """`make docs` writes them; a change of a docstring or key that is not followed by it fails here."""
    stale = {name for name, text in generator().pages().items() if (ROOT / "docs" / name).read_text() != text}

    assert stale == set(), "run: make docs"


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]

    assert broken == []


def test_every_page_stands_in_the_navigation() -> None:
    """A page that no menu names is not read."""
    navigation = (ROOT / "mkdocs.yml").read_text()

    assert [p.name for p in PAGES[1:] if p.relative_to(ROOT / "docs").as_posix() not in navigation] == []


def test_the_contributing_guide_fits_a_screen() -> None:
    """A longer one is not read either."""
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 40


def test_the_changelog_keeps_its_grammar() -> None:
    """Keep a Changelog 1.1.0: versions as level 2, kinds of change as level 3, newest first."""
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))

    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_findings_are_dated() -> None:
    titles = re.findall(r"^## (.*)$", (ROOT / "docs" / "findings.md").read_text(), re.MULTILINE)

    assert titles and all(re.match(r"\d{4}-\d\d-\d\d ", title) for title in titles)
    assert titles == sorted(titles, key=lambda title: title[:10], reverse=True)
