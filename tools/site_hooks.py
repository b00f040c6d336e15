"""Hooks of MkDocs, for `make site`: what stands outside of docs/ is part of the site, too.

The changelog, the page for contributors and the notebooks become pages. Other files of the repository that a page links
to, such as the example report, are copied. Links that are right in the repository are changed to those of the site.
"""

import base64
import json
import posixpath
import re
from pathlib import Path
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

# The pages that stand elsewhere in the repository, and their place in the site.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    **{f"examples/{path.name}": f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.ipynb")},
}
SOURCES = {page: source for source, page in PAGES.items()}
HOME = {"README.md": "index.md"}  # a page of its own

# Files that a browser shows; all others are copied as text.
SHOWN = (".html", ".svg", ".png", ".pdf")

LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s#]+)(?=[)\s#])")
REPRESENTATION = re.compile(r"alternative='(.*)'\)$", re.DOTALL)


def on_config(config: MkDocsConfig) -> None:
    """Let the cells of tables know their column."""
    config.markdown_extensions.append(ColumnNames())  # type: ignore[arg-type]
    config.watch += [str(ROOT / source) for source in PAGES]


def on_files(files: Files, *, config: MkDocsConfig) -> None:
    """Add the pages and the files that stand outside of docs/."""
    pages = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for source, page in PAGES.items():
        path = ROOT / source
        if path.suffix == ".ipynb":
            text, pictures = notebook(path)
            for name, content in pictures.items():
                files.append(File.generated(config, f"examples/{name}", content=content))
        else:
            text = path.read_text(encoding="utf-8")
        pages[source] = text
        files.append(File.generated(config, page, content=text))
    for source, text in pages.items():
        for target in LINK.findall(text):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
            if _is_copied(path) and not files.get_file_from_path(_in_site(path)):
                files.append(File.generated(config, _in_site(path), abs_src_path=str(ROOT / path)))


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links that leave docs/ to those of the site."""
    uri = page.file.src_uri
    source = SOURCES.get(uri, f"docs/{uri}")

    def in_site(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if path.startswith("docs/") == source.startswith("docs/") and path not in PAGES | HOME and not _is_copied(path):
            return link[1]
        return posixpath.relpath(_in_site(path), posixpath.dirname(uri) or ".")

    return LINK.sub(in_site, markdown)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Give the dialog of the search a name, which the theme leaves out."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def _is_copied(path: str) -> bool:
    """Return whether a path in the repository is a file outside of docs/, and not a page."""
    return path not in PAGES | HOME and not path.startswith(("docs/", "../")) and (ROOT / path).is_file()


def _in_site(path: str) -> str:
    """Return the place in the site of a path in the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return (PAGES | HOME).get(path) or (path if path.endswith(SHOWN) else f"{path}.txt")


# ---------------------------------------------------------------------------------------------------------------------
# Notebooks


def notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook with its outputs as Markdown, and its pictures by name."""
    blocks: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        blocks.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = {kind: "".join(lines) for kind, lines in output["data"].items()}
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                size = output.get("metadata", {}).get("image/png", {})
                blocks.append(_picture(name, data["text/plain"], size.get("width")))
            elif output["output_type"] == "execute_result" and "text/html" in data:
                html = re.sub(r"<style scoped>.*?</style>|\n\s*(?=\n)", "", data["text/html"], flags=re.DOTALL)
                html = html.replace("<th></th>", "<td></td>")  # not a heading
                blocks.append(f'<div class="output" tabindex="0">\n{html}\n</div>')
            else:
                blocks.append(f"```text\n{data['text/plain']}\n```")
    return "\n\n".join(blocks) + "\n", pictures


def _picture(name: str, representation: str, width: int | None) -> str:
    match = REPRESENTATION.search(representation)
    alternative = re.sub(r"([\[\]])", r"\\\1", match[1]) if match else "A figure"
    return f"![{alternative}]({name})" + f'{{ width="{width}" }}' * bool(width)


# ---------------------------------------------------------------------------------------------------------------------
# Tables


class ColumnNames(Extension):
    """Writes into each cell of a table the name of its column: on a phone, cells stand below one another."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Register the processor."""
        md.treeprocessors.register(_ColumnNames(md), "column_names", 5)


class _ColumnNames(Treeprocessor):
    def run(self, root: Element) -> None:
        for table in root.iter("table"):
            names = ["".join(cell.itertext()).strip() for cell in table.iter("th")]
            for cell in list(table.iter("th")):
                if not "".join(cell.itertext()).strip():
                    cell.tag = "td"  # a corner, and not a heading
            for row in table.iter("tr"):
                for name, cell in zip(names, row.findall("td"), strict=False):
                    cell.set("data-column", name)
