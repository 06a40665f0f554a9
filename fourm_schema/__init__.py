"""What the data is: modalities declared in YAML, resolved to a plan. Never imports torch.

>>> from fourm_schema import parse_schema, resolve
>>> schema = parse_schema("{version: 1, modalities: {wind: {kind: vector, dim: 2, ranges: [-40, 40]}}}")
>>> resolve(schema).names
['wind.tokens']
"""

from fourm_schema.allocation import Allocation, allocate
from fourm_schema.digest import entry_hash, schema_hash
from fourm_schema.errors import FourmError, PlanError, SchemaError
from fourm_schema.json_schema import json_schema
from fourm_schema.load import dump_schema, load_schema, load_yaml, parse_schema
from fourm_schema.plan import Plan, Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

__all__ = [
    "Allocation",
    "FourmError",
    "Plan",
    "PlanError",
    "Schema",
    "SchemaError",
    "Stream",
    "allocate",
    "dump_schema",
    "entry_hash",
    "json_schema",
    "load_schema",
    "load_yaml",
    "parse_schema",
    "resolve",
    "schema_hash",
]
