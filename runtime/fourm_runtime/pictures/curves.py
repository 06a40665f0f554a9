"""Small charts: curves over steps, bars side by side. Readable on a phone, in light and dark."""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.values import show
from fourm_runtime.pictures.axes import Axis, axis_of, number_label
from fourm_runtime.pictures.colours import series_colour
from fourm_runtime.pictures.page import Svg
from fourm_runtime.pictures.raster import shares
from fourm_runtime.pictures.svg import drawing, element, label

WIDTH, HEIGHT = 420.0, 250.0
SHOWN_PX = 560
MOST_BARS = 160
"""Bars that can be told apart; of more values, neighbours share a bar that shows their mean."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 10.0, 10.0, 38.0
_LETTER = 6.2
_BAR = 96.0
_BUCKETS = 360

Float64 = NDArray[np.float64]


@attrs.frozen(eq=False)
class Series:
    """One curve.

    Attributes:
        name: what the legend calls it.
        xs, ys: as many numbers; a NaN, an infinity, or (on a log axis) what is not above 0 leaves a gap.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]

    def __attrs_post_init__(self) -> None:
        assert len(self.xs) == len(self.ys), "a point has an x and a y"


@attrs.frozen(eq=False)
class _Frame:
    """The plane between the axes."""

    x: Axis
    y: Axis
    top: float

    def across(self, share: float | Float64) -> float | Float64:
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def down(self, share: float | Float64) -> float | Float64:
        return HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - self.top)


def line_chart(
    series: Sequence[Series],
    alt: str,
    *,
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
) -> Svg:
    """Curves over one axis.

    Args:
        series: the curves; a legend names them where there are several.
        alt: what the chart shows, for those who cannot see it.
        x_label, y_label: what the axes count, with the unit.
        log_x, log_y: equal ratios are equally far apart.

    Returns:
        the chart. A curve of very many points is drawn by the extremes of its parts.
    """
    points = [_points(each, log_x, log_y) for each in series]
    xs = np.concatenate([np.zeros(0), *(x for x, _ in points)])
    ys = np.concatenate([np.zeros(0), *(y for _, y in points)])
    known = np.isfinite(xs) & np.isfinite(ys)
    if not known.any():
        return _empty(alt)
    legend, top = _legend([each.name for each in series]) if len(series) > 1 else ([], _TOP)
    frame = _Frame(axis_of(xs[known], log_x), axis_of(ys[known], log_y), top)
    parts = [*legend, *_axes(frame, x_label, y_label)]
    for number, (x, y) in enumerate(points):
        parts += _curve(frame, x, y, series_colour(number))
    return Svg(drawing(WIDTH, HEIGHT, *parts), alt, SHOWN_PX)


def bar_chart(
    values: Sequence[float],
    alt: str,
    *,
    labels: Sequence[str] = (),
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
) -> Svg:
    """Bars side by side, e.g. how often each id of a codebook is used.

    Args:
        values: height of each bar; one that is not finite, or (with `log_y`) not above 0, is left out.
        alt: what the chart shows, for those who cannot see it.
        labels: what stands under each bar; empty counts them.
        x_label, y_label: what the axes count, with the unit.
        log_y: equal ratios are equally high.

    Returns:
        the chart. Of more than 160 values, neighbours share a bar that shows their mean.
    """
    heights, per_bar = _joined(np.asarray(values, np.float64))
    if log_y:
        # Below the smallest normal number halves are 0, and 0 has no logarithm.
        heights = np.where(heights > 0, np.maximum(heights, 2 * np.finfo(np.float64).tiny), np.nan)
    known = heights[np.isfinite(heights)]
    if not len(known):
        return _empty(alt)
    # A bar stands on 0; a log axis has none, and begins where the lowest bar can still be seen.
    spread = np.append(known, known.min() / 2 if log_y else 0.0)
    frame = _Frame(axis_of(np.array([0.0, len(values)]), False), axis_of(spread, log_y), _TOP)
    foot = float(frame.down(0.0 if log_y else frame.y.share(0.0)))
    step = float(frame.across(1.0) - _LEFT) / len(heights)
    parts = list(_axes(frame, x_label, y_label, x_ticks=not labels))
    for number, height in enumerate(heights.tolist()):
        if math.isfinite(height):
            end = float(frame.down(frame.y.share(height)))
            bar = element(
                "rect", x=_LEFT + step * (number + 0.1), y=min(end, foot), width=0.8 * step,
                height=abs(end - foot), fill=series_colour(0),
            )  # fmt: skip
            parts.append(bar)
    if labels:
        assert len(labels) == len(values), "each bar has a label"
        parts += _bar_labels([labels[k * per_bar] for k in range(len(heights))], step)
    return Svg(drawing(WIDTH, HEIGHT, *parts), alt, SHOWN_PX)


