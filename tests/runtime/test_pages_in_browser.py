"""Pages as a browser shows them, on a phone and on a desk. Skipped where there is no Chromium."""

from pathlib import Path

import numpy as np
import pytest

from fourm_runtime.data.samples import read_samples
from fourm_runtime.pictures.curves import Series, bar_chart, line_chart
from fourm_runtime.pictures.mask_page import draw_sample_masks, mask_page
from fourm_runtime.pictures.page import (
    Figure,
    Gallery,
    GalleryRow,
    Page,
    Section,
    Table,
    Text,
    Tile,
    write_page,
)
from fourm_runtime.pictures.raster import png_of
from fourm_runtime.pictures.sheet import sheet_page
from fourm_runtime.training.recipe import Recipe
from tests.runtime.browser import measure_page
from tests.runtime.data_samples import encoded

WORD = "x" * 300


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that is wide: a table, a chart, a gallery, words without an end."""
    path = tmp_path_factory.mktemp("page") / "wide & <long>.html"
    dot = png_of(np.arange(64, dtype=np.uint8).reshape(8, 8), "grey cells")
    chart = line_chart([Series(WORD, range(9), range(9)), Series("b", range(9), range(9))], "two curves")
    wide = Table([f"column {k}" for k in range(30)], [[WORD, *range(28), dot]], caption=WORD)
    gallery = Gallery([GalleryRow([Tile(dot, WORD)] * 9, WORD)] * 2, columns=["first", WORD])
    nested = Gallery([GalleryRow([Tile(wide), Tile(chart)])], tile_px=2000)
    sections = [
        Section("Words", [Text(WORD), Text(WORD, "code"), Section(WORD, [wide])]),
        Section("Pictures", [Figure(chart, WORD), Figure(bar_chart(range(99), "bars")), gallery, nested]),
    ]
    write_page(Page("wide", sections, summary=WORD), path)
    return path


def test_a_page_fits_a_phone_and_needs_nothing_else(page: Path) -> None:
    """A page that scrolls sideways is not read on a phone; one with a request is not read on a train."""
    seen = measure_page(page, width=390)

    assert seen.width == 390
    assert seen.scroll_width <= 390
    assert seen.images == 20
    assert (seen.broken_images, seen.without_alt, seen.requests, seen.errors) == ((), 0, (), ())
    assert seen.headings == ("H1 wide", "H2 Words", f"H3 {WORD}", "H2 Pictures")


def test_samples_and_masks_fit_a_phone(tmp_path: Path) -> None:
    """What the verbs write is read where people are."""
    dataset, _ = encoded(tmp_path / "few.lance", count=6, rows_per_fragment=6)
    recipe = Recipe.model_validate({"steps": {"total": 1, "samples_per_step": 1}})
    masks = draw_sample_masks(dataset, recipe, row=1, draws=8)
    write_page(mask_page(dataset, masks), tmp_path / "mask.html")
    write_page(sheet_page(dataset, read_samples(dataset, range(6))), tmp_path / "sheet.html")

    for name, headings in (("mask", ("Masks", "Mixture", "Sample")), ("sheet", ("Samples", "Modalities"))):
        seen = measure_page(tmp_path / f"{name}.html", width=390)
        assert seen.scroll_width <= 390
        assert (seen.broken_images, seen.without_alt, seen.requests, seen.errors) == ((), 0, (), ())
        assert {f"H2 {heading}" for heading in headings} <= set(seen.headings)


def test_the_measure_sees_what_is_wrong(tmp_path: Path) -> None:
    """A check that finds no fault in this page would find none in any."""
    path = tmp_path / "wrong.html"
    path.write_text(
        '<div style="width: 800px">wide</div><img src="https://example.org/a.png">'
        '<img src="data:image/png;base64,AAAA" alt="torn"><script>console.error("boo")</script>'
    )
    seen = measure_page(path)

    assert seen.scroll_width > 800
    assert seen.broken_images[1] == "torn" and len(seen.broken_images) == 2
    assert "https://example.org/a.png" in seen.requests
    assert seen.without_alt == 1
    assert any("boo" in line for line in seen.errors)
