"""Fields in learned codes: a mask or a long vector of an item <-> the ids of a codec that is fitted to such.

The codec of a field is that of a modality of its own, whose entry says the same of its values. A field's
values are checked here, so that every fault of a record is told in one way; decoded ones are plain lists,
since records are written as JSON.

Shapes: R values, T ids of each, S rows and columns of a mask.
"""

from collections.abc import Mapping, Sequence
from math import isqrt, prod

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import FieldValue, Json, Parts, StoredCodec, TokenBatch, Value
from fourm_codecs.scale import Scale
from fourm_codecs.set_values import numbers_inside
from fourm_codecs.values import show
from fourm_schema.errors import CodecError
from fourm_schema.modality import Image, Modality, Set, Vector
from fourm_schema.set_fields import MASK_CODEC, VECTOR_CODEC, AnyField, MaskField, VectorField, is_learned

PREFIX = "fields."
"""What the tensors of a field's codec are called, before the field's name and their own."""

CHUNK = 64
"""Values that a field's codec is given together: as floats, masks take room."""


def learned_fields(entry: Set) -> dict[str, MaskField | VectorField]:
    """The fields of a set that are written in learned codes, by name."""
    return {
        name: field
        for name, field in entry.fields.items()
        if isinstance(field, MaskField | VectorField) and is_learned(field)
    }


def entry_of_field(field: MaskField | VectorField) -> Modality:
    """The modality whose values are those of a field, and whose codec is the field's."""
    if isinstance(field, MaskField):
        patch = field.size // isqrt(field.tokens)
        return Image.model_validate(
            {"kind": "image", "size": field.size, "patch": patch, "vocab_size": field.vocab_size}
            | {"cell": {"type": "categorical", "classes": 2}, "codec": MASK_CODEC}
        )
    return Vector.model_validate(
        {"kind": "vector", "dim": field.dim, "ranges": (field.range,), "tokens": field.tokens}
        | {"vocab_size": field.vocab_size, "codec": VECTOR_CODEC}
    )


@attrs.frozen
class MaskValues:
    """Masks: square pictures of 0 and 1.

    Attributes:
        size: S.
    """

    size: int

    def read(self, value: object, where: str) -> NDArray[np.uint8]:
        """A raw mask (S, S): an array, a picture, or nested lists of 0, 1 and truth values.

        Raises:
            CodecError: if it is none; the first cell that is neither 0 nor 1 is named.
        """
        what = f"is a mask of {self.size} x {self.size} cells, each 0 or 1"
        try:
            cells = np.asarray(value)
        except (TypeError, ValueError, RuntimeError):
            raise CodecError(where, what, got="lists of unequal lengths") from None
        if cells.dtype.kind not in "biuf":
            raise CodecError(where, what, got=f"{type(value).__name__} of {cells.dtype}")
        if cells.shape != (self.size, self.size):
            got = " x ".join(map(str, cells.shape)) or "a single number"
            raise CodecError(where, what, got, "scale it, or change `size` in the schema")
        wrong = (cells != 0) & (cells != 1)
        if wrong.any():
            row, column = (int(k) for k in np.argwhere(wrong)[0])
            got = show(float(cells[row, column]))
            raise CodecError(f"{where} at [{row}, {column}]", "is 0 or 1", got, "write mask > threshold")
        return cells.astype(np.uint8)

    def write(self, decoded: Value) -> list[list[int]]:
        """A decoded picture as nested lists of 0 and 1."""
        cells = np.asarray(decoded).reshape(self.size, self.size)
        return [[int(cell) for cell in row] for row in (cells > 0.5).tolist()]

    def kept(self) -> str:
        """What a decoded value has in any case."""
        return f"{self.size} x {self.size} cells, each 0 or 1"


@attrs.frozen
class VectorValues:
    """Vectors of one range.

    Attributes:
        dim: how many numbers.
        scale: the range, and whether numbers are clipped to it; its bins say nothing.
    """

    dim: int
    scale: Scale

    def read(self, value: object, where: str) -> NDArray[np.float64]:
        """A raw vector (dim,), within the range.

        Raises:
            CodecError: if it is none; each number that is wrong is named.
        """
        return np.array(numbers_inside(self.scale, value, self.dim, where))

    def write(self, decoded: Value) -> list[float]:
        """A decoded vector as a list of numbers of the range."""
        numbers = np.asarray(decoded, np.float64).reshape(self.dim)
        return [float(number) for number in np.clip(numbers, self.scale.low, self.scale.high)]

    def kept(self) -> str:
        """What a decoded value has in any case."""
        return f"{self.dim} numbers from {show(self.scale.low)} to {show(self.scale.high)}"


