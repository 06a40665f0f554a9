"""Values of one key, as JSON has them -> an entry: text, set, record, vector or image."""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from fourm_runtime.scan.proposal import Proposal
from fourm_runtime.scan.records import propose_field, propose_set
from fourm_runtime.scan.texts import propose_text
from fourm_runtime.scan.vectors import propose_arrays
from fourm_schema.errors import DataError


def propose_values(name: str, values: Sequence[object]) -> Proposal:
    """Choose the entry for the values of a column or of one file per sample.

    Args:
        name: of the column; it tells boxes from other lists.
        values: those that are present.

    Raises:
        DataError: if no kind of modality holds them.
    """
    if not values:
        raise DataError(name, "never has a value")
    if all(isinstance(value, str) for value in values):
        return propose_text([[str(value)] for value in values])
    if all(isinstance(value, dict) for value in values):
        return propose_set([[value] for value in values if isinstance(value, dict)], one=True)
    if all(isinstance(value, str | list) for value in values):
        lists = [value if isinstance(value, list) else [value] for value in values]
        items = [item for value in lists for item in value]
        if not items:
            raise DataError(name, "is always an empty list")
        if all(isinstance(item, str) for item in items):
            return _propose_views([[str(item) for item in value] for value in lists])
        if all(isinstance(item, dict) for item in items):
            return propose_set([[item for item in value if isinstance(item, dict)] for value in lists])
        if all(isinstance(value, list) for value in values):
            return _propose_lists(name, lists)
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1 and not set(kinds) <= {"int", "float"}:
        raise DataError(name, f"holds values of several kinds: {', '.join(kinds)}")
    field, needs = propose_field("value", values)
    entry: dict[str, object] = {"kind": "set", "max_items": 1, "fields": {"value": field}}
    notes = ("One number per sample, kept as a record.",)
    return Proposal(entry, notes, (*needs, 'write it as {"value": ...}'), example=values[0])


def _propose_views(lists: Sequence[Sequence[str]]) -> Proposal:
    found = propose_text([texts for texts in lists if texts])
    empty = sum(not texts for texts in lists)
    before = (f"write null for no text, in place of an empty list ({empty} times)",) if empty else ()
    return attrs.evolve(found, before=before)


def _propose_lists(name: str, lists: Sequence[list[object]]) -> Proposal:
    """Lists of numbers are arrays; of boxes or points, or of lists whose number varies, they are records."""
    rows = [row for value in lists for row in value]
    is_ragged = len({len(value) for value in lists}) > 1
    field = next((word for word in ("box", "point") if word in name), "")
    lengths = {len(row) for row in rows if isinstance(row, list)}
    if all(isinstance(row, list) for row in rows) and len(lengths) == 1 and (is_ragged or field):
        field = field or "item"
        samples: list[list[Mapping[str, object]]] = [[{field: row} for row in value] for value in lists]
        found = propose_set(samples)
        before = (*found.before, f'write each item as an object: {{"{field}": [...]}}')
        return attrs.evolve(found, before=before)
    arrays = []
    for value in lists:
        try:
            arrays.append(np.asarray(value))
        except ValueError:
            raise DataError(name, "holds lists of unequal lengths") from None
    if any(array.dtype.kind not in "biuf" for array in arrays):
        raise DataError(name, "holds lists that are neither numbers, texts nor objects")
    return propose_arrays(arrays)
