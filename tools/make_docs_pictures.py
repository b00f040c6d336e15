"""Write the pictures of the example report in docs/assets: `python -m tools.make_docs_pictures`.

Needs Chromium and Playwright. A picture shows the first screen of results/example-keepcoding/report.html, once in light
and once in dark mode.
"""

import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "results" / "example-keepcoding" / "report.html"
ASSETS = ROOT / "docs" / "assets"
WIDTH, HEIGHT = 1280, 860


def main() -> None:
    """Open the report in each mode, and store its first screen with 256 colors."""
    ASSETS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for mode in ("light", "dark"):
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=mode)
            page.goto(REPORT.as_uri())
            picture = ASSETS / f"report-{mode}.png"
            page.screenshot(path=picture)
            Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
