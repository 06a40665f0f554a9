"""One HTML file that needs nothing else: typed blocks in, a page for a phone or a desk out.

    Page > Section > Text | Table | Figure | Gallery | Legend | Stack

Every picture stands in the file, every text is escaped, and the page forbids itself any request
(Content-Security-Policy), so it can be mailed and opened from a disk. `page.html.jinja` is its form.
"""

import base64
import copy
import functools
import numbers
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias
from xml.etree import ElementTree

import attrs
import jinja2
from markupsafe import Markup, escape

from fourm_codecs.files import write_file
from fourm_runtime.pictures.svg import clean
from fourm_schema.errors import CodecError, RequestError


@attrs.frozen
class Png:
    """A picture of pixels.

    Attributes:
        data: the PNG file.
        alt: what it shows, for those who cannot see it.
        width, height: CSS pixels it is shown at; less where there is no room.
        pixelated: cells stay squares when it is enlarged.
    """

    kind: ClassVar[str] = "png"
    data: bytes = attrs.field(repr=False)
    alt: str
    width: int
    height: int
    pixelated: bool = False

    @property
    def url(self) -> str:
        """The file itself as an address."""
        return f"data:image/png;base64,{base64.b64encode(self.data).decode('ascii')}"


@attrs.frozen(eq=False)
class Svg:
    """A drawing.

    Attributes:
        root: its tree (see `fourm_runtime.pictures.svg`).
        alt: what it shows, for those who cannot see it; empty where the text beside it says so.
        width: CSS pixels it is shown at; less where there is no room.
    """

    kind: ClassVar[str] = "svg"
    root: ElementTree.Element
    alt: str
    width: int

    @property
    def markup(self) -> Markup:
        """The drawing as it stands in a page."""
        root = copy.copy(self.root)
        said = {"role": "img", "aria-label": clean(self.alt)} if self.alt else {"aria-hidden": "true"}
        root.attrib = {**root.attrib, **said, "width": str(self.width)}
        return Markup(ElementTree.tostring(root, encoding="unicode"))  # a tree escapes its texts


Picture = Png | Svg
Block: TypeAlias = "Text | Table | Figure | Gallery | Legend | Stack"
Cell: TypeAlias = "str | int | float | Picture | Block | None"
"""What a table or a tile may hold. Numbers are set flush right; None reads as absent."""


@attrs.frozen
class Text:
    """A few paragraphs, parted by blank lines.

    Attributes:
        text: plain text.
        tone: `muted` for asides, `quote` for what a sample says, `code` for what keeps its spaces.
    """

    kind: ClassVar[str] = "text"
    text: str
    tone: Literal["plain", "muted", "quote", "code"] = "plain"

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs; an empty text has one."""
        return re.split(r"\n\s*\n", self.text)


@attrs.frozen(eq=False)
class Table:
    """Rows under headings. A table wider than the page scrolls inside a box of its own.

    Attributes:
        headers: heading of each column; empty for none.
        rows: cells of each row.
        caption: what the table is.
        row_headings: the first cell of a row is its heading.
    """

    kind: ClassVar[str] = "table"
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    row_headings: bool = False


@attrs.frozen(eq=False)
class Figure:
    """A picture and the line below it."""

    kind: ClassVar[str] = "figure"
    picture: Picture
    caption: str = ""


@attrs.frozen(eq=False)
class Tile:
    """One place of a gallery, and the line below it."""

    content: Cell
    caption: str = ""


@attrs.frozen(eq=False)
class GalleryRow:
    """Tiles side by side, and the heading above them."""

    tiles: Sequence[Tile]
    label: str = ""


@attrs.frozen(eq=False)
class Gallery:
    """Rows of tiles; where there is no room, a row goes on below itself.

    Attributes:
        rows: the tiles.
        columns: label of each column; it stands on every tile of it, since rows may be broken.
        tile_px: least width of a tile, CSS pixels.
    """

    kind: ClassVar[str] = "gallery"
    rows: Sequence[GalleryRow]
    columns: Sequence[str] = ()
    tile_px: int = 150


@attrs.frozen(eq=False)
class Legend:
    """What colours mean: (name, `#rrggbb`)."""

    kind: ClassVar[str] = "legend"
    entries: Sequence[tuple[str, str]]


@attrs.frozen(eq=False)
class Stack:
    """Blocks below each other, as one."""

    kind: ClassVar[str] = "stack"
    blocks: Sequence[Block]


@attrs.frozen(eq=False)
class Section:
    """A heading and what stands under it; a section within a section is a subsection."""

    title: str
    blocks: Sequence["Block | Section"]


@attrs.frozen(eq=False)
class Page:
    """A whole page.

    Attributes:
        title: its heading.
        sections: its parts; where there are several, a table of contents leads to them.
        summary: a few sentences under the heading.
    """

    title: str
    sections: Sequence[Section]
    summary: str = ""


@attrs.frozen(eq=False)
class _Placed:
    """A section with the address and the level of its heading."""

    section: Section
    address: str
    level: int
    blocks: Sequence["Block | _Placed"]

    @property
    def below(self) -> list["_Placed"]:
        """Its subsections."""
        return [block for block in self.blocks if isinstance(block, _Placed)]


def render_page(page: Page) -> str:
    """The page as HTML."""
    taken: set[str] = set()
    placed = [_place(section, 2, taken) for section in page.sections]
    return _template().render(page=page, sections=placed).lstrip()


def write_page(page: Page, path: Path | str) -> None:
    """Write the page as one HTML file; after a crash the old one is there, or the new one.

    Raises:
        RequestError: if the file cannot be written.
    """
    try:
        write_file(Path(path), render_page(page).encode("utf-8"))
    except CodecError as error:
        fault = error.faults[0]
        raise RequestError(fault.where, fault.what, fault.got, "name another file") from None


def show_number(number: float) -> str:
    """A number as people read it.

    >>> show_number(12345), show_number(0.123456), show_number(True)
    ('12,345', '0.1235', 'yes')
    """
    if isinstance(number, bool):
        return "yes" if number else "no"
    return f"{number:,}" if isinstance(number, numbers.Integral) else f"{number:.4g}"


def _place(section: Section, level: int, taken: set[str]) -> _Placed:
    stem = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
    address, count = stem, 1
    while address in taken:
        count += 1
        address = f"{stem}-{count}"
    taken.add(address)
    blocks = [
        _place(block, min(level + 1, 6), taken) if isinstance(block, Section) else block
        for block in section.blocks
    ]
    return _Placed(section, address, level, blocks)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_speakable,
    )
    environment.filters |= {"number": show_number, "breakable": _breakable}
    return environment.get_template("page.html.jinja")


def _breakable(text: str) -> Markup:
    """A text that may be broken after an underscore: names of numbers are long, and columns narrow."""
    return escape(clean(text)).replace("_", Markup("_<wbr>"))


def _speakable(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
