"""`a.b=c`: values set from outside a file, before it is validated."""

from collections.abc import Sequence

from pydantic import BaseModel

from fourm_schema.errors import Fault, nearest
from fourm_schema.model_paths import is_free, keys_at
from fourm_schema.yaml_reader import read_tree
from fourm_schema.yaml_tree import Path, Tree, dotted, shown


def apply_overrides(tree: Tree, model: type[BaseModel], overrides: Sequence[str]) -> None:
    """Set values of a tree; what cannot be set is added to its faults.

    A path names keys that the file has, or that the model knows; keys of a free mapping (modality names)
    can be added at its end only. Numbers count the items of a list from 0.

    Args:
        tree: the file; changed in place.
        model: what the file will be validated as.
        overrides: assignments, each value read as YAML.
    """
    for override in overrides:
        path_text, assigned, value_text = override.partition("=")
        if not assigned or not path_text.strip():
            mend = "write path=value, e.g. modalities.digit.patch=2"
            tree.faults.append(Fault(f"override {override!r}", "assigns nothing", mend=mend))
            continue
        value = read_tree(value_text)
        if value.faults:
            tree.faults += [
                Fault(f"override {override!r}", fault.what, fault.got, fault.mend) for fault in value.faults
            ]
            continue
        _assign(tree, model, override, path_text.strip().split("."), value.data)


def _assign(tree: Tree, model: type[BaseModel], override: str, steps: list[str], value: object) -> None:
    if tree.data is None:
        tree.data = {}
    target: object = tree.data
    path: Path = ()

    def refuse(what: str, got: str = "", mend: str = "") -> None:
        tree.faults.append(Fault(f"override {override!r}", what, got, mend))

    while True:
        if isinstance(target, dict):
            key, taken = _next_key(target, steps)
            last = taken == len(steps)
            if key not in target:
                known = keys_at(model, tree.data, path)
                if key not in known and not (last and is_free(model, tree.data, path)):
                    return refuse(
                        f"{dotted((*path, key))} is no key", mend=nearest(key, sorted({*known, *target}))
                    )
            path = (*path, key)
            if last:
                target[key] = value
                break
            if target.get(key) is None:
                target[key] = {}
            target, steps = target[key], steps[taken:]
        elif isinstance(target, list):
            if not steps[0].isdecimal() or int(steps[0]) >= len(target):
                known_items = f"items 0 to {len(target) - 1}" if target else "no items"
                return refuse(f"{dotted(path)} has {known_items}", steps[0])
            index = int(steps[0])
            path = (*path, index)
            if len(steps) == 1:
                target[index] = value
                break
            target, steps = target[index], steps[1:]
        else:
            return refuse(f"{dotted(path)} is a value and has no keys", shown(target))
    tree.overridden[path] = override
    return None


def _next_key(target: dict[str, object], steps: list[str]) -> tuple[str, int]:
    """The next key and how many dotted parts it takes: a key of the file like `photos.lance` has two."""
    for taken in range(len(steps), 0, -1):
        key = ".".join(steps[:taken])
        if key in target:
            return key, taken
    return steps[0], 1
