"""Elements of an SVG drawing, built as a tree so that no text of a user's can become markup."""

import re
from xml.etree.ElementTree import Element

FONT = "system-ui, sans-serif"

# What XML 1.0 cannot hold even when it is escaped (section 2.2): control characters, halves of pairs.
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def clean(text: str) -> str:
    """A text with every character that neither XML nor HTML can hold replaced by U+FFFD.

    >>> clean("a\\x00b\\ud800 <c>") == "a\\ufffdb\\ufffd <c>"
    True
    """
    return _UNSPEAKABLE.sub("\ufffd", text)


def element(tag: str, *children: Element, text: str = "", **attributes: str | float) -> Element:
    """One element.

    Args:
        tag: its name.
        children: what stands in it.
        text: what it says; before the children.
        attributes: by name; `_` is written `-`, numbers with two decimals.
    """
    made = Element(tag, {name.replace("_", "-"): _written(value) for name, value in attributes.items()})
    made.text = clean(text) or None
    made.extend(children)
    return made


def drawing(width: float, height: float, *children: Element) -> Element:
    """The root of a drawing of that many units; texts have the colour of the page's text."""
    return element(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_written(width)} {_written(height)}",
        font_family=FONT,
        fill="currentColor",
    )


def label(
    x: float, y: float, text: str, size: float = 12, anchor: str = "start", **more: str | float
) -> Element:
    """A line of text.

    Args:
        x, y: where it is anchored, at its base line.
        text: what it says.
        size: of the letters.
        anchor: `start`, `middle` or `end`.
        more: further attributes.
    """
    return element("text", text=text, x=x, y=y, font_size=size, text_anchor=anchor, **more)


def _written(value: str | float) -> str:
    return clean(value) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
