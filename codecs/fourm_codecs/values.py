"""Values as users have them (arrays, pictures, nested lists, texts) <-> arrays to compute with, and JSON.

Shapes: N values of a batch.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Array
from fourm_schema.errors import CodecError

Float64 = NDArray[np.float64]


NamePlace = Callable[[tuple[int, ...]], str]


def read_stack(
    values: Sequence[object] | Array,
    modality: str,
    shape: tuple[int, ...],
    name_place: NamePlace | None = None,
) -> Float64:
    """Read a batch of arrays of one shape as float64; a channel axis of one may be there or not.

    Args:
        values: arrays, PIL pictures or nested lists of numbers.
        modality: whose values they are; errors name it.
        shape: of one value.
        name_place: place within a value -> its name, for errors; `at [row, column]` when None.

    Returns:
        (N, *shape).

    Raises:
        CodecError: if a value is no array of numbers, has another shape, or holds NaN.
    """
    stack = np.empty((len(values), *shape), np.float64)
    for number, value in enumerate(values):
        stack[number] = _read(value, f"{modality}, value {number}", shape)
    refuse_where(
        np.isnan(stack),
        modality,
        lambda place: ("NaN stands for no value", "nan", "give None for an absent value, or fill it in"),
        name_place,
    )
    return stack


def _read(value: object, where: str, shape: tuple[int, ...]) -> Array:
    plain = shape[:-1] if len(shape) == 3 and shape[-1] == 1 else shape
    wanted = "x".join(map(str, plain))
    if value is None:
        raise CodecError(where, "an absent value has no tokens", mend="leave it out of the batch")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as fault:
        # Lists of unequal lengths; tensors of another device, or that need a gradient.
        got = "lists of unequal lengths" if isinstance(value, list | tuple) else str(fault)
        raise CodecError(where, f"a value is numbers of shape {wanted}", got=got) from None
    if array.dtype.kind not in "biuf":
        raise CodecError(
            where, f"a value is numbers of shape {wanted}", got=f"{type(value).__name__} of {array.dtype}"
        )
    if array.shape != shape:
        if array.shape == (*shape, 1) or (*array.shape, 1) == shape:
            return array.reshape(shape)
        raise CodecError(
            where,
            f"a value has shape {wanted}",
            got="x".join(map(str, array.shape)) or "a single number",
            mend=_reshape(array.shape, plain),
        )
    return array


def _reshape(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if got == wanted[1:]:
        return "encode takes a batch: put a single value in a list"
    if len(got) == len(wanted) == 3 and got == (wanted[2], *wanted[:2]):
        return "put the channels last"
    if len(wanted) >= 2 and len(got) >= 2 and got[2:] in (wanted[2:], (1,)):
        return "resize it, or change `size` in the schema"
    return ""


def refuse_where(
    wrong: NDArray[np.bool_],
    modality: str,
    say: Callable[[tuple[int, ...]], tuple[str, str, str]],
    name_place: NamePlace | None = None,
) -> None:
    """Raise for the first wrong number of a batch, if there is one.

    Args:
        wrong: (N, *shape).
        modality: whose values they are.
        say: place in the batch -> what is wrong, what was found, how to mend it.
        name_place: place within a value -> its name; `at [row, column]` when None.

    Raises:
        CodecError: naming the value's number in the batch and the place within it.
    """
    if not wrong.any():
        return
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    inner = name_place(place[1:]) if name_place else f"at {list(place[1:])}"
    what, got, mend = say(place)
    raise CodecError(f"{modality}, value {place[0]} {inner}", what, got=got, mend=mend)


def show(number: float) -> str:
    """A number as a person writes it: 7, not 7.0.

    >>> show(7.0), show(0.1), show(1e20)
    ('7', '0.1', '1e+20')
    """
    return str(int(number)) if abs(number) < 1e15 and number == int(number) else f"{number:.12g}"
