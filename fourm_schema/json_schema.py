"""The schema language as JSON Schema, with which editors complete and check `modalities.yaml`."""

from fourm_schema.schema import Schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, object]:
    """Export the schema language.

    Returns:
        JSON Schema (draft 2020-12); every key has a title and a description.
    """
    exported = Schema.model_json_schema(by_alias=True)
    _complete(exported)
    return {"$schema": DIALECT, **exported}


def _complete(node: object) -> None:
    """Title the keys that pydantic leaves untitled, and refuse names that match no pattern."""
    if isinstance(node, dict):
        for name, key in node.get("properties", {}).items():
            key.setdefault("title", name.replace("_", " ").title())
        if "patternProperties" in node:
            node["additionalProperties"] = False
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _complete(inner)
