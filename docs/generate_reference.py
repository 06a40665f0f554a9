"""Write the parts of the reference that the code already says: every verb, every key of the YAML file.

Run by `make docs`; `tests/test_docs.py` fails while a page differs from what this would write.
"""

import inspect
import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.core
import typer.main

from fourm_runtime.cli.app import app
from fourm_runtime.lawbook.book import CHAPTERS
from fourm_runtime.training.recipe import Recipe
from fourm_schema.json_schema import json_schema
from fourm_schema.select import TABLE

FOLDER = Path(__file__).resolve().parent
Verb = typer.core.TyperCommand
Group = typer.core.TyperGroup
Node = dict[str, Any]


def pages() -> dict[str, str]:
    """Every generated page as it should stand: file name -> text."""
    modalities = (FOLDER / "modalities.md").read_text()
    modalities = fill(modalities, "selection", selection_table())
    recipe = Recipe.model_json_schema(by_alias=True)
    return {
        "cli.md": cli_page(),
        "modalities.md": fill(modalities, "keys", key_tables(json_schema())),
        "laws.md": fill((FOLDER / "laws.md").read_text(), "laws", law_tables()),
        "training.md": fill((FOLDER / "training.md").read_text(), "keys", key_tables(recipe)),
    }


def fill(page: str, name: str, text: str) -> str:
    """Put text between the markers `<!-- name -->` and `<!-- /name -->` of a page."""
    return re.sub(
        rf"(<!-- {name} -->\n).*(<!-- /{name} -->)",
        lambda m: f"{m[1]}\n{text}\n{m[2]}",
        page,
        flags=re.DOTALL,
    )


def cli_page() -> str:
    """One heading per verb: what it says about itself, its arguments, its options, an example."""
    lines = [
        "# Command line",
        "",
        "One verb is one thing to do. `fourm VERB --help` says the same as this page.",
        "Reading verbs take `--json`.",
        "Errors go to stderr with exit status 2; `fourm --debug VERB ...` shows the traceback.",
        "",
    ]
    for name, verb in verbs(typer.main.get_command(app), "fourm"):
        text, _, example = inspect.cleandoc(verb.help or "").partition("Example:")
        lines += [f"## {name}", "", text.strip(), ""]
        lines += ["```text", *inspect.cleandoc(example).strip().splitlines(), "```", ""]
        if verb.params:
            lines += ["| argument or option | meaning |", "|---|---|"]
            lines += [f"| `{spelled(parameter)}` | {meaning(parameter)} |" for parameter in verb.params]
            lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def verbs(command: Any, path: str) -> Iterator[tuple[str, Verb]]:
    """Every verb by its full name, in the order in which `--help` lists them."""
    if isinstance(command, Group):
        for name, child in command.commands.items():
            yield from verbs(child, f"{path} {name}")
    else:
        yield path, command


def spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    names = "/".join([parameter.opts[0], *parameter.secondary_opts])
    kind = type(parameter.default)
    choices = "\\|".join(choice.value for choice in kind) if issubclass(kind, Enum) else ""
    return names if parameter.is_flag else f"{names} {parameter.metavar or choices or parameter.name.upper()}"


def meaning(parameter: Any) -> str:
    text = (parameter.help or "").replace("|", "\\|")
    shows_default = (
        not parameter.required
        and parameter.default not in (None, False, ())
        and "default" not in text.lower()
    )
    default = parameter.opts[0] if parameter.default is True else parameter.default
    default = default.value if isinstance(default, Enum) else default
    return f"{text} Default: `{default}`." if shows_default else text


def selection_table() -> str:
    """The selection table, row by row."""
    lines = ["| the stream is a... | codec | embedding | positions | why |", "|---|---|---|---|---|"]
    for row in TABLE:
        when = getattr(row.when, "__name__", "").replace("_", " ")
        lines.append(f"| {when} | `{row.codec}` | `{row.embedding}` | `{row.positions}` | {row.because} |")
    return "\n".join(lines) + "\n"


def law_tables() -> str:
    """One table per chapter of the laws: id and statement."""
    lines = []
    for title, laws in CHAPTERS.items():
        lines += [f"### {title[0].upper()}{title[1:]}", "", "| law | says |", "|---|---|"]
        lines += [f"| `{law.id}` | {law.statement.replace('|', chr(92) + '|')} |" for law in laws]
        lines += [""]
    return "\n".join(lines)


def key_tables(schema: Node) -> str:
    """One table per object of the JSON Schema; keys that all kinds of a union share stand once."""
    return "\n".join(tables_of("The file", schema, schema, set()))


