"""Very small charts, for a cell of a table or a tile: how numbers lie, how often classes occur."""

from collections.abc import Mapping, Sequence

from fourm_codecs.values import show
from fourm_runtime.pictures.colours import series_colour
from fourm_runtime.pictures.page import Svg
from fourm_runtime.pictures.svg import drawing, element, label

WIDTH, HEIGHT = 200.0, 64.0
MOST_CLASSES = 12

_FOOT = 14.0
_LINE = 15.0
_NAME = 92.0
_LONGEST_NAME = 15


def histogram(heights: Sequence[float], low: float, high: float, alt: str, mark: float | None = None) -> Svg:
    """Bars side by side over a range, whose ends stand below.

    Args:
        heights: of the bars, from the low end to the high one.
        low, high: the ends.
        alt: what it shows, for those who cannot see it.
        mark: a number where a line stands, e.g. a limit; None draws none.
    """
    top, step = max([*heights, 1e-300]), WIDTH / max(len(heights), 1)
    room = HEIGHT - _FOOT
    parts = [element("line", x1=0, x2=WIDTH, y1=room, y2=room, stroke="currentColor", opacity=0.5)]
    for number, height in enumerate(heights):
        if height > 0:
            # What occurs at all can be seen.
            tall = max(room * height / top, 1.0)
            bar = element(
                "rect", x=step * (number + 0.05), y=room - tall, width=0.9 * step, height=tall,
                fill=series_colour(0),
            )  # fmt: skip
            parts.append(bar)
    if mark is not None and low <= mark <= high and high > low:
        x = WIDTH * (mark - low) / (high - low)
        parts.append(
            element("line", x1=x, x2=x, y1=0, y2=room, stroke=series_colour(1), stroke_dasharray="3 2")
        )
    parts.append(label(0, HEIGHT - 2, show(float(f"{low:.4g}")), 10, opacity=0.7))
    parts.append(label(WIDTH, HEIGHT - 2, show(float(f"{high:.4g}")), 10, "end", opacity=0.7))
    return Svg(drawing(WIDTH, HEIGHT, *parts), alt, int(WIDTH))


def class_bars(counts: Mapping[str, int], alt: str) -> Svg:
    """A bar for each of the commonest classes, its name before it and its count behind.

    Args:
        counts: class -> how often, the commonest first; of more than 12, the rest share the last bar.
        alt: what it shows, for those who cannot see it.
    """
    names = list(counts)[:MOST_CLASSES]
    rows = [(name, counts[name]) for name in names]
    rest = sum(counts.values()) - sum(count for _, count in rows)
    if rest:
        rows.append((f"{len(counts) - len(names):,} more", rest))
    top, room = max([count for _, count in rows] or [1]), WIDTH - _NAME - 50
    parts = []
    for number, (name, count) in enumerate(rows):
        y = _LINE * number
        said = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        parts.append(label(_NAME - 4, y + 11, said, 10, "end"))
        wide = max(room * count / max(top, 1), 1.0)
        parts.append(element("rect", x=_NAME, y=y + 2, width=wide, height=_LINE - 4, fill=series_colour(0)))
        parts.append(label(_NAME + wide + 3, y + 11, f"{count:,}", 9, opacity=0.7))
    return Svg(drawing(WIDTH, max(_LINE * len(rows), _LINE), *parts), alt, int(WIDTH))