def range_bar(number: float, low: float, high: float, named: bool = True) -> Svg:
    """One number within its range: a bar from zero, or from the end nearer to it.

    Args:
        number: a finite number; one outside the range is drawn at its end.
        low, high: the range.
        named: the ends stand below the bar.

    Returns:
        the bar, for a cell of a table: the number itself stands in the next one.
    """
    x, origin = (_BAR * shares(np.array([number, min(max(0.0, low), high)]), low, high)).tolist()
    left, right = min(x, origin), max(x, origin)
    parts = [
        element("rect", x=0, y=5, width=_BAR, height=6, rx=3, opacity=0.15),
        element("rect", x=left, y=5, width=max(right - left, 0.5), height=6, fill=series_colour(0)),
        element("rect", x=min(max(x - 1, 0), _BAR - 2), y=2, width=2, height=12, fill=series_colour(0)),
    ]
    if named:
        parts.append(label(0, 24, show(low), 10, opacity=0.7))
        parts.append(label(_BAR, 24, show(high), 10, "end", opacity=0.7))
    alt = f"range {show(low)} to {show(high)}" if named else ""
    return Svg(drawing(_BAR, 26 if named else 16, *parts), alt, int(_BAR))


def _points(series: Series, log_x: bool, log_y: bool) -> tuple[Float64, Float64]:
    """The points of a curve, at most two per bucket, NaN where there is a gap."""
    xs, ys = np.asarray(series.xs, np.float64), np.asarray(series.ys, np.float64)
    gap = ~np.isfinite(xs) | ~np.isfinite(ys) | (log_x & (xs <= 0)) | (log_y & (ys <= 0))
    ys = np.where(gap, np.nan, ys)
    if len(ys) <= 2 * _BUCKETS:
        return xs, ys
    kept: list[int] = []
    for part in np.array_split(np.arange(len(ys)), _BUCKETS):
        if np.isnan(ys[part]).all():
            kept.append(int(part[0]))
        else:
            kept += sorted({int(part[np.nanargmin(ys[part])]), int(part[np.nanargmax(ys[part])])})
    return xs[kept], ys[kept]


def _curve(frame: _Frame, xs: Float64, ys: Float64, colour: str) -> list[Element]:
    """One line per run of known points; a point between gaps is a dot."""
    known = np.flatnonzero(~np.isnan(ys))
    parts: list[Element] = []
    for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        places = [
            (float(frame.across(frame.x.share(x))), float(frame.down(frame.y.share(y))))
            for x, y in zip(xs[run].tolist(), ys[run].tolist(), strict=True)
        ]
        if len(places) == 1:
            parts.append(element("circle", cx=places[0][0], cy=places[0][1], r=2.5, fill=colour))
        elif places:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            line = element(
                "polyline", points=path, fill="none", stroke=colour, stroke_width=1.8, stroke_linejoin="round"
            )
            parts.append(line)
    return parts


def _axes(frame: _Frame, x_label: str, y_label: str, x_ticks: bool = True) -> list[Element]:
    left, right = float(frame.across(0.0)), float(frame.across(1.0))
    floor, parts = float(frame.down(0.0)), list[Element]()
    for tick in frame.y.ticks:
        y = float(frame.down(frame.y.share(tick)))
        parts.append(element("line", x1=left, x2=right, y1=y, y2=y, stroke="currentColor", opacity=0.15))
        parts.append(label(left - 5, y + 4, number_label(tick), 11, "end"))
    for tick in frame.x.ticks if x_ticks else ():
        x = float(frame.across(frame.x.share(tick)))
        parts.append(element("line", x1=x, x2=x, y1=floor, y2=floor + 4, stroke="currentColor", opacity=0.5))
        parts.append(label(x, floor + 16, number_label(tick), 11, "middle"))
    parts.append(element("line", x1=left, x2=right, y1=floor, y2=floor, stroke="currentColor", opacity=0.5))
    if x_label:
        parts.append(label((left + right) / 2, HEIGHT - 5, x_label, 12, "middle"))
    if y_label:
        middle = (floor + frame.top) / 2
        turned = {"transform": f"rotate(-90 11 {middle:.1f})"}
        parts.append(label(11, middle, y_label, 12, "middle", **turned))
    return parts


def _legend(names: Sequence[str]) -> tuple[list[Element], float]:
    """The names with their colours, in as many lines as they need, and where the plane may begin."""
    parts, x, y = list[Element](), _LEFT, 14.0
    for number, name in enumerate(names):
        said = name if len(name) <= 40 else f"{name[:39]}…"
        room = 22 + _LETTER * len(said)
        if x > _LEFT and x + room > WIDTH - _RIGHT:
            x, y = _LEFT, y + 17
        colour = series_colour(number)
        parts.append(element("rect", x=x, y=y - 7, width=12, height=4, fill=colour))
        parts.append(label(x + 16, y, said))
        x += room
    return parts, y + 10


def _bar_labels(labels: Sequence[str], step: float) -> list[Element]:
    """As many labels as there is room for, evenly spread."""
    floor = HEIGHT - _BOTTOM
    every = max(1, math.ceil(_LETTER * (max(map(len, labels)) + 1) / step))
    return [
        label(_LEFT + step * (number + 0.5), floor + 16, text, 11, "middle")
        for number, text in enumerate(labels)
        if number % every == 0
    ]


def _joined(values: Float64) -> tuple[Float64, int]:
    """The means of as many neighbours as bars need, and how many that are."""
    per_bar = max(1, math.ceil(len(values) / MOST_BARS))
    if per_bar == 1:
        return values, 1
    firsts = np.arange(0, len(values), per_bar)
    sizes = np.diff(np.append(firsts, len(values)))
    return np.add.reduceat(values, firsts) / sizes, per_bar


def _empty(alt: str) -> Svg:
    text = label(WIDTH / 2, HEIGHT / 2, "no values", 14, "middle")
    return Svg(drawing(WIDTH, HEIGHT, text), alt, SHOWN_PX)
