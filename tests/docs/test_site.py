"""The documentation as a site, as Chromium opens it from the disk: links, search, accessibility, phones."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from page import violations

ROOT = Path(__file__).parents[2]

# Home in every size and colour, and a page of each other kind in one of them: axe takes seconds for each.
SIZES = [(390, "dark"), (1280, "light"), (390, "light"), (1280, "dark")]
KINDS = [
    "reference/python/theory.html",
    "reference/cli.html",
    "examples/quickstart.html",
    "explanation/performance.html",
    "how-to/install.html",
]
LOOKED_AT = [*(("index.html", *size) for size in SIZES), *((name, *SIZES[i % 4]) for i, name in enumerate(KINDS))]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site, built as `make site` does; it is an error if there is a warning."""
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class Links(HTMLParser):
    """The addresses of a page, its ids, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        self.loaded += [values[key] for key in ("src", "srcset") if values.get(key)]
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(values["href"])


@pytest.fixture(scope="session")
def pages(site):
    """The addresses and ids of each page, by path."""
    return {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_link_leads_to_a_file_and_an_anchor(site, pages):
    assert len(pages) > 20
    wrong = []
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            if re.match(r"\w+:", link) or path.name == "404.html":
                continue
            target, _, anchor = link.partition("#")
            linked = (path.parent / unquote(target)).resolve() if target else path
            exists = linked.is_relative_to(site) and linked.is_file()
            if not exists or (anchor and linked in pages and unquote(anchor) not in pages[linked].ids):
                wrong.append((path.name, link))
    assert wrong == []


def test_no_page_loads_anything_from_elsewhere(pages):
    assert not [(path.name, url) for path, page in pages.items() for url in page.loaded if "//" in url]


def test_every_page_of_the_python_interface_has_all_of_its_names(pages, site):
    from importlib import import_module

    for name in ("stats", "theory", "initializers"):
        ids = pages[site / "reference" / "python" / f"{name}.html"].ids
        names = {key.rpartition(".")[2] for key in ids if key.startswith(f"initbench.{name}.")}
        assert {public for public in import_module(f"initbench.{name}").__all__ if public[0].islower()} <= names


def test_the_example_report_is_one_click_from_home(pages, site):
    assert "results/example-keepcoding/report.html" in pages[site / "index.html"].links


def opened(chromium, path, width=1280, scheme="light"):
    """A page, opened from the disk, and the addresses that it requests."""
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    return page, requests


@pytest.mark.parametrize(("name", "width", "scheme"), LOOKED_AT)
def test_a_page_of_each_kind_is_accessible(site, chromium, name, width, scheme):
    page, requests = opened(chromium, site / name, width, scheme)
    assert page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
    count, report = violations(page)
    assert count == 0, report
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]
    page.close()


def test_no_page_scrolls_sideways_on_a_phone(site, pages, chromium):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    wide = []
    for path in pages:
        if path.name != "404.html":
            page.goto(path.as_uri())
            if page.evaluate("document.documentElement.scrollWidth") > 390:
                wide.append(path.relative_to(site).as_posix())
    assert wide == []


def test_the_search_finds_a_scheme_without_a_server(site, chromium):
    page, requests = opened(chromium, site / "index.html")
    page.click("input.md-search__input")
    page.keyboard.type("orthogonal")
    page.wait_for_selector(".md-search-result__item a", timeout=20_000)
    links = page.eval_on_selector_all(".md-search-result__item a", "links => links.map(link => link.href)")
    assert any("/reference/initializers.html" in link for link in links)
    assert not [url for url in requests if not url.startswith(("file:", "data:", "about:"))]


def test_the_search_index_has_the_reference(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    locations = {entry["location"] for entry in index["docs"]}
    assert {"reference/grid.html", "reference/cli.html#initbench-run", "changelog.html"} <= locations
