"""Computations by name: those that come with the package, and those of installed plugins.

A plugin adds one by an entry point of the group `fourm.derivations`, whose name is what the schema writes
behind `by:`, and which names a function `(source, target) -> compute` like those of this room.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import entry_points

import attrs

from fourm_schema.errors import DataError, Fault, MissingExtraError, nearest
from fourm_schema.modality import Modality
from fourm_schema.schema import Schema

Compute = Callable[[object], object]
"""A value of the source -> a value of the target, or None where there is none."""

Derivation = Callable[[Modality, Modality], Compute]
"""What the schema says of source and target -> the computation; refuses entries it cannot serve."""

ENTRY_POINT_GROUP = "fourm.derivations"

DERIVATIONS = ("canny", "metadata", "moments", "palette", "resize")
"""Those that come with the package: each is the function of its own name in the module of its own name."""


def computations(schema: Schema, modalities: Iterable[str] | None = None) -> dict[str, Compute]:
    """How derived modalities are computed, each after the one that it is computed from.

    Args:
        schema: the declaration.
        modalities: which; None takes all with `derive`.

    Raises:
        DataError: if nothing installed has the name behind a `by:`, or that cannot compute such a target
            from such a source; all of them at once.
        MissingExtraError: if the libraries that one needs are not installed.
    """
    origin = {name: entry.derive for name, entry in schema.modalities.items() if entry.derive is not None}
    asked = list(origin) if modalities is None else [name for name in modalities if name in origin]

    def depth(name: str) -> int:
        declared = origin.get(name)
        return 0 if declared is None else 1 + depth(declared.from_)

    found, faults = dict[str, Compute](), list[Fault]()
    for name in sorted(asked, key=depth):
        target, declared = schema.modalities[name], origin[name]
        try:
            found[name] = derivation(declared.by)(schema.modalities[declared.from_], target)
        except DataError as refusal:
            faults += [attrs.evolve(fault, where=f"{name}, {fault.where}") for fault in refusal.faults]
    if faults:
        count = "1 modality" if len(faults) == 1 else f"{len(faults)} modalities"
        lines = "\n  ".join(["", *map(str, faults)])
        raise DataError("modalities", f"{count} cannot be derived", mend=lines)
    return found


def derivation(name: str) -> Derivation:
    """Look a computation up by its name.

    Raises:
        DataError: if nothing installed has it; the message lists what has.
        MissingExtraError: if the libraries it needs are not installed.
    """
    where = f"derive by {name}"
    plugins = entry_points(group=ENTRY_POINT_GROUP)
    if name in DERIVATIONS:
        try:
            found: Derivation = getattr(import_module(f"fourm_runtime.derive.{name}"), name)
        except ImportError as missing:
            raise MissingExtraError(where, "derive") from missing
        return found
    if name not in plugins.names:
        raise DataError(where, "is not installed", mend=nearest(name, [*DERIVATIONS, *plugins.names]))
    loaded: Derivation = plugins[name].load()
    if not callable(loaded):
        raise DataError(
            where,
            "the plugin behind it is no computation",
            got=repr(loaded),
            mend="its entry point must name a function (source, target) -> compute",
        )
    return loaded
