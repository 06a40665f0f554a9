"""Fields of a `set` record: what one of its items is made of.

A set is written as a token sequence under a grammar; each field says how many tokens an item spends on
it (`token_count`).
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fourm_schema.class_lists import CLASS_LISTS

Count = Annotated[int, Field(ge=1, le=2**20)]
Bins = Annotated[int, Field(ge=2, le=65_536)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Range = tuple[Number, Number]

LEARNED_IDS = 1024
"""Ids of the learned codecs of fields; as many as 4M's tokenizers of poses and of masks have."""
MASK_CODEC, VECTOR_CODEC = "vit-class-fsq", "mlp-pq"
"""Learned codecs that fields of these types are written with."""

ClassName = Annotated[str, Field(min_length=1)]


class Frozen(BaseModel):
    """Base of every declared thing: frozen, and no key that is not declared."""

    # Validators are built when first used: a process that only reads plans should not wait for them.
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


def _class_list(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str | list | tuple):
        raise ValueError("must be a list of class names, their number, or the name of a known class list")
    return tuple(value) if isinstance(value, list) else value


Classes = Annotated[
    tuple[ClassName, ...] | int | str,
    BeforeValidator(_class_list, json_schema_input_type=list[str] | int | str),
]


def class_names(classes: tuple[str, ...] | int | str) -> tuple[str, ...]:
    """Names of the classes, in the order of their numbers: `3` gives `0`, `1` and `2`."""
    if isinstance(classes, int):
        return tuple(map(str, range(classes)))
    return CLASS_LISTS[classes] if isinstance(classes, str) else classes


class SetField(Frozen):
    """What every field of a record can say."""

    optional: bool = Field(False, description="an item may lack this field")
    description: str = Field("", description="what the field means, for people")


class NumberField(SetField):
    """One number, cut into bins."""

    type: Literal["number"] = Field(description="one number")
    range: Range | None = Field(None, description="lowest and highest value, [lo, hi]")
    scale: Literal["linear", "log"] = Field("linear", description="bins of equal width, or of equal ratio")
    edges: tuple[Number, ...] | None = Field(
        None, description="borders of the bins, ascending, in place of range"
    )
    bins: Bins = Field(256, description="bins the range is cut into")
    unit: str | None = Field(None, description="unit of the number")

    @property
    def token_count(self) -> int:
        return 1


class AngleField(SetField):
    """A direction in the plane; its two ends are one."""

    type: Literal["angle"] = Field(description="an angle, cut into bins that close to a circle")
    bins: Bins = Field(256, description="bins the circle is cut into")
    unit: Literal["degree", "radian"] = Field("degree", description="unit of the angle")

    @property
    def token_count(self) -> int:
        return 1


class CategoryField(SetField):
    """One of a few classes."""

    type: Literal["category"] = Field(description="one of a few classes")
    classes: Classes = Field(description="names of the classes, their number, or a known class list")

    @property
    def names(self) -> tuple[str, ...]:
        return class_names(self.classes)

    @property
    def token_count(self) -> int:
        return 1


class PointField(SetField):
    """A point of the image plane."""

    type: Literal["point"] = Field(description="a point (x, y)")
    bins: Bins = Field(1000, description="bins per coordinate")
    range: Range = Field((0.0, 1.0), description="lowest and highest coordinate, [lo, hi]")

    @property
    def token_count(self) -> int:
        return 2


class BoxField(SetField):
    """An upright box of the image plane."""

    type: Literal["box"] = Field(description="an upright box, four numbers")
    bins: Bins = Field(1000, description="bins per coordinate")
    convention: Literal["xyxy", "xywh", "cxcywh"] = Field(
        "xyxy",
        description="what the four numbers of a raw box are: corners, corner and size, centre and size",
    )
    range: Range = Field((0.0, 1.0), description="lowest and highest coordinate, [lo, hi]")

    @property
    def token_count(self) -> int:
        return 4

    def corners(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of a raw box.

        >>> BoxField(type="box", convention="cxcywh").corners([5.0, 5.0, 2.0, 4.0])
        (4.0, 3.0, 6.0, 7.0)
        """
        x, y, w, h = box
        match self.convention:
            case "xyxy":
                return x, y, w, h
            case "xywh":
                return x, y, x + w, y + h
            case "cxcywh":
                return x - w / 2, y - h / 2, x + w / 2, y + h / 2

    def of_corners(self, corners: Sequence[float]) -> list[float]:
        """The raw box with these corners x0, y0, x1, y1.

        >>> BoxField(type="box", convention="cxcywh").of_corners([4.0, 3.0, 6.0, 7.0])
        [5.0, 5.0, 2.0, 4.0]
        """
        x0, y0, x1, y1 = corners
        match self.convention:
            case "xyxy":
                return [x0, y0, x1, y1]
            case "xywh":
                return [x0, y0, x1 - x0, y1 - y0]
            case "cxcywh":
                return [x0 + (x1 - x0) / 2, y0 + (y1 - y0) / 2, x1 - x0, y1 - y0]


class VectorField(SetField):
    """A few numbers of one range."""

    type: Literal["vector"] = Field(description="a few numbers of one range")
    dim: Count = Field(description="how many numbers")
    range: Range = Field((0.0, 1.0), description="lowest and highest value, [lo, hi]")
    bins: Bins = Field(256, description="bins per number")
    tokens: Count | None = Field(
        None, description="write it in so many ids of a codec that is learned, in place of a bin per number"
    )
    vocab_size: Count = Field(LEARNED_IDS, description="ids of that codec")

    @property
    def token_count(self) -> int:
        return self.tokens or self.dim


class MaskField(SetField):
    """A small binary picture of an item's shape."""

    type: Literal["mask"] = Field(description="a binary picture of the item's shape")
    size: Count = Field(64, description="height and width of the mask, cells")
    tokens: Count = Field(16, description="ids one mask is written in, those of a codec that is learned")
    vocab_size: Count = Field(LEARNED_IDS, description="ids of that codec")

    @property
    def token_count(self) -> int:
        return self.tokens


class TextField(SetField):
    """A short text."""

    type: Literal["text"] = Field(description="a short text")
    vocabulary: str = Field(description="name of the word vocabulary")
    max_tokens: Count = Field(description="most tokens of the text, its end token included")

    @property
    def token_count(self) -> int:
        return self.max_tokens


AnyField = Annotated[
    NumberField | AngleField | CategoryField | PointField | BoxField | VectorField | MaskField | TextField,
    Field(discriminator="type"),
]


def is_learned(field: AnyField) -> bool:
    """Whether a field is written in the ids of a codec that has to be fitted."""
    return isinstance(field, MaskField) or (isinstance(field, VectorField) and field.tokens is not None)
