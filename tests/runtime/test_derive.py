"""Derived modalities: what is computed of a picture, when, and what is refused."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.derive.registry import computations
from fourm_schema.errors import DataError, MissingExtraError
from fourm_schema.load import parse_schema
from fourm_schema.schema import Schema

RGB = "  rgb: {kind: image, size: 16, patch: 4, cell: {type: continuous, channels: 3, range: [0, 255]}}\n"
COLOR = "fields: {color: {type: vector, dim: 3, range: [0, 255]}}"
SHARE = "cell: {type: continuous, range: [0, 1]}"
COLOURS = "cell: {type: continuous, channels: 3, range: [0, 255]}"
GREY = "  grey: {kind: image, size: 16, patch: 4, cell: {type: continuous, range: [-1, 1]}}\n"


def schema_of(*entries: str) -> Schema:
    return parse_schema("version: 1\nmodalities:\n" + RGB + GREY + "".join(f"  {line}\n" for line in entries))


def declared(entry: str, source: str, by: str) -> str:
    """An entry that is derived."""
    return f"{{{entry}, derive: {{from: {source}, by: {by}}}}}"


def compute(entry: str, value: object) -> object:
    """The value of a modality `it` that is declared so."""
    return computations(schema_of(f"it: {entry}"))["it"](value)


def picture(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_edges_stand_where_brightness_jumps() -> None:
    """A white half beside a black one has one edge, along their border."""
    halves = np.zeros((16, 16, 3), np.uint8)
    halves[:, 8:] = 255
    entry = declared(f"kind: image, size: 16, patch: 4, {SHARE}", "rgb", "canny")

    edges = np.asarray(compute(entry, halves))

    assert edges.shape == (16, 16)
    assert set(np.unique(edges)) == {0.0, 1.0}
    assert set(np.flatnonzero(edges[4:12].any(axis=0))) <= {7, 8}
    assert edges[4:12].any(axis=1).all()


def test_a_palette_lists_the_colours_that_cover_most_first() -> None:
    """Three quarters red, the rest blue: two records, though seven would fit."""
    flat = np.zeros((16, 16, 3), np.uint8)
    flat[:, :12, 0], flat[:, 12:, 2] = 255, 255
    entry = declared(f"kind: set, max_items: 7, {COLOR}", "rgb", "palette")

    assert compute(entry, flat) == [{"color": [255.0, 0.0, 0.0]}, {"color": [0.0, 0.0, 255.0]}]


def test_a_colour_of_a_palette_is_the_mean_of_what_it_stands_for() -> None:
    """Also among thousands of colours: a noisy red half and a noisy blue one have two."""
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 60, (96, 96, 3), dtype=np.uint8)
    noisy[:, :40, 0] += 190
    noisy[:, 40:, 2] += 190
    source = RGB.replace("size: 16", "size: 96")
    entry = declared(f"kind: set, max_items: 2, {COLOR}", "rgb", "palette")
    schema = parse_schema(f"version: 1\nmodalities:\n{source}  it: {entry}\n")

    found = computations(schema)["it"](noisy)

    blue, red = (noisy[:, half].reshape(-1, 3).mean(axis=0) for half in (slice(40, None), slice(40)))
    assert len(np.unique(noisy.reshape(-1, 3), axis=0)) > 4096
    assert isinstance(found, list) and len(found) == 2
    for record, colour in zip(found, (blue, red), strict=True):
        assert record["color"] == pytest.approx(colour.tolist(), abs=1e-9)


METADATA = (
    "{kind: set, max_items: 1, fields: {"
    "brightness: {type: number, range: [0, 255], bins: 50, optional: true}, "
    "contrast: {type: number, range: [0, 127.5], bins: 50, optional: true}, "
    "saturation: {type: number, range: [0, 255], bins: 50, optional: true}, "
    "entropy: {type: number, range: [0, 10], bins: 50, optional: true}, "
    "colorfulness: {type: number, range: [0, 255], bins: 50, optional: true}, "
    "n_humans: {type: number, range: [0, 9], bins: 10, optional: true}"
    "}, derive: {from: rgb, by: metadata}}"
)


def test_metadata_of_plain_pictures_are_what_one_can_work_out() -> None:
    """Grey has neither contrast nor colour; red is all saturation; halves of black and white are one bit."""
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    halves = np.zeros((16, 16, 3), np.uint8)
    halves[:, 8:] = 255

    def record(value: object) -> dict[str, float]:
        found = compute(METADATA, value)
        assert isinstance(found, list) and len(found) == 1
        return dict(found[0])

    grey, coloured, striped = record(np.full((16, 16, 3), 100)), record(red), record(halves)

    assert grey == pytest.approx(
        {"brightness": 100, "contrast": 0, "saturation": 0, "entropy": 0, "colorfulness": 0}, abs=1e-9
    )
    assert coloured["saturation"] == pytest.approx(255)
    # Opponent colours of (255, 0, 0) are 255 and 127.5, without any spread.
    assert coloured["colorfulness"] == pytest.approx(0.3 * np.hypot(255, 127.5))
    assert (striped["entropy"], striped["brightness"]) == pytest.approx((1, 127.5))
    assert striped["contrast"] == pytest.approx(127.5)


MOMENTS = declared("kind: vector, dim: 6, ranges: [-20, 20]", "grey", "moments")


@given(st.integers(0, 15), st.integers(0, 15))
def test_moments_of_a_single_bright_cell_are_its_place(row: int, column: int) -> None:
    """It has a centre and no spread; -1 is the bottom of the range, so black."""
    dot = np.full((16, 16), -1.0)
    dot[row, column] = 1.0

    np.testing.assert_allclose(np.asarray(compute(MOMENTS, dot)), [row, column, 0, 0, 0, 0], atol=1e-9)


def test_a_black_picture_has_no_moments() -> None:
    assert compute(MOMENTS, np.full((16, 16), -1.0)) is None


def test_a_smaller_picture_holds_the_means_of_what_its_cells_cover() -> None:
    entry = declared(f"kind: image, size: 4, patch: 2, {COLOURS}", "rgb", "resize")
    drawn = picture()

    means = drawn.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3))

    np.testing.assert_allclose(np.asarray(compute(entry, drawn)), means, atol=1e-3)


def test_a_resized_picture_stays_on_its_levels() -> None:
    entry = declared(
        "kind: image, size: 4, patch: 2, cell: {type: continuous, range: [0, 4], levels: 5}", "grey", "resize"
    )

    found = np.asarray(compute(entry, np.random.default_rng(0).uniform(-1, 1, (16, 16))))

    assert found.shape == (4, 4)
    assert set(np.unique(found)) <= {0.0, 1.0, 2.0, 3.0, 4.0}


CHAIN = (
    "small: " + declared(f"kind: image, size: 8, patch: 4, {COLOURS}", "rgb", "resize"),
    "colours: " + declared(f"kind: set, max_items: 3, {COLOR}", "small", "palette"),
)


def column(dataset: Dataset, name: str) -> list[object]:
    return [value for chunk in dataset.values(name) for value in chunk]


def test_samples_are_stored_with_what_is_derived_of_them(tmp_path: Path) -> None:
    """Also in a chain; a value that is given stays, None says there is none, and nothing comes of nothing."""
    given_colours = [{"color": [1.0, 2.0, 3.0]}]
    rows: list[dict[str, object]] = [
        {"rgb": picture(1)},
        {"rgb": picture(2), "colours": given_colours},
        {"rgb": picture(3), "colours": None},
        {"grey": np.zeros((16, 16))},
    ]

    data = Dataset.create(tmp_path / "x.lance", schema_of(CHAIN[1], CHAIN[0]), rows)

    assert len(column(data, "small")) == 3
    first, second = column(data, "colours")
    assert isinstance(first, list) and len(first) == 3
    assert second == given_colours


def test_what_is_declared_later_is_derived_from_the_stored_column(tmp_path: Path) -> None:
    """The same values as if it had been declared from the start; a second call finds nothing to do."""
    rows: list[dict[str, object]] = [
        {"rgb": picture(seed)} if seed % 3 else {"grey": np.zeros((16, 16))} for seed in range(7)
    ]
    early = Dataset.create(tmp_path / "early.lance", schema_of(*CHAIN), rows)
    late = Dataset.create(tmp_path / "late.lance", schema_of(), rows, rows_per_fragment=3)
    late.add_modality(schema_of(*CHAIN))
    seen = []

    done = late.derive(progress=lambda name, finished, total: seen.append((name, finished, total)))

    assert [(one.modality, one.given, one.absent) for one in done] == [("small", 4, 3), ("colours", 4, 3)]
    assert seen[-1] == ("colours", 7, 7)
    assert column(late, "colours") == column(early, "colours")
    for later, earlier in zip(column(late, "small"), column(early, "small"), strict=True):
        np.testing.assert_array_equal(np.asarray(later), np.asarray(earlier))
    with pytest.raises(DataError, match="has values of small, colours; no value is ever replaced"):
        late.derive()


def test_a_value_that_does_not_fit_its_entry_names_row_and_computation(tmp_path: Path) -> None:
    """The range of the target is a promise like any other."""
    narrow = "it: {kind: vector, dim: 6, ranges: [0, 1], derive: {from: grey, by: moments}}"

    with pytest.raises(DataError) as caught:
        Dataset.create(tmp_path / "x.lance", schema_of(narrow), [{"grey": np.ones((16, 16))}])

    assert "row 0, it, derived by moments" in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            declared("kind: vector, dim: 6", "rgb", "cany"),
            "it, derive by cany: is not installed; did you mean 'canny'? "
            "known: canny, metadata, moments, palette, resize",
        ),
        (
            declared("kind: vector, dim: 6", "rgb", "canny"),
            "it, derive by canny: gives an image of one number a cell; got a vector",
        ),
        (
            declared("kind: vector, dim: 5", "rgb", "moments"),
            "it, derive by moments: gives a vector of 6 numbers; got dim 5",
        ),
        (
            declared("kind: set, max_items: 2, fields: {c: {type: vector, dim: 2}}", "rgb", "palette"),
            "it, derive by palette: gives records of one vector of three numbers; got c: vector of 2",
        ),
        (
            declared("kind: set, max_items: 2, fields: {c: {type: vector, dim: 3}}", "grey", "palette"),
            "it, derive by palette: is computed from an image with three channels; got 1",
        ),
        (
            declared(
                "kind: set, max_items: 1, fields: {n: {type: number, range: [0, 1]}}", "rgb", "metadata"
            ),
            "it, derive by metadata: measures brightness, contrast, saturation, entropy, colorfulness; "
            "got n to be measured; declare other fields with optional: true",
        ),
        (
            declared(f"kind: image, size: 4, patch: 2, {SHARE}", "rgb", "resize"),
            "it, derive by resize: keeps the number of channels; got 3 and 1",
        ),
    ],
)
def test_what_cannot_be_derived_is_refused_before_a_row_is_read(entry: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        computations(schema_of(f"it: {entry}"))

    assert str(caught.value) == f"modalities: 1 modality cannot be derived; \n  {message}"


def test_all_that_cannot_be_derived_is_told_at_once() -> None:
    wrong = [f"{name}: {{kind: vector, dim: 1, derive: {{from: rgb, by: moments}}}}" for name in ("a", "b")]

    with pytest.raises(DataError, match="2 modalities cannot be derived"):
        computations(schema_of(*wrong))


def test_a_library_that_is_missing_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    monkeypatch.delitem(sys.modules, "fourm_runtime.derive.canny", raising=False)

    with pytest.raises(MissingExtraError, match=r"derive by canny: needs the extra 'derive'"):
        compute(
            declared(f"kind: image, size: 16, patch: 4, {SHARE}", "rgb", "canny"),
            picture(),
        )


def test_an_installed_plugin_derives_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package brings a function and names it by an entry point; the schema needs nothing else."""
    (tmp_path / "sums.py").write_text("def total(source, target):\n    return lambda value: [value.sum()]\n")
    info = tmp_path / "sums-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sums\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[fourm.derivations]\ntotal = sums:total\nfive = sums:__name__\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()

    assert compute(declared("kind: vector, dim: 1", "rgb", "total"), np.ones((16, 16, 3))) == [768]
    with pytest.raises(
        DataError, match=r"derive by five: the plugin behind it is no computation; got 'sums'"
    ):
        compute(declared("kind: vector, dim: 1", "rgb", "five"), picture())
