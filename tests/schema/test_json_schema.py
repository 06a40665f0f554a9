"""The exported JSON Schema: complete enough for an editor to explain every key."""

from collections.abc import Iterator

from fourm_schema.json_schema import json_schema
from fourm_schema.modality import NAME_PATTERN


def objects(node: object) -> Iterator[dict[str, object]]:
    """Every object schema inside a JSON Schema."""
    if isinstance(node, dict):
        if "properties" in node:
            yield node
        for value in node.values():
            yield from objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


def test_every_key_has_a_title_and_a_description() -> None:
    """They are what an editor shows, and what the reference page is made of."""
    for node in objects(json_schema()):
        properties = node["properties"]
        assert isinstance(properties, dict)
        for name, key in properties.items():
            assert key.get("description"), (node["title"], name)
            assert key.get("title"), (node["title"], name)


def test_unknown_keys_are_refused_by_editors_too() -> None:
    assert all(node["additionalProperties"] is False for node in objects(json_schema()))


def test_files_may_write_the_short_forms() -> None:
    """`size: 8` and `ranges: [0, 1]` must not be underlined in red."""
    kinds = json_schema()["$defs"]
    assert isinstance(kinds, dict)
    size, ranges = kinds["Image"]["properties"]["size"], kinds["Vector"]["properties"]["ranges"]

    assert {"integer", "array"} <= {form.get("type") for form in size["anyOf"]}
    assert len(ranges["anyOf"]) >= 2


def test_names_and_kinds_are_told() -> None:
    """A misspelt name or kind is underlined while it is typed."""
    exported = json_schema()
    properties = exported["properties"]
    assert isinstance(properties, dict)
    modalities = properties["modalities"]

    assert modalities["additionalProperties"] is False
    assert set(modalities["patternProperties"]) == {NAME_PATTERN}
    kinds = modalities["patternProperties"][NAME_PATTERN]["discriminator"]["mapping"]
    assert set(kinds) == {"image", "vector", "set", "text"}
    assert exported["required"] == ["version", "modalities"]