RawValues = MaskValues | VectorValues


def raw_values(name: str, field: MaskField | VectorField, clip: bool, where: str) -> RawValues:
    """What reads and writes the values of a learned field, its codec apart.

    Args:
        name: of the field.
        field: what the schema says of it.
        clip: numbers outside their range are clipped.
        where: the modality; errors start with it.

    Raises:
        CodecError: if a float cannot tell the ends of the range apart.
    """
    if isinstance(field, MaskField):
        return MaskValues(field.size)
    return VectorValues(field.dim, Scale.of_range(*field.range, 2, f"{where}, field {name!r}", clip))


@attrs.frozen
class CodesForm:
    """A field in the ids of a learned codec.

    Attributes:
        codec: fitted to the field's values.
        raw: checks raw values and writes decoded ones.
    """

    codec: StoredCodec
    raw: RawValues

    def read(self, value: object, where: str) -> list[int]:
        ids: list[int] = self.codec.encode([self.raw.read(value, where)]).ids.tolist()
        return ids

    def read_all(self, values: Sequence[object]) -> NDArray[np.int64]:
        """(R, T) what `read` gives of each value.

        Raises:
            CodecError: if the field cannot hold one of them.
        """
        length = prod(self.codec.token_shape or ())
        found = [np.zeros((0, length), np.int64)]
        for start in range(0, len(values), CHUNK):
            raw = [self.raw.read(value, self.codec.modality) for value in values[start : start + CHUNK]]
            found.append(self.codec.encode(raw).ids.astype(np.int64).reshape(-1, length))
        return np.concatenate(found)

    def write(self, places: Sequence[int]) -> FieldValue:
        return self.raw.write(self.codec.decode(TokenBatch.of([places], self.codec.vocab_size))[0])

    def promise(self) -> str:
        return f"in learned codes: {self.codec.law.describe()}"

    def apart(self, value: object, back: object) -> str:
        """Shape and range; how near it came is a statement about many values, not about one."""
        try:
            self.raw.read(back, "")
        except CodecError:
            return f"came back as other than {self.raw.kept()}"
        return ""


def stored_codecs(modality: str, entry: Set, parts: Parts) -> dict[str, StoredCodec]:
    """The codecs of a set's learned fields, as far as the parts of its codec hold them.

    Raises:
        CodecError: if one is damaged, or of another entry.
    """
    settings = parts.settings.get("fields", {})
    found = dict[str, StoredCodec]()
    for name, field in learned_fields(entry).items():
        mine = f"{PREFIX}{name}."
        tensors = {key[len(mine) :]: tensor for key, tensor in parts.tensors.items() if key.startswith(mine)}
        if tensors:
            said = settings.get(name) if isinstance(settings, dict) else None
            own = Parts(tensors=tensors, settings=said if isinstance(said, dict) else {})
            # Torch takes seconds, which sets without such fields should not cost.
            from fourm_codecs.learned import learned_class

            declared, where = entry_of_field(field), f"{modality}.{name}"
            found[name] = learned_class(where, declared).from_entry(where, declared, own)
    return found


def parts_of_codecs(codecs: Mapping[str, StoredCodec]) -> Parts:
    """The tensors and settings of fields' codecs, as `stored_codecs` takes them."""
    settings: dict[str, Json] = {name: dict(codec.parts.settings) for name, codec in codecs.items()}
    tensors = {
        f"{PREFIX}{name}.{key}": tensor
        for name, codec in codecs.items()
        for key, tensor in codec.parts.tensors.items()
    }
    return Parts(tensors=tensors, settings={"fields": settings} if settings else {})


def codes_form(
    name: str, field: AnyField, codecs: Mapping[str, StoredCodec], clip: bool, where: str
) -> CodesForm | None:
    """The form of a learned field; None for any other.

    Raises:
        CodecError: if its codec is not trained yet.
    """
    if not isinstance(field, MaskField | VectorField) or not is_learned(field):
        return None
    if name not in codecs:
        raise CodecError(
            f"{where}, field {name!r}",
            f"its codec {entry_of_field(field).codec!r} is not trained yet",
            mend=f"train it: fourm codec train {where} --data FILE.lance --to codecs/",
        )
    return CodesForm(codecs[name], raw_values(name, field, clip, where))


def overlap_of_masks(one: object, other: object) -> float:
    """Intersection over union of two masks; 1 if both are empty.

    >>> overlap_of_masks([[1, 1], [0, 0]], [[1, 0], [1, 0]])
    0.3333333333333333
    """
    ours, theirs = (np.asarray(mask, np.float64) > 0.5 for mask in (one, other))
    union = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / union if union else 1.0
