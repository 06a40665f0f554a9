"""Reads pages back: what tags stand in them, and what they say."""

from html.parser import HTMLParser
from xml.etree import ElementTree

from fourm_runtime.pictures.page import Block, Page, Section, Svg, render_page

VOID = {"img", "meta", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Gathers the tags and texts of a page, and holds that every tag is closed where it has to be."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._goes_on = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":  # a place where a line may end, within one text
            self._goes_on = True
            return
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._goes_on = False
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self._goes_on = False
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self._goes_on:
            self.texts[-1] += data
        else:
            self.texts.append(data)
        self._goes_on = False

    @property
    def text(self) -> str:
        """All that the page says."""
        return "".join(self.texts)


def read(html: str) -> Reader:
    """Parse a page.

    Raises:
        AssertionError: if a tag is not closed, or closed twice.
    """
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [], "every tag is closed"
    return reader


def read_blocks(*blocks: Block) -> Reader:
    """Parse a page that holds some blocks."""
    return read(render_page(Page("page", [Section("section", blocks)])))


def tree_of(svg: Svg) -> ElementTree.Element:
    """A drawing as an XML parser reads it."""
    return ElementTree.fromstring(svg.markup)
