"""Windows of samples: every modality follows the picture, and the settings bring later ones into line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.crops import Window, crop
from fourm_runtime.data.importing.importer import ImportSettings, import_source
from fourm_runtime.data.importing.sources.opening import open_source
from fourm_runtime.data.importing.sources.source import Reading
from fourm_runtime.data.importing.views import Views, follow_crops, middle, settings_of
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.command_line import fourm
from tests.runtime.import_files import stored

SIDE = 32
YAML = """
version: 1
modalities:
  rgb: {kind: image, size: 32, patch: 8, cell: {type: continuous, channels: 3, range: [0, 255]}}
  depth: {kind: image, size: 16, patch: 4, cell: {type: continuous, range: [0, 10]}}
  edges: {kind: image, size: 32, patch: 8, cell: {type: continuous, range: [0, 1], levels: 2}}
  normals: {kind: image, size: 32, patch: 8, cell: {type: direction}}
  land: {kind: image, size: 32, patch: 8, cell: {type: categorical, classes: 9}}
  things:
    kind: set
    max_items: 9
    fields:
      box: {type: box, convention: xywh, range: [0, 100]}
      mask: {type: mask, size: 8, tokens: 4, vocab_size: 40, optional: true}
      tip: {type: point, range: [0, 100], optional: true}
      name: {type: category, classes: [left, right]}
    mirror: [[left, right]]
  shape: {kind: vector, dim: 2, ranges: [0, 1]}
"""
SCHEMA = parse_schema(YAML)

shares = st.floats(0, 1)


@st.composite
def windows(draw: st.DrawFn, least: float = 0.1) -> Window:
    """Windows of some extent."""
    width, height = draw(st.floats(least, 1)), draw(st.floats(least, 1))
    x0, y0 = draw(shares) * (1 - width), draw(shares) * (1 - height)
    return Window(x0, y0, min(x0 + width, 1.0), min(y0 + height, 1.0))


@st.composite
def boxes(draw: st.DrawFn) -> list[float]:
    """Boxes x, y, w, h of the range 0 to 100, with some extent."""
    w, h = draw(st.floats(1, 100)), draw(st.floats(1, 100))
    return [draw(shares) * (100 - w), draw(shares) * (100 - h), w, h]


def sample(seed: int = 0, side: int = SIDE) -> dict[str, object]:
    """A value of every modality, images of one size."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(side, side, 3))
    return {
        "id": "a",
        "rgb": rng.integers(0, 256, (side, side, 3)).astype(np.uint8),
        "depth": rng.random((side, side)).astype(np.float32) * 10,
        "edges": rng.integers(0, 2, (side, side)).astype(np.uint8),
        "normals": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
        "land": rng.integers(0, 9, (side, side)),
        "things": [{"box": [10.0, 20.0, 30.0, 40.0], "mask": np.eye(8, dtype=int).tolist(), "name": "left"}],
        "shape": [0.5, 0.25],
    }


def lines_of(*names: str) -> str:
    """The schema of a few of the modalities."""
    heads = ("version: 1", "modalities:", *(f"  {name}:" for name in names))
    return "\n".join(line for line in YAML.splitlines() if line.startswith(heads))


def things(found: dict[str, object]) -> list[dict[str, object]]:
    value = found["things"]
    assert isinstance(value, list)
    return value


def test_the_whole_picture_is_the_identity() -> None:
    """Nothing is resampled that has its size already."""
    given_ = {**sample(), "depth": np.ones((16, 16), np.float32)}
    found = crop(given_, SCHEMA, Window())

    assert found.keys() == given_.keys()
    for name, value in given_.items():
        assert np.array_equal(np.asarray(found[name]), np.asarray(value)), name


