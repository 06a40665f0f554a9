"""Laws of dense views: a model sees the numbers of the value, at the places and on the scale declared."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from fourm_codecs.dense import DenseView
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import Subject, has_view
from fourm_schema.lawbook.article import Article, Broken, Draw, article, require
from fourm_schema.modality import Continuous, Direction, Image, Vector

ROUNDING = float(np.finfo(np.float32).eps)
SMALLEST = float(np.finfo(np.float32).tiny)


def has_unit_scale(tested: Subject) -> bool:
    """Whether a range is brought to [-1, 1]."""
    view, entry = tested.view, tested.entry
    standardised = isinstance(entry, Image | Vector) and (entry.mean is not None or entry.std is not None)
    return view is not None and view.ranges is not None and not standardised


def is_image_view(tested: Subject) -> bool:
    return tested.view is not None and isinstance(tested.entry, Image)


@article(has_view)
def dense_views_are_inverse(tested: Subject, draw: Draw) -> None:
    """Dense tokens are turned back into the value, up to the rounding of float32."""
    view, value = _view(tested), _rows(tested, draw(tested.values))
    tokens = view.encode(value)
    back = view.decode(tokens)
    # The tokens are rounded on their own scale, the value on its.
    scale = np.asarray(view.scale)
    largest = np.abs(tokens).max(initial=0.0) * scale.max() + np.abs(np.asarray(view.centre)).max()
    for one, other in zip(value, back, strict=True):
        given = np.asarray(one, np.float64).reshape(np.shape(other))
        off = np.abs(given - other)
        if not off.max(initial=0.0) <= max(4 * ROUNDING * largest, SMALLEST):
            told = f"{given.flat[off.argmax()]:.9g} came back as {other.flat[off.argmax()]:.9g}"
            raise Broken(f"{told}; the value: {show(one)}")


@article(has_unit_scale)
def ranges_become_one(tested: Subject, draw: Draw) -> None:
    """The ends of a declared range become -1 and 1, and nothing lies outside."""
    view = _view(tested)
    tokens = view.encode(_rows(tested, draw(tested.values)))
    largest = np.abs(tokens).max(initial=0.0)
    require(largest <= 1 + ROUNDING, f"a dense number is {largest}")
    assert view.ranges is not None
    for end, wanted in ((0, -1.0), (1, 1.0)):
        ends = np.broadcast_to([each[end] for each in view.ranges], view.shape)
        numbers = view.encode([ends])
        require(
            np.allclose(numbers, wanted, rtol=0, atol=4 * ROUNDING),
            f"an end of the range becomes {numbers.flat[0]}",
        )


@article(has_view)
def dense_numbers_are_on_their_scale(tested: Subject, draw: Draw) -> None:
    """A dense number is the value's number less its mean, over its deviation, as declared."""
    view, entry = _view(tested), tested.entry
    values = _rows(tested, draw(tested.values))
    tokens = view.encode(values)
    for number, value in enumerate(values):
        cells = np.asarray(value, np.float64).reshape(view.shape)
        centre, scale = _declared_scale(entry, view)
        wanted = (cells - centre) / scale
        found = view.assemble(tokens[number : number + 1])[0]
        slack = 4 * ROUNDING * max(1.0, float(np.abs(centre / scale).max()))
        if not np.allclose(found, wanted, rtol=4 * ROUNDING, atol=slack):
            place = tuple(int(k) for k in np.unravel_index(np.abs(found - wanted).argmax(), found.shape))
            told = f"{cells[place]:.9g} at {list(place)} is shown as {found[place]:.9g}"
            raise Broken(f"{told}, declared is {wanted[place]:.9g}; the value: {show(value)}")


@article(has_view)
def dense_tokens_have_their_shape(tested: Subject, draw: Draw) -> None:
    """Dense tokens are float32, as many and as wide as the plan says."""
    view = _view(tested)
    values = _rows(tested, draw(tested.values))
    tokens = view.encode(values)
    require(tokens.dtype == np.float32, f"dense tokens are {tokens.dtype}")
    stream = tested.dense_stream
    count, dim = view.token_count, view.token_dim
    if stream is not None:
        count, dim = stream.length if stream.layout == "grid" else 1, stream.dense_dim or 0
    require(
        tokens.shape == (len(values), count, dim), f"{tokens.shape} in place of {(len(values), count, dim)}"
    )


@article(is_image_view)
def patches_lie_row_by_row(tested: Subject, draw: Draw) -> None:
    """A patch is a token, row by row; within it rows, columns, channels, in this order."""
    view, entry = _view(tested), tested.entry
    assert isinstance(entry, Image)
    cells = np.arange(entry.cell_count * entry.channels).reshape(*entry.size, entry.channels)
    patches = view.patches(cells[None])[0]
    row, column = (draw(st.integers(0, side - 1)) for side in entry.size)
    channel = draw(st.integers(0, entry.channels - 1))
    (height, width), columns = entry.dense_patch, entry.dense_grid[1]
    token = row // height * columns + column // width
    number = (row % height * width + column % width) * entry.channels + channel
    told = f"[{row}, {column}, {channel}] is not number {number} of token {token}"
    require(patches[token, number] == cells[row, column, channel], told)


DENSE_LAWS: tuple[Article[Subject], ...] = (
    dense_views_are_inverse,
    ranges_become_one,
    dense_numbers_are_on_their_scale,
    dense_tokens_have_their_shape,
    patches_lie_row_by_row,
)


def _view(tested: Subject) -> DenseView:
    assert tested.view is not None, "it is shown dense"
    return tested.view


def _rows(tested: Subject, value: Any) -> list[Any]:
    """What the view takes: the value, or the vectors of a sequence."""
    return list(value) if tested.is_sequence_of_vectors else [value]


def _declared_scale(entry: Any, view: DenseView) -> tuple[Any, Any]:
    """Centre and scale by the declaration alone, for numbers in a value's shape."""
    if isinstance(entry, Image | Vector) and (entry.mean is not None or entry.std is not None):
        mean = entry.mean if entry.mean is not None else (0.0,)
        std = entry.std if entry.std is not None else (1.0,)
        return np.asarray(mean), np.asarray(std)
    ranges: Any = None
    if isinstance(entry, Image) and isinstance(entry.cell, Continuous):
        ranges = [entry.cell.range]
    elif isinstance(entry, Image) and isinstance(entry.cell, Direction):
        ranges = [(-1.0, 1.0)]
    elif isinstance(entry, Vector):
        ranges = entry.range_of_each
    elif entry is None:
        return np.asarray(view.centre), np.asarray(view.scale)
    if ranges is None:
        return np.zeros(1), np.ones(1)
    low, high = np.asarray(ranges, np.float64).T
    return (low + high) / 2, (high - low) / 2
