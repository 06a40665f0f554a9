"""What a browser makes of a page of ours: a headless Chromium opens it and is asked what it sees."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path

import attrs
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
LIMIT_S = 60

# A frame has exactly the width that is asked for; a window cannot be narrower than 500 pixels. The page stays
# as it was written, its ban on scripts included: it is the page around it that looks.
_WATCHER = """<!DOCTYPE html>
<body style="margin: 0">
<iframe id="page" style="border: 0; width: {width}px; height: 900px"></iframe>
<script>
const frame = document.getElementById("page");
// Before the load of this page ends, which waits for the frame's: what is dumped then has the measures.
frame.addEventListener("load", () => {{
  const page = frame.contentDocument, all = [...page.querySelectorAll("*")];
  const images = [...page.querySelectorAll("img, image")];
  const headings = [...page.querySelectorAll("h1, h2, h3, h4, h5, h6")];
  const broken = images.filter(image => image.tagName === "IMG" && !(image.complete && image.naturalWidth));
  const named = all.flatMap(node => [...node.attributes])
    .filter(attribute => /^(src|srcset|href|xlink:href|data|poster|action)$/.test(attribute.name))
    .map(attribute => attribute.value).filter(value => !/^(data:|#)/.test(value));
  document.documentElement.dataset.measured = JSON.stringify({{
    scroll_width: page.scrollingElement.scrollWidth,
    width: frame.contentWindow.innerWidth,
    images: images.length,
    broken_images: broken.map(image => image.getAttribute("alt") ?? image.outerHTML.slice(0, 80)),
    drawn_images: images.filter(image => image.tagName !== "IMG").map(image => image.href.baseVal),
    headings: headings.map(h => `${{h.tagName}} ${{h.textContent}}`),
    requests: [...named, ...frame.contentWindow.performance.getEntriesByType("resource").map(e => e.name)],
    without_alt: images.filter(image => image.tagName === "IMG" && !image.hasAttribute("alt")).length,
  }});
}});
frame.src = "{url}";
</script>
"""


@attrs.frozen
class Measured:
    """A page as a browser shows it.

    Attributes:
        width: of the window, CSS pixels.
        scroll_width: of what stands in it; more than `width` means that the page scrolls sideways.
        images: pictures of pixels, those in drawings included.
        broken_images: alt texts of those that could not be decoded.
        headings: level and text of each, in order: `H2 Loss`.
        requests: addresses that are neither in the page nor data, named or asked for.
        without_alt: pictures without an alternative text.
        errors: what the browser's console was told.
    """

    width: int
    scroll_width: int
    images: int
    broken_images: tuple[str, ...]
    headings: tuple[str, ...]
    requests: tuple[str, ...]
    without_alt: int
    errors: tuple[str, ...]


def measure_page(path: Path, width: int = 390) -> Measured:
    """Open a page in a headless Chromium; the test is skipped where there is none.

    Args:
        path: the HTML file.
        width: of the window, CSS pixels; 390 is a phone's.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with tempfile.TemporaryDirectory() as folder:
        watcher = Path(folder) / "watcher.html"
        watcher.write_text(_WATCHER.format(width=width, url=path.resolve().as_uri()), encoding="utf-8")
        done = subprocess.run(
            [
                program,
                "--headless",
                "--disable-gpu",
                *(["--no-sandbox"] if os.geteuid() == 0 else []),  # root has no sandbox to be put into
                "--allow-file-access-from-files",  # one file may look into another's frame
                "--hide-scrollbars",  # a phone lays them over the page
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--enable-logging=stderr",
                f"--user-data-dir={folder}/profile",
                "--window-size=1300,1000",
                "--dump-dom",
                watcher.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    found = re.search(r'data-measured="([^"]*)"', done.stdout)
    assert found, f"{program} measured nothing: {done.stderr[-2000:]}"
    record = json.loads(unescape(found[1]))
    record["broken_images"] += [url[:80] for url in record.pop("drawn_images") if not _is_picture(url)]
    lists = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
    errors = tuple(line for line in done.stderr.splitlines() if ":CONSOLE" in line)
    return Measured(**{**record, **lists}, errors=errors)


def _is_picture(url: str) -> bool:
    """Whether an address is that of a PNG that can be decoded; browsers do not say of those in drawings."""
    kind, comma, data = url.partition(",")
    if not comma or kind != "data:image/png;base64":
        return False
    try:
        Image.open(io.BytesIO(base64.b64decode(data))).load()
    except (OSError, ValueError):
        return False
    return True