@given(outer=windows(0.3), inner=windows(0.3), box=boxes(), tip=st.tuples(shares, shares))
def test_a_window_of_a_window_is_one_window(
    outer: Window, inner: Window, box: list[float], tip: tuple[float, float]
) -> None:
    """Sets are moved by exact arithmetic: two steps and one differ by rounding alone."""
    record = {"box": box, "tip": [100 * tip[0], 100 * tip[1]], "name": "left"}
    start: dict[str, object] = {"things": [record]}
    twice = things(crop(crop(start, SCHEMA, outer), SCHEMA, inner))
    once = things(crop(start, SCHEMA, inner.within(outer)))
    # Where a box only touches the window, rounding decides whether it is there.
    sizes = [np.prod(np.asarray(item["box"], float)[2:]) for item in (*twice, *once)]
    assume(all(size > 1e-6 for size in sizes))

    assert len(twice) == len(once)
    for two, one in zip(twice, once, strict=True):
        assert np.allclose(np.asarray(two["box"]), np.asarray(one["box"]), atol=1e-6)
        if "tip" in two and "tip" in one:
            assert np.allclose(np.asarray(two["tip"]), np.asarray(one["tip"]), atol=1e-6)


@given(x=st.integers(0, 32), y=st.integers(0, 32), inner=windows(0.3), seed=st.integers(0, 99))
def test_pictures_of_a_window_of_a_window_agree(x: int, y: int, inner: Window, seed: int) -> None:
    """The first window is cut along cells at its own size, so that nothing is lost: maps agree exactly."""
    whole = sample(seed, side=64)
    outer = Window(x / 64, y / 64, (x + 32) / 64, (y + 32) / 64)
    first = crop(whole, SCHEMA, outer)
    assert np.array_equal(np.asarray(first["rgb"]), np.asarray(whole["rgb"])[y : y + 32, x : x + 32])
    twice, once = crop(first, SCHEMA, inner), crop(whole, SCHEMA, inner.within(outer))

    sides = np.array([[inner.x0, inner.x1], [inner.y0, inner.y1]]) * 32
    centres = sides[:, :1] + (np.arange(32) + 0.5) * np.diff(sides) / 32
    # A centre on the border of two cells goes to either, as rounding has it.
    if np.abs(centres - np.round(centres)).min() > 1e-9:
        assert np.array_equal(np.asarray(twice["land"]), np.asarray(once["land"]))
    inside = (slice(4, -4), slice(4, -4))
    far = np.abs(np.asarray(twice["rgb"], float)[inside] - np.asarray(once["rgb"], float)[inside])
    # Two roundings to a byte; at the border the second step sees less of the picture.
    assert far.max() <= 2


