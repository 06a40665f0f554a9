"""The schema language as JSON Schema, with which editors complete and check `modalities.yaml`."""

from fourm_schema.schema import Schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, object]:
    """Export the schema language.

    Returns:
        JSON Schema (draft 2020-12); every key has a title and a description.
    """
    return {"$schema": DIALECT, **Schema.model_json_schema(by_alias=True)}
