"""What every codec of records asks of a value before it looks at a field."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeGuard, cast

import numpy as np

from fourm_schema.errors import Fault, nearest
from fourm_schema.modality import Set


def listed_records(entry: Set, value: object, where: str, faults: list[Fault]) -> Sequence[object]:
    """The records of a value; empty if it is no list of them.

    Args:
        entry: the declared set.
        value: a list of records, or one record where there is at most one.
        where: which value, for the faults.
        faults: of the whole batch; what is wrong joins them.
    """
    if isinstance(value, Mapping) and entry.max_items == 1:
        value = [value]
    if value is None:
        faults.append(Fault(where, "an absent value has no tokens", mend="leave it out of the batch"))
        return []
    if not isinstance(value, list | tuple | np.ndarray):
        what = "is a list of records {field: value}"
        mend = "encode takes a batch: put a single value in a list" if isinstance(value, Mapping) else ""
        faults.append(Fault(where, what, type(value).__name__, mend))
        return []
    if len(value) > entry.max_items and entry.out_of_range == "error":
        mend = "raise max_items, or set `out_of_range: clip` to keep the first"
        faults.append(Fault(where, f"has at most {entry.max_items} items", str(len(value)), mend))
    return cast("Sequence[object]", value)


def is_record(
    record: object, fields: Collection[str], where: str, faults: list[Fault]
) -> TypeGuard[Mapping[str, object]]:
    """Whether a value is a record; its fields that are not declared join the faults."""
    if not isinstance(record, Mapping):
        faults.append(Fault(where, "is a record {field: value}", type(record).__name__))
        return False
    known = list(fields)
    for name in record:
        if name not in known:
            faults.append(
                Fault(f"{where}, field {name!r}", "is not declared", mend=nearest(str(name), known))
            )
    return True
