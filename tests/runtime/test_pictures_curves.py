"""Charts: whatever the numbers, a drawing that an XML parser reads, with every point inside it."""

import math
import sys
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fourm_runtime.pictures.axes import axis_of
from fourm_runtime.pictures.curves import HEIGHT, MOST_BARS, WIDTH, Series, bar_chart, line_chart
from fourm_runtime.pictures.page import Svg
from tests.runtime.markup import tree_of

SVG = "{http://www.w3.org/2000/svg}"
FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def marks(root: Element) -> list[tuple[float, float]]:
    """Where the points of the curves lie."""
    found = [(float(dot.get("cx", "nan")), float(dot.get("cy", "nan"))) for dot in root.iter(f"{SVG}circle")]
    for line in root.iter(f"{SVG}polyline"):
        for point in line.get("points", "").split():
            x, y = point.split(",")
            found.append((float(x), float(y)))
    return found


def bars(chart: Svg) -> list[float]:
    return [float(bar.get("height", "nan")) for bar in tree_of(chart).iter(f"{SVG}rect")]


def said(chart: Svg) -> list[str]:
    return [text.text or "" for text in tree_of(chart).iter(f"{SVG}text")]


@given(st.lists(st.tuples(FLOATS, FLOATS), max_size=12), st.booleans(), st.booleans())
@example([(0.0, 1.75e308)], False, False)
@example([(1.0, sys.float_info.max), (2.0, -sys.float_info.max)], True, False)
def test_every_point_lies_in_the_picture(points: list[tuple[float, float]], log_x: bool, log_y: bool) -> None:
    """Losses overflow and vanish; a chart of them must not."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    root = tree_of(line_chart([Series("loss", xs, ys)], "loss", log_x=log_x, log_y=log_y))

    known = [
        (x, y)
        for x, y in points
        if math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x) and (y > 0 or not log_y)
    ]
    found = marks(root)
    assert len(found) == len(known)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)


@given(st.lists(FLOATS, max_size=400), st.booleans())
def test_every_bar_lies_in_the_picture(values: list[float], log_y: bool) -> None:
    root = tree_of(bar_chart(values, "counts", log_y=log_y))

    for bar in root.iter(f"{SVG}rect"):
        x, y, width, height = (float(bar.get(name, "nan")) for name in ("x", "y", "width", "height"))
        assert x >= 0 and x + width <= WIDTH + 0.01
        assert y >= 0 and y + height <= HEIGHT + 0.02


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5), st.booleans())
def test_ticks_are_few_ascending_and_on_their_axis(numbers: list[float], log: bool) -> None:
    used = np.array([abs(number) or 1.0 for number in numbers] if log else numbers)
    axis = axis_of(used, log)

    assert 1 <= len(axis.ticks) <= 13
    assert list(axis.ticks) == sorted(axis.ticks)
    assert all(-1e-9 <= axis.share(tick) <= 1 + 1e-9 for tick in axis.ticks)


def test_ticks_are_round_numbers() -> None:
    assert axis_of(np.array([0.0, 2400.0]), log=False).ticks == (0.0, 500.0, 1000.0, 1500.0, 2000.0)
    assert axis_of(np.array([0.3, 40.0]), log=True).ticks == (1.0, 10.0)
    assert axis_of(np.array([0.3, 9.0]), log=True).ticks == (0.5, 1.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("ys", "log_y", "shares"),
    [
        ([0.0, 0.25, 1.0], False, [0, 0.25, 1]),
        ([1.0, 10.0, 10_000.0], True, [0, 0.25, 1]),
        ([-8, 0, 8], False, [0, 0.5, 1]),
    ],
)
def test_points_lie_where_the_axes_say(ys: list[float], log_y: bool, shares: list[float]) -> None:
    """Equal steps, or on a log axis equal ratios, are equally far apart; more is higher."""
    places = marks(tree_of(line_chart([Series("loss", [0.0, 0.5, 1.0], ys)], "loss", log_y=log_y)))
    xs, heights = [x for x, _ in places], [-y for _, y in places]

    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)  # places are written to a tenth
    reach = heights[2] - heights[0]
    assert reach > HEIGHT / 2
    assert [(height - heights[0]) / reach for height in heights] == pytest.approx(shares, abs=0.002)


def test_a_gap_breaks_the_line() -> None:
    """A loss that was not measured is not a loss in between."""
    root = tree_of(line_chart([Series("loss", range(5), [3.0, 2.0, math.nan, 1.0, 0.5])], "loss"))

    assert [len(line.get("points", "").split()) for line in root.iter(f"{SVG}polyline")] == [2, 2]


def test_a_long_curve_keeps_its_extremes() -> None:
    """One spike among a hundred thousand steps is what the picture is looked at for."""
    losses = np.ones(100_000)
    losses[54_321] = 9.0
    chart = line_chart([Series("loss", range(100_000), losses.tolist())], "loss")
    heights = [y for _, y in marks(tree_of(chart))]

    assert len(heights) < 1_000
    assert sum(height < HEIGHT / 2 for height in heights) == 1
    assert len(str(chart.markup)) < 20_000


def test_several_curves_are_named_and_one_is_not() -> None:
    train, held = Series("train", [0, 1], [1, 2]), Series("held out", [0, 1], [2, 1])

    assert {"train", "held out"} <= set(said(line_chart([train, held], "losses")))
    assert "train" not in said(line_chart([train], "loss"))


def test_of_many_bars_neighbours_share_one() -> None:
    """A codebook has thousands of ids; a phone has a few hundred pixels."""
    assert len(bars(bar_chart([1.0] * MOST_BARS, "use"))) == MOST_BARS
    assert len(bars(bar_chart([1.0] * 4096, "use"))) == math.ceil(4096 / 26)


def test_the_lowest_bar_of_a_log_chart_can_be_seen() -> None:
    assert min(bars(bar_chart([1, 10, 1000], "use", log_y=True))) > 5


def test_labels_are_thinned_until_they_do_not_touch() -> None:
    names = [f"class {number}" for number in range(100)]
    shown = [text for text in said(bar_chart([1.0] * 100, "use", labels=names)) if text.startswith("class")]

    assert shown[0] == "class 0" and len(shown) <= WIDTH / 50


@pytest.mark.parametrize(
    "chart", [line_chart([], "loss"), bar_chart([], "use"), bar_chart([math.nan], "use")]
)
def test_without_a_number_the_chart_says_so(chart: Svg) -> None:
    assert said(chart) == ["no values"]