@given(
    window=windows(0.2), flip=st.booleans(), rows=st.tuples(st.integers(0, 48), st.integers(8, 16)),
    columns=st.tuples(st.integers(0, 48), st.integers(8, 16)),
)  # fmt: skip
def test_boxes_and_masks_lie_where_the_picture_shows_them(
    window: Window, flip: bool, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    """The law of aligned data: a thing is drawn into a class map, and box and mask say where it is."""
    land = np.zeros((64, 64), np.int64)
    y0, y1, x0, x1 = rows[0], sum(rows), columns[0], sum(columns)
    land[y0:y1, x0:x1] = 1
    box = [100 * x0 / 64, 100 * y0 / 64, 100 * (x1 - x0) / 64, 100 * (y1 - y0) / 64]
    record = {"box": box, "mask": np.ones((8, 8), int).tolist(), "name": "left"}
    found = crop({"land": land, "things": [record]}, SCHEMA, window, flip)
    seen = np.asarray(found["land"]) == 1

    if not things(found):
        assert seen.mean() < 0.02
        return
    (item,) = things(found)
    x, y, w, h = np.asarray(item["box"], float) / 100 * SIDE
    inside = np.zeros((SIDE, SIDE), bool)
    inside[int(np.ceil(y + 0.5)) : int(y + h - 0.5), int(np.ceil(x + 0.5)) : int(x + w - 0.5)] = True
    around = np.zeros((SIDE, SIDE), bool)
    around[
        max(int(y - 0.5), 0) : int(np.ceil(y + h + 0.5)), max(int(x - 0.5), 0) : int(np.ceil(x + w + 0.5))
    ] = True
    assert (seen[inside]).all() and not seen[~around].any()
    assert item["mask"] == np.ones((8, 8), int).tolist()
    assert item["name"] == ("right" if flip else "left")


@given(window=windows(0.2), seed=st.integers(0, 99))
def test_directions_stay_unit_vectors_and_a_mirror_negates_x(window: Window, seed: int) -> None:
    """A wall that faces left faces right in the mirror; the mean of two directions is shorter than either."""
    plain, turned = (crop(sample(seed), SCHEMA, window, flip) for flip in (False, True))
    normals, mirrored = np.asarray(plain["normals"]), np.asarray(turned["normals"])

    assert np.allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    assert np.allclose(mirrored[:, ::-1] * [-1, 1, 1], normals)
    assert np.array_equal(np.asarray(turned["rgb"])[:, ::-1], np.asarray(plain["rgb"]))


def test_a_box_that_is_cut_takes_its_mask_along() -> None:
    """The left half of a thing is out of the window: box and mask show the right half."""
    mask = np.zeros((8, 8), int)
    mask[:, 4:] = 1
    mask[:4, :4] = 1
    record = {"box": [20.0, 0.0, 40.0, 100.0], "mask": mask.tolist(), "tip": [30.0, 50.0], "name": "left"}
    (right,) = things(crop({"things": [record]}, SCHEMA, Window(0.4, 0, 1, 1)))
    (left,) = things(crop({"things": [record]}, SCHEMA, Window(0, 0.5, 0.5, 1)))

    assert np.allclose(np.asarray(right["box"]), [0, 0, 100 / 3, 100])
    assert right["mask"] == np.ones((8, 8), int).tolist() and "tip" not in right
    assert np.allclose(np.asarray(left["box"]), [40, 0, 60, 100])
    assert np.allclose(np.asarray(left["tip"]), [60, 0])
    assert things(crop({"things": [record]}, SCHEMA, Window(0.6, 0, 1, 1))) == []
    empty = {**record, "mask": np.eye(8, dtype=int).tolist()}
    assert things(crop({"things": [empty]}, SCHEMA, Window(0.4, 0, 1, 0.4))) == []


def test_levels_are_kept_and_sizes_follow_the_entries() -> None:
    """An edge map of two levels has no third after it was scaled."""
    found = crop(sample(side=50), SCHEMA, Window(0.1, 0.2, 0.7, 0.9))

    assert set(np.unique(np.asarray(found["edges"])).tolist()) <= {0, 1}
    assert np.asarray(found["depth"]).shape == (16, 16)
    assert found["shape"] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rgb", np.zeros((9, 9)), r"sample, rgb: an image has 3 axes of numbers; got 9x9 of float64"),
        (
            "rgb",
            [[[1], [2]], [[1]]],
            r"sample, rgb: an image is rows of numbers; got lists of unequal lengths",
        ),
        ("rgb", np.zeros((9, 9, 4)), r"an image has 3 channels; got 4"),
        ("things", [3], r"sample, things: a set is a list of records"),
        ("things", [{"box": [1, 2]}], r"sample, things\[0\]\.box: is a list of 4 numbers; got 2"),
        (
            "things",
            [{"box": [0, 0, 9, 9], "mask": [[1]]}],
            r"sample, things\[0\]\.mask: is a mask of 8x8 cells; got 1x1",
        ),
    ],
)
def test_a_value_that_cannot_be_cut_is_named(name: str, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        crop({name: value}, SCHEMA, Window(0, 0, 0.5, 0.5))


@given(
    shape=st.floats(0.2, 5), index=st.integers(0, 10**9), smallest=st.floats(0.05, 1), seed=st.integers(0, 9)
)
def test_random_windows_lie_in_the_picture_and_are_a_function_of_the_sample(
    shape: float, index: int, smallest: float, seed: int
) -> None:
    views = Views(crops=3, seed=seed, smallest=smallest)
    drawn = [views.drawn(shape, index, view) for view in range(3)]

    assert drawn == [views.drawn(shape, index, view) for view in range(3)]
    assert drawn[0] == (middle(shape), False)
    for window, _ in drawn[1:]:
        width, height = window.x1 - window.x0, window.y1 - window.y0
        if window != middle(shape):
            assert width * height >= smallest - 1e-9
            assert 0.74 < width / height / shape < 1.34


def test_views_of_a_sample_are_rows_that_later_modalities_line_up_with(tmp_path: Path) -> None:
    """A modality made of the whole pictures later is cut as they were."""
    np.savez(
        tmp_path / "a.npz",
        id=np.array(["x", "y"]),
        rgb=np.stack([np.asarray(sample(seed, 48)["rgb"]) for seed in (0, 1)]),
        land=np.stack([np.asarray(sample(seed, 48)["land"]) for seed in (0, 1)]),
    )
    two, one = parse_schema(lines_of("rgb", "land")), parse_schema(lines_of("rgb"))
    reading = Reading(two, frozenset(two.modalities))
    settings = ImportSettings(views=Views(crops=4, seed=3, smallest=0.3))
    import_source(tmp_path / "both", two, open_source(tmp_path / "a.npz", reading), settings)
    only = Reading(one, frozenset(one.modalities), any_name=True)
    np.savez(tmp_path / "rgb.npz", **{k: v for k, v in np.load(tmp_path / "a.npz").items() if k != "land"})
    import_source(tmp_path / "late", one, open_source(tmp_path / "rgb.npz", only), settings)
    late = Dataset.open(tmp_path / "late")
    late.add_modality(two)
    late.fill_rows(
        follow_crops(tmp_path / "late", two, open_source(tmp_path / "a.npz", reading).rows()), ["land"]
    )
    both, after = stored(tmp_path / "both"), stored(tmp_path / "late")

    assert both.keys() == {f"{name}#{view}" for name in "xy" for view in range(4)}
    assert both == after
    (tmp_path / "two.yaml").write_text(lines_of("rgb", "land"))
    import_source(tmp_path / "verb", one, open_source(tmp_path / "rgb.npz", only), settings)
    fourm("data", "add-modality", tmp_path / "verb", "--schema", tmp_path / "two.yaml")
    said = fourm("data", "fill", tmp_path / "verb", tmp_path / "a.npz", "--follow-crops")
    assert "land: 8 samples filled, 0 absent" in said
    assert stored(tmp_path / "verb") == both
    flips = [settings_of(row["crop"])[1] for row in both.values() if isinstance(row["crop"], list)]
    assert len(flips) == 8 and 0 < sum(flips) < 7
    rows = open_source(tmp_path / "rgb.npz", only)
    import_source(tmp_path / "c", one, rows, ImportSettings(views=Views("stretch")))
    with pytest.raises(DataError, match=r"has no crop settings"):
        next(follow_crops(tmp_path / "c", one, []))


def test_the_verb_writes_views_and_a_cut_off_one_goes_on_at_a_sample(tmp_path: Path) -> None:
    """The rows of one sample are stored together, or not at all."""
    np.savez(tmp_path / "a.npz", rgb=np.zeros((7, 40, 40, 3), np.uint8))
    (tmp_path / "m.yaml").write_text(lines_of("rgb"))
    line = ("data", "import", tmp_path / "a.npz", "--schema", tmp_path / "m.yaml", "--crops", 3)
    assert "21 samples" in fourm(
        *line, "--crop-seed", 5, "--crop-area", 0.4, "--no-flip", "--to", tmp_path / "a"
    )
    table = Dataset.open(tmp_path / "a").arrow.to_table(columns=["id", "crop"]).to_pylist()

    assert [row["id"].rpartition("#")[2] for row in table] == ["0", "1", "2"] * 7
    assert {row["crop"][4] for row in table} == {0.0}
