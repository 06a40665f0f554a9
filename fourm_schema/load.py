"""YAML -> validated model, every fault of the file in one error.

The same machinery reads `modalities.yaml` and training recipes: positions come from the YAML nodes,
types from the model, and rules that bind several keys from `checks`, which run over the raw file.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path as FilePath
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fourm_schema.errors import Fault, SchemaError, nearest
from fourm_schema.model_faults import model_faults, validate
from fourm_schema.overrides import apply_overrides
from fourm_schema.rules import schema_faults
from fourm_schema.schema import Schema
from fourm_schema.yaml_reader import read_tree
from fourm_schema.yaml_tree import Tree, dotted
from fourm_schema.yaml_writer import write_yaml

Check = Callable[[Tree], Iterable[Fault]]
ModelT = TypeVar("ModelT", bound=BaseModel)


def load_schema(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Schema:
    """Read `modalities.yaml`.

    Args:
        path: the file.
        overrides: `a.b=c` assignments made before validation.

    Raises:
        SchemaError: with every fault of the file.
    """
    return load_yaml(FilePath(path), Schema, overrides, (schema_faults,))


def parse_schema(text: str, source: str = "<text>", overrides: Sequence[str] = ()) -> Schema:
    """Read a schema from text; `source` is what errors call it.

    Raises:
        SchemaError: with every fault of the text.
    """
    return parse_yaml(text, Schema, source, overrides, (schema_faults,))


def load_yaml(
    source: str | os.PathLike[str],
    model: type[ModelT],
    overrides: Sequence[str] = (),
    checks: Sequence[Check] = (),
) -> ModelT:
    """Read a YAML file as any pydantic model.

    Args:
        source: the file. A string with a line break in it is taken for the text itself.
        model: what to validate it as; strictly, so a number in quotes is text.
        overrides: `a.b=c` assignments made before validation.
        checks: rules over the raw tree; each yields faults, made with `Tree.fault`.

    Raises:
        SchemaError: with every fault of the file, or saying why it cannot be read.
    """
    if isinstance(source, str) and "\n" in source:
        return parse_yaml(source, model, "<text>", overrides, checks)
    path = FilePath(source)
    return parse_yaml(_text_of(path), model, str(path), overrides, checks)


def parse_yaml(
    text: str,
    model: type[ModelT],
    source: str = "<text>",
    overrides: Sequence[str] = (),
    checks: Sequence[Check] = (),
) -> ModelT:
    """Read YAML text as any pydantic model; see `load_yaml`.

    Raises:
        SchemaError: with every fault of the text.
    """
    tree = read_tree(text)
    if not tree.unreadable:
        apply_overrides(tree, model, overrides)
    if not tree.unreadable and not isinstance(tree.data, dict):
        what = "is empty" if tree.data is None else "must be a mapping of keys to values"
        tree.faults.append(tree.fault((), what, mend=_first_keys(model)))
    faults = list(tree.faults)
    told = {(fault.where, fault.line, fault.column) for fault in faults}
    found: ModelT | None = None
    if isinstance(tree.data, dict) and not tree.unreadable:
        try:
            found = validate(model, tree.data)
        except ValidationError as error:
            # What could not be read at all need not also be called of the wrong type.
            later = model_faults(tree, model, error)
            faults += [fault for fault in later if (fault.where, fault.line, fault.column) not in told]
        faults += [fault for check in checks for fault in check(tree)]
    if faults:
        raise SchemaError(source, dict.fromkeys(faults))
    assert found is not None, "a file without a fault has a model"
    return found


def dump_schema(schema: Schema) -> str:
    """Write a schema as YAML that loads back equal; defaults that were left out stay out."""
    return write_yaml(schema.model_dump(mode="json", by_alias=True, exclude_unset=True))


def _first_keys(model: type[BaseModel]) -> str:
    required = [field.alias or name for name, field in model.model_fields.items() if field.is_required()]
    return f"start with {' and '.join(f'{key}:' for key in required or model.model_fields)}"


def _text_of(path: FilePath) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        beside = sorted(file.name for file in path.parent.glob("*.y*ml"))
        mend = nearest(path.name, beside).replace("known:", "its folder has:") if beside else "check the path"
        raise SchemaError(str(path), [Fault("the file", "does not exist", "", mend)]) from None
    except (OSError, ValueError) as error:
        raise SchemaError(str(path), [Fault("the file", f"cannot be read: {error}")]) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        fault = Fault(
            dotted(()), "is not UTF-8", f"byte 0x{content[error.start]:02x}", "save it as UTF-8", line, column
        )
        raise SchemaError(str(path), [fault]) from None
