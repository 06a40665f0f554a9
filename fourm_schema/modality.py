"""The four kinds of modality: what a user can declare.

A modality is a value a user has: an image, a vector, a set of records, a text. Each kind is one frozen
model, and `Modality` is their union, told apart by `kind`. Rules that bind several keys (a patch divides
its image, ranges match their numbers) live in `fourm_schema.rules`, where they also see half-broken files.
"""

import itertools
import math
import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from fourm_schema.plan import Role
from fourm_schema.set_fields import AnyField, Bins, Classes, Count, Frozen, Number, Range, class_names

_T = TypeVar("_T")

NAME_PATTERN = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"


def _name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value) or len(value) > 64:
        raise ValueError("must be lower-case words and digits joined by single underscores, e.g. left_camera")
    return value


# A name becomes a column (`caption__tokens`), a stream (`caption.tokens`) and a path of an override.
Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": NAME_PATTERN})]


def _pair(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    raise ValueError("must be one whole number, or two: [height, width]")


def _ranges(value: object) -> object:
    if isinstance(value, list | tuple):
        items = list(value)
        nested = [isinstance(item, list | tuple) for item in items]
        if len(items) == 2 and not any(nested):
            return (tuple(items),)
        if all(nested):
            return tuple(map(tuple, items))
    raise ValueError("must be one [lo, hi], or a list with one [lo, hi] per number")


def _numbers(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value),)
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ValueError("must be one number, or a list with one per dimension")


Side = Annotated[int, Field(ge=1, le=65_536)]
Pair = Annotated[tuple[Side, Side], BeforeValidator(_pair, json_schema_input_type=Side | tuple[Side, Side])]
Ranges = Annotated[tuple[Range, ...], BeforeValidator(_ranges, json_schema_input_type=Range | list[Range])]
Numbers = Annotated[
    tuple[Number, ...], BeforeValidator(_numbers, json_schema_input_type=Number | list[Number])
]


class Source(Frozen):
    """Where a sample's raw value lies, when it is not under the modality's own name."""

    file: str | None = Field(None, description="name of the sample's file, without its ending")
    field: str | None = Field(None, description="key in the sample's record (JSON, CSV, Arrow)")


class Derive(Frozen):
    """A value computed from another modality of the same sample."""

    from_: str = Field(alias="from", description="modality it is computed from")
    by: str = Field(min_length=1, description="name of the computation, e.g. canny")


class Label(Frozen):
    """A value that a labelling model predicts from another modality of the same sample."""

    by: str = Field(min_length=1, description="name of the labelling model, e.g. dinov2")
    from_: str = Field(alias="from", description="modality it is predicted from")


class Entry(Frozen):
    """What every modality can say."""

    description: str = Field("", description="what the modality is, for people")
    role: Role = Field("both", description="what the model may do with it: be given it, predict it, or both")
    loss_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        1.0, description="weight of its loss in the total"
    )
    out_of_range: Literal["error", "clip"] = Field(
        "error", description="what happens to a value outside what is declared: refuse it, or clip it"
    )
    codec: str | None = Field(None, description="codec to use in place of the selected one")
    embedding: str | None = Field(None, description="embedding to use in place of the selected one")
    positions: str | None = Field(None, description="positions to use in place of the selected ones")
    source: Source | None = Field(None, description="where raw values are found")
    derive: Derive | None = Field(None, description="compute it from another modality")
    label: Label | None = Field(None, description="let a model predict it from another modality")
    axes: dict[Name, Count] = Field(
        default_factory=dict, description="named axes a vector repeats along, e.g. {time: 8}"
    )
    aliases: tuple[str, ...] = Field((), description="other names it goes by, e.g. in imported checkpoints")


class Continuous(Frozen):
    """Cells hold numbers of a known range."""

    type: Literal["continuous"] = Field(description="cells hold numbers of a known range")
    channels: Count = Field(1, description="numbers per cell")
    range: Range = Field(description="lowest and highest value, [lo, hi]")
    levels: Annotated[int, Field(ge=2, le=65_536)] | None = Field(
        None, description="values lie on so many evenly spaced levels of the range, both ends included"
    )
    unit: str | None = Field(None, description="unit of the numbers, e.g. metre")


class Direction(Frozen):
    """Cells hold unit vectors (surface normals); their x is mirrored with the image."""

    type: Literal["direction"] = Field(description="cells hold unit vectors")

    @property
    def channels(self) -> int:
        return 3


