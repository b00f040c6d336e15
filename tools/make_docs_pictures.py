"""Write the pictures of the example report in docs/assets: `python -m tools.make_docs_pictures`.

Needs Chromium and Playwright. Two pictures show the first screen of results/example-keepcoding/report.html, in light
and in dark mode; the others, for docs/tutorial/reading-the-report.md, the sections, each below 100 kB.
"""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "results" / "example-keepcoding" / "report.html"
ASSETS = ROOT / "docs" / "assets"
WIDTH, HEIGHT, MARGIN = 1280, 860, 16
MAX_BYTES, COLORS = 100_000, (256, 128, 64, 32)  # of the pictures of sections

# The name, the element that a picture begins with, and its height.
SECTIONS = (
    ("map", "#answer .figure", 350),
    ("why", "#why h3", 355),
    ("numbers", "#numbers", 590),
    ("differences", "#differences", 420),
    ("curves", "#curves", 590),
    ("certainty", "#certainty", 600),
)


def opened(browser: Browser, mode: Any) -> Page:
    """Return the report in a mode, light or dark."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=mode)
    page.goto(REPORT.as_uri())
    return page


def sections(page: Page) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the PNG of the beginning of each section."""
    page.locator("#seeds").evaluate("fold => { fold.open = true; }")
    for name, selector, height in SECTIONS:
        box: Any = page.locator(selector).first.bounding_box()
        clip = {"x": box["x"] - MARGIN, "y": box["y"], "width": box["width"] + 2 * MARGIN, "height": height}
        yield name, page.screenshot(full_page=True, clip=clip)


def with_colors(png: bytes, colors: int, dither: Image.Dither = Image.Dither.FLOYDSTEINBERG) -> bytes:
    """Return a PNG with a number of colors."""
    with io.BytesIO() as file:
        Image.open(io.BytesIO(png)).convert("RGB").quantize(colors, dither=dither).save(file, "PNG", optimize=True)
        return file.getvalue()


def small(png: bytes) -> bytes:
    """Return a PNG with the most colors that keep it small."""
    for colors in COLORS:
        reduced = with_colors(png, colors, Image.Dither.NONE)
        if len(reduced) <= MAX_BYTES:
            return reduced
    raise SystemExit(f"a picture has more than {MAX_BYTES:,} bytes with {colors} colors")


def main() -> None:
    """Open the report in each mode, and store its first screen and, in light mode, its sections."""
    ASSETS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for mode in ("light", "dark"):
            (ASSETS / f"report-{mode}.png").write_bytes(with_colors(opened(browser, mode).screenshot(), 256))
        for name, png in sections(opened(browser, "light")):
            (ASSETS / f"reading-{name}.png").write_bytes(small(png))
        browser.close()


if __name__ == "__main__":
    main()
