"""Values as a person reads them in a counter-example: short, and with the place that matters."""

import numpy as np

from fourm_codecs.values import show as show_number

LONGEST = 300
"""Characters of a shown value."""

FEW = 8
"""Numbers that are listed one by one."""

ODD = 5
"""Places of a large array that are named."""


def show(value: object) -> str:
    """A value in a few words: a short array by its numbers, a large one by what differs in it.

    >>> image = np.zeros((4, 4))
    >>> image[2, 1] = 0.5
    >>> show(image)
    'an array 4x4: 0 everywhere but 0.5 at [2, 1]'
    >>> show([{"box": [0.1, 0.2, 0.3, 0.4], "label": "dog"}])
    "[{'box': [0.1, 0.2, 0.3, 0.4], 'label': 'dog'}]"
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return _array(value)
    text = repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _array(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    shape = "x".join(map(str, array.shape))
    if array.size <= FEW:
        return f"{array.dtype} {array.tolist()}"
    numbers, counts = np.unique(array, return_counts=True)
    usual = numbers[counts.argmax()]
    # NaN is no number's equal, and so differs from what is usual.
    odd = np.argwhere(array != usual)
    if not len(odd):
        return f"an array {shape}: {_number(usual)} everywhere"
    told = [f"{_number(array[tuple(place)])} at {place.tolist()}" for place in odd[:ODD]]
    if len(odd) <= ODD:
        return f"an array {shape}: {_number(usual)} everywhere but {', '.join(told)}"
    return f"an array {shape}: many numbers, such as {', '.join(told[:3])}"


def _number(number: object) -> str:
    held = float(number)  # type: ignore[arg-type]  # an element of an array of numbers
    return show_number(held) if np.isfinite(held) else str(held)