class Categorical(Frozen):
    """Cells hold a class number."""

    type: Literal["categorical"] = Field(description="cells hold a class number")
    classes: Classes = Field(description="names of the classes, their number, or a known class list")
    ignore: str | int | None = Field(
        None, description="the class, by name or number, whose cells no metric counts"
    )

    @property
    def class_names(self) -> tuple[str, ...]:
        return class_names(self.classes)

    @property
    def class_count(self) -> int:
        return self.classes if isinstance(self.classes, int) else len(self.class_names)

    @property
    def channels(self) -> int:
        return 1


class Features(Frozen):
    """Cells hold a feature vector of another network."""

    type: Literal["features"] = Field(description="cells hold a feature vector")
    channels: Count = Field(description="numbers per cell")


Cell = Annotated[Continuous | Direction | Categorical | Features, Field(discriminator="type")]


class Image(Entry):
    """Anything on a 2-D grid: RGB, depth, normals, edges, class maps, feature maps."""

    kind: Literal["image"] = Field(description="anything on a 2-D grid")
    size: Pair = Field(description="cells (pixels) of the grid: one number, or [height, width]")
    patch: Pair = Field(description="cells that one token covers: one number, or [height, width]")
    pixel_patch: Pair | None = Field(
        None, description="cells per token when shown as pixels, if not the same as patch"
    )
    cell: Cell = Field(description="what a cell holds")
    mean: Numbers | None = Field(
        None, description="means taken off shown pixels: one for all channels, or one per channel"
    )
    std: Numbers | None = Field(
        None, description="deviations shown pixels are divided by: one for all channels, or one per channel"
    )
    shown: tuple[Literal["pixels", "tokens"], ...] = Field(
        ("tokens",), min_length=1, description="how the model sees it: each entry is a stream"
    )
    vocab_size: Count | None = Field(
        None, description="token ids of a learned or plugin codec, if not the codec's default"
    )

    @property
    def height(self) -> int:
        return self.size[0]

    @property
    def width(self) -> int:
        return self.size[1]

    @property
    def cell_count(self) -> int:
        return self.height * self.width

    @property
    def channels(self) -> int:
        """Numbers per cell of a raw value; 1 for a class map."""
        return self.cell.channels

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the token stream."""
        return self.height // self.patch[0], self.width // self.patch[1]

    @property
    def dense_patch(self) -> tuple[int, int]:
        """(height, width) in cells of one token of the pixel stream."""
        return self.pixel_patch or self.patch

    @property
    def dense_grid(self) -> tuple[int, int]:
        """(rows, columns) of the pixel stream."""
        return self.height // self.dense_patch[0], self.width // self.dense_patch[1]

    @property
    def dense_dim(self) -> int:
        """Numbers in one token of the pixel stream."""
        return self.dense_patch[0] * self.dense_patch[1] * self.channels

    @property
    def level_count(self) -> int | None:
        """How many values a cell can take, if they are few enough to be counted: levels or classes."""
        if isinstance(self.cell, Categorical):
            return self.cell.class_count
        return self.cell.levels if isinstance(self.cell, Continuous) and self.cell.channels == 1 else None


class Vector(Entry):
    """A fixed-length array: embeddings, sensor readings, pose parameters."""

    kind: Literal["vector"] = Field(description="a fixed-length array of numbers")
    dim: Count = Field(description="how many numbers")
    ranges: Ranges | None = Field(
        None, description="lowest and highest value: one [lo, hi] for all, or one per number"
    )
    bins: Bins = Field(256, description="bins each range is cut into")
    mean: Numbers | None = Field(None, description="means of the numbers: one for all, or one per number")
    std: Numbers | None = Field(
        None, description="standard deviations of the numbers: one for all, or one per number"
    )
    max_length: Count | None = Field(
        None, description="most vectors of one sample, where its value is a sequence of vectors"
    )
    tokens: Count | None = Field(
        None, description="tokens of a learned codec, or of ids given as they are, if not 16"
    )
    position_rows: Count | None = Field(
        None, description="rows of the position table of a sequence, if not 2 (max_length + 1)"
    )
    names: tuple[str, ...] | None = Field(None, description="names of the numbers")
    units: tuple[str, ...] | None = Field(None, description="units of the numbers")
    shown: tuple[Literal["values", "tokens"], ...] = Field(
        ("tokens",), min_length=1, description="how the model sees it: each entry is a stream"
    )
    vocab_size: Count | None = Field(
        None, description="token ids of a learned or plugin codec, if not the codec's default"
    )

    @property
    def steps(self) -> int:
        """How many vectors one value holds: 1, unless it repeats along axes."""
        return math.prod(self.axes.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one value: (dim,), behind the length of each axis it repeats along."""
        return (*self.axes.values(), self.dim)

    @property
    def labels(self) -> tuple[str, ...]:
        """What to call each number of a value, step by step.

        >>> Vector(kind="vector", dim=2, names=("x", "y"), axes={"time": 2}).labels
        ('x [0]', 'y [0]', 'x [1]', 'y [1]')
        """
        names = self.names or tuple(map(str, range(self.dim)))
        if not self.axes:
            return names
        steps = itertools.product(*map(range, self.axes.values()))
        return tuple(f"{name} {list(step)}" for step in steps for name in names)

    @property
    def range_of_each(self) -> tuple[tuple[float, float], ...] | None:
        """(lo, hi) of every number; None where the file gives no ranges."""
        return self._each(self.ranges)

    @property
    def mean_of_each(self) -> tuple[float, ...] | None:
        return self._each(self.mean)

    @property
    def std_of_each(self) -> tuple[float, ...] | None:
        return self._each(self.std)

    def _each(self, given: tuple[_T, ...] | None) -> tuple[_T, ...] | None:
        return given * self.dim if given is not None and len(given) == 1 else given