def tables_of(title: str, node: Node, schema: Node, seen: set[str]) -> Iterator[str]:
    """The table of one object, then those of the objects that its keys hold."""
    if title in seen:
        return
    seen.add(title)
    own: Node = node.get("properties", {})
    yield key_table(title, own, node.get("required", []), schema)
    for key, value in own.items():
        yield from tables_below(key, value, schema, seen)


def tables_below(key: str, value: Node, schema: Node, seen: set[str]) -> Iterator[str]:
    """Tables of whatever objects a key's value may be."""
    if "discriminator" in value:
        by = value["discriminator"]["propertyName"]
        kinds = [follow(ref, schema) for ref in value["oneOf"]]
        shared = {k: v for k, v in kinds[0]["properties"].items() if k != by and all_have(kinds, k, v)}
        title = f"`{key}`: keys of every {by}"
        if shared and title not in seen:
            seen.add(title)
            yield key_table(title, shared, [], schema)
        for kind in kinds:
            own = {k: v for k, v in kind["properties"].items() if k not in shared}
            yield from tables_of(
                f"`{key}`, `{by}: {own[by]['const']}`", kind | {"properties": own}, schema, seen
            )
        for name, node in shared.items():
            yield from tables_below(name, node, schema, seen)
    elif "$ref" in value:
        yield from tables_of(f"`{key}`", follow(value, schema), schema, seen)
    else:
        inner = [*value.get("anyOf", []), value.get("items"), mapped(value)]
        for node in inner:
            if node:
                yield from tables_below(key, node, schema, seen)


def mapped(value: Node) -> Node:
    """What the values of a mapping are."""
    found = [*value.get("patternProperties", {}).values(), value.get("additionalProperties")]
    return next((node for node in found if isinstance(node, dict)), {})


def all_have(kinds: list[Node], key: str, value: Node) -> bool:
    return all(kind["properties"].get(key) == value for kind in kinds)


def follow(node: Node, schema: Node) -> Node:
    """The object that a `$ref` names."""
    if "$ref" not in node:
        return node
    found: Node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return found


def key_table(title: str, own: Node, required: list[str], schema: Node) -> str:
    lines = [f"### {title}", "", "| key | value | default | meaning |", "|---|---|---|---|"]
    for key, value in own.items():
        default = "**required**" if key in required else shown_default(value)
        said = " or ".join(dict.fromkeys(value_type(value, schema))).replace("|", "\\|")
        lines.append(f"| `{key}` | {said} | {default} | {value.get('description', '')} |")
    return "\n".join(lines) + "\n"


def shown_default(value: Node) -> str:
    """A default that is nothing, or that the keys below say again, is a dash."""
    default = value.get("default")
    return "-" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"


def value_type(value: Node, schema: Node) -> Iterator[str]:
    """What a key's value may be, in words."""
    if "const" in value:
        yield f"`{json.dumps(value['const'])}`"
    elif "enum" in value:
        yield from (f"`{json.dumps(item)}`" for item in value["enum"])
    elif "anyOf" in value:
        for choice in value["anyOf"]:
            if choice.get("type") != "null":
                yield from value_type(choice, schema)
    elif "$ref" in value:
        yield from (
            ("keys below",)
            if "properties" in follow(value, schema)
            else value_type(follow(value, schema), schema)
        )
    elif "discriminator" in value:
        yield "keys below"
    elif "prefixItems" in value:
        items = [" or ".join(value_type(unbounded(item), schema)) for item in value["prefixItems"]]
        yield f"[{', '.join(items)}]"
    elif value.get("type") == "array":
        yield "list of " + " or ".join(value_type(value["items"], schema))
    elif value.get("type") == "object":
        yield "name: " + " or ".join(value_type(mapped(value), schema))
    else:
        yield NAMES[value["type"]] + bounds(value)


NO_LIMIT = 2**16
"""A bound from here on guards against slips of the finger; a reader need not know it."""

NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


def unbounded(value: Node) -> Node:
    return {key: held for key, held in value.items() if key not in ("minimum", "maximum", "exclusiveMinimum")}


def bounds(value: Node) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    if high is not None and high >= NO_LIMIT:
        high = None
    if low is None:
        above = f" > {value['exclusiveMinimum']:g}" if "exclusiveMinimum" in value else ""
        return above if high is None else f" <= {high}"
    return f" >= {low}" if high is None else f" in [{low}, {high}]"


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
