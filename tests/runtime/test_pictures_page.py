"""Pages: whole in one file, well-formed, and nothing that a user wrote becomes markup."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.pictures.curves import Series, line_chart
from fourm_runtime.pictures.page import (
    Block,
    Figure,
    Gallery,
    GalleryRow,
    Legend,
    Page,
    Png,
    Section,
    Stack,
    Svg,
    Table,
    Text,
    Tile,
    render_page,
    write_page,
)
from fourm_runtime.pictures.raster import png_of
from fourm_runtime.pictures.svg import clean, drawing, label
from fourm_schema.errors import RequestError
from tests.runtime.markup import Reader, read, read_blocks

DOT = np.zeros((1, 1), np.uint8)


def everywhere(text: str) -> Page:
    """A page with a text in every place that takes one."""
    chart = line_chart([Series(text, [0, 1], [0, 1]), Series(text, [0, 1], [1, 0])], text, x_label=text)
    blocks: list[Block] = [
        Text(text),
        Text(text, "code"),
        Table([text], [[text, png_of(DOT, text)]], caption=text, row_headings=True),
        Figure(chart, text),
        Gallery([GalleryRow([Tile(text, text)], label=text)], columns=[text]),
        Legend([(text, "#000000")]),
        Stack([Text(text, "quote")]),
    ]
    return Page(text, [Section(text, [*blocks, Section(text, [])])], summary=text)


@pytest.fixture(scope="module")
def plain() -> Reader:
    """The page of a harmless text."""
    return read(render_page(everywhere("x")))


@given(text=st.text(min_size=1, max_size=30))
def test_no_text_of_a_user_becomes_markup(plain: Reader, text: str) -> None:
    """Captions, class names and errors of strangers stand in these pages: every place has to escape them."""
    page = read(render_page(everywhere(text)))

    # Blank lines part paragraphs; otherwise the page is the same.
    assert [tag for tag in page.tags if tag != "p"] == [tag for tag in plain.tags if tag != "p"]
    assert page.texts.count(clean(text)) >= plain.texts.count("x") - plain.tags.count("p")


def test_a_script_in_a_caption_is_words() -> None:
    text = "<script>alert('1')</script>&amp;\"quoted\""
    page = read(render_page(everywhere(text)))

    assert "script" not in page.tags
    assert page.texts.count(text) >= 10
    assert ("img", "alt", text) in page.attributes


def test_a_page_asks_for_nothing() -> None:
    """It is opened from a disk, from a mail, on a train."""
    html = render_page(everywhere("x"))

    addresses = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert addresses and all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert "<link" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_the_contents_lead_to_every_section_even_to_those_of_one_title() -> None:
    sections = [Section("Loss", [Section("Held out", [])]), Section("Loss", []), Section("損失", [])]
    page = read(render_page(Page("run", sections)))

    addresses = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    ids = [value for tag, name, value in page.attributes if name == "id"]
    assert addresses == ["#loss", "#held-out", "#loss-2", "#section"]
    assert [f"#{name}" for name in ids] == addresses
    assert [tag for tag in page.tags if re.fullmatch(r"h\d", tag)] == ["h1", "h2", "h3", "h2", "h2"]


def test_a_page_of_one_section_has_no_contents() -> None:
    assert "nav" not in read_blocks(Text("alone")).tags


def test_none_reads_absent_and_numbers_are_flush_right() -> None:
    """A gap in a table must not look like an empty text."""
    page = read_blocks(Table(["a", "b", "c", "d"], [[None, 1234567, 0.25, float(np.float32(0.5))]]))

    assert [text for text in page.texts if text.strip()][-4:] == ["absent", "1,234,567", "0.25", "0.5"]
    assert [value for _, name, value in page.attributes if name == "class"].count("number") == 3


def test_what_no_file_can_hold_is_replaced() -> None:
    """A lone half of a surrogate pair comes out of JSON and cannot be written as UTF-8."""
    html = render_page(Page("a\x00b", [Section("c\ud800d", [Text("e\x1bf")])]))

    assert html.encode("utf-8")
    assert {"a\ufffdb", "c\ufffdd", "e\ufffdf"} <= set(read(html).texts)


def test_a_drawing_says_what_it_shows_or_is_passed_over() -> None:
    root = drawing(10, 10, label(1, 2, "a < b"))

    assert 'aria-label="&lt;chart&gt;"' in Svg(root, "<chart>", 10).markup
    assert 'aria-hidden="true"' in Svg(root, "", 10).markup
    assert "a &lt; b" in Svg(root, "", 10).markup


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that is open in a browser is never half a report."""
    path = tmp_path / "new" / "report.html"
    page = Page("first", [])
    write_page(page, path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(RequestError, match=r"report\.html: cannot be written; got No space left"):
            write_page(Page("second", []), path)

    assert path.read_bytes() == before == render_page(page).encode()
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((8, 8), (128, 128)), ((1, 3), (129, 43)), ((200, 100), (100, 200)), ((2048, 1024), (256, 512))],
)
def test_tiny_pictures_are_shown_large_and_huge_ones_are_made_smaller(
    shape: tuple[int, int], shown: tuple[int, int]
) -> None:
    picture = png_of(np.zeros(shape, np.uint8), "zeros")

    assert (picture.width, picture.height) == shown
    assert picture.pixelated == (max(shape) < 128)


@pytest.mark.parametrize("make", [lambda: Png(b"x", "alt", 1, 1), lambda: Text("x")])
def test_blocks_are_frozen(make: Callable[[], Png | Text]) -> None:
    """A block may stand in two places of a page."""
    with pytest.raises(AttributeError):
        make().kind = "other"  # type: ignore[misc]  # what must fail at run time too