class Text(Entry):
    """Strings."""

    kind: Literal["text"] = Field(description="strings")
    vocabulary: str = Field(description="name of the word vocabulary, declared under vocabularies")
    max_tokens: Annotated[int, Field(ge=2, le=2**20)] = Field(
        description="most tokens of one text, its end token included"
    )
    position_rows: Count | None = Field(
        None, description="rows of its position table, if not 2 (max_tokens + 1)"
    )
    target_positions: Count | None = Field(
        None,
        description="how many predicted tokens have a position each, if not all; "
        "later ones share position 0, as in released 4M models",
    )
    views: Count = Field(
        1, description="alternative texts per sample; one is drawn each time a sample is seen"
    )
    shown: tuple[Literal["tokens"], ...] = Field(
        ("tokens",), min_length=1, description="how the model sees it"
    )


class Dialect(Frozen):
    """A set is written in the words of a text, as released 4M models have learned it."""

    name: Literal["4m"] = Field(description="whose words")
    vocabulary: str = Field(description="name of the word vocabulary, declared under vocabularies")
    max_tokens: Annotated[int, Field(ge=2, le=2**20)] = Field(
        description="most tokens of one set, its end token included"
    )
    position_rows: Count | None = Field(
        None, description="rows of its position table, if not 2 (max_tokens + 1)"
    )
    target_positions: Count | None = Field(
        None,
        description="how many predicted tokens have a position each, if not all; "
        "later ones share position 0, as in released 4M models",
    )


class Set(Entry):
    """Zero or more typed records: boxes, instances, poses, palettes, metadata."""

    kind: Literal["set"] = Field(description="zero or more typed records")
    fields: dict[Name, AnyField] = Field(min_length=1, description="what one record is made of, by name")
    max_items: Count = Field(description="most records of one sample; 1 for a single record")
    order: Literal["given", "distance_to_origin", "area", "random"] = Field(
        "given",
        description="order in which records are written: as given, nearest the origin first, "
        "largest area first, or shuffled",
    )
    mirror: tuple[tuple[str, str], ...] = Field(
        (), description="pairs of fields or classes that change places when the image is mirrored"
    )
    dialect: Dialect | None = Field(
        None, description="words it is written in, if not tokens of its own: those of released 4M models"
    )
    shown: tuple[Literal["tokens"], ...] = Field(
        ("tokens",), min_length=1, description="how the model sees it"
    )

    @property
    def tokens_per_item(self) -> int:
        return sum(field.token_count for field in self.fields.values())

    @property
    def max_tokens(self) -> int:
        """Most tokens of one sample, the end token included."""
        return self.dialect.max_tokens if self.dialect else self.max_items * self.tokens_per_item + 1


Modality = Annotated[Image | Vector | Set | Text, Field(discriminator="kind")]
