"""A picture of masks: stream by stream, what the encoder sees and what the decoder predicts.

A grid lies as it lies in the image, a vector and a sequence run in lines. Sentinels stand where they open a
hidden run of a sequence; the last one ends what is predicted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from fourm_codecs.values import show
from fourm_runtime.masking.mixture import Component, Mixture
from fourm_runtime.pictures.colours import hex_colour, srgb
from fourm_runtime.pictures.curves import range_bar
from fourm_runtime.pictures.mask_draw import MaskDraw, StreamDraw
from fourm_runtime.pictures.page import (
    Block,
    Cell,
    Figure,
    Gallery,
    GalleryRow,
    Legend,
    Stack,
    Svg,
    Table,
    Text,
    Tile,
)
from fourm_runtime.pictures.svg import drawing, element, label

CELL = 10.0
LINE_CELLS = 8
"""Cells of a line of a sequence or vector."""

MOST_SEPARATE = 1024
"""Cells of a picture that have a gap between them; more lie side by side, as runs."""

TILE_PX = 104

_MOST_NAMED = 3

# Lightness tells them apart where hue does not.
VISIBLE, PREDICTED, SENTINEL = (
    hex_colour(srgb(*look)) for look in ((0.5, 0.15, 255), (0.8, 0.15, 70), (0.45, 0, 0))
)


def picture_masks(draws: Sequence[MaskDraw], titles: Sequence[str], mixture: Mixture | None = None) -> Block:
    """Draw masks side by side: of one sample in several epochs, or of several samples.

    Args:
        draws: the masks.
        titles: what each is called.
        mixture: what they were drawn from, to say in words what each asks.

    Returns:
        the budgets and components that were drawn, the legend, and one picture per stream and sample.
    """
    assert len(draws) == len(titles), "each draw has a title"
    legend = [("visible", VISIBLE), ("to predict", PREDICTED), ("neither", "#8885"), ("sentinel", SENTINEL)]
    names = list(draws[0].streams) if draws else []
    absent = [name for name in names if not any(draw.streams[name].present for draw in draws)]
    rows = [
        GalleryRow(
            [_tile(draw.streams[name], title) for draw, title in zip(draws, titles, strict=True)], name
        )
        for name in names
        if name not in absent
    ]
    table = budget_table(draws, titles, mixture)
    blocks: list[Block] = [table, Legend(legend), Gallery(rows, titles, TILE_PX)]
    if absent:
        blocks.append(Text(f"Not in this sample: {', '.join(absent)}.", "muted"))
    return Stack(blocks)


def budget_table(draws: Sequence[MaskDraw], titles: Sequence[str], mixture: Mixture | None = None) -> Table:
    """Which component each draw took, what that asks, and how many tokens of its budgets were used."""
    known = _streams_of(mixture) if mixture is not None else ((), ())
    rows: list[list[Cell]] = [
        [
            title,
            draw.component,
            *([said_component(mixture.components[draw.component], *known)] if mixture is not None else []),
            _used(draw.input_tokens, draw.input_budget),
            _used(draw.target_tokens, draw.target_budget),
        ]
        for draw, title in zip(draws, titles, strict=True)
    ]
    asks = ["asks for"] if mixture is not None else []
    return Table(("", "component", *asks, "visible", "to predict"), rows, row_headings=True)


def said_component(component: Component, inputs: Sequence[str], targets: Sequence[str]) -> str:
    """What a component asks, in words.

    Args:
        component: of a mixture.
        inputs, targets: all streams that the mixture ever shows, and all that it ever asks for.

    >>> said_component(Component(1.0, {"a": 9.0}, {"a": 1.0, "b": 1.0}), ["a", "b"], ["a", "b"])
    'anything from a'
    """
    asked = _said_streams(component.target_alphas, targets)
    return f"{asked} from {_said_streams(component.input_alphas, inputs)}"


def _said_streams(alphas: Mapping[str, float], known: Sequence[str]) -> str:
    names = [name for name, alpha in alphas.items() if alpha]
    lacking = [name for name in known if name not in names]
    if len(known) > 1 and not lacking:
        return "anything"
    if lacking and len(names) > _MOST_NAMED and len(lacking) <= _MOST_NAMED:
        return f"anything but {', '.join(lacking)}"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (", ".join(names[:_MOST_NAMED]) + more) or "nothing"


def _streams_of(mixture: Mixture) -> tuple[list[str], list[str]]:
    """All streams that a mixture ever shows, and all that it ever asks for."""
    shown = (name for one in mixture.components for name, alpha in one.input_alphas.items() if alpha)
    asked = (name for one in mixture.components for name, alpha in one.target_alphas.items() if alpha)
    return list(dict.fromkeys(shown)), list(dict.fromkeys(asked))


def mixture_table(mixture: Mixture) -> Table:
    """The components of a mixture, and how often each is drawn."""
    total = sum(component.weight for component in mixture.components)
    known = _streams_of(mixture)
    rows: list[list[Cell]] = [
        [
            str(number),
            said_component(component, *known),
            f"{component.weight / total:.0%}",
            said_alphas(component.input_alphas),
            said_alphas(component.target_alphas),
            _said_keep(component),
        ]
        for number, component in enumerate(mixture.components)
    ]
    (in_least, in_most), (out_least, out_most) = mixture.input_budget, mixture.target_budget
    caption = f"tokens per sample: {in_least} to {in_most} visible, {out_least} to {out_most} to predict"
    headers = ("component", "asks for", "drawn", "shows (concentration)", "predicts", "keeps of sequences")
    return Table(headers, rows, caption, row_headings=True)


def said_alphas(alphas: Mapping[str, float]) -> str:
    """Concentrations in words: streams of one concentration together.

    >>> said_alphas({"a.tokens": 1000.0, "b.tokens": 0.5, "c.tokens": 0.5, "d.tokens": 0.0})
    'a.tokens (1000); b.tokens, c.tokens (0.5)'
    """
    names: dict[float, list[str]] = {}
    for name, alpha in alphas.items():
        names.setdefault(alpha, []).append(name)
    return "; ".join(f"{', '.join(names[alpha])} ({show(alpha)})" for alpha in names if alpha) or "nothing"


def _used(tokens: int, budget: int) -> Block:
    bar = range_bar(tokens, 0, max(budget, 1), named=False)
    return Stack([Text(f"{tokens} of {budget}"), Figure(bar)])


def _said_keep(component: Component) -> str:
    names: dict[str, list[str]] = {}
    for name, keep in component.keep.items():
        names.setdefault(keep, []).append(name)
    return "; ".join(f"{keep}: {', '.join(streams)}" for keep, streams in names.items())


def _tile(draw: StreamDraw, title: str) -> Tile:
    if not draw.present:
        return Tile(Text("absent", "muted"))
    used = (
        ("shows", draw.input_tokens, draw.input_budget),
        ("predicts", draw.target_tokens, draw.target_budget),
    )
    said = [f"{verb} {tokens} of {budget}" for verb, tokens, budget in used if budget]
    return Tile(picture_stream(draw, title), "\n".join(said) or "no token")


def picture_stream(draw: StreamDraw, title: str) -> Svg:
    """The tokens of one stream of one sample."""
    alt = (
        f"{draw.stream.name}, {title}: of {draw.length} tokens "
        f"{draw.visible.sum()} visible, {draw.predicted.sum()} to predict"
    )
    grid = draw.stream.grid
    if grid is not None and len(grid) == 2:
        rows, columns = grid
        places = np.stack(np.divmod(np.arange(rows * columns), columns)[::-1], axis=1)
        signs: list[tuple[int, int]] = []
    else:
        places, signs = _in_lines(draw)
        columns = LINE_CELLS
        rows = -(-(len(places) + len(signs)) // columns)
    parts = list(_cells(draw, places))
    for place, number in signs:
        parts += _sentinel(place % columns, place // columns, number)
    return Svg(drawing(columns * CELL, max(rows, 1) * CELL, *parts), alt, TILE_PX)


def _in_lines(draw: StreamDraw) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """(L, 2) column and row of each token, and (place, number) of each sentinel among them."""
    before = np.searchsorted([place for place, _ in draw.sentinels], np.arange(draw.length), side="right")
    flat = np.arange(draw.length) + before
    signs = [(place + rank, number) for rank, (place, number) in enumerate(draw.sentinels)]
    return np.stack(np.divmod(flat, LINE_CELLS)[::-1], axis=1), signs


def _cells(draw: StreamDraw, places: np.ndarray) -> Iterator[Element]:
    neither = ~draw.visible & ~draw.predicted
    gap = 1.0 if draw.length <= MOST_SEPARATE else 0.0
    for chosen, look in (
        (draw.visible, {"fill": VISIBLE}),
        (draw.predicted, {"fill": PREDICTED}),
        (neither, {"opacity": "0.14"}),
    ):
        if chosen.any():
            yield element("path", d=_squares(places[chosen], gap), **look)


def _squares(places: np.ndarray, gap: float) -> str:
    """A path of squares; without a gap, those that touch in a line are one."""
    parts = []
    for x, y, width in _runs(places) if not gap else ((x, y, 1) for x, y in places.tolist()):
        wide, high = width * CELL - gap, CELL - gap
        parts.append(f"M{x * CELL:g} {y * CELL:g}h{wide:g}v{high:g}h{-wide:g}z")
    return "".join(parts)


def _runs(places: np.ndarray) -> Iterable[tuple[int, int, int]]:
    """(column, row, cells) of what touches in a line; places are in reading order."""
    starts = np.ones(len(places), np.bool_)
    starts[1:] = (np.diff(places[:, 0]) != 1) | (np.diff(places[:, 1]) != 0)
    firsts = np.flatnonzero(starts)
    lengths = np.diff(np.append(firsts, len(places)))
    for first, length in zip(firsts.tolist(), lengths.tolist(), strict=True):
        yield int(places[first, 0]), int(places[first, 1]), length


def _sentinel(column: int, row: int, number: int) -> Iterator[Element]:
    x, y = column * CELL, row * CELL
    yield element("rect", x=x, y=y, width=CELL - 1, height=CELL - 1, rx=3, fill=SENTINEL)
    size = 7 if number < 10 else 5
    yield label(x + (CELL - 1) / 2, y + 6.9, str(number), size, "middle", fill="white")
