"""Fill the page's templates; whatever comes from an experiment is escaped."""

import base64
import contextlib
import hashlib
import platform
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from initbench import __version__
from initbench.reporting import names
from initbench.reporting.narrative import shortened
from initbench.reporting.numbers import in_points, uncapitalized
from initbench.system.cache import cache_folder, private
from initbench.system.files import read, write_file

# The size of a checksum, and of the largest file of compiled code; that of the page has 60 kB.
CHECKSUM, MAX_CODE = 32, 2_000_000


def fill(template: str, colours: str = "", **values: Any) -> str:
    """Return a page: a template with its style sheet, the `colours` of its initializers, and these values."""
    own = {"version": __version__, "style": Markup(asset("style.css")), "colours": Markup(colours)}
    return _environment().get_template(template).render(**own, **values)


def compile_all() -> None:
    """Compile the templates before they are filled, which takes a fraction of a second where no process has done so."""
    for file in files("initbench.reporting").joinpath("html").iterdir():
        if file.name.endswith(".html"):
            _environment().get_template(file.name)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(asset),
        bytecode_cache=_CodeCache(),
    )
    environment.filters |= {"breakable": _breakable, "digest": _digest, "points": in_points, "label": label}
    environment.filters |= {
        "first_upper": _first_upper,
        "first_lower": uncapitalized,
        "some": shortened,
        "words": _words,
    }
    return environment


class _CodeCache(jinja2.BytecodeCache):
    """The compiled templates, on disk in a folder that only the user can open; a damaged file is replaced.

    Jinja compiles a template again when its text has changed. Without such a folder each process compiles all.
    """

    def __init__(self) -> None:
        versions = f"{jinja2.__version__} {platform.python_version()}".encode()
        depends_on = hashlib.sha256(versions + Path(__file__).read_bytes()).hexdigest()  # this file: settings, filters
        self._folder: Path | None = None
        with contextlib.suppress(OSError):
            self._folder = private(cache_folder() / f"templates-{depends_on[:16]}")

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        """Give the bucket the code of its file, if that is as it was written."""
        if self._folder:
            with contextlib.suppress(OSError):
                content = read(self._folder / bucket.key, MAX_CODE)
                if hashlib.sha256(content[CHECKSUM:]).digest() == content[:CHECKSUM]:
                    bucket.bytecode_from_string(content[CHECKSUM:])

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        """Write the file of the bucket's code, if that is possible."""
        if self._folder:
            content = bucket.bytecode_to_string()
            with contextlib.suppress(OSError):
                write_file(self._folder / bucket.key, hashlib.sha256(content).digest() + content, synced=False)


def asset(name: str) -> str:
    """The text of a template, the style sheet or the script, in `html/`."""
    return files("initbench.reporting").joinpath("html", name).read_text(encoding="utf-8")


def _breakable(name: str) -> Markup:
    """A name that a narrow column may break before a parenthesis or a digest, and after an underscore only."""
    return Markup(re.sub(r"(?=[(@])|(?<=_)", "<wbr>", str(escape(name))))


def _words(command: str) -> Markup:
    """A command whose lines break between its words: within one only where it is wider than a line."""
    return Markup(" ").join(Markup('<span class="word">{}</span>').format(word) for word in command.split(" "))


def _digest(script: str) -> str:
    """The SHA-256 of a script, as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def label(setting: str) -> str:
    """A setting's name as a heading has it."""
    return _first_upper(names.setting(setting))


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
