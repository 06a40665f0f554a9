"""How near the masks and long vectors of predicted records are to the true ones."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.set_codes import overlap_of_masks
from fourm_schema.modality import Set
from fourm_schema.set_fields import AnyField, MaskField, VectorField, is_learned

Record = Mapping[str, object]
Float64 = NDArray[np.float64]


def is_mask(field: AnyField) -> bool:
    return isinstance(field, MaskField)


def is_long_vector(field: AnyField) -> bool:
    """Whether the field is a vector in learned codes, which has no bins to count an error in."""
    return isinstance(field, VectorField) and is_learned(field)


def cosine_of_vectors(one: object, other: object) -> float:
    """Cosine similarity; 1 of equal vectors, whatever their length.

    >>> cosine_of_vectors([3.0, 4.0], [3.0, 0.0])
    0.6
    """
    ours, theirs = (np.asarray(vector, np.float64) for vector in (one, other))
    if np.array_equal(ours, theirs):
        return 1.0
    lengths = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / lengths if lengths else 0.0


def likeness(field: AnyField, one: object, other: object) -> float:
    """How alike two values of a learned field are: 1 if equal."""
    assert is_learned(field), "others are counted in bins"
    return overlap_of_masks(one, other) if is_mask(field) else cosine_of_vectors(one, other)


def likeness_of_fields(entry: Set, pairs: Iterable[tuple[Record, Record]]) -> dict[str, float]:
    """Mean likeness of each learned field over pairs of records (predicted, true).

    A pair counts if the true record has the field. One that the prediction lacks is nothing like it: 0.
    """
    found: dict[str, list[float]] = {name: [] for name, field in entry.fields.items() if is_learned(field)}
    for guess, truth in pairs:
        for name, scores in found.items():
            if truth.get(name) is not None:
                missing = guess.get(name) is None
                scores.append(0.0 if missing else likeness(entry.fields[name], guess[name], truth[name]))
    return {name: float(np.mean(scores)) for name, scores in found.items() if scores}
