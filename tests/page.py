"""A page, as a reader gets it."""

from html.parser import HTMLParser

import pytest

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# A phone in the dark; the others are slow.
SIZES = [
    (390, "dark"),
    *(pytest.param(*size, marks=pytest.mark.slow) for size in ((1280, "light"), (1280, "dark"), (390, "light"))),
]


def violations(page):
    """What axe finds on a page in a browser: how many violations, and a report of them."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    results = axe.Axe().run(page, options={"runOnly": RULES})
    return results.violations_count, results.generate_report()


class Page(HTMLParser):
    """What a reader gets: words (not those of style and scripts), figures, addresses."""

    def __init__(self, text):
        super().__init__()
        self.images, self.addresses, self.scripts, self.words, self._inside = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in ("script", "style"):
            self._inside.append(tag)
        if tag == "script":
            self.scripts.append([values.get("type"), ""])
        if tag == "svg" and values.get("role") == "img":
            self.images.append(values)
        self.addresses += [values[key] for key in ("src", "href", "xlink:href", "action", "srcset") if key in values]

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside.pop()

    def handle_data(self, data):
        if self._inside == ["script"]:
            self.scripts[-1][1] += data
        if not self._inside:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
