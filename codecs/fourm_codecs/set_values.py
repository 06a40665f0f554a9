"""One field of a record: what a user writes <-> the bins, classes and pieces that its tokens count.

Each form reads a raw value into places (numbers of bins, classes or word pieces) and writes places as a
value again; how places become ids is the grammar's matter.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, cast

import attrs
import numpy as np

from fourm_codecs.base import FieldValue
from fourm_codecs.scale import ROUNDING, Scale
from fourm_codecs.set_faults import raise_faults
from fourm_codecs.values import show
from fourm_codecs.vocabulary import WordVocabulary
from fourm_codecs.wordpiece import WordPieceCodec
from fourm_schema.errors import CodecError, Fault
from fourm_schema.set_fields import (
    AngleField,
    AnyField,
    BoxField,
    CategoryField,
    NumberField,
    PointField,
    VectorField,
)

T = TypeVar("T")

CORNERS = ("x0", "y0", "x1", "y1")

UNKNOWN_WORD = -1
"""The place of a word that no pieces spell."""


class Form(Protocol):
    """How the values of one field are read and written."""

    def read(self, value: object, where: str) -> list[int]:
        """The places of a raw value.

        Raises:
            CodecError: if the field cannot hold the value; it starts with `where`.
        """
        ...

    def write(self, places: Sequence[int]) -> FieldValue:
        """The value at some places; reading it gives the places again."""
        ...

    def promise(self) -> str:
        """What a decoded value keeps of the raw one."""
        ...

    def apart(self, value: object, back: object) -> str:
        """How `back` breaks the promise for `value`, both readable; empty if it does not."""
        ...


@attrs.frozen
class NumberForm:
    """A number."""

    scale: Scale

    def read(self, value: object, where: str) -> list[int]:
        return [self.scale.place(self.scale.inside(number_of(value, where), where))]

    def write(self, places: Sequence[int]) -> float:
        return self.scale.middle(places[0])

    def promise(self) -> str:
        return self.scale.promise()

    def apart(self, value: object, back: object) -> str:
        return self.scale.apart(number_of(value, ""), number_of(back, ""))


@attrs.frozen
class AngleForm:
    """An angle; any number of turns is taken off, and bin 0 is centred on 0.

    Attributes:
        bins: of the circle.
        turn: one turn in the field's unit.
        unit: the unit.
    """

    bins: int
    turn: float
    unit: str

    def read(self, value: object, where: str) -> list[int]:
        share = math.fmod(number_of(value, where), self.turn) / self.turn
        return [math.floor(share * self.bins + 0.5) % self.bins]

    def write(self, places: Sequence[int]) -> float:
        return places[0] * self.turn / self.bins

    def promise(self) -> str:
        return f"{self.turn / self.bins / 2:.3g} {self.unit}"

    def apart(self, value: object, back: object) -> str:
        given, got = number_of(value, ""), number_of(back, "")
        off = abs(math.remainder(math.remainder(given, self.turn) - got, self.turn))
        if off <= self.turn / self.bins / 2 + ROUNDING * self.turn:
            return ""
        return f"{show(given)} came back as {show(got)}, more than half a bin apart"


@attrs.frozen
class CategoryForm:
    """One of a few classes, by name; by number where the schema only counts them.

    Attributes:
        names: of the classes.
        counted: the schema gives their number, not their names.
        places: the place of each name.
    """

    names: tuple[str, ...]
    counted: bool
    places: dict[str, int] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "places", {name: place for place, name in enumerate(self.names)})

    def read(self, value: object, where: str) -> list[int]:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        name = str(value) if isinstance(value, str) or (whole and self.counted) else None
        if name is not None and name in self.places:
            return [self.places[name]]
        if self.counted:
            raise CodecError(where, f"is a class number from 0 to {len(self.names) - 1}", got=_got(value))
        if name is None:
            raise CodecError(where, "is the name of a class", got=_got(value), mend=self._known())
        close = difflib.get_close_matches(name, self.names, n=1)
        mend = f"did you mean {close[0]!r}? {self._known()}" if close else self._known()
        raise CodecError(where, "is none of the classes", got=_got(name), mend=mend)

    def write(self, places: Sequence[int]) -> str | int:
        return places[0] if self.counted else self.names[places[0]]

    def promise(self) -> str:
        return ""

    def apart(self, value: object, back: object) -> str:
        return "" if str(value) == str(back) else f"{value!r} came back as {back!r}"

    def _known(self) -> str:
        """The names, as many as one reads."""
        shown = 12
        more = f" and {len(self.names) - shown} more" if len(self.names) > shown else ""
        return f"known: {', '.join(self.names[:shown])}{more}"


@attrs.frozen
class NumbersForm:
    """Several numbers of one scale: a point, a vector.

    Attributes:
        scale: of each number.
        count: how many.
    """

    scale: Scale
    count: int

    def read(self, value: object, where: str) -> list[int]:
        return [self.scale.place(number) for number in numbers_inside(self.scale, value, self.count, where)]

    def write(self, places: Sequence[int]) -> list[float]:
        return [self.scale.middle(place) for place in places]

    def promise(self) -> str:
        return self.scale.promise()

    def apart(self, value: object, back: object) -> str:
        given, got = numbers_of(value, self.count, ""), numbers_of(back, self.count, "")
        return _all_apart(self.scale, [f"[{k}]" for k in range(self.count)], given, got)


@attrs.frozen
class BoxForm:
    """An upright box, read in the field's convention and counted in corners x0, y0, x1, y1.

    Attributes:
        scale: of each coordinate.
        field: knows what the four numbers of a raw box are.
    """

    scale: Scale
    field: BoxField

    def read(self, value: object, where: str) -> list[int]:
        x0, y0, x1, y1 = corners = self.field.corners(numbers_of(value, 4, where))
        faults = []
        for low, high, axis, size in ((x0, x1, "x", "width"), (y0, y1, "y", "height")):
            if low > high:
                corners_given = self.field.convention == "xyxy"
                what = f"{axis}0 is at most {axis}1" if corners_given else f"its {size} is 0 or more"
                got = f"{show(low)} and {show(high)}" if corners_given else show(high - low)
                faults.append(Fault(where, what, got, f"this field's boxes are {self.field.convention}"))
        raise_faults(where, faults)
        inside = _all(self.scale.inside, corners, [f"{where} {name}" for name in CORNERS])
        return [self.scale.place(number) for number in inside]

    def write(self, places: Sequence[int]) -> list[float]:
        return self.field.of_corners([self.scale.middle(place) for place in places])

    def promise(self) -> str:
        return f"{self.scale.promise()} per corner"

    def apart(self, value: object, back: object) -> str:
        given, got = (self.field.corners(numbers_of(box, 4, "")) for box in (value, back))
        return _all_apart(self.scale, CORNERS, given, got)


@attrs.frozen
class TextForm:
    """A short text as word pieces."""

    words: WordPieceCodec

    def read(self, value: object, where: str) -> list[int]:
        try:
            ids = self.words.encode([value]).ids.tolist()
        except CodecError as error:
            fault = error.faults[0]
            raise CodecError(where, fault.what, fault.got, fault.mend) from None
        special = self.words.vocabulary.special
        return [
            UNKNOWN_WORD if identity == special.unknown else identity - special.size for identity in ids[:-1]
        ]

    def write(self, places: Sequence[int]) -> str:
        """The canonical text, cut after the last word that still fits when it is read again.

        Pieces in an order no encoder writes may spell words that take more of them.
        """
        return str(attrs.evolve(self.words, out_of_range="clip").law.normalise(self._text(places)))

    def fits(self, places: Sequence[int]) -> bool:
        """Whether the text that the pieces spell is no longer than the field allows."""
        return len(self.words.vocabulary.pieces_of([self._text(places)])[0]) < self.words.max_tokens

    def promise(self) -> str:
        return ""

    def apart(self, value: object, back: object) -> str:
        return "; ".join(self.words.law.check(value, back))

    def _text(self, places: Sequence[int]) -> str:
        special = self.words.vocabulary.special
        ids = [special.unknown if place == UNKNOWN_WORD else special.size + place for place in places]
        return self.words.vocabulary.text_of(ids)


def form_of(name: str, field: AnyField, vocabulary: WordVocabulary | None, clip: bool, where: str) -> Form:
    """The form of a declared field that is not written in learned codes.

    Args:
        name: of the field.
        field: what the schema says of it.
        vocabulary: what texts are written in.
        clip: values outside what is declared are clipped.
        where: the modality; errors start with it.

    Raises:
        CodecError: if the bins of a number are too fine, or the vocabulary of a text is not trained yet.
    """
    here = f"{where}, field {name!r}"
    match field:
        case NumberField():
            return NumberForm(_scale(field, here, clip))
        case AngleField():
            return AngleForm(field.bins, 360.0 if field.unit == "degree" else math.tau, field.unit)
        case CategoryField():
            return CategoryForm(field.names, isinstance(field.classes, int))
        case BoxField():
            return BoxForm(Scale.of_range(*field.range, field.bins, here, clip), field)
    if field.type == "text":
        if vocabulary is None:
            raise CodecError(
                here,
                f"its vocabulary {field.vocabulary!r} is not trained yet",
                mend="train it (`fourm codec train`) and pass it: vocabularies={name: vocabulary}",
            )
        return TextForm(WordPieceCodec(here, vocabulary, field.max_tokens, "clip" if clip else "error"))
    assert isinstance(field, PointField | VectorField), "learned fields have a form of their own"
    return NumbersForm(Scale.of_range(*field.range, field.bins, here, clip), field.token_count)


def _scale(field: NumberField, where: str, clip: bool) -> Scale:
    if field.edges is not None:
        scale = Scale(field.edges, clip=clip).checked(where)
    else:
        assert field.range is not None, "a number has a range or edges"
        scale = Scale.of_range(*field.range, field.bins, where, clip, log=field.scale == "log")
    return attrs.evolve(scale, unit=field.unit or "")


def number_of(value: object, where: str) -> float:
    """A finite number.

    Raises:
        CodecError: if the value is none.
    """
    number = math.nan
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not math.isfinite(number):
        raise CodecError(where, "is a finite number", got=_got(value))
    return number


def numbers_of(value: object, count: int, where: str) -> list[float]:
    """So many finite numbers.

    Raises:
        CodecError: if the value is no list of them; each number that is none is named.
    """
    flat = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)
    items = list(cast("Sequence[object]", value)) if flat else None
    if items is None or len(items) != count:
        got = _got(value) if items is None else str(len(items))
        raise CodecError(where, f"is a list of {count} numbers", got=got)
    return _all(number_of, items, [f"{where} at [{k}]" for k in range(count)])


def numbers_inside(scale: Scale, value: object, count: int, where: str) -> list[float]:
    """So many numbers of a range, moved into it if they may be.

    Raises:
        CodecError: if the value is no list of them; each number that is wrong is named.
    """
    wheres = [f"{where} at [{place}]" for place in range(count)]
    return _all(scale.inside, numbers_of(value, count, where), wheres)


def _all(read: Callable[[T, str], float], values: Sequence[T], wheres: Sequence[str]) -> list[float]:
    """Read several values; what is wrong with any is told together."""
    numbers: list[float] = []
    faults: list[Fault] = []
    for value, where in zip(values, wheres, strict=True):
        try:
            numbers.append(read(value, where))
        except CodecError as error:
            faults += error.faults
    raise_faults(wheres[0], faults)
    return numbers


def _all_apart(scale: Scale, names: Sequence[str], given: Sequence[float], got: Sequence[float]) -> str:
    """Which of several numbers are too far off, all of them shown: two that changed places show as such."""
    pairs = zip(names, given, got, strict=True)
    off = [name for name, number, back in pairs if scale.apart(number, back)]
    if not off:
        return ""
    what = f"{_listed(given)} came back as {_listed(got)}"
    return f"{what}, more than half a bin apart at {', '.join(off[:4])}"


def _listed(numbers: Sequence[float]) -> str:
    most = 6
    more = ", ..." if len(numbers) > most else ""
    return f"({', '.join(show(number) for number in numbers[:most])}{more})"


def _got(value: object) -> str:
    written = repr(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)
    return written if len(written) <= 60 else written[:57] + "..."
